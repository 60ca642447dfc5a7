"""A transaction that is open on one Postgres connection: rows, checkpoints and names of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eventcore.projections.anchors import Anchor
from eventcore.projections.postgres.renaming import RenamedViews, rename
from eventcore.projections.postgres.statements import TableStatements, packed
from eventcore.projections.tables import AnyTable, Key, RowT, Table
from eventcore.projections.transactions import Checkpoint, Renaming, TableChanges
from eventcore.stores.postgres.connections import Connection


class TransactionViews(RenamedViews, Protocol):
    """What a transaction needs of the views that it writes."""

    def statements(self, table: AnyTable) -> TableStatements:
        """The SQL of a table."""

    def begin(self, connection: Connection, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""

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


class PostgresTransaction:
    """A transaction that is open on one connection."""

    def __init__(self, views: TransactionViews, connection: Connection) -> None:
        self._views = views
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """For SQL of one's own; do not commit it."""
        return self._connection

    def write(self, changes: TableChanges) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.write`."""
        statements = self._views.statements(changes.table)
        if changes.upserts:
            self._connection.execute(
                statements.upsert.encode(), packed(changes.table.columns, changes.upserts)
            )
        if changes.deletes:
            self._connection.execute(
                statements.delete.encode(),
                packed(changes.table.key_columns, changes.deletes),
                prepare=False,
            )

    def upsert(self, table: Table[RowT], rows: Sequence[RowT]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.upsert`."""
        # The last one of each key counts, as if they were written one after another.
        distinct = {table.key_of(row): row for row in rows}
        self.write(TableChanges(table, table.encode(list(distinct.values())), ()))

    def delete(self, table: AnyTable, keys: Sequence[Key]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.delete`."""
        self.write(TableChanges(table, (), table.encode_keys(keys, table.key_columns)))

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.transactions.Transaction.load_rows`."""
        wanted = table.encode_keys(keys, table.key_columns)
        if not wanted:
            return []
        with self._connection.cursor(binary=True) as cursor:
            cursor.execute(
                self._views.statements(table).select_keys.encode(),
                packed(table.key_columns, wanted),
                prepare=False,
            )
            return table.decode(cursor.fetchall())

    def begin(self, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""
        return self._views.begin(self._connection, name, version)

    def name_of(self, table: AnyTable) -> str:
        """See :meth:`eventcore.projections.transactions.Transaction.name_of`."""
        return table.name

    def rename(self, renamings: Sequence[Renaming]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.rename`."""
        rename(self._views, self._connection, renamings)

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
        self._views.advance(
            self._connection,
            projection,
            before,
            position=position,
            anchor=anchor,
            revise=revise,
        )
