"""Requests for many rows at once: batches, pages and transactions, repeated where that is safe.

What DynamoDB leaves undone of a batch, and what it refuses for being busy, is asked for again after
a pause drawn at random, so that those who met once do not meet again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from uuid import UUID

from eventcore.errors import StoreError, StoreUnavailableError
from eventcore.projections.dynamodb.keys import Item
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Pauses, TransactionCanceledError

GET_ITEMS_MAX: Final = 100
"""Keys in a BatchGetItem (AWS, DynamoDB API Reference, "BatchGetItem")."""

WRITE_ITEMS_MAX: Final = 25
"""Items in a BatchWriteItem (AWS, DynamoDB API Reference, "BatchWriteItem")."""

ACTIONS_MAX: Final = 100
"""Actions in a transaction (AWS, DynamoDB API Reference, "TransactWriteItems")."""

THREADS_MAX: Final = 8
"""Requests in flight for one page of events: on AWS a request is mostly waiting."""

SETTLE_SECONDS: Final = 15.0
"""How long a transaction is tried. Its token makes every attempt the same one for ten minutes."""

_BUSY: Final = frozenset(
    {
        "None",
        "TransactionConflict",
        "ProvisionedThroughputExceeded",
        "ThrottlingError",
        "RequestLimitExceeded",
    }
)
"""Why a transaction may be cancelled that can be done later."""

Action = dict[str, dict[str, Any]]
"""One action of a transaction: ``{"Put": {…}}``, ``{"Delete": {…}}``, …"""

A = TypeVar("A")
B = TypeVar("B")


class DynamoDBRequests:
    """Requests to one DynamoDB. Safe under threads.

    Args:
        calls: Sends each.
    """

    def __init__(self, calls: DynamoDBCalls) -> None:
        self.calls = calls

    def transact(self, actions: Sequence[Action]) -> None:
        """Do all or nothing; however often it is sent, it is done once.

        Raises:
            TransactionCanceledError: A condition does not hold. Nothing was written.
            StoreError: DynamoDB does not take it.
            StoreUnavailableError: It may or may not have been done.
        """
        parameters = {"TransactItems": actions, "ClientRequestToken": new_token()}
        pauses, deadline = Pauses(self.calls.sleep), self.calls.clock() + SETTLE_SECONDS
        while True:
            problem: StoreUnavailableError
            try:
                self.calls.call("TransactWriteItems", parameters)
            except TransactionCanceledError as error:
                if error.failed_conditions:
                    raise
                codes = {reason.code for reason in error.reasons}
                if not codes <= _BUSY:
                    raise StoreError(store=self.calls.name, problem=str(error)) from error
                problem = StoreUnavailableError(store=self.calls.name, problem=str(error))
            except StoreUnavailableError as error:
                problem = error
            else:
                return
            if self.calls.clock() >= deadline:
                raise problem
            pauses.pause()

    def get(self, table: str, key: Item) -> Item | None:
        """One item as it is now; None if there is none."""
        parameters = {"TableName": table, "Key": key, "ConsistentRead": True}
        found: Item | None = self.calls.call("GetItem", parameters).get("Item")
        return found

    def get_many(self, table: str, keys: Sequence[Item]) -> list[Item]:
        """Those of the items that are there, as they are now, in no particular order."""
        batches = [keys[i : i + GET_ITEMS_MAX] for i in range(0, len(keys), GET_ITEMS_MAX)]
        found = in_parallel(lambda batch: self._get_batch(table, batch), batches)
        return [item for items in found for item in items]

    def _get_batch(self, table: str, keys: Sequence[Item]) -> list[Item]:
        request = {table: {"Keys": keys, "ConsistentRead": True}}
        answers = self.calls.finish("BatchGetItem", request, undone="UnprocessedKeys")
        return [item for answer in answers for item in answer["Responses"].get(table, [])]

    def write_many(self, table: str, requests: Sequence[dict[str, Any]]) -> None:
        """Put or delete without conditions, in no particular order."""
        batches = [
            requests[i : i + WRITE_ITEMS_MAX] for i in range(0, len(requests), WRITE_ITEMS_MAX)
        ]
        in_parallel(lambda batch: self._write_batch(table, batch), batches)

    def _write_batch(self, table: str, requests: Sequence[dict[str, Any]]) -> None:
        self.calls.finish("BatchWriteItem", {table: list(requests)}, undone="UnprocessedItems")

    def pages(self, operation: str, parameters: Mapping[str, Any]) -> Iterator[list[Item]]:
        """All pages of a ``Query`` or ``Scan``, one request each."""
        start: Item | None = None
        while True:
            given = {**parameters, "ExclusiveStartKey": start} if start else parameters
            answer = self.calls.call(operation, given)
            yield answer.get("Items", [])
            start = answer.get("LastEvaluatedKey")
            if not start:
                return

    def count(self, parameters: Mapping[str, Any]) -> int:
        """How many items a ``Scan`` finds."""
        start: Item | None = None
        total = 0
        while True:
            given = {**parameters, "Select": "COUNT"}
            if start:
                given["ExclusiveStartKey"] = start
            answer = self.calls.call("Scan", given)
            total += int(answer["Count"])
            start = answer.get("LastEvaluatedKey")
            if not start:
                return total


def in_parallel(work: Callable[[A], B], parts: Iterable[A]) -> list[B]:
    """The outcome of each part, in order, several at a time; the first failure is raised."""
    given = list(parts)
    if len(given) < 2:  # noqa: PLR2004 - one is done here
        return [work(part) for part in given]
    # Threads of this call alone: they need no closing, and a fork in between no repair.
    with ThreadPoolExecutor(min(THREADS_MAX, len(given)), "eventcore-views") as pool:
        return list(pool.map(work, given))


def new_token() -> str:
    """A name that nobody else has."""
    return str(UUID(bytes=os.urandom(16), version=4))
