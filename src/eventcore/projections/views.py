"""Views: the database a read model is kept in, and the one transaction that moves it forward.

The same suite of tests runs over every backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from eventcore.projections.projection import AnyTable, Projection
from eventcore.projections.tables import Key, RowT, StoredRow, Table
from eventcore.stores.following import CommitSignal


class Checkpoint(NamedTuple):
    """How far a projection's rows are.

    Attributes:
        position: Every event up to it is applied, none above.
        version: The projection's version that made the rows.
        revision: Grows when rows change other than by events (rebuilt, expired): what a runner
            remembers of them is then out of date.
    """

    position: int
    version: int
    revision: int


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

    def advance(self, projection: str, before: Checkpoint, position: int) -> None:
        """Move a checkpoint on, if it still is what the caller built on.

        Raises:
            CheckpointMovedError: It is not; let the transaction roll back, read again, go on.
        """


@runtime_checkable
class Views(Protocol):
    """Tables of read models and the checkpoints that say how far they are. Safe under threads."""

    @property
    def name(self) -> str:
        """Where this is, for messages."""

    @property
    def signal(self) -> CommitSignal:
        """Tells that something may have been written, by any process that shares the database."""

    def ensure(self, projection: Projection) -> Checkpoint:
        """Create the projection's tables and checkpoint if they are absent; gives the checkpoint.

        Raises:
            SchemaMismatchError: A table exists with other columns. Nothing is changed.
        """

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """How far a projection is; None if it was never kept here."""

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """Those of the rows that are there, in no particular order."""

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """All rows of these groups, by key within the table."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One atomic change: kept when the block ends well, undone when it raises."""

    def catching_up(self) -> AbstractContextManager[None]:
        """Many transactions follow each other: the backend may put off its housekeeping until after."""

    def query(
        self, table: Table[RowT], where: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[RowT]:
        """Rows by key, those whose columns equal the given values; none if the table is absent.

        Args:
            table: What to read.
            where: Stored column names to values; text is read as a person would type it.
            limit: At most so many.

        Raises:
            ConfigurationError: No such column, or a value it cannot hold.
        """

    def count(self, table: AnyTable) -> int:
        """How many rows a table has; 0 if it is absent."""

    def reset(self, projection: Projection) -> Checkpoint:
        """Drop the projection's tables, create them empty, and set its checkpoint to the start."""

    def expire(self, projection: Projection, now: datetime) -> int:
        """Delete rows older than their table's TTL; gives how many.

        A rebuild brings them back: the log keeps every event.
        """

    def close(self) -> None:
        """Release everything. Closing twice is fine."""
