"""What is open on one SQLite connection: a transaction that writes, a snapshot that only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from functools import partial
from itertools import chain
from typing import Protocol

from eventcore.errors import CheckpointMovedError
from eventcore.projections.anchors import Anchor
from eventcore.projections.checkpoint_rows import CHECKPOINTS, as_json
from eventcore.projections.snapshots import SNAPSHOT_ROWS
from eventcore.projections.sqlite.checkpoints import (
    CHECKPOINT_SQL,
    column_names,
    kept_checkpoint,
    kept_tables,
)
from eventcore.projections.sqlite.statements import TableStatements, rename_table
from eventcore.projections.tables import AnyTable, Key, RowT, StoredRow, Table
from eventcore.projections.transactions import (
    Checkpoint,
    Renaming,
    TableChanges,
    revisions_after,
)


class TransactionViews(Protocol):
    """What a transaction needs of the views that it writes."""

    def statements(self, table: AnyTable) -> TableStatements:
        """The SQL of a table."""

    def begin(self, connection: sqlite3.Connection, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""


class SQLiteTransaction:
    """A transaction that is open on the one connection that writes."""

    def __init__(self, views: TransactionViews, connection: sqlite3.Connection) -> None:
        self._views = views
        self._connection = connection

    @property
    def connection(self) -> sqlite3.Connection:
        """For SQL of one's own; do not commit it."""
        return self._connection

    def write(self, changes: TableChanges) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.write`."""
        statements = self._views.statements(changes.table)
        upserts, at_once = changes.upserts, statements.rows_at_once
        whole = len(upserts) - len(upserts) % at_once
        for first in range(0, whole, at_once):
            values = list(chain.from_iterable(upserts[first : first + at_once]))
            self._connection.execute(statements.upsert_many, values)
        if whole < len(upserts):
            self._connection.executemany(statements.upsert, upserts[whole:])
        if changes.deletes:
            self._connection.executemany(statements.delete, changes.deletes)

    def upsert(self, table: Table[RowT], rows: Sequence[RowT]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.upsert`."""
        self.write(TableChanges(table, table.encode(rows), ()))

    def delete(self, table: AnyTable, keys: Sequence[Key]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.delete`."""
        self.write(TableChanges(table, (), table.encode_keys(keys, table.key_columns)))

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.transactions.Transaction.load_rows`."""
        wanted = as_json(table.encode_keys(keys, table.key_columns))
        sql = self._views.statements(table).select_keys
        return table.decode(self._connection.execute(sql, (wanted,)).fetchall())

    def begin(self, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""
        return self._views.begin(self._connection, name, version)

    def name_of(self, table: AnyTable) -> str:
        """See :meth:`eventcore.projections.transactions.Transaction.name_of`."""
        return table.name

    def rename(self, renamings: Sequence[Renaming]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.rename`."""
        connection = self._connection
        found = [kept_checkpoint(connection, one.projection) for one in renamings]
        revisions = revisions_after(renamings, found, partial(kept_checkpoint, connection))
        connection.execute(CHECKPOINT_SQL["rename_names_only"])
        try:
            for one, revision in zip(renamings, revisions, strict=True):
                made = kept_tables(connection, one.projection) or {}
                for name, becomes in one.tables.items():
                    connection.execute(rename_table(name, becomes))
                now = {one.tables[name]: columns for name, columns in made.items()}
                connection.execute(
                    CHECKPOINT_SQL["rename_checkpoint"],
                    (one.projection, one.becomes, revision, as_json(now)),
                )
        finally:
            connection.execute(CHECKPOINT_SQL["rename_as_usual"])

    def advance(
        self,
        projection: str,
        before: Checkpoint,
        position: int,
        *,
        anchor: Anchor | None = None,
        revise: bool = False,
    ) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.advance`."""
        moved = self._connection.execute(
            CHECKPOINT_SQL["advance_checkpoint"],
            (position, *(anchor or (None, None)), int(revise), projection, *before[:3]),
        ).rowcount
        if moved != 1:
            found = kept_checkpoint(self._connection, projection)
            raise CheckpointMovedError(projection=projection, expected=before, found=found)


class SQLiteSnapshot:
    """A connection inside a transaction that reads: it sees the file as it was when it began."""

    steady = True

    def __init__(self, views: TransactionViews, connection: sqlite3.Connection) -> None:
        self._views = views
        self._connection = connection
        # What it sees is what there is when it first reads.
        connection.execute(CHECKPOINT_SQL["select_table"], (CHECKPOINTS,)).fetchone()

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return kept_checkpoint(self._connection, projection)

    def columns(self, table: AnyTable) -> list[str]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return column_names(self._connection, table.name)

    def pages(self, table: AnyTable) -> Generator[list[StoredRow]]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        cursor = self._connection.execute(TableStatements(table).select_all)
        try:
            while rows := cursor.fetchmany(SNAPSHOT_ROWS):
                yield rows
        finally:
            cursor.close()

    def at(self, table: AnyTable, keys: Sequence[StoredRow]) -> list[StoredRow]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return self._connection.execute(
            TableStatements(table).select_keys, (as_json(keys),)
        ).fetchall()

    def count(self, table: AnyTable) -> int:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        if not self.columns(table):
            return 0
        return int(self._connection.execute(TableStatements(table).count).fetchone()[0])
