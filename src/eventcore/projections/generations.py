"""Generations: a read model under construction beside the live one, in tables of its own.

The second generation of ``orders`` keeps the checkpoint ``orders+2`` and the table ``orders__2``.
:class:`GenerationViews` stands between an engine and the views and translates the names, so that
the engine builds the new rows exactly as it keeps the live ones: rows and checkpoint together,
whatever crashes.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, Final

from eventcore.errors import ConfigurationError
from eventcore.projections.anchors import Anchor
from eventcore.projections.projection import Projection
from eventcore.projections.snapshots import Snapshot
from eventcore.projections.tables import INTERNAL_PREFIX, AnyTable, Key, RowT, Table
from eventcore.projections.transactions import Checkpoint, Renaming, TableChanges, Transaction
from eventcore.projections.views import Views
from eventcore.stores.following import CommitSignal

TABLE_NAME_BYTES_MAX: Final = 63
"""Bytes in a table's name (PostgreSQL manual, "Identifiers"); others take more."""


def generation_name(projection: str, generation: int) -> str:
    """Name of a generation's checkpoint."""
    return f"{projection}+{generation}"


def generation_table(table: str, generation: int) -> str:
    """Name of a generation's table: what does not fit is replaced by its digest."""
    suffix = f"__{generation}"
    if len(table) + len(suffix) <= TABLE_NAME_BYTES_MAX:
        return table + suffix
    digest = hashlib.sha256(table.encode()).hexdigest()[:8]
    return f"{table[: TABLE_NAME_BYTES_MAX - len(suffix) - 9]}_{digest}{suffix}"


class GenerationViews:
    """One projection of views, as one of its generations.

    Args:
        views: Where the generations are.
        projection: Whose; nothing else can be kept through this.
        generation: Its number.
    """

    def __init__(self, views: Views, projection: Projection, generation: int) -> None:
        self._views = views
        self._projection = projection
        self._name = generation_name(projection.name, generation)
        self._is_begun = False
        # Statements of its own may rely on them.
        is_indexed_later = views.indexes_later and not type(projection).takes_pages()
        self.tables: dict[str, AnyTable] = {
            table.name: table.renamed(
                generation_table(table.name, generation), indexed=not is_indexed_later
            )
            for table in projection.tables
        }

    @property
    def name(self) -> str:
        """See :class:`eventcore.projections.views.Views`."""
        return self._views.name

    @property
    def signal(self) -> CommitSignal:
        """See :class:`eventcore.projections.views.Views`."""
        return self._views.signal

    def translated(self, name: str) -> str:
        """A checkpoint's name as it is kept: that of the projection, or of one of its shares.

        Raises:
            ConfigurationError: It is another projection's.
        """
        base, slash, share = name.partition("/")
        if base.startswith(INTERNAL_PREFIX):
            return name
        if base != self._projection.name:
            raise ConfigurationError(
                message=f"Only {self._projection.name} is kept through its generation, not {base}"
            )
        return f"{self._name}{slash}{share}"

    def table(self, table: Table[RowT]) -> Table[RowT]:
        """A table as it is kept.

        Raises:
            ConfigurationError: It is another projection's.
        """
        found = self.tables.get(table.name)
        if table.internal:
            return table
        if found is None:
            raise ConfigurationError(
                message=f"Table {table.name} is none of projection {self._projection.name}"
            )
        return found

    def noted_as(self, projection: str) -> str:
        """The name under which the library notes what is parked of it."""
        return self.translated(projection)

    def _projected(self, projection: Projection) -> Projection:
        """A projection as it is kept; the library's own as they are."""
        if projection.name.startswith(INTERNAL_PREFIX):
            return projection
        other = copy.copy(projection)
        # Its class has these for all; this one is kept under names of its own.
        vars(other)["name"] = self.translated(projection.name)
        vars(other)["tables"] = tuple(map(self.table, projection.tables))
        return other

    def ensure(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.ensure`.

        Raises:
            ConfigurationError: It was there before: another process has put it in the live one's
                place, or dropped it.
        """
        is_own = projection.name == self._projection.name
        if is_own and self._is_begun and self._views.checkpoint(self._name) is None:
            raise ConfigurationError(
                message=f"Another process has ended the rebuild of {self._projection.name}"
            )
        checkpoint = self._views.ensure(self._projected(projection))
        self._is_begun = self._is_begun or is_own
        return checkpoint

    @property
    def indexes_later(self) -> bool:
        """See :class:`eventcore.projections.views.Views`."""
        return self._views.indexes_later

    def index(self, projection: Projection) -> None:
        """See :meth:`eventcore.projections.views.Views.index`."""
        other = self._projected(projection)
        tables = [table.renamed(self.table(table).name) for table in projection.tables]
        vars(other)["tables"] = tuple(tables)
        self._views.index(other)

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :meth:`eventcore.projections.views.Views.checkpoint`."""
        return self._views.checkpoint(self.translated(projection))

    def fingerprint(self, projection: str) -> str | None:
        """See :meth:`eventcore.projections.views.Views.fingerprint`."""
        return self._views.fingerprint(self.translated(projection))

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_rows`."""
        return self._views.load_rows(self.table(table), keys)

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_groups`."""
        return self._views.load_groups(self.table(table), groups)

    @contextmanager
    def transaction(self) -> Iterator[GenerationTransaction]:
        """See :meth:`eventcore.projections.views.Views.transaction`."""
        with self._views.transaction() as transaction:
            yield GenerationTransaction(self, self._projection, transaction)

    def catching_up(self) -> AbstractContextManager[None]:
        """See :meth:`eventcore.projections.views.Views.catching_up`."""
        return self._views.catching_up()

    def query(
        self, table: Table[RowT], where: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[RowT]:
        """See :meth:`eventcore.projections.views.Views.query`."""
        return self._views.query(self.table(table), where, limit)

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
        found = self.table(table)
        return self._views.query_sorted(found, column, value, by=by, since=since, limit=limit)

    def count(self, table: AnyTable) -> int:
        """See :meth:`eventcore.projections.views.Views.count`."""
        return self._views.count(self.table(table))

    def reset(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.reset`."""
        return self._views.reset(self._projected(projection))

    def tables_of(self, projection: str) -> list[str]:
        """See :meth:`eventcore.projections.views.Views.tables_of`: the names as they are kept."""
        return self._views.tables_of(self.translated(projection))

    def accept(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.accept`."""
        return self._views.accept(self._projected(projection))

    def drop(self, projection: str) -> None:
        """See :meth:`eventcore.projections.views.Views.drop`."""
        self._views.drop(self.translated(projection))

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """See :meth:`eventcore.projections.views.Views.snapshot`: of all that there is."""
        return self._views.snapshot()

    def expire(self, projection: Projection, now: datetime) -> int:
        """See :meth:`eventcore.projections.views.Views.expire`."""
        return self._views.expire(self._projected(projection), now)

    def close(self) -> None:
        """The views are whoever's opened them."""


class GenerationTransaction:
    """A transaction whose names are a generation's."""

    def __init__(
        self, views: GenerationViews, projection: Projection, transaction: Transaction
    ) -> None:
        self._views = views
        self._projection = projection
        self._transaction = transaction

    @property
    def connection(self) -> Any:
        """See :class:`eventcore.projections.transactions.Transaction`.

        Raises:
            ConfigurationError: The projection does not say that it asks for the names of tables:
                its statements would change the live ones.
        """
        if not self._projection.names_tables:
            raise ConfigurationError(
                message=f"Projection {self._projection.name} writes with statements of its own, "
                "which may name the live tables. Take the names from transaction.name_of(TABLE), "
                "then say names_tables = True in the class; or rebuild it with --in-place"
            )
        return self._transaction.connection

    def write(self, changes: TableChanges) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.write`."""
        self._transaction.write(changes._replace(table=self._views.table(changes.table)))

    def upsert(self, table: Table[RowT], rows: Sequence[RowT]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.upsert`."""
        self._transaction.upsert(self._views.table(table), rows)

    def delete(self, table: AnyTable, keys: Sequence[Key]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.delete`."""
        self._transaction.delete(self._views.table(table), keys)

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.transactions.Transaction.load_rows`."""
        return self._transaction.load_rows(self._views.table(table), keys)

    def name_of(self, table: AnyTable) -> str:
        """See :meth:`eventcore.projections.transactions.Transaction.name_of`."""
        return self._transaction.name_of(self._views.table(table))

    def rename(self, renamings: Sequence[Renaming]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.rename`: names as kept."""
        self._transaction.rename(renamings)

    def begin(self, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""
        return self._transaction.begin(self._views.translated(name), version)

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
        name = self._views.translated(projection)
        self._transaction.advance(name, before, position, anchor=anchor, revise=revise)
