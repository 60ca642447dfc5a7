"""Views in an SQLite file, by default the log's own: tables that any SQLite tool can read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from eventcore.errors import (
    CheckpointMovedError,
    ConfigurationError,
    SchemaMismatchError,
    StoreError,
)
from eventcore.projections.anchors import Anchor
from eventcore.projections.ownership import check_own, check_shape, names_of, rebuilding
from eventcore.projections.projection import Projection
from eventcore.projections.sqlite_statements import TableStatements, drop_table, table_info
from eventcore.projections.tables import AnyTable, Key, RowT, Table, check_limit
from eventcore.projections.transactions import Checkpoint, TableChanges
from eventcore.stores.following import CommitSignal
from eventcore.stores.sqlite.connections import SQLiteConnections, Synchronous
from eventcore.stores.sqlite.wakeup import CommitWatch
from eventcore.stores.statements import load_statements

_SQL = load_statements("eventcore.projections", "sql/checkpoints.sql")

QUERY_ROWS_AT_ONCE: Final = 500
"""Rows fetched at a time while a query is iterated: bounds memory, not what can be read."""


_CHECKPOINTS: Final = "eventcore_checkpoints"
_CHECKPOINT_COLUMNS_BEFORE: Final = ["projection", "position", "version", "revision"]
_CHECKPOINT_COLUMNS: Final = [
    *_CHECKPOINT_COLUMNS_BEFORE,
    *("anchor_position", "anchor_event", "tables"),
]

WAL_PAGES: Final = 1_000
"""SQLite moves the write-ahead log into the file when it has so many pages: its own default."""

WAL_PAGES_CATCHING_UP: Final = 16_000
"""The same while catching up (64 MiB): a page that changes often is then moved once."""


class SQLiteViews:
    """Read models in an SQLite file, shared by any number of threads and processes of one machine.

    Args:
        file: The file; or the connections of a log in the same file, which then stay the log's to
        close.

        create: Create the file and the tables if they are absent; else both are refused.
        synchronous: Of a file of its own: see
            :class:`eventcore.stores.sqlite.connections.SQLiteConnections`. With ``NORMAL``, what
            the loss of power takes, the log gives again.

    Raises:
        ConfigurationError: The file is no SQLite database, or SQLite is too old.
        SchemaMismatchError: It holds no read models, or a table of checkpoints of another form.
        StoreUnavailableError: The file or its folder is missing or may not be written.
    """

    def __init__(
        self,
        file: SQLiteConnections | Path | str,
        *,
        create: bool = True,
        synchronous: Synchronous = "NORMAL",
    ) -> None:
        self._shared = isinstance(file, SQLiteConnections)
        self._create_allowed = create
        if isinstance(file, SQLiteConnections):
            self.connections = file
        else:
            self.connections = SQLiteConnections(Path(file), synchronous=synchronous, create=create)
        self._statements: dict[str, tuple[AnyTable, TableStatements]] = {}
        try:
            self._prepare()
            self._watch = CommitWatch(str(self.connections.path))
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self.connections.reading() as connection:
            found = _columns(connection, _CHECKPOINTS)
        if found == _CHECKPOINT_COLUMNS:
            return
        if self._create_allowed:
            with self.connections.writing() as connection:
                # Once more: another process may have been faster.
                found = _columns(connection, _CHECKPOINTS)
                steps = ["create_checkpoints"]
                if found == _CHECKPOINT_COLUMNS_BEFORE:
                    steps = ["set_aside", "create_checkpoints", "take_over", "drop_before"]
                for step in steps:
                    connection.execute(_SQL[step])
                found = _columns(connection, _CHECKPOINTS)
        if found != _CHECKPOINT_COLUMNS:
            raise SchemaMismatchError(
                table=_CHECKPOINTS,
                database=self.name,
                found=f"the columns {', '.join(found)}" if found else "not been created",
                expected=", ".join(_CHECKPOINT_COLUMNS),
                action="Name another file, or open it without create=no",
            )

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
            absent = self._absent_tables(connection, projection)
            checkpoint = _checkpoint(connection, projection.name)
        if absent or checkpoint is None:
            self._check_may_create(projection)
            with self.connections.writing() as connection:
                # Once more: another process may have made them meanwhile.
                self._create(connection, self._absent_tables(connection, projection))
                made = {**_made(connection, projection), **_declared(projection)}
                connection.execute(
                    _SQL["insert_checkpoint"], (projection.name, projection.version, _json(made))
                )
                checkpoint = _checkpoint(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def _absent_tables(
        self, connection: sqlite3.Connection, projection: Projection
    ) -> list[AnyTable]:
        """Those that are to be made; refuses any that is not the projection's, or has changed."""
        absent = []
        for table in projection.tables:
            if self._has_own(connection, projection, table):
                found = _columns(connection, table.name)
                check_shape(table, database=self.name, found=found, action=rebuilding(projection))
            else:
                absent.append(table)
        return absent

    def _has_own(
        self, connection: sqlite3.Connection, projection: Projection, table: AnyTable
    ) -> bool:
        """Whether the table is there; refuses one that was not made for the projection."""
        found = _columns(connection, table.name)
        if found:
            made = _made(connection, projection).get(table.name)
            check_own(projection, table, database=self.name, found=found, made=made)
        return bool(found)

    def _check_may_create(self, projection: Projection) -> None:
        if not self._create_allowed:
            raise ConfigurationError(
                message=f"Projection {projection.name} is not kept in {self.name}, and create=no "
                "forbids to begin it there"
            )

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
        wanted = _json(table.encode_keys(keys, table.key_columns))
        with self.connections.reading() as connection:
            rows = connection.execute(self.statements(table).select_keys, (wanted,)).fetchall()
        return table.decode(rows)

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_groups`."""
        wanted = _json(table.encode_keys(groups, table.group_columns))
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
        check_limit(limit)
        conditions = table.encode_where(where or {})
        equal = {name: value for name, value in conditions.items() if value is not None}
        sql = self.statements(table).query(
            equal, [name for name in conditions if name not in equal]
        )
        return self._rows(table, sql, (*equal.values(), -1 if limit is None else limit))

    def _rows(self, table: Table[RowT], sql: str, parameters: tuple[Any, ...]) -> Iterator[RowT]:
        with self.connections.reading() as connection:
            found = _columns(connection, table.name)
            if not found:
                return
            # SQLite would read the name of a column that is not there as a text.
            action = "Name another file; or, if a projection made that table, rebuild it"
            check_shape(table, database=self.name, found=found, action=action)
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
            if _checkpoint(connection, projection.name) is None:
                self._check_may_create(projection)
            for table in projection.tables:
                self._has_own(connection, projection, table)
            # Also those that an earlier version of it made and this one has no more.
            for name, columns in _made(connection, projection).items():
                if _columns(connection, name) == columns:
                    connection.execute(drop_table(name))
            self._create(connection, projection.tables)
            made = _json(_declared(projection))
            connection.execute(
                _SQL["reset_checkpoint"], (projection.name, projection.version, made)
            )
            checkpoint = _checkpoint(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def expire(self, projection: Projection, now: datetime) -> int:
        """See :meth:`eventcore.projections.views.Views.expire`."""
        expired = 0
        with self._writing() as connection:
            for table in projection.tables:
                limit = table.expiry(now)
                if limit is not None and self._has_own(connection, projection, table):
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
        wanted = _json(table.encode_keys(keys, table.key_columns))
        sql = self._views.statements(table).select_keys
        return table.decode(self._connection.execute(sql, (wanted,)).fetchall())

    def advance(
        self, projection: str, before: Checkpoint, position: int, *, anchor: Anchor | None = None
    ) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.advance`."""
        moved = self._connection.execute(
            _SQL["advance_checkpoint"],
            (position, *(anchor or (None, None)), projection, *before[:3]),
        ).rowcount
        if moved != 1:
            found = _checkpoint(self._connection, projection)
            raise CheckpointMovedError(projection=projection, expected=before, found=found)


def _checkpoint(connection: sqlite3.Connection, projection: str) -> Checkpoint | None:
    row = connection.execute(_SQL["select_checkpoint"], (projection,)).fetchone()
    if row is None:
        return None
    position, version, revision, anchor_position, anchor_event = row
    anchor = None if anchor_event is None else Anchor(anchor_position, anchor_event)
    return Checkpoint(position, version, revision, anchor)


def _made(connection: sqlite3.Connection, projection: Projection) -> dict[str, list[str]]:
    """The tables that were made for a projection, with their columns; none if it is not kept."""
    row = connection.execute(_SQL["select_tables"], (projection.name,)).fetchone()
    if row is None:
        return {}
    if row[0] is None:
        return _declared(projection)  # begun when that was not noted yet
    made: dict[str, list[str]] = orjson.loads(row[0])
    return made


def _declared(projection: Projection) -> dict[str, list[str]]:
    return {table.name: names_of(table) for table in projection.tables}


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(table_info(table))]


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    return bool(connection.execute(_SQL["select_table"], (name,)).fetchone()[0])


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
