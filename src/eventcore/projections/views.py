"""Views: the database a read model is kept in, and the one transaction that moves it forward.

The same suite of tests runs over every backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from eventcore.projections.projection import Projection
from eventcore.projections.snapshots import Snapshot
from eventcore.projections.tables import AnyTable, Key, RowT, Table
from eventcore.projections.transactions import Checkpoint, Transaction
from eventcore.stores.following import CommitSignal


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
            SchemaMismatchError: A table exists with other columns, or was not made for this
                projection. Nothing is changed.
            ConfigurationError: Something is absent, and these views are to create nothing.
        """

    @property
    def indexes_later(self) -> bool:
        """Whether tables may be filled first and indexed after, which is faster; see `index`."""

    def index(self, projection: Projection) -> None:
        """Make the indexes that the projection's tables lack, for they were made without.

        One after another, each in a transaction of its own; interrupted, it can be done again.
        """

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """How far a projection is; None if it was never kept here."""

    def fingerprint(self, projection: str) -> str | None:
        """Of the definition that made a projection's rows; None if it is not known.

        See :func:`eventcore.projections.definitions.fingerprint_of`.
        """

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """Those of the rows that are there, in no particular order."""

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """All rows of these groups, by key within the table."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """One atomic change: kept when the block ends well, undone when it raises."""

    def catching_up(self) -> AbstractContextManager[None]:
        """Many transactions follow each other: the backend may put off housekeeping until after."""

    def query(
        self, table: Table[RowT], where: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[RowT]:
        """Rows by key, those whose columns equal the given values; none if the table is absent.

        Args:
            table: What to read.
            where: Stored column names to values; text is read as a person would type it.
            limit: At most so many, at least 1.

        Raises:
            ConfigurationError: No such column, a value it cannot hold, or a limit below 1.
            SchemaMismatchError: The table there has other columns; raised with the first row.
        """

    def query_sorted(  # noqa: PLR0913 - each a keyword but the first three
        self,
        table: Table[RowT],
        column: str,
        value: Any,
        *,
        by: str,
        since: Any = None,
        limit: int | None = None,
    ) -> Iterator[RowT]:
        """Rows with a value in a column, sorted by another and then by key, read as they are asked.

        Args:
            table: What to read.
            column: Stored name; with ``by`` it begins the key or a declared index.
            value: What it equals; not None.
            by: Stored name of the column that sorts.
            since: Only rows in which that is not below this.
            limit: At most so many, at least 1.

        Raises:
            ConfigurationError: No index serves this, or as :meth:`query`.
            SchemaMismatchError: As :meth:`query`.
        """

    def count(self, table: AnyTable) -> int:
        """How many rows a table has; 0 if it is absent."""

    def reset(self, projection: Projection) -> Checkpoint:
        """Drop the projection's tables, create them empty, and set its checkpoint to the start.

        Only tables that were made for this projection are dropped.

        Raises:
            SchemaMismatchError: A table of the name is somebody else's. Nothing is changed.
            ConfigurationError: It was never kept here, and these views are to create nothing.
        """

    def tables_of(self, projection: str) -> list[str]:
        """Names of the tables that were made for a projection; none if it was never kept here."""

    def accept(self, projection: Projection) -> Checkpoint:
        """Note that the projection, as it is now, would have made the rows that are there.

        The revision grows, so that a runner of the definition before notices.

        Raises:
            SchemaMismatchError: Its tables have other columns. Nothing is changed.
            ConfigurationError: It was never kept here.
        """

    def drop(self, projection: str) -> None:
        """Drop the tables that were made for a projection, and its checkpoint. Fine if absent.

        A table that somebody changed since is left alone.
        """

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Rows and checkpoints as they are at one moment, for as long as the block lasts."""

    def expire(self, projection: Projection, now: datetime) -> int:
        """Delete rows older than their table's TTL; gives how many.

        A rebuild brings them back: the log keeps every event.
        """

    def close(self) -> None:
        """Release everything. Closing twice is fine."""
