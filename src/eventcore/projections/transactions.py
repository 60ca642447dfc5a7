"""Transactions: what moves a read model forward, its rows and its checkpoint together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from eventcore.projections.anchors import Anchor
from eventcore.projections.tables import AnyTable, Key, RowT, StoredRow, Table


class Checkpoint(NamedTuple):
    """How far a projection's rows are.

    Attributes:
        position: Every event up to it is applied, none above.
        version: The projection's version that made the rows.
        revision: Grows when rows change other than by events (rebuilt, expired): what a runner
            remembers of them is then out of date.
        anchor: The event it stands on, which tells this log from others; None if not known.
    """

    position: int
    version: int
    revision: int
    anchor: Anchor | None = None


class TableChanges(NamedTuple):
    """What one page changes in one table: stored rows to write, stored keys to delete."""

    table: AnyTable
    upserts: Sequence[StoredRow]
    deletes: Sequence[StoredRow]


class Transaction(Protocol):
    """Changes to rows and checkpoints that become visible together or not at all."""

    @property
    def connection(self) -> Any:
        """The backend's own, inside the transaction (``sqlite3.Connection``); None in memory."""

    def write(self, changes: TableChanges) -> None:
        """Write rows that were encoded by their table."""

    def upsert(self, table: Table[RowT], rows: Sequence[RowT]) -> None:
        """Insert rows, or replace those with the same key.

        Raises:
            StoreError: A row does not fit the table's declaration.
        """

    def delete(self, table: AnyTable, keys: Sequence[Key]) -> None:
        """Delete rows by key; absent ones are no error."""

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """Those of the rows that are there, as this transaction sees them."""

    def advance(
        self, projection: str, before: Checkpoint, position: int, *, anchor: Anchor | None = None
    ) -> None:
        """Move a checkpoint on, if it still is what the caller built on.

        Args:
            projection: Whose.
            before: Where it is to be still.
            position: Where it goes.
            anchor: The last event at or below that, if known.

        Raises:
            CheckpointMovedError: It is not; let the transaction roll back, read again, go on.
        """
