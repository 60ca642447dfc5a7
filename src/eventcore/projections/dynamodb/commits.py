"""Commits: a page of rows and its checkpoints, written once, however large and whatever crashes.

What fits (:data:`ACTIONS_MAX` actions) is one transaction: the checkpoints on condition that they
are where the page began, and the rows. A larger page takes four steps:

1. its *intent* is put, if it is not there: a name, and how many chunks there are going to be;
2. its rows are put as *chunks*, packed, each as many rows as fit one transaction;
3. one transaction **decides** it: it marks the intent as decided and notes the page as *pending* on
   every checkpoint, on condition that those are where the page began and nothing is pending there;
4. each chunk is written by one transaction that also deletes it, on condition that it is there and
   that the page is pending still, several at a time; when none is left, one transaction moves the
   checkpoints, ends the pending, and deletes the intent.

Before step 3 nothing has happened. After it everything will: whoever begins to keep one of the
projections finishes what is pending first, and no other page can be decided meanwhile. Once a page
is finished nothing of it can be written: not by a process that slept through all of that, nor if a
request to put a chunk arrives so late that the chunk is there again.

Rows that only carried their position could not do the same: what an event does to one row may
depend on another, so a page that was written in part cannot be folded again.

What a crash before step 3 leaves behind is swept later, by whoever starts: it first marks the
intent, unless that is decided, which makes it undecidable; then it deletes the chunks. The marked
intent stays, so that a late request cannot put it anew, and goes after :data:`MARKED_AGE`. No other
clock is part of this argument.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson

from eventcore.errors import (
    CheckpointMovedError,
    LimitExceededError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.projections.dynamodb.checkpoints import (
    Checkpoints,
    KeptCheckpoint,
    Pending,
    Reached,
    checkpoint_key,
)
from eventcore.projections.dynamodb.keys import ITEM_BYTES_MAX, Item
from eventcore.projections.dynamodb.requests import (
    ACTIONS_MAX,
    Action,
    DynamoDBRequests,
    in_parallel,
    new_token,
)
from eventcore.projections.dynamodb.tables import PARTITION, SORT
from eventcore.projections.transactions import Checkpoint
from eventcore.stores.dynamodb.calls import ConditionFailedError, TransactionCanceledError, binary

TRANSACTION_BYTES_MAX: Final = 3 * 1024 * 1024
"""Bytes of items in one transaction, well below the service's own 4 MB, which counts names and
conditions as well (AWS, DynamoDB API Reference, "TransactWriteItems")."""

CHUNK_BYTES_MAX: Final = ITEM_BYTES_MAX - 10 * 1024
"""Bytes of a packed chunk: an item, with room for its key."""

CHUNK_ROWS_MAX: Final = ACTIONS_MAX - 2
"""Rows in a chunk: with its deletion and the look at the checkpoint they are one transaction."""

PREPARED_AGE: Final = timedelta(hours=1)
"""Age at which a page that was never decided is taken to be left behind. Too early does no harm:
its writer finds the intent marked and begins again."""

MARKED_AGE: Final = timedelta(days=1)
"""Age at which a swept intent is deleted: no request is under way for so long."""

ATTEMPTS_MAX: Final = 20
"""Of a commit that meets others' pending pages or loses its intent."""

_INTENTS: Final = "journal"


class RowAction(NamedTuple):
    """One row to put or delete, and its size."""

    action: Action
    size: int


class Commit(NamedTuple):
    """What is to be done, all or nothing.

    Attributes:
        advances: Where each projection is to be, and where it goes.
        others: Projections whose tables are changed while they stay where they are.
        rows: The rows; each item at most once.
    """

    advances: dict[str, tuple[Checkpoint, Reached]]
    others: Sequence[str]
    rows: Sequence[RowAction]


class Prepared(NamedTuple):
    """A page that can be decided.

    Attributes:
        pending: What is noted on its projections then.
        chunks: Its rows.
    """

    pending: Pending
    chunks: Sequence[Sequence[RowAction]]


class DynamoDBCommits:
    """Writes pages.

    Args:
        requests: Sends the requests.
        checkpoints: Makes the actions for the table of checkpoints.
        clock: Gives the time, aware: what is left behind is swept by it, nothing else.
    """

    def __init__(
        self,
        requests: DynamoDBRequests,
        checkpoints: Checkpoints,
        clock: Callable[[], datetime],
    ) -> None:
        self._requests = requests
        self._checkpoints = checkpoints
        self._table = checkpoints.table
        self._clock = clock

    def kept(self, projection: str) -> KeptCheckpoint | None:
        """A projection's item as it is now."""
        item = self._requests.get(self._table, checkpoint_key(projection))
        return None if item is None else KeptCheckpoint.of_item(item)

    def commit(self, commit: Commit) -> None:
        """Do it.

        Raises:
            CheckpointMovedError: A projection is not where it was to be, or a page of it is
                pending. Nothing was written.
            StoreUnavailableError: It may be decided; then it will be done.
            StoreError: DynamoDB refuses it. Nothing was written.
        """
        for _ in range(ATTEMPTS_MAX):
            if self._attempt(commit):
                return
        problem = "others keep changing the same tables"
        raise StoreUnavailableError(store=self._requests.calls.name, problem=problem)

    def _attempt(self, commit: Commit) -> bool:
        """Whether it is done; else something was in the way that is no more."""
        size = sum(row.size for row in commit.rows)
        count = len(commit.advances) + len(commit.others) + len(commit.rows)
        if count <= ACTIONS_MAX and size <= TRANSACTION_BYTES_MAX:
            return self._commit_at_once(commit)
        return self._commit_in_chunks(commit)

    def _commit_at_once(self, commit: Commit) -> bool:
        actions = [
            self._checkpoints.advance(name, before, reached)
            for name, (before, reached) in commit.advances.items()
        ]
        actions += [self._checkpoints.check_idle(name) for name in commit.others]
        actions += [row.action for row in commit.rows]
        try:
            self._requests.transact(actions)
        except TransactionCanceledError as error:
            self._clear_the_way(commit, error, first=0)
            return False
        return True

    def _commit_in_chunks(self, commit: Commit) -> bool:
        names = [*commit.advances, *commit.others]
        if len(names) >= ACTIONS_MAX:
            raise LimitExceededError(
                what="A page", actual=len(names), limit=ACTIONS_MAX - 1, unit="projections"
            )
        reached = {name: one for name, (_, one) in commit.advances.items()}
        page = self.prepare({name: reached.get(name) for name in names}, commit.rows)
        standing = {name: before for name, (before, _) in commit.advances.items()}
        decide = [
            self._checkpoints.decide(name, standing.get(name), page.pending) for name in names
        ]
        try:
            self._requests.transact([self.use(page), *decide])
        except TransactionCanceledError as error:
            self.give_up(page)
            self._clear_the_way(commit, error, first=1)
            return False
        self.write(page)
        return True

    def prepare(self, reached: dict[str, Reached | None], rows: Iterable[RowAction]) -> Prepared:
        """Put rows as chunks (steps 1 and 2), of which nothing comes before they are decided.

        Args:
            reached: The projections it is to be pending on, and where it takes them.
            rows: Which.
        """
        chunks = list(_chunks(rows))
        pending = Pending(new_token(), len(chunks), reached)
        self._prepare(pending, chunks)
        return Prepared(pending, chunks)

    def use(self, page: Prepared) -> Action:
        """Part of the transaction that decides it (step 3)."""
        return self._use_intent(page.pending.token)

    def write(self, page: Prepared) -> None:
        """Write it, now that it is decided (step 4)."""
        pending = page.pending
        in_parallel(lambda chunk: self._write_chunk(pending, *chunk), list(enumerate(page.chunks)))
        self._finish(pending)

    def give_up(self, page: Prepared) -> None:
        """Delete what was prepared and was not decided."""
        self._sweep(page.pending.token, page.pending.chunks)

    def _clear_the_way(
        self, commit: Commit, error: TransactionCanceledError, *, first: int
    ) -> None:
        """Say that a checkpoint moved, or finish what is pending on the others."""
        names = [*commit.advances, *commit.others]
        failed = [index - first for index in error.failed_conditions]
        for index in failed:
            if index < 0 or index >= len(names):
                continue
            name, item = names[index], error.reasons[index + first].item
            found = None if item is None else KeptCheckpoint.of_item(item)
            if name in commit.advances:
                before = commit.advances[name][0]
                raise CheckpointMovedError(
                    projection=name, expected=before, found=found and found.checkpoint
                )
            if found is None or found.resetting is not None:
                problem = f"projection {name} is being reset"
                raise StoreUnavailableError(store=self._requests.calls.name, problem=problem)
            if found.pending is not None:
                self.finish(found.pending)

    def _prepare(self, pending: Pending, chunks: Sequence[Sequence[RowAction]]) -> None:
        intent = {
            **_intent_key(pending.token),
            "chunks": {"N": str(pending.chunks)},
            "at": {"N": str(int(self._clock().timestamp()))},
        }
        put = {
            "TableName": self._table,
            "Item": intent,
            "ConditionExpression": f"attribute_not_exists({PARTITION})",
        }
        # That it is there was this call's own earlier attempt, without an answer: the name is new.
        with contextlib.suppress(ConditionFailedError):
            self._requests.calls.call("PutItem", put)
        puts = [
            {"PutRequest": {"Item": {**_chunk_key(pending.token, n), "rows": {"B": _packed(rows)}}}}
            for n, rows in enumerate(chunks)
        ]
        self._requests.write_many(self._table, puts)

    def _use_intent(self, token: str) -> Action:
        return {
            "Update": {
                "TableName": self._table,
                "Key": _intent_key(token),
                "UpdateExpression": "SET decided = :true",
                "ConditionExpression": f"attribute_exists({PARTITION}) "
                "AND attribute_not_exists(swept)",
                "ExpressionAttributeValues": {":true": {"BOOL": True}},
            }
        }

    def _write_chunk(self, pending: Pending, n: int, rows: Sequence[RowAction]) -> None:
        self._write_actions(pending, n, [row.action for row in rows])

    def _write_actions(self, pending: Pending, n: int, actions: Sequence[Action]) -> None:
        take = {
            "Delete": {
                "TableName": self._table,
                "Key": _chunk_key(pending.token, n),
                "ConditionExpression": f"attribute_exists({PARTITION})",
            }
        }
        # They move together, so any tells; of those that are under way few look at the same one.
        names = list(pending.reached)
        check = self._checkpoints.check_pending(names[n % len(names)], pending)
        try:
            self._requests.transact([take, check, *actions])
        except TransactionCanceledError as error:
            if not set(error.failed_conditions) <= {0, 1}:
                problem = f"a chunk cannot be written: {error}"
                raise StoreError(store=self._requests.calls.name, problem=problem) from error
            # Somebody else wrote it, or even finished the page.

    def finish(self, pending: Pending) -> None:
        """Write what is left of a page that is decided, whoever decided it."""
        in_parallel(lambda n: self._write_left(pending, n), range(pending.chunks))
        self._finish(pending)

    def _write_left(self, pending: Pending, n: int) -> None:
        item = self._requests.get(self._table, _chunk_key(pending.token, n))
        if item is not None:
            self._write_actions(pending, n, _unpacked(binary(item["rows"])))

    def _finish(self, pending: Pending) -> None:
        actions = [self._checkpoints.finish(name, pending) for name in pending.reached]
        delete = {"Delete": {"TableName": self._table, "Key": _intent_key(pending.token)}}
        try:
            self._requests.transact([*actions, delete])
        except TransactionCanceledError:
            # Somebody else noted it. They move together, so any tells: the service need not name
            # them all, and says of some only that they are moving at this moment.
            return

    def sweep(self) -> int:
        """Delete what pages left behind that were never decided; gives how many of them."""
        now = self._clock()
        parameters = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": f"{PARTITION} = :intents",
            "ExpressionAttributeValues": {":intents": {"S": _INTENTS}},
        }
        swept = 0
        for item in [one for page in self._requests.pages("Query", parameters) for one in page]:
            token, at = item[SORT]["S"], int(item["at"]["N"])
            if "decided" in item or at >= (now - PREPARED_AGE).timestamp():
                continue
            if chunks := int(item["chunks"]["N"]):
                swept += self._sweep(token, chunks)
            elif at < (now - MARKED_AGE).timestamp():
                self._requests.calls.call(
                    "DeleteItem", {"TableName": self._table, "Key": _intent_key(token)}
                )
        return swept

    def _sweep(self, token: str, chunks: int) -> bool:
        """Delete the chunks of a page that nobody can decide from now on."""
        mark = f"attribute_exists({PARTITION}) AND attribute_not_exists(decided)"
        try:
            self._update_intent(token, "SET swept = :to", {"BOOL": True}, condition=mark)
        except ConditionFailedError:
            return False  # decided after all, or deleted
        keys = [_chunk_key(token, n) for n in range(chunks)]
        self._requests.write_many(self._table, [{"DeleteRequest": {"Key": key}} for key in keys])
        with contextlib.suppress(ConditionFailedError):
            self._update_intent(
                token, "SET chunks = :to", {"N": "0"}, condition="attribute_exists(swept)"
            )
        return True

    def _update_intent(
        self, token: str, update: str, value: dict[str, Any], *, condition: str
    ) -> None:
        parameters = {
            "TableName": self._table,
            "Key": _intent_key(token),
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": {":to": value},
        }
        self._requests.calls.call("UpdateItem", parameters)


def _chunks(rows: Iterable[RowAction]) -> Iterable[Sequence[RowAction]]:
    """Rows in parts of which each fits one transaction, and one item when it is packed."""
    part: list[RowAction] = []
    size = 0
    for row in rows:
        if part and (len(part) == CHUNK_ROWS_MAX or size + row.size > TRANSACTION_BYTES_MAX):
            yield from _fitting(part)
            part, size = [], 0
        part.append(row)
        size += row.size
    if part:
        yield from _fitting(part)


def _fitting(rows: Sequence[RowAction]) -> Iterable[Sequence[RowAction]]:
    if sum(row.size for row in rows) < CHUNK_BYTES_MAX // 4 or len(rows) == 1:
        yield rows
        return
    packed = len(_packed(rows))
    if packed <= CHUNK_BYTES_MAX:
        yield rows
        return
    half = len(rows) // 2
    yield from _fitting(rows[:half])
    yield from _fitting(rows[half:])


def _packed(rows: Sequence[RowAction]) -> bytes:
    return zlib.compress(orjson.dumps([row.action for row in rows]), 1)


def _unpacked(packed: bytes) -> list[dict[str, Any]]:
    actions: list[dict[str, Any]] = orjson.loads(zlib.decompress(packed))
    return actions


def _intent_key(token: str) -> Item:
    return {PARTITION: {"S": _INTENTS}, SORT: {"S": token}}


def _chunk_key(token: str, n: int) -> Item:
    # A partition of its own: many are written at once.
    return {PARTITION: {"S": f"journal#{token}#{n}"}, SORT: {"S": "chunk"}}
