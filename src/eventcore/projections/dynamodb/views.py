"""Views in DynamoDB: a table of its own for every table of a read model, and one for checkpoints.

A page and its checkpoints are written once, whatever crashes
(:mod:`eventcore.projections.dynamodb.commits`). What is read by key or by group is as it is now;
what is found through a secondary index is that a moment later, as such indexes are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, Final

from eventcore.errors import StoreClosedError, StoreError
from eventcore.projections.anchors import Anchor
from eventcore.projections.dynamodb.checkpoints import Checkpoints, Reached
from eventcore.projections.dynamodb.commits import Commit, DynamoDBCommits
from eventcore.projections.dynamodb.expiry import DynamoDBExpiry
from eventcore.projections.dynamodb.layouts import Layout
from eventcore.projections.dynamodb.lifecycles import DynamoDBLifecycles
from eventcore.projections.dynamodb.renaming import (
    DynamoDBSnapshot,
    rename,
    shape_of_generation,
)
from eventcore.projections.dynamodb.requests import DynamoDBRequests
from eventcore.projections.dynamodb.rows import DynamoDBRows
from eventcore.projections.dynamodb.sorting import DynamoDBSorting, Sorted
from eventcore.projections.dynamodb.tables import (
    CHECKPOINTS,
    DynamoDBTables,
    checkpoints_definition,
)
from eventcore.projections.ownership import check_own, check_shape
from eventcore.projections.projection import Projection
from eventcore.projections.shares import Register
from eventcore.projections.tables import AnyTable, Key, RowT, StoredRow, Table, check_limit
from eventcore.projections.transactions import Checkpoint, Renaming, TableChanges
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.following import CommitSignal
from eventcore.stores.signals import LocalSignal

COUNTED_ROWS_MAX: Final = 10_000
"""A table that DynamoDB says has more is not counted row by row: that would read all of it."""


class DynamoDBViews:
    """Read models in one account and region, for any number of threads and processes.

    Args:
        calls: Sends the requests; stays the caller's to close unless ``owns_calls``.
        clock: Gives the time, aware: rows whose time has passed are not shown.
        prefix: Begins the names of all tables.
        create: Create the tables if they are absent; else that is refused.
        with_ttl: DynamoDB deletes rows whose time has passed, and until it does they are not shown.
            Without, as where another day is looked at, they stay until :meth:`expire`.
        owns_calls: Close ``calls`` as well.

    Raises:
        SchemaMismatchError: There is no table of checkpoints, or one of another form.
        StoreUnavailableError: DynamoDB cannot be reached.
    """

    def __init__(  # noqa: PLR0913 - each a keyword with a default
        self,
        calls: DynamoDBCalls,
        *,
        clock: Callable[[], datetime],
        prefix: str = "",
        create: bool = True,
        with_ttl: bool = True,
        owns_calls: bool = False,
    ) -> None:
        self.calls = calls
        self._clock = clock
        self._prefix = prefix
        self._with_ttl = with_ttl
        self._owns_calls = owns_calls
        self._closed = False
        self._is_swept = False
        self._signal = LocalSignal()
        self._layouts: dict[str, Layout] = {}
        self._owners: dict[str, str] = {}
        self._requests = DynamoDBRequests(calls)
        self._checkpoints = Checkpoints(f"{prefix}{CHECKPOINTS}")
        self._commits = DynamoDBCommits(self._requests, self._checkpoints, clock)
        self._rows = DynamoDBRows(self._requests)
        self._lifecycles = DynamoDBLifecycles(
            self._requests,
            self._checkpoints,
            self._commits,
            layout=self.layout,
            name=self.name,
            create=create,
        )
        self._prepare(create=create)

    def _prepare(self, *, create: bool) -> None:
        tables = DynamoDBTables(self.calls)
        definition = checkpoints_definition(self._checkpoints.table)
        if create and tables.describe(self._checkpoints.table) is None:
            tables.create(definition)
        tables.check(definition)

    @property
    def name(self) -> str:
        """See :class:`eventcore.projections.views.Views`."""
        return f"DynamoDB tables {self._prefix}*"

    @property
    def signal(self) -> CommitSignal:
        """See :class:`eventcore.projections.views.Views`; hears of this process's changes only."""
        return self._signal

    def layout(self, table: AnyTable) -> Layout:
        """How a table lies in DynamoDB, as far as is known here."""
        known = self._layouts.get(table.name)
        if known is None or known.table is not table:
            known = Layout(
                table, shape_of_generation(table), prefix=self._prefix, with_ttl=self._with_ttl
            )
            owner = self._lifecycles.owner(table.name)
            if owner is not None:
                known.name = owner.name
            self._layouts[table.name] = known
        return known

    def found(self, table: AnyTable) -> Layout:
        """How a table lies in DynamoDB now: a rebuilt one takes the place of another."""
        owner = self._lifecycles.owner(table.name)
        if owner is not None and self.layout(table).name != owner.name:
            self._layouts.pop(table.name, None)
        return self.layout(table)

    indexes_later: Final = False

    def index(self, projection: Projection) -> None:
        """See :meth:`eventcore.projections.views.Views.index`: a table has its own."""

    def ensure(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.ensure`."""
        self._check_open()
        for table in projection.tables:
            self.found(table)
        checkpoint = self._lifecycles.begin(projection)
        if not self._is_swept:
            # Once what was decided is finished.
            self._commits.sweep()
            self._is_swept = True
        self._owners.update((table.name, projection.name) for table in projection.tables)
        return checkpoint

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :meth:`eventcore.projections.views.Views.checkpoint`.

        A page that is decided and not yet written as a whole does not count.
        """
        self._check_open()
        kept = self._commits.kept(projection)
        return None if kept is None else kept.checkpoint

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_rows`."""
        self._check_open()
        encoded = table.encode_keys(keys, table.key_columns)
        return table.decode(self._rows.by_key(self.found(table), encoded))

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_groups`."""
        self._check_open()
        encoded = table.encode_keys(groups, table.group_columns)
        return table.decode(self._rows.by_group(self.found(table), encoded))

    @contextmanager
    def transaction(self) -> Iterator[DynamoDBTransaction]:
        """See :meth:`eventcore.projections.views.Views.transaction`.

        Nothing is sent before the block ends. Of more changes than one request takes, readers may
        see some earlier than others; the checkpoint moves when all are there.
        """
        self._check_open()
        transaction = DynamoDBTransaction(self)
        yield transaction
        commit = transaction.commit()
        if transaction.renamings:
            rename(self._requests, self._checkpoints, self._commits, transaction.renamings, commit)
            self._layouts.clear()
            self._signal.notify()
        elif commit is not None:
            self._commits.commit(commit)
            self._signal.notify()

    def catching_up(self) -> AbstractContextManager[None]:
        """See :meth:`eventcore.projections.views.Views.catching_up`: nothing to put off here."""
        return nullcontext()

    def query(
        self, table: Table[RowT], where: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[RowT]:
        """See :meth:`eventcore.projections.views.Views.query`.

        By the table's key or group it reads only those rows, by an index only what the index has.
        Any other condition, or none, reads the whole table.
        """
        check_limit(limit)
        conditions = table.encode_where(where or {})
        self._check_open()
        return self._found(table, conditions, limit)

    def _found(
        self, table: Table[RowT], where: Mapping[str, Any], limit: int | None
    ) -> Iterator[RowT]:
        if not self._is_shaped(table):
            return
        now = self._clock() if self._with_ttl else None
        rows = self._rows.find(self.layout(table), where, limit, now=now)
        for row in rows:
            yield from table.decode([row])

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
        self._check_open()
        return self._found_sorted(table, Sorted(column, wanted, by, bound), limit)

    def _found_sorted(
        self, table: Table[RowT], wanted: Sorted, limit: int | None
    ) -> Iterator[RowT]:
        if not self._is_shaped(table):
            return
        now = self._clock() if self._with_ttl else None
        pages = DynamoDBSorting(self._requests, self.found(table), now)
        for row in pages.find(wanted, limit):
            yield from table.decode([row])

    def _is_shaped(self, table: AnyTable) -> bool:
        """Whether a table is there; refuses one with other columns."""
        owner = self._lifecycles.owner(table.name)
        if owner is not None:
            if self.layout(table).name != owner.name:
                self._layouts.pop(table.name, None)
            action = "Use another prefix; or, if a projection made that table, rebuild it"
            check_shape(table, database=self.name, found=owner.columns, action=action)
        return owner is not None

    def count(self, table: AnyTable) -> int:
        """See :meth:`eventcore.projections.views.Views.count`.

        Of more than :data:`COUNTED_ROWS_MAX` rows it is what DynamoDB said up to six hours ago.
        """
        self._check_open()
        owner = self._lifecycles.owner(table.name)
        found = owner and DynamoDBTables(self.calls).describe(owner.name)
        if not found:
            return 0
        described = int(found.get("ItemCount", 0))
        return described if described > COUNTED_ROWS_MAX else self._rows.count(self.found(table))

    def reset(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.reset`."""
        self._check_open()
        checkpoint = self._lifecycles.reset(projection)
        self._signal.notify()
        return checkpoint

    def fingerprint(self, projection: str) -> str | None:
        """See :meth:`eventcore.projections.views.Views.fingerprint`."""
        self._check_open()
        kept = self._commits.kept(projection)
        return None if kept is None else kept.fingerprint

    def tables_of(self, projection: str) -> list[str]:
        """See :meth:`eventcore.projections.views.Views.tables_of`."""
        self._check_open()
        kept = self._commits.kept(projection)
        return [] if kept is None else list(kept.tables)

    def accept(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.accept`."""
        self._check_open()
        checkpoint = self._lifecycles.accept(projection)
        self._signal.notify()
        return checkpoint

    def drop(self, projection: str) -> None:
        """See :meth:`eventcore.projections.views.Views.drop`."""
        self._check_open()
        self._lifecycles.drop(projection)
        self._layouts.clear()
        self._owners.clear()
        self._signal.notify()

    @contextmanager
    def snapshot(self) -> Iterator[DynamoDBSnapshot]:
        """See :meth:`eventcore.projections.views.Views.snapshot`: each answer is of its moment."""
        self._check_open()
        yield DynamoDBSnapshot(self, self._commits, self._requests)

    def expire(self, projection: Projection, now: datetime) -> int:
        """See :meth:`eventcore.projections.views.Views.expire`. Reads the whole of such tables."""
        self._check_open()
        expiry = DynamoDBExpiry(self._requests, self._checkpoints, self._commits)
        keepers = [projection.name, *self._lifecycles.shares(projection)]
        expired = 0
        for table in projection.tables:
            limit = table.expiry(now)
            owner = self._lifecycles.owner(table.name) if limit is not None else None
            if limit is not None and owner is not None:
                made = owner.columns if owner.projection == projection.name else None
                check_own(projection, table, database=self.name, found=owner.columns, made=made)
                expired += expiry.expire(keepers, self.found(table), limit)
        if not expired and self._commits.kept(projection.name) is not None:
            expiry.revise(keepers)
        self._signal.notify()
        return expired

    def begin(self, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""
        return self._lifecycles.begin(Register(name, version))

    def owner_of(self, table: AnyTable) -> str:
        """The projection a table is of.

        Raises:
            StoreError: It was never made.
        """
        known = self._owners.get(table.name)
        if known is None:
            owner = self._lifecycles.owner(table.name)
            if owner is None:
                raise StoreError(store=self.name, problem=f"there is no table {table.name}")
            known = self._owners[table.name] = owner.projection
        return known

    def columns(self, table: AnyTable) -> list[str]:
        """Names of the columns a table was made with; none if it is absent."""
        owner = self._lifecycles.owner(table.name)
        return [] if owner is None else owner.columns

    def rows(self) -> DynamoDBRows:
        """Reads rows and makes the actions that change them."""
        return self._rows

    def close(self) -> None:
        """See :meth:`eventcore.projections.views.Views.close`."""
        self._closed = True
        self._signal.notify()
        if self._owns_calls:
            self.calls.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(store=self.name)


class DynamoDBTransaction:
    """Changes that are kept here until the block ends."""

    def __init__(self, views: DynamoDBViews) -> None:
        self._views = views
        self._changes: dict[str, tuple[Layout, dict[StoredRow, StoredRow | None]]] = {}
        self._advances: dict[str, tuple[Checkpoint, Reached]] = {}
        self.renamings: list[Renaming] = []

    @property
    def connection(self) -> DynamoDBCalls:
        """For requests of one's own, which are no part of the transaction."""
        return self._views.calls

    def write(self, changes: TableChanges) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.write`."""
        layout, rows = self._rows_of(changes.table)
        rows.update((layout.row_key(row), row) for row in changes.upserts)
        rows.update((key, None) for key in changes.deletes)

    def _rows_of(self, table: AnyTable) -> tuple[Layout, dict[StoredRow, StoredRow | None]]:
        if table.name not in self._changes:
            self._changes[table.name] = (self._views.layout(table), {})
        return self._changes[table.name]

    def upsert(self, table: Table[RowT], rows: Sequence[RowT]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.upsert`."""
        self._views.found(table)
        self.write(TableChanges(table, table.encode(rows), ()))

    def delete(self, table: AnyTable, keys: Sequence[Key]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.delete`."""
        self._views.found(table)
        self.write(TableChanges(table, (), table.encode_keys(keys, table.key_columns)))

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.transactions.Transaction.load_rows`."""
        self._views.found(table)
        layout, changed = self._rows_of(table)
        encoded = list(dict.fromkeys(table.encode_keys(keys, table.key_columns)))
        there = self._views.rows().by_key(layout, [key for key in encoded if key not in changed])
        mine = [row for key in encoded if (row := changed.get(key)) is not None]
        return table.decode([*mine, *there])

    def begin(self, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""
        return self._views.begin(name, version)

    def name_of(self, table: AnyTable) -> str:
        """See :meth:`eventcore.projections.transactions.Transaction.name_of`."""
        return self._views.found(table).name

    def rename(self, renamings: Sequence[Renaming]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.rename`.

        Done when the block ends, with everything else of it in one transaction of DynamoDB's.
        """
        self.renamings += renamings

    def advance(
        self,
        projection: str,
        before: Checkpoint,
        position: int,
        *,
        anchor: Anchor | None = None,
        revise: bool = False,
    ) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.advance`.

        Whether it still is there is found out when the block ends.
        """
        self._advances[projection] = (before, Reached(position, anchor, revise=revise))

    def commit(self) -> Commit | None:
        """What is to be done; None if that is nothing."""
        changed = [(layout, rows) for layout, rows in self._changes.values() if rows]
        actions = [
            action
            for layout, rows in changed
            for action in self._views.rows().actions(layout, rows)
        ]
        owners = dict.fromkeys(self._views.owner_of(layout.table) for layout, _ in changed)
        others = [owner for owner in owners if owner not in self._advances]
        if not actions and not self._advances:
            return None
        return Commit(self._advances, others, actions)
