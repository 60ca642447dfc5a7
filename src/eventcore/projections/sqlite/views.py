"""Views in an SQLite file, by default the log's own: tables that any SQLite tool can read."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from eventcore.errors import (
    SchemaMismatchError,
    StoreError,
)
from eventcore.projections.checkpoint_rows import (
    CHECKPOINT_COLUMNS,
    CHECKPOINT_COLUMNS_NO_ANCHORS,
    CHECKPOINT_COLUMNS_NO_FINGERPRINT,
    CHECKPOINTS,
    as_json,
    declared,
    noted,
)
from eventcore.projections.definitions import (
    check_acceptable,
    fingerprint_of,
    is_other_definition,
)
from eventcore.projections.ownership import (
    check_may_begin,
    check_own,
    check_shape,
    rebuilding,
)
from eventcore.projections.projection import REGISTER_FINGERPRINT, Projection
from eventcore.projections.sqlite.checkpoints import (
    CHECKPOINT_SQL,
    column_names,
    free_index_name,
    has_table,
    kept_checkpoint,
    kept_fingerprint,
    kept_tables,
    made_tables,
)
from eventcore.projections.sqlite.statements import (
    TableStatements,
    create_index,
    drop_table,
)
from eventcore.projections.sqlite.transactions import SQLiteSnapshot, SQLiteTransaction
from eventcore.projections.tables import AnyTable, Key, RowT, Table, check_limit
from eventcore.projections.transactions import Checkpoint
from eventcore.stores.following import CommitSignal
from eventcore.stores.sqlite.connections import SQLiteConnections, Synchronous
from eventcore.stores.sqlite.wakeup import CommitWatch

__all__ = [
    "QUERY_ROWS_AT_ONCE",
    "WAL_PAGES",
    "WAL_PAGES_CATCHING_UP",
    "SQLiteSnapshot",
    "SQLiteTransaction",
    "SQLiteViews",
]

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
        self._joined = threading.local()
        try:
            self._prepare()
            self._watch = CommitWatch(str(self.connections.path))
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self.connections.reading() as connection:
            found = column_names(connection, CHECKPOINTS)
        if found == CHECKPOINT_COLUMNS:
            return
        if self._create_allowed:
            with self.connections.writing() as connection:
                # Once more: another process may have been faster.
                found = column_names(connection, CHECKPOINTS)
                steps = ["create_checkpoints"]
                if found == CHECKPOINT_COLUMNS_NO_ANCHORS:
                    steps = ["set_aside", "create_checkpoints", "take_over", "drop_before"]
                if found == CHECKPOINT_COLUMNS_NO_FINGERPRINT:
                    steps = ["add_fingerprint"]
                for step in steps:
                    connection.execute(CHECKPOINT_SQL[step])
                found = column_names(connection, CHECKPOINTS)
        if found != CHECKPOINT_COLUMNS:
            raise SchemaMismatchError(
                table=CHECKPOINTS,
                database=self.name,
                found=f"the columns {', '.join(found)}" if found else "not been created",
                expected=", ".join(CHECKPOINT_COLUMNS),
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
            checkpoint = kept_checkpoint(connection, projection.name)
            known = kept_fingerprint(connection, projection.name)
        if is_other_definition(checkpoint, projection, known):
            return checkpoint
        if absent or checkpoint is None:
            with self.connections.reading() as connection:
                self._check_may_begin(connection, projection.name)
        if absent or checkpoint is None or known is None:
            with self.connections.writing() as connection:
                # Once more: another process may have made them meanwhile.
                self._create(connection, self._absent_tables(connection, projection))
                made = {**made_tables(connection, projection), **declared(projection)}
                connection.execute(CHECKPOINT_SQL["insert_checkpoint"], noted(projection, made))
                checkpoint = kept_checkpoint(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def _absent_tables(
        self, connection: sqlite3.Connection, projection: Projection
    ) -> list[AnyTable]:
        """Those that are to be made; refuses any that is not the projection's, or has changed."""
        absent = []
        for table in projection.tables:
            if self._has_own(connection, projection, table):
                found = column_names(connection, table.name)
                check_shape(table, database=self.name, found=found, action=rebuilding(projection))
            else:
                absent.append(table)
        return absent

    def _has_own(
        self, connection: sqlite3.Connection, projection: Projection, table: AnyTable
    ) -> bool:
        """Whether the table is there; refuses one that was not made for the projection."""
        found = column_names(connection, table.name)
        if found:
            made = made_tables(connection, projection).get(table.name)
            check_own(projection, table, database=self.name, found=found, made=made)
        return bool(found)

    def _check_may_begin(self, connection: sqlite3.Connection, name: str) -> None:
        check_may_begin(
            name,
            database=self.name,
            allowed=self._create_allowed,
            is_kept=lambda base: kept_checkpoint(connection, base) is not None,
        )

    def _create(self, connection: sqlite3.Connection, tables: Sequence[AnyTable]) -> None:
        for table in tables:
            statements = self.statements(table)
            connection.execute(statements.create)
            for name, on in statements.indexes.items():
                connection.execute(create_index(free_index_name(connection, name, table), on))

    indexes_later: Final = True

    def index(self, projection: Projection) -> None:
        """See :meth:`eventcore.projections.views.Views.index`."""
        for table in projection.tables:
            for name, on in self.statements(table).indexes.items():
                with self._writing() as connection:
                    connection.execute(create_index(free_index_name(connection, name, table), on))

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :meth:`eventcore.projections.views.Views.checkpoint`."""
        with self.connections.reading() as connection:
            return kept_checkpoint(connection, projection)

    def fingerprint(self, projection: str) -> str | None:
        """See :meth:`eventcore.projections.views.Views.fingerprint`."""
        with self.connections.reading() as connection:
            return kept_fingerprint(connection, projection)

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_rows`."""
        wanted = as_json(table.encode_keys(keys, table.key_columns))
        with self.connections.reading() as connection:
            rows = connection.execute(self.statements(table).select_keys, (wanted,)).fetchall()
        return table.decode(rows)

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_groups`."""
        wanted = as_json(table.encode_keys(groups, table.group_columns))
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
    def joining(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Let transactions of this thread be part of one that is open: of an append.

        What they read outside of it is what was committed before; nobody else can write meanwhile.

        Args:
            connection: The one that writes, inside its transaction.
        """
        self._joined.connection = connection
        try:
            yield
        finally:
            self._joined.connection = None

    @contextmanager
    def _writing_joined(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        connection.execute(CHECKPOINT_SQL["begin_joined"])
        try:
            yield connection
        except BaseException:
            connection.execute(CHECKPOINT_SQL["undo_joined"])
            connection.execute(CHECKPOINT_SQL["end_joined"])
            raise
        connection.execute(CHECKPOINT_SQL["end_joined"])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            joined = getattr(self._joined, "connection", None)
            if joined is not None:
                with self._writing_joined(joined) as connection:
                    yield connection
                return  # the append's commit is told by the log
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
            # One state of the file: another table may take the name at any time.
            connection.execute("BEGIN")
            found = column_names(connection, table.name)
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
        """See :meth:`eventcore.projections.views.Views.query_sorted`."""
        check_limit(limit)
        wanted, bound = table.encode_sorted(column, value, by=by, since=since)
        sql = self.statements(table).query_sorted(column, by, bounded=bound is not None)
        bounds = () if bound is None else (bound,)
        return self._rows(table, sql, (wanted, *bounds, -1 if limit is None else limit))

    def count(self, table: AnyTable) -> int:
        """See :meth:`eventcore.projections.views.Views.count`."""
        with self.connections.reading() as connection:
            if not has_table(connection, table.name):
                return 0
            return int(connection.execute(self.statements(table).count).fetchone()[0])

    def reset(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.reset`."""
        with self._writing() as connection:
            if kept_checkpoint(connection, projection.name) is None:
                self._check_may_begin(connection, projection.name)
            for table in projection.tables:
                self._has_own(connection, projection, table)
            # Also those that an earlier version of it made and this one has no more.
            for name, columns in made_tables(connection, projection).items():
                if column_names(connection, name) == columns:
                    connection.execute(drop_table(name))
            self._create(connection, projection.tables)
            connection.execute(
                CHECKPOINT_SQL["reset_checkpoint"], noted(projection, declared(projection))
            )
            connection.execute(CHECKPOINT_SQL["reset_shares"], (projection.name,))
            checkpoint = kept_checkpoint(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def tables_of(self, projection: str) -> list[str]:
        """See :meth:`eventcore.projections.views.Views.tables_of`."""
        with self.connections.reading() as connection:
            return list(kept_tables(connection, projection) or {})

    def accept(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.accept`."""
        with self._writing() as connection:
            absent = self._absent_tables(connection, projection)
            checkpoint = kept_checkpoint(connection, projection.name)
            check_acceptable(projection, checkpoint, absent, database=self.name)
            connection.execute(
                CHECKPOINT_SQL["accept_definition"],
                (projection.name, projection.version, fingerprint_of(projection)),
            )
            connection.execute(CHECKPOINT_SQL["revise_checkpoint"], (projection.name,))
            checkpoint = kept_checkpoint(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def drop(self, projection: str) -> None:
        """See :meth:`eventcore.projections.views.Views.drop`."""
        with self._writing() as connection:
            for name, columns in (kept_tables(connection, projection) or {}).items():
                if column_names(connection, name) == columns:
                    connection.execute(drop_table(name))
            connection.execute(CHECKPOINT_SQL["delete_checkpoint"], (projection,))

    @contextmanager
    def snapshot(self) -> Iterator[SQLiteSnapshot]:
        """See :meth:`eventcore.projections.views.Views.snapshot`."""
        with self.connections.reading() as connection:
            connection.execute("BEGIN")
            yield SQLiteSnapshot(self, connection)

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
            connection.execute(CHECKPOINT_SQL["revise_checkpoint"], (projection.name,))
        return expired

    def close(self) -> None:
        """See :meth:`eventcore.projections.views.Views.close`."""
        if hasattr(self, "_watch"):
            self._watch.close()
        if not self._shared:
            self.connections.close()

    def begin(self, connection: sqlite3.Connection, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""
        found = kept_checkpoint(connection, name)
        if found is None:
            self._check_may_begin(connection, name)
            connection.execute(
                CHECKPOINT_SQL["insert_checkpoint"], (name, version, "{}", REGISTER_FINGERPRINT)
            )
            found = kept_checkpoint(connection, name)
        assert found is not None
        return found
