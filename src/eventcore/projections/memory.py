"""Views in memory: for tests and trials, as strict as every database, gone with the process."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any, Final, cast

from eventcore.errors import CheckpointMovedError, StoreClosedError
from eventcore.projections.anchors import Anchor
from eventcore.projections.definitions import (
    check_acceptable,
    fingerprint_of,
    is_other_definition,
)
from eventcore.projections.ownership import check_own, check_shape, names_of, rebuilding
from eventcore.projections.projection import Projection
from eventcore.projections.snapshots import SNAPSHOT_ROWS
from eventcore.projections.tables import AnyTable, Key, RowT, StoredRow, Table, check_limit
from eventcore.projections.transactions import (
    Checkpoint,
    Renaming,
    TableChanges,
    revisions_after,
)
from eventcore.stores.following import CommitSignal
from eventcore.stores.signals import LocalSignal

_NAME = "memory views"


class _Kept:
    """The stored rows of one table, by key, and the keys of each group."""

    def __init__(self, table: AnyTable) -> None:
        self.names = names = names_of(table)
        self._key = [names.index(name) for name in table.key]
        self._group = [names.index(name) for name in table.group]
        self.rows: dict[StoredRow, StoredRow] = {}
        self.groups: dict[StoredRow, set[StoredRow]] = {}

    def key_of(self, row: StoredRow) -> StoredRow:
        return tuple(row[place] for place in self._key)

    def _group_of(self, row: StoredRow) -> StoredRow:
        return tuple(row[place] for place in self._group)

    def put(self, row: StoredRow) -> None:
        key = self.key_of(row)
        self.discard(key)
        self.rows[key] = row
        if self._group:
            self.groups.setdefault(self._group_of(row), set()).add(key)

    def discard(self, key: StoredRow) -> None:
        row = self.rows.pop(key, None)
        if row is None or not self._group:
            return
        keys = self.groups[self._group_of(row)]
        keys.discard(key)
        if not keys:
            del self.groups[self._group_of(row)]


class MemoryViews:
    """Read models in this process's memory.

    They are kept as a database would keep them (stored values), so that what one refuses, so does
    the other.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tables: dict[str, _Kept] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._made: dict[str, set[str]] = {}
        self._fingerprints: dict[str, str] = {}
        self._signal = LocalSignal()
        self._closed = False

    @property
    def name(self) -> str:
        """See :class:`eventcore.projections.views.Views`."""
        return _NAME

    @property
    def signal(self) -> CommitSignal:
        """See :class:`eventcore.projections.views.Views`."""
        return self._signal

    indexes_later: Final = False

    def index(self, projection: Projection) -> None:
        """See :meth:`eventcore.projections.views.Views.index`: a table has its own."""

    def ensure(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.ensure`."""
        with self._lock:
            self._check_open()
            kept = self._checkpoints.get(projection.name)
            for table in projection.tables:
                if self._has_own(projection, table):
                    check_shape(
                        table,
                        database=_NAME,
                        found=self._tables[table.name].names,
                        action=rebuilding(projection),
                    )
            known = self._fingerprints.get(projection.name)
            if is_other_definition(kept, projection, known):
                return kept
            self._fingerprints[projection.name] = fingerprint_of(projection)
            for table in projection.tables:
                self._tables.setdefault(table.name, _Kept(table))
            self._made.setdefault(projection.name, set()).update(
                table.name for table in projection.tables
            )
            return self._checkpoints.setdefault(
                projection.name,
                Checkpoint(0, projection.version, revision=1),
            )

    def _has_own(self, projection: Projection, table: AnyTable) -> bool:
        """Whether the table is there; refuses one that another projection keeps."""
        kept = self._tables.get(table.name)
        if kept is None:
            return False
        made = kept.names if table.name in self._made.get(projection.name, ()) else None
        check_own(projection, table, database=_NAME, found=kept.names, made=made)
        return True

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :meth:`eventcore.projections.views.Views.checkpoint`."""
        with self._lock:
            self._check_open()
            return self._checkpoints.get(projection)

    def fingerprint(self, projection: str) -> str | None:
        """See :meth:`eventcore.projections.views.Views.fingerprint`."""
        with self._lock:
            self._check_open()
            return self._fingerprints.get(projection)

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_rows`."""
        encoded = table.encode_keys(keys, table.key_columns)
        with self._lock:
            self._check_open()
            rows = self._tables[table.name].rows
            return table.decode([rows[key] for key in encoded if key in rows])

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.views.Views.load_groups`."""
        encoded = table.encode_keys(groups, table.group_columns)
        with self._lock:
            self._check_open()
            kept = self._tables[table.name]
            keys = sorted(key for group in encoded for key in kept.groups.get(group, ()))
            return table.decode([kept.rows[key] for key in keys])

    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        """See :meth:`eventcore.projections.views.Views.transaction`."""
        with self._lock:
            self._check_open()
            transaction = MemoryTransaction(
                self._tables, self._checkpoints, self._made, self._fingerprints
            )
            try:
                yield transaction
            except BaseException:
                transaction.undo()
                raise
        self._signal.notify()

    def catching_up(self) -> AbstractContextManager[None]:
        """See :meth:`eventcore.projections.views.Views.catching_up`."""
        return nullcontext()

    def query(
        self, table: Table[RowT], where: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[RowT]:
        """See :meth:`eventcore.projections.views.Views.query`."""
        check_limit(limit)
        conditions = table.encode_where(where or {})
        places = [column.name for column in table.columns]
        with self._lock:
            self._check_open()
            kept = self._tables.get(table.name)
            rows = sorted(kept.rows.items()) if kept else []
        found = [
            row
            for _, row in rows
            if all(row[places.index(name)] == value for name, value in conditions.items())
        ]
        return iter(table.decode(found[:limit]))

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
        names = [one.name for one in table.columns]
        equal, sort = names.index(column), names.index(by)
        with self._lock:
            self._check_open()
            kept = self._tables.get(table.name)
            rows: list[Any] = (
                [(row[sort], key, row) for key, row in kept.rows.items()] if kept else []
            )
        found = [
            (at, key, row)
            for at, key, row in rows
            if row[equal] == wanted and at is not None and (bound is None or at >= bound)
        ]
        return iter(table.decode([row for _, _, row in sorted(found)[:limit]]))

    def count(self, table: AnyTable) -> int:
        """See :meth:`eventcore.projections.views.Views.count`."""
        with self._lock:
            self._check_open()
            kept = self._tables.get(table.name)
            return len(kept.rows) if kept else 0

    def reset(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.reset`."""
        with self._lock:
            self._check_open()
            before = self._checkpoints.get(projection.name)
            for table in projection.tables:
                self._has_own(projection, table)
            for name in self._made.get(projection.name, ()):
                self._tables.pop(name, None)
            self._tables.update((table.name, _Kept(table)) for table in projection.tables)
            self._made[projection.name] = {table.name for table in projection.tables}
            checkpoint = Checkpoint(0, projection.version, before.revision + 1 if before else 1)
            self._fingerprints[projection.name] = fingerprint_of(projection)
            self._checkpoints[projection.name] = checkpoint
            for name, share in self._shares(projection.name):
                after = Checkpoint(0, share.version, share.revision + 1)
                self._checkpoints[name] = after
        self._signal.notify()
        return checkpoint

    def _shares(self, projection: str) -> list[tuple[str, Checkpoint]]:
        """Checkpoints of a projection that are kept beside its own."""
        prefix = f"{projection}/"
        return [one for one in self._checkpoints.items() if one[0].startswith(prefix)]

    def tables_of(self, projection: str) -> list[str]:
        """See :meth:`eventcore.projections.views.Views.tables_of`."""
        with self._lock:
            self._check_open()
            return sorted(self._made.get(projection, ()))

    def accept(self, projection: Projection) -> Checkpoint:
        """See :meth:`eventcore.projections.views.Views.accept`."""
        with self._lock:
            self._check_open()
            absent = [one for one in projection.tables if not self._has_own(projection, one)]
            for table in projection.tables:
                if table not in absent:
                    found = self._tables[table.name].names
                    check_shape(table, database=_NAME, found=found, action=rebuilding(projection))
            kept = self._checkpoints.get(projection.name)
            check_acceptable(projection, kept, absent, database=_NAME)
            assert kept is not None
            checkpoint = self._checkpoints[projection.name] = kept._replace(
                version=projection.version, revision=kept.revision + 1
            )
            self._fingerprints[projection.name] = fingerprint_of(projection)
            for name, share in self._shares(projection.name):
                self._checkpoints[name] = share._replace(revision=share.revision + 1)
        self._signal.notify()
        return checkpoint

    def drop(self, projection: str) -> None:
        """See :meth:`eventcore.projections.views.Views.drop`."""
        with self._lock:
            self._check_open()
            for name in self._made.pop(projection, ()):
                self._tables.pop(name, None)
            self._checkpoints.pop(projection, None)
            self._fingerprints.pop(projection, None)
            for name, _ in self._shares(projection):
                del self._checkpoints[name]
        self._signal.notify()

    @contextmanager
    def snapshot(self) -> Iterator[MemorySnapshot]:
        """See :meth:`eventcore.projections.views.Views.snapshot`."""
        with self._lock:
            self._check_open()
            tables = {name: (kept.names, dict(kept.rows)) for name, kept in self._tables.items()}
            found = MemorySnapshot(tables, dict(self._checkpoints))
        yield found

    def expire(self, projection: Projection, now: datetime) -> int:
        """See :meth:`eventcore.projections.views.Views.expire`."""
        expired = 0
        with self._lock:
            self._check_open()
            for table in projection.tables:
                limit = table.expiry(now)
                if limit is None or not self._has_own(projection, table):
                    continue
                kept = self._tables[table.name]
                place = [column.name for column in table.columns].index(table.ttl_column or "")
                old = [
                    key
                    for key, row in kept.rows.items()
                    if isinstance(value := row[place], str) and value < limit[: len(value)]
                ]
                for key in old:
                    kept.discard(key)
                expired += len(old)
            before = self._checkpoints.get(projection.name)
            if before is not None:
                for name, one in [(projection.name, before), *self._shares(projection.name)]:
                    self._checkpoints[name] = one._replace(revision=one.revision + 1)
        self._signal.notify()
        return expired

    def close(self) -> None:
        """See :meth:`eventcore.projections.views.Views.close`."""
        with self._lock:
            self._closed = True
        self._signal.notify()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(store=_NAME)


class MemorySnapshot:
    """Copies of what there was; rows are tuples, which nobody changes."""

    steady = True

    def __init__(
        self,
        tables: dict[str, tuple[list[str], dict[StoredRow, StoredRow]]],
        checkpoints: dict[str, Checkpoint],
    ) -> None:
        self._tables = tables
        self._checkpoints = checkpoints

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return self._checkpoints.get(projection)

    def columns(self, table: AnyTable) -> list[str]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return self._tables[table.name][0] if table.name in self._tables else []

    def pages(self, table: AnyTable) -> Generator[list[StoredRow]]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        keys = sorted(self._tables[table.name][1]) if table.name in self._tables else []
        for first in range(0, len(keys), SNAPSHOT_ROWS):
            yield self.at(table, keys[first : first + SNAPSHOT_ROWS])

    def at(self, table: AnyTable, keys: Sequence[StoredRow]) -> list[StoredRow]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        names, rows = self._tables[table.name]
        places = [names.index(column.name) for column in table.columns]
        return [tuple(rows[key][place] for place in places) for key in keys if key in rows]

    def count(self, table: AnyTable) -> int:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return len(self._tables[table.name][1]) if table.name in self._tables else 0


class MemoryTransaction:
    """Changes made in place under the views' lock, with what is needed to undo them."""

    def __init__(  # noqa: PLR0917 - all that it may change
        self,
        tables: dict[str, _Kept],
        checkpoints: dict[str, Checkpoint],
        made: dict[str, set[str]],
        fingerprints: dict[str, str],
    ) -> None:
        self._tables = tables
        self._checkpoints = checkpoints
        self._made = made
        self._fingerprints = fingerprints
        self._renamed: tuple[dict[str, Any], ...] | None = None
        self._replaced: list[tuple[_Kept, StoredRow, StoredRow | None]] = []
        self._checkpoints_before = dict(checkpoints)

    @property
    def connection(self) -> None:
        """There is none in memory."""
        return

    def write(self, changes: TableChanges) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.write`."""
        kept = self._tables[changes.table.name]
        for row in changes.upserts:
            self._remember(kept, kept.key_of(row))
            kept.put(row)
        for key in changes.deletes:
            self._remember(kept, key)
            kept.discard(key)

    def upsert(self, table: Table[RowT], rows: Sequence[RowT]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.upsert`."""
        self.write(TableChanges(table, table.encode(rows), ()))

    def delete(self, table: AnyTable, keys: Sequence[Key]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.delete`."""
        self.write(TableChanges(table, (), table.encode_keys(keys, table.key_columns)))

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """See :meth:`eventcore.projections.transactions.Transaction.load_rows`."""
        rows = self._tables[table.name].rows
        encoded = table.encode_keys(keys, table.key_columns)
        return table.decode([rows[key] for key in encoded if key in rows])

    def begin(self, name: str, version: int) -> Checkpoint:
        """See :meth:`eventcore.projections.transactions.Transaction.begin`."""
        return self._checkpoints.setdefault(name, Checkpoint(0, version, revision=1))

    def name_of(self, table: AnyTable) -> str:
        """See :meth:`eventcore.projections.transactions.Transaction.name_of`."""
        return table.name

    def rename(self, renamings: Sequence[Renaming]) -> None:
        """See :meth:`eventcore.projections.transactions.Transaction.rename`."""
        found = [self._checkpoints.get(one.projection) for one in renamings]
        revisions = revisions_after(renamings, found, self._checkpoints.get)
        if self._renamed is None:
            self._renamed = (dict(self._tables), dict(self._made), dict(self._fingerprints))
        for one, revision in zip(renamings, revisions, strict=True):
            for name, becomes in one.tables.items():
                self._tables[becomes] = self._tables.pop(name)
            self._made[one.becomes] = {one.tables[n] for n in self._made.pop(one.projection)}
            kept = self._checkpoints.pop(one.projection)
            self._checkpoints[one.becomes] = kept._replace(revision=revision)
            self._fingerprints[one.becomes] = self._fingerprints.pop(one.projection)

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
        found = self._checkpoints.get(projection)
        if found != before:
            raise CheckpointMovedError(projection=projection, expected=before, found=found)
        self._checkpoints[projection] = before._replace(
            position=position, revision=before.revision + revise, anchor=anchor
        )

    def undo(self) -> None:
        """Put everything back."""
        for kept, key, row in reversed(self._replaced):
            if row is None:
                kept.discard(key)
            else:
                kept.put(row)
        if self._renamed is not None:
            here = (self._tables, self._made, self._fingerprints)
            for now, before in zip(here, self._renamed, strict=True):
                cast("dict[str, Any]", now).clear()
                cast("dict[str, Any]", now).update(before)
        self._checkpoints.clear()
        self._checkpoints.update(self._checkpoints_before)

    def _remember(self, kept: _Kept, key: StoredRow) -> None:
        self._replaced.append((kept, key, kept.rows.get(key)))
