"""Tables that take another name in Postgres, and what is seen of them at one moment.

A table is found by its name at the moment a statement begins, and waits for nobody longer than a
renaming waits itself (:data:`lock_timeout`, a tenth of a second). What is bound to a table by its
identity does not follow the name: indexes and grants are taken along; a view or a foreign key of
the application would go on to read old rows, so that such a table is not renamed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import orjson
import psycopg
from psycopg import sql

from eventcore.errors import SchemaMismatchError, StoreUnavailableError
from eventcore.projections.postgres.statements import (
    TableStatements,
    fitting,
    packed,
    qualified,
)
from eventcore.projections.snapshots import SNAPSHOT_ROWS, UnreadableRowsError
from eventcore.projections.tables import AnyTable, StoredRow
from eventcore.projections.transactions import Checkpoint, Renaming, revisions_after
from eventcore.stores.postgres.connections import Connection, PostgresConnections


class RenamedViews(Protocol):
    """What a renaming needs of the views whose tables it renames."""

    connections: PostgresConnections

    @property
    def name(self) -> str:
        """Where they are, for messages."""

    def run(self, connection: Connection, name: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows of a named statement."""

    def run_on(self, connection: Connection, name: str, table: str, *, becomes: str = "") -> None:
        """Run a named statement that changes a table or an index."""

    def kept(self, connection: Connection, projection: str) -> Checkpoint | None:
        """A checkpoint as a connection sees it."""

    def made(self, connection: Connection, projection: str) -> dict[str, list[str]]:
        """The tables that were made for a projection, with their columns."""

    def columns(self, connection: Connection, table: str) -> list[str]:
        """Names of a table's columns."""


class Grant(NamedTuple):
    """What somebody else than the owner may do with a table; nobody in particular: everybody."""

    grantee: str | None
    privilege: str
    grantable: bool


def rename(views: RenamedViews, connection: Connection, renamings: Sequence[Renaming]) -> None:
    """See :meth:`eventcore.projections.transactions.Transaction.rename`."""
    try:
        views.run(connection, "limit_waiting")
        for one in renamings:
            views.run(connection, "lock_checkpoint", (one.projection, f"{one.projection}/"))
        found = [views.kept(connection, one.projection) for one in renamings]
        revisions = revisions_after(renamings, found, partial(views.kept, connection))
        for one in renamings:
            for name in sorted(one.tables):
                views.run_on(connection, "lock_table", name)
                _check_free(views, connection, name)
        grants: dict[str, list[Grant]] = {}
        for one, revision in zip(renamings, revisions, strict=True):
            _rename(views, connection, one, revision=revision, grants=grants)
    except psycopg.errors.LockNotAvailable as error:
        problem = "readers or writers keep a table for longer than a renaming waits; try again"
        raise StoreUnavailableError(store=views.name, problem=problem) from error


def _check_free(views: RenamedViews, connection: Connection, table: str) -> None:
    bound = [row[0] for row in views.run(connection, "select_bound", (_regclass(views, table),))]
    if bound:
        raise SchemaMismatchError(
            table=table,
            database=views.name,
            found=f"been bound by {', '.join(bound)}",
            expected="to be free to take another name",
            action="What is bound to a table follows its old rows. Drop that before, and make it "
            "again after; the rebuilt rows are kept until then",
        )


def _rename(
    views: RenamedViews,
    connection: Connection,
    one: Renaming,
    *,
    revision: int,
    grants: dict[str, list[Grant]],
) -> None:
    made = views.made(connection, one.projection)
    for name, becomes in one.tables.items():
        # Who may read is a matter of the name, not of the rows that are found under it.
        found = views.run(connection, "select_grants", (_regclass(views, name),))
        grants[name] = [Grant(*row) for row in found]
        indexes = views.run(connection, "select_indexes", (_regclass(views, name),))
        views.run_on(connection, "rename_table", name, becomes=becomes)
        for (index,) in indexes:
            if index.startswith(name):
                now = fitting(becomes + index[len(name) :])
                views.run_on(connection, "rename_index", index, becomes=now)
        for grant in grants.get(becomes, ()):
            _grant(views, connection, becomes, grant)
    columns_now = {one.tables[name]: columns for name, columns in made.items()}
    parameters = (one.becomes, revision, _json(columns_now), one.projection)
    views.run(connection, "rename_checkpoint", parameters)


def _grant(  # noqa: PLR0917 - one statement, all of it
    views: RenamedViews, connection: Connection, table: str, grant: Grant
) -> None:
    grantee, privilege, grantable = grant
    connection.execute(
        sql.SQL("GRANT {} ON {} TO {}{}").format(
            sql.SQL(privilege),  # one of the server's own words
            sql.Identifier(views.connections.schema, table),
            sql.SQL("PUBLIC" if grantee is None else grantee),  # quoted by the server
            sql.SQL(" WITH GRANT OPTION" if grantable else ""),
        )
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _regclass(views: RenamedViews, table: str) -> str:
    return qualified(views.connections.schema, table)


@contextmanager
def _reading(table: AnyTable) -> Iterator[None]:
    try:
        yield
    except (psycopg.DataError, psycopg.ProgrammingError) as error:
        raise UnreadableRowsError(table=table.name) from error


class PostgresSnapshot:
    """A transaction that sees the database as it was when it first looked."""

    steady = True

    def __init__(self, views: RenamedViews, connection: Connection) -> None:
        self._views = views
        self._connection = connection
        self._schema = views.connections.schema
        connection.execute(b"SELECT 1")

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return self._views.kept(self._connection, projection)

    def columns(self, table: AnyTable) -> list[str]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return self._views.columns(self._connection, table.name)

    def pages(self, table: AnyTable) -> Generator[list[StoredRow]]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        statement = TableStatements(self._schema, table).select_all
        # Within a savepoint: what cannot be read is not the end of the snapshot.
        with (
            _reading(table),
            self._connection.transaction(),
            self._connection.cursor("eventcore_pages", binary=True) as cursor,
        ):
            cursor.execute(statement.encode())
            while rows := cursor.fetchmany(SNAPSHOT_ROWS):
                yield rows

    def at(self, table: AnyTable, keys: Sequence[StoredRow]) -> list[StoredRow]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        if not keys:
            return []
        with (
            _reading(table),
            self._connection.transaction(),
            self._connection.cursor(binary=True) as cursor,
        ):
            statement = TableStatements(self._schema, table).select_keys.encode()
            cursor.execute(statement, packed(table.key_columns, keys), prepare=False)
            return cursor.fetchall()

    def count(self, table: AnyTable) -> int:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        if not self.columns(table):
            return 0
        statement = TableStatements(self._schema, table).count.encode()
        row = self._connection.execute(statement).fetchone()
        assert row is not None
        return int(row[0])
