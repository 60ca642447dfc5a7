"""Expiring rows in DynamoDB by hand, in step with those who fold pages meanwhile.

Rows go in transactions that also tell the projection's runners, on its checkpoint, and that find no
page under way. So each page comes before them, and what it renewed stays; or after them, and is
folded again from what is left: never from a row that is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from eventcore.errors import StoreUnavailableError
from eventcore.projections.dynamodb.checkpoints import Checkpoints
from eventcore.projections.dynamodb.commits import DynamoDBCommits
from eventcore.projections.dynamodb.layouts import Layout
from eventcore.projections.dynamodb.requests import ACTIONS_MAX, Action, DynamoDBRequests
from eventcore.projections.tables import StoredRow
from eventcore.stores.dynamodb.calls import TransactionCanceledError

ATTEMPTS_MAX: Final = 100
"""Of deleting some rows while pages are under way or renew them."""


class DynamoDBExpiry:
    """Deletes rows whose time has passed.

    Args:
        requests: Sends the requests.
        checkpoints: Makes the actions for the table of checkpoints.
        commits: Finishes pages that are in the way.
    """

    def __init__(
        self, requests: DynamoDBRequests, checkpoints: Checkpoints, commits: DynamoDBCommits
    ) -> None:
        self._requests = requests
        self._checkpoints = checkpoints
        self._commits = commits

    def expire(self, keepers: Sequence[str], layout: Layout, expiry: str) -> int:
        """Delete rows of a table, unless one is renewed meanwhile; gives how many.

        Args:
            keepers: Names of every checkpoint its rows are kept by: of the projection whose table
                it is, and of its shares.
            layout: Of the table.
            expiry: See :meth:`eventcore.projections.tables.Table.expiry`.

        Raises:
            StoreUnavailableError: Others keep changing the same rows. Some may be deleted.
        """
        size = (ACTIONS_MAX - len(keepers)) // (2 if layout.located else 1)
        scan = {"TableName": layout.name, "ConsistentRead": True}
        return sum(
            self._delete(keepers, layout, old[first : first + size])
            for items in self._requests.pages("Scan", scan)
            for old in (list(_expired(layout, items, expiry)),)
            for first in range(0, len(old), size)
        )

    def _delete(self, keepers: Sequence[str], layout: Layout, rows: Sequence[StoredRow]) -> int:
        for _ in range(ATTEMPTS_MAX):
            if not rows:
                return 0
            try:
                self._requests.transact([*self._revisions(keepers), *_deletes(layout, rows)])
            except TransactionCanceledError as error:
                failed = set(error.failed_conditions)
                self._wait_for(keepers, failed)
                # Those were renewed, or are gone.
                rows = [row for n, row in enumerate(rows, start=len(keepers)) if n not in failed]
            else:
                return len(rows)
        problem = f"other processes keep changing the rows of projection {keepers[0]}"
        raise self._too_busy(problem)

    def _revisions(self, keepers: Sequence[str]) -> list[Action]:
        return [self._checkpoints.revise(name) for name in keepers]

    def revise(self, keepers: Sequence[str]) -> None:
        """Tell runners to look at their rows again, though none was deleted."""
        for _ in range(ATTEMPTS_MAX):
            try:
                self._requests.transact(self._revisions(keepers))
            except TransactionCanceledError as error:
                self._wait_for(keepers, set(error.failed_conditions))
            else:
                return
        problem = f"other processes keep writing projection {keepers[0]}"
        raise self._too_busy(problem)

    def _wait_for(self, keepers: Sequence[str], failed: Collection[int]) -> None:
        """Finish the pages that are under way; of shares that were taken back there are none."""
        for name in (name for place, name in enumerate(keepers) if place in failed):
            kept = self._commits.kept(name)
            if kept is None or kept.resetting is not None:
                problem = f"projection {keepers[0]} is being reset"
                raise self._too_busy(problem)
            if kept.pending is not None:
                self._commits.finish(kept.pending)

    def _too_busy(self, problem: str) -> StoreUnavailableError:
        return StoreUnavailableError(store=self._requests.calls.name, problem=problem)


def _expired(
    layout: Layout, items: Iterable[dict[str, dict[str, str]]], expiry: str
) -> Iterator[StoredRow]:
    rows = (layout.row(item) for item in items if not layout.is_locator(item))
    return (row for row in rows if layout.is_expired(row, expiry))


def _deletes(layout: Layout, rows: Sequence[StoredRow]) -> list[Action]:
    """Deletions of rows whose time is what it was, in their order, then of what located them."""
    column = layout.attributes[layout.table.ttl_column or ""]
    deletes: list[Action] = [
        {
            "Delete": {
                "TableName": layout.name,
                "Key": layout.key_of_row(row),
                "ConditionExpression": "#ttl = :ttl",
                "ExpressionAttributeNames": {"#ttl": column},
                "ExpressionAttributeValues": {":ttl": layout.item(row)[column]},
            }
        }
        for row in rows
    ]
    if layout.located:
        keys = [layout.locator_key(layout.row_key(row)) for row in rows]
        deletes += [{"Delete": {"TableName": layout.name, "Key": key}} for key in keys]
    return deletes
