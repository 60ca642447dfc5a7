"""Views in a Postgres schema, by default the log's own: tables that any client can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from eventcore.errors import (
    CheckpointMovedError,
    ConfigurationError,
    SchemaMismatchError,
    StoreError,
)
from eventcore.projections.anchors import Anchor
from eventcore.projections.checkpoint_rows import (
    CHECKPOINT_COLUMNS,
    CHECKPOINT_COLUMNS_NO_FINGERPRINT,
    CHECKPOINTS,
    checkpoint_of,
    declared,
    noted,
    tables_of,
    with_shares,
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
from eventcore.projections.postgres.queries import QUERY_ROWS_AT_ONCE, PostgresQueries
from eventcore.projections.postgres.renaming import PostgresSnapshot
from eventcore.projections.postgres.statements import TableStatements, packed, qualified
from eventcore.projections.postgres.transactions import PostgresTransaction
from eventcore.projections.projection import REGISTER_FINGERPRINT, Projection
from eventcore.projections.tables import AnyTable, Key, RowT, Table, check_limit
from eventcore.projections.transactions import Checkpoint
from eventcore.stores.following import CommitSignal
from eventcore.stores.postgres.connections import Connection, PostgresConnections, describe
from eventcore.stores.postgres.wakeup import PostgresWakeup
from eventcore.stores.statements import load_statements

__all__ = ["QUERY_ROWS_AT_ONCE", "PostgresSnapshot", "PostgresTransaction", "PostgresViews"]


class PostgresViews:
    """Read models in one schema of a Postgres database, for any number of threads and processes.

    Args:
        connections: The ``postgresql://`` URL of a database; or the connections of a log in the
            same schema, which then stay the log's to close.
        schema: Where the tables are, if a URL is given.
        create: Create the schema and the tables if they are absent; else both are refused.
        notify: Wake who waits in other processes by NOTIFY; without it they look twice a second.
        owned: The connections are no log's: close them with the views.

    Raises:
        ConfigurationError: The database or the role may not be used, or the server is too old.
        SchemaMismatchError: It holds no read models, or a table of checkpoints of another form.
        StoreUnavailableError: The server cannot be reached.
    """

    def __init__(
        self,
        connections: PostgresConnections | str,
        *,
        schema: str = "public",
        create: bool = True,
        notify: bool = True,
        owned: bool = False,
    ) -> None:
        self._shared = isinstance(connections, PostgresConnections) and not owned
        self._create_allowed = create
        if isinstance(connections, str):
            connections = PostgresConnections(connections, schema=schema)
        self.connections = connections
        self._sql = connections.formatted(
            load_statements("eventcore.projections.postgres", "sql/checkpoints.sql")
        )
        self._statements: dict[str, tuple[AnyTable, TableStatements]] = {}
        self._queries = PostgresQueries(self, self._sql["select_name"])
        self._wakeup = PostgresWakeup(connections, "views", notify=notify)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        self.connections.check_encoding()
        with self.connections.using() as connection:
            found = self.columns(connection, CHECKPOINTS)
        if not found and self._create_allowed:
            with self._defining() as connection:
                if not self._one(connection, "select_schema", (self.connections.schema,))[0]:
                    connection.execute(self._sql["create_schema"])
                connection.execute(self._sql["create_checkpoints"])
                found = self.columns(connection, CHECKPOINTS)
        if found == CHECKPOINT_COLUMNS_NO_FINGERPRINT and self._create_allowed:
            with self._defining() as connection:
                if self.columns(connection, CHECKPOINTS) == found:
                    connection.execute(self._sql["add_fingerprint"])
                found = self.columns(connection, CHECKPOINTS)
        if found != CHECKPOINT_COLUMNS:
            raise SchemaMismatchError(
                table=CHECKPOINTS,
                database=self.name,
                found=f"the columns {', '.join(found)}" if found else "not been created",
                expected=", ".join(CHECKPOINT_COLUMNS),
                action="Name another schema, or open it without create=no",
            )

    @contextmanager
    def _defining(self) -> Iterator[Connection]:
        """A transaction that makes tables; others that want to wait for its end."""
        with self._writing() as connection:
            connection.execute(self._sql["lock_definitions"], (self.connections.schema,))
            try:
                yield connection
            except psycopg.errors.InsufficientPrivilege as error:
                raise ConfigurationError(
                    message=f"This role may not make or drop tables in {self.name} "
                    f"({describe(error)}). Their owner may: `eventcore db apply` makes those that "
                    "are absent; a rebuild, too, is the owner's to run"
                ) from error

    def _one(self, connection: Connection, name: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
        row = connection.execute(self._sql[name], parameters).fetchone()
        assert row is not None
        return row

    @property
    def name(self) -> str:
        """See :class:`eventcore.projections.views.Views`."""
        return self.connections.name

    @property
    def signal(self) -> CommitSignal:
        """See :class:`eventcore.projections.views.Views`."""
        return self._wakeup

    def statements(self, table: AnyTable) -> TableStatements:
        """The SQL of a table."""
        known = self._statements.get(table.name)
        if known is None or known[0] is not table:
            made = TableStatements(self.connections.schema, table)
            known = self._statements[table.name] = (table, made)
        return known[1]

    def ensure(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.ensure`."""
        with self.connections.using() as connection:
            absent = self._absent_tables(connection, projection)
            checkpoint = self.kept(connection, projection.name)
        known = self.fingerprint(projection.name)
        if is_other_definition(checkpoint, projection, known):
            return checkpoint
        if absent or checkpoint is None:
            with self.connections.using() as connection:
                self._check_may_begin(connection, projection.name)
        if absent or checkpoint is None or known is None:
            with self._defining() as connection:
                # Once more: another process may have made them meanwhile.
                self._create(connection, self._absent_tables(connection, projection))
                made = {**self.made(connection, projection.name), **declared(projection)}
                connection.execute(self._sql["insert_checkpoint"], noted(projection, made))
                checkpoint = self.kept(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def _absent_tables(self, connection: Connection, projection: Projection) -> list[AnyTable]:
        """Those that are to be made; refuses any that is not the projection's, or has changed."""
        absent = []
        for table in projection.tables:
            if self._has_own(connection, projection, table):
                found = self.columns(connection, table.name)
                check_shape(table, database=self.name, found=found, action=rebuilding(projection))
            else:
                absent.append(table)
        return absent

    def _has_own(self, connection: Connection, projection: Projection, table: AnyTable) -> bool:
        """Whether the table is there; refuses one that was not made for the projection."""
        found = self.columns(connection, table.name)
        if found:
            made = self.made(connection, projection.name).get(table.name)
            check_own(projection, table, database=self.name, found=found, made=made)
        return bool(found)

    def _check_may_begin(self, connection: Connection, name: str) -> None:
        check_may_begin(
            name,
            database=self.name,
            allowed=self._create_allowed,
            is_kept=lambda base: self.kept(connection, base) is not None,
        )

    def _create(self, connection: Connection, tables: Sequence[AnyTable]) -> None:
        for table in tables:
            for statement in self.statements(table).create:
                connection.execute(statement.encode())

    indexes_later: Final = True

    def index(self, projection: Projection) -> None:
        """See :meth:`eventcore.projections.views.Views.index`."""
        for table in projection.tables:
            for statement in self.statements(table).indexes:
                with self._defining() as connection:
                    connection.execute(statement.encode())

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :meth:`eventcore.projections.views.Views.checkpoint`."""
        rows = self.connections.fetch(self._sql["select_checkpoint"], (projection,))
        return checkpoint_of(rows[0] if rows else None)

    def fingerprint(self, projection: str) -> str | None:
        """See :meth:`eventcore.projections.views.Views.fingerprint`."""
        rows = self.connections.fetch(self._sql["select_fingerprint"], (projection,))
        return rows[0][0] if rows else None

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_rows`."""
        wanted = table.encode_keys(keys, table.key_columns)
        if not wanted:
            return []
        return table.decode(
            self.connections.fetch(
                self.statements(table).select_keys.encode(),
                packed(table.key_columns, wanted),
            )
        )

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_groups`."""
        wanted = table.encode_keys(groups, table.group_columns)
        if not wanted:
            return []
        return table.decode(
            self.connections.fetch(
                self.statements(table).select_groups.encode(),
                packed(table.group_columns, wanted),
            )
        )

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """See :meth:`eventcore.projections.views.Views.transaction`."""
        with self._writing() as connection:
            yield PostgresTransaction(self, connection)

    @contextmanager
    def joining(self, connection: Connection) -> Iterator[None]:
        """Let this thread's transactions and look-ups be part of one that is open: of an append.

        What fails inside is undone alone.

        Args:
            connection: Inside the transaction.
        """
        with self.connections.joining(connection), connection.transaction():
            yield

    def lock(self, connection: Connection, names: Sequence[str]) -> None:
        """Keep checkpoints from being moved by anybody else until a transaction ends.

        Args:
            connection: Inside the transaction.
            names: Of the checkpoints, in the order in which pages move them.
        """
        connection.execute(self._sql["lock_checkpoints"], (list(names),))

    @contextmanager
    def catching_up(self) -> Iterator[None]:
        """See :meth:`eventcore.projections.views.Views.catching_up`: nothing to put off here."""
        yield

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self.connections.transaction() as connection:
                yield connection
        except psycopg.IntegrityError as error:
            raise StoreError(store=self.name, problem=describe(error)) from error
        if not self.connections.is_joined:  # else it is told with the commit
            self._wakeup.notify()

    def query(
        self, table: Table[RowT], where: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[RowT]:
        """See :meth:`eventcore.projections.views.Views.query`.

        Many rows are read in several statements, each of which sees what is there at its moment.
        """
        check_limit(limit)
        return self._queries.rows(table, table.encode_where(where or {}), limit)

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
        return self._queries.rows(table, {column: wanted}, limit, by=by, since=bound)

    def count(self, table: AnyTable) -> int:
        """See :meth:`eventcore.projections.views.Views.count`."""
        with self.connections.using() as connection:
            if not self.columns(connection, table.name):
                return 0
        return int(self.connections.fetch(self.statements(table).count.encode())[0][0])

    def reset(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.reset`."""
        with self._defining() as connection:
            connection.execute(self._sql["lock_checkpoint"], with_shares(projection.name))
            if self.kept(connection, projection.name) is None:
                self._check_may_begin(connection, projection.name)
            for table in projection.tables:
                self._has_own(connection, projection, table)
            # Also those that an earlier version of it made and this one has no more.
            for name, columns in self.made(connection, projection.name).items():
                if self.columns(connection, name) == columns:
                    table_name = sql.Identifier(self.connections.schema, name)
                    connection.execute(sql.SQL("DROP TABLE {}").format(table_name))
            self._create(connection, projection.tables)
            connection.execute(
                self._sql["reset_checkpoint"], noted(projection, declared(projection))
            )
            connection.execute(self._sql["reset_shares"], (f"{projection.name}/",))
            checkpoint = self.kept(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def tables_of(self, projection: str) -> list[str]:
        """See :meth:`eventcore.projections.views.Views.tables_of`."""
        with self.connections.using() as connection:
            return list(self.made(connection, projection))

    def accept(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.accept`."""
        with self._writing() as connection:
            connection.execute(self._sql["lock_checkpoint"], with_shares(projection.name))
            absent = self._absent_tables(connection, projection)
            checkpoint = self.kept(connection, projection.name)
            check_acceptable(projection, checkpoint, absent, database=self.name)
            connection.execute(
                self._sql["accept_definition"],
                (projection.version, fingerprint_of(projection), projection.name),
            )
            connection.execute(self._sql["revise_checkpoint"], with_shares(projection.name))
            checkpoint = self.kept(connection, projection.name)
        assert checkpoint is not None
        return checkpoint

    def drop(self, projection: str) -> None:
        """See :meth:`eventcore.projections.views.Views.drop`."""
        with self._defining() as connection:
            connection.execute(self._sql["lock_checkpoint"], with_shares(projection))
            for name, columns in self.made(connection, projection).items():
                if self.columns(connection, name) == columns:
                    table_name = sql.Identifier(self.connections.schema, name)
                    connection.execute(sql.SQL("DROP TABLE {}").format(table_name))
            connection.execute(self._sql["delete_checkpoint"], with_shares(projection))

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """See :meth:`eventcore.projections.views.Views.snapshot`."""
        with self.connections.transaction() as connection:
            connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield PostgresSnapshot(self, connection)

    def run(self, connection: Connection, name: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows of a named statement; none of one that gives none."""
        cursor = connection.execute(self._sql[name], parameters)
        return cursor.fetchall() if cursor.description else []

    def run_on(self, connection: Connection, name: str, table: str, *, becomes: str = "") -> None:
        """Run a named statement that changes a table or an index."""
        statement = sql.SQL(self._sql[name].decode()).format(  # the text of a packaged file
            table=sql.Identifier(self.connections.schema, table), name=sql.Identifier(becomes)
        )
        connection.execute(statement)

    def expire(self, projection: Projection, now: datetime) -> int:
        """See :meth:`eventcore.projections.views.Views.expire`."""
        expired = 0
        with self._writing() as connection:
            # First, as a page does: in the other order each could wait for the other.
            connection.execute(self._sql["lock_checkpoint"], with_shares(projection.name))
            connection.execute(self._sql["revise_checkpoint"], with_shares(projection.name))
            for table in projection.tables:
                limit = table.expiry(now)
                if limit is not None and self._has_own(connection, projection, table):
                    statement = self.statements(table).expire().encode()
                    expired += connection.execute(statement, (limit,)).rowcount
        return expired

    def advance(  # noqa: PLR0913 - what Transaction.advance is given, and where
        self,
        connection: Connection,
        projection: str,
        before: Checkpoint,
        *,
        position: int,
        anchor: Anchor | None,
        revise: bool,
    ) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.advance`."""
        moved = connection.execute(
            self._sql["advance_checkpoint"],
            (position, *(anchor or (None, None)), int(revise), projection, *before[:3]),
        ).rowcount
        if moved != 1:
            found = self.kept(connection, projection)
            raise CheckpointMovedError(projection=projection, expected=before, found=found)

    def kept(self, connection: Connection, projection: str) -> Checkpoint | None:
        """A checkpoint as a connection sees it."""
        cursor = connection.execute(self._sql["select_checkpoint"], (projection,))
        return checkpoint_of(cursor.fetchone())

    def made(self, connection: Connection, projection: str) -> dict[str, list[str]]:
        """The tables that were made for a projection, with their columns; none if not kept."""
        cursor = connection.execute(self._sql["select_tables"], (projection,))
        return tables_of(cursor.fetchone()) or {}

    def columns(self, connection: Connection, table: str) -> list[str]:
        """Names of a table's columns; none if it is absent."""
        name = qualified(self.connections.schema, table)
        cursor = connection.execute(self._sql["select_columns"], (name,))
        return [row[0] for row in cursor.fetchall()]

    def close(self) -> None:
        """See :meth:`eventcore.projections.views.Views.close`."""
        self._wakeup.close()
        if not self._shared:
            self.connections.close()

    def begin(self, connection: Connection, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""
        found = self.kept(connection, name)
        if found is None:
            self._check_may_begin(connection, name)
            connection.execute(
                self._sql["insert_checkpoint"], (name, version, "{}", REGISTER_FINGERPRINT)
            )
            found = self.kept(connection, name)
        assert found is not None
        return found
