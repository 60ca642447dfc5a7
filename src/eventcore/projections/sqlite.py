"""Views in an SQLite file, by default the log's own: tables that any SQLite tool can read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from eventcore.errors import CheckpointMovedError, SchemaMismatchError, StoreError
from eventcore.projections.projection import Projection
from eventcore.projections.sqlite_statements import TableStatements, quote
from eventcore.projections.tables import AnyTable, Key, RowT, StoredRow, Table
from eventcore.projections.transactions import Checkpoint, TableChanges
from eventcore.stores.following import CommitSignal
from eventcore.stores.sqlite.connections import SQLiteConnections
from eventcore.stores.sqlite.wakeup import CommitWatch
from eventcore.stores.statements import load_statements

_SQL = load_statements("eventcore.projections", "sql/checkpoints.sql")

QUERY_ROWS_AT_ONCE: Final = 500
"""Rows fetched at a time while a query is iterated: bounds memory, not what can be read."""


WAL_PAGES: Final = 1_000
"""SQLite moves the write-ahead log into the file when it has so many pages: its own default."""

WAL_PAGES_CATCHING_UP: Final = 16_000
"""The same while catching up (64 MiB): a page that changes often is then moved once."""


class SQLiteViews:
    """Read models in an SQLite file, shared by any number of threads and processes of one machine.

    Args:
        file: The file; or the connections of a log in the same file, which then stay the log's to
        close.

    Raises:
        ConfigurationError: The file is no SQLite database, or SQLite is too old.
        StoreUnavailableError: The folder is missing or may not be written.
    """

    def __init__(self, file: SQLiteConnections | Path | str) -> None:
        self._shared = isinstance(file, SQLiteConnections)
        if isinstance(file, SQLiteConnections):
            self.connections = file
        else:
            # NORMAL: what power loss takes, the log gives again; a commit is never half there.
            self.connections = SQLiteConnections(Path(file), synchronous="NORMAL")
        self._statements: dict[str, tuple[AnyTable, TableStatements]] = {}
        try:
            with self.connections.reading() as connection:
                present = _has_table(connection, "eventcore_checkpoints")
            if not present:
                with self.connections.writing() as connection:
                    connection.execute(_SQL["create_checkpoints"])
            self._watch = CommitWatch(str(self.connections.path))
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """See :class:`eventcore.projections.views.Views`."""
        return self.connections.name

    @property
    def signal(self) -> CommitSignal:
        """See :class:`eventcore.projections.views.Views`."""
        return self._watch

    def statements(self, table: AnyTable) -> TableStatements:
        """The SQL of a table."""
        known = self._statements.get(table.name)
        if known is None or known[0] is not table:
            known = self._statements[table.name] = (table, TableStatements(table))
        return known[1]

    def ensure(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.ensure`."""
        with self.connections.reading() as connection:
            absent = [table for table in projection.tables if not self._matches(connection, table)]
            checkpoint = _checkpoint(connection, projection.name)
        if absent or checkpoint is None:
            with self.connections.writing() as connection:
                self._create(connection, absent)
                connection.execute(_SQL["insert_checkpoint"], (projection.name, projection.version))
                checkpoint = _checkpoint(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def _matches(self, connection: sqlite3.Connection, table: AnyTable) -> bool:
        """Whether the table is there; refuses one that has other columns."""
        found = [row[1] for row in connection.execute(f"PRAGMA table_info({quote(table.name)})")]
        expected = [column.name for column in table.columns]
        if found and found != expected:
            raise SchemaMismatchError(
                table=table.name,
                database=self.name,
                found=f"the columns {', '.join(found)}",
                expected=", ".join(expected),
                action="Rebuild the projection that keeps it, or name another file",
            )
        return bool(found)

    def _create(self, connection: sqlite3.Connection, tables: Sequence[AnyTable]) -> None:
        for table in tables:
            for statement in self.statements(table).create:
                connection.execute(statement)

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :meth:`eventcore.projections.views.Views.checkpoint`."""
        with self.connections.reading() as connection:
            return _checkpoint(connection, projection)

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_rows`."""
        wanted = _json_keys(table.encode_keys(keys, table.key_columns))
        with self.connections.reading() as connection:
            rows = connection.execute(self.statements(table).select_keys, (wanted,)).fetchall()
        return table.decode(rows)

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_groups`."""
        wanted = _json_keys(table.encode_keys(groups, table.group_columns))
        with self.connections.reading() as connection:
            rows = connection.execute(self.statements(table).select_groups, (wanted,)).fetchall()
        return table.decode(rows)

    @contextmanager
    def transaction(self) -> Iterator[SQLiteTransaction]:
        """See :meth:`eventcore.projections.views.Views.transaction`."""
        with self._writing() as connection:
            yield SQLiteTransaction(self, connection)

    @contextmanager
    def catching_up(self) -> Iterator[None]:
        """See :meth:`eventcore.projections.views.Views.catching_up`."""
        self._checkpoint_wal_at(WAL_PAGES_CATCHING_UP)
        try:
            yield
        finally:
            self._checkpoint_wal_at(WAL_PAGES)

    def _checkpoint_wal_at(self, pages: int) -> None:
        with self.connections.writing() as connection:
            connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self.connections.writing() as connection:
                yield connection
        except sqlite3.IntegrityError as error:
            raise StoreError(store=self.name, problem=str(error)) from error
        self._watch.notify()

    def query(
        self, table: Table[RowT], where: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[RowT]:
        """See :meth:`eventcore.projections.views.Views.query`."""
        conditions = table.encode_where(where or {})
        equal = {name: value for name, value in conditions.items() if value is not None}
        sql = self.statements(table).query(
            equal, [name for name in conditions if name not in equal]
        )
        return self._rows(table, sql, (*equal.values(), -1 if limit is None else limit))

    def _rows(self, table: Table[RowT], sql: str, parameters: tuple[Any, ...]) -> Iterator[RowT]:
        with self.connections.reading() as connection:
            if not _has_table(connection, table.name):
                return
            cursor = connection.execute(sql, parameters)
            try:
                while rows := cursor.fetchmany(QUERY_ROWS_AT_ONCE):
                    yield from table.decode(rows)
            finally:
                # A cursor left in the middle would keep the file's old pages alive.
                cursor.close()

    def count(self, table: AnyTable) -> int:
        """See :meth:`eventcore.projections.views.Views.count`."""
        with self.connections.reading() as connection:
            if not _has_table(connection, table.name):
                return 0
            return int(connection.execute(self.statements(table).count).fetchone()[0])

    def reset(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.reset`."""
        with self._writing() as connection:
            for table in projection.tables:
                connection.execute(self.statements(table).drop)
            self._create(connection, projection.tables)
            connection.execute(_SQL["reset_checkpoint"], (projection.name, projection.version))
            checkpoint = _checkpoint(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def expire(self, projection: Projection, now: datetime) -> int:
        """See :meth:`eventcore.projections.views.Views.expire`."""
        expired = 0
        with self._writing() as connection:
            for table in projection.tables:
                limit = table.expiry(now)
                if limit is not None and _has_table(connection, table.name):
                    expired += connection.execute(
                        self.statements(table).expire(), (limit,)
                    ).rowcount
            connection.execute(_SQL["revise_checkpoint"], (projection.name,))
        return expired

    def close(self) -> None:
        """See :meth:`eventcore.projections.views.Views.close`."""
        if hasattr(self, "_watch"):
            self._watch.close()
        if not self._shared:
            self.connections.close()


class SQLiteTransaction:
    """A transaction that is open on the one connection that writes."""

    def __init__(self, views: SQLiteViews, connection: sqlite3.Connection) -> None:
        self._views = views
        self._connection = connection

    @property
    def connection(self) -> sqlite3.Connection:
        """For SQL of one's own; do not commit it."""
        return self._connection

    def write(self, changes: TableChanges) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.write`."""
        statements = self._views.statements(changes.table)
        if changes.upserts:
            self._connection.executemany(statements.upsert, changes.upserts)
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
        wanted = _json_keys(table.encode_keys(keys, table.key_columns))
        sql = self._views.statements(table).select_keys
        return table.decode(self._connection.execute(sql, (wanted,)).fetchall())

    def advance(self, projection: str, before: Checkpoint, position: int) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.advance`."""
        moved = self._connection.execute(
            _SQL["advance_checkpoint"], (position, projection, *before)
        ).rowcount
        if moved != 1:
            found = _checkpoint(self._connection, projection)
            raise CheckpointMovedError(projection=projection, expected=before, found=found)


def _checkpoint(connection: sqlite3.Connection, projection: str) -> Checkpoint | None:
    row = connection.execute(_SQL["select_checkpoint"], (projection,)).fetchone()
    return Checkpoint(*row) if row else None


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    return bool(connection.execute(_SQL["select_table"], (name,)).fetchone()[0])


def _json_keys(keys: Sequence[StoredRow]) -> str:
    return orjson.dumps(keys).decode()
