"""Rows of one table in Postgres, page by page, also while a rebuilt one takes its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from eventcore.errors import StoreUnavailableError
from eventcore.projections.columns import INTEGER_MAX
from eventcore.projections.ownership import check_shape
from eventcore.projections.postgres.statements import TableStatements
from eventcore.projections.tables import AnyTable, RowT, Table
from eventcore.stores.postgres.connections import Connection, PostgresConnections

QUERY_ROWS_AT_ONCE: Final = 500
"""Rows fetched at a time while a query is iterated: bounds memory, not what can be read."""


class QueriedViews(Protocol):
    """What a query needs of the views it is of."""

    connections: PostgresConnections

    @property
    def name(self) -> str:
        """Where they are, for messages."""

    def statements(self, table: AnyTable) -> TableStatements:
        """The SQL of a table."""

    def columns(self, connection: Connection, table: str) -> list[str]:
        """Names of a table's columns; none if it is absent."""


class PostgresQueries:
    """Reads rows.

    Args:
        views: Of which.
        select_name: Finds the name of a table by its identity.
    """

    def __init__(self, views: QueriedViews, select_name: bytes) -> None:
        self._views = views
        self._select_name = select_name

    def rows(
        self,
        table: Table[RowT],
        where: Mapping[str, Any],
        limit: int | None,
        *,
        by: str | None = None,
        since: Any = None,
    ) -> Iterator[RowT]:
        """Rows in the order of the key, or of a column and then the key.

        Args:
            table: Whose.
            where: Stored names to the stored values they equal.
            limit: At most so many.
            by: A column to sort by first.
            since: A stored value that is not above that column's.

        Raises:
            SchemaMismatchError: The table has another form.
        """
        with self._views.connections.using() as connection:
            found = self._views.columns(connection, table.name)
        if not found:
            return
        action = "Name another schema; or, if a projection made that table, rebuild it"
        check_shape(table, database=self._views.name, found=found, action=action)
        statements = self._views.statements(table)
        after: list[Any] | None = None
        remaining, read_from = INTEGER_MAX if limit is None else limit, 0
        while remaining > 0:
            text, parameters = statements.query(where, after=after, by=by, since=since)
            size = min(remaining, QUERY_ROWS_AT_ONCE)
            stored, found_in = self._page(text, parameters, size)
            if read_from and found_in != read_from:
                # Another generation took the name: go on in the one that this was begun in.
                statements = self._statements_of(table, read_from)
                text, parameters = statements.query(where, after=after, by=by, since=since)
                stored, _ = self._page(text, parameters, size)
            read_from = read_from or found_in
            rows = table.decode(stored)
            yield from rows
            if len(rows) < size:
                return
            remaining -= size
            [last] = table.encode(rows[-1:])
            after = [last[table.columns.index(column)] for column in statements.order(by)]

    def _page(
        self, text: str, parameters: Sequence[Any], size: int
    ) -> tuple[list[tuple[Any, ...]], int]:
        """Rows, and the identity of the table they are of; 0 if there are none."""
        stored = self._views.connections.fetch(text.encode(), [*parameters, size])
        return [row[:-1] for row in stored], stored[0][-1] if stored else 0

    def _statements_of(self, table: AnyTable, oid: int) -> TableStatements:
        found = self._views.connections.fetch(self._select_name, (oid,))
        if not found:
            raise StoreUnavailableError(
                store=self._views.name,
                problem=f"the rows of {table.name} that were being read were dropped: read again",
            )
        return TableStatements(self._views.connections.schema, table.renamed(found[0][0]))
