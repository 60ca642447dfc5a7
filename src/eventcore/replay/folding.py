"""Folding: all events of a shard in memory, and the rows that come of them, encoded once.

Nothing is loaded and nothing is dropped on the way, for a shard begins with no rows and holds few
enough. A projection of which anything fails, or that takes pages, is folded once more by the engine
that keeps live rows: so that exactly what would be parked there is parked here. (Neither notices a
row that does not fit its table between two events, if it fits in the end and all else is well.)
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import localcontext
from typing import Any, Final, NamedTuple

from eventcore.events.garbage import collector_paused
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry
from eventcore.projections.applying import (
    appending,
    grouping,
    keying_each,
    refuse,
    touching,
)
from eventcore.projections.careful import EXACT
from eventcore.projections.engine import Engine
from eventcore.projections.memory import MemoryViews
from eventcore.projections.parking import UNITS, WORK
from eventcore.projections.plan import Plan, Step
from eventcore.projections.projection import Fold, Projection
from eventcore.projections.remembered import Remembered
from eventcore.projections.tables import AnyTable, StoredRow
from eventcore.replay.rows import folding_rows
from eventcore.stores.log import Page

Events = Sequence[Recorded[Any]]
Batches = Callable[[], Iterable[Events]]
"""Gives the events from the start, in order, a bounded number at a time; may be called again."""

RowsByTable = dict[str, list[StoredRow]]
"""Stored rows by the name of their table."""

CAREFUL_EVENTS: Final = 500
"""Events that the engine gets at once, where something is wrong with one."""

_Call = Callable[[Recorded[Any]], None]


class FoldedRows(NamedTuple):
    """What a shard's events come to.

    Attributes:
        events: How many were looked at.
        rows: Of all projections' tables, and of those that note what is parked.
    """

    events: int
    rows: RowsByTable


def fold_rows(
    projections: Sequence[Projection], batches: Batches, registry: EventRegistry
) -> FoldedRows:
    """Fold events from the first one on.

    Args:
        projections: Whose rows.
        batches: The events.
        registry: Tells which class an event's stored name belongs to.

    Raises:
        ProjectionFailedError: A handler raised, and its event cannot be parked.
        StoreError: The events cannot be read.
    """
    plans = [Plan(projection, registry) for projection in projections]
    folds = [_Fold(plan) for plan in plans if not plan.by_page]
    events, rows = 0, RowsByTable()
    with collector_paused():
        for batch in batches():
            for fold in folds:
                fold.add(batch)
            events += len(batch)
            # What is left of a batch are rows, which stay: nobody need look for them again.
            gc.collect(0)
    done = {fold.plan.projection.name for fold in folds if fold.encode(rows)}
    careful = [one for one in projections if one.name not in done]
    if careful:
        events = max(events, _fold_carefully(careful, batches(), registry, rows=rows))
    return FoldedRows(events, rows)


class _Fold:
    """One projection's rows by key, made event by event."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._failed = False
        self._calls: dict[str, tuple[_Call, ...]] = {}
        self._tables = {
            name: Remembered(table, grouped=name in plan.grouped, complete=True)
            for name, table in plan.tables.items()
        }

    def add(self, events: Events) -> None:
        if self._failed:
            return
        calls = self._calls
        try:
            with localcontext(EXACT):
                for event in events:
                    found = calls.get(event.type)
                    if found is None:
                        found = calls[event.type] = self._calls_for(event.type)
                    for call in found:
                        call(event)
        except Exception:  # noqa: BLE001 - handlers are anybody's code; the engine finds out which
            self._failed = True
            self._tables.clear()

    def encode(self, rows: RowsByTable) -> bool:
        """Add the rows in stored form; whether they could be made and fit their tables."""
        found: RowsByTable = {}
        try:
            found = {name: self._encoded(kept) for name, kept in self._tables.items()}
        except Exception:  # noqa: BLE001 - as in add
            self._failed = True
        self._tables.clear()
        rows.update(found)
        return not self._failed

    def _encoded(self, kept: Remembered) -> list[StoredRow]:
        made = [row for row in kept.rows.values() if row is not None]
        if kept.grouped:
            made = [row for group in made for row in group]
        if kept.appended:
            # Of those with one key the last stays, as if each were written at once.
            key_of = kept.table.key_of
            made += {key_of(row): row for row in kept.appended}.values()
        # Plain tuples: a row's class need not be known to whoever passes them on.
        return list(map(tuple, kept.table.encode(made)))

    def _calls_for(self, event_type: str) -> tuple[_Call, ...]:
        return tuple(self._call(step) for step in self.plan.steps_for(event_type))

    def _call(self, step: Step) -> _Call:
        if step.table is None:
            return _touching(step, self._tables, self.plan)
        kept = self._tables[step.table.name]
        match step.fold:
            case Fold.APPEND:
                append = appending(step, kept)
                return lambda event: append(event, None)
            case Fold.KEYS:
                return _by_keys(step, kept)
            case Fold.GROUP:
                return _by_key(step, grouping(step, kept))
            case _:
                return folding_rows(step, kept)


def _by_key(step: Step, apply: Callable[[Recorded[Any], Any], None]) -> _Call:
    locate = step.locate

    def call(event: Recorded[Any]) -> None:
        key = locate(event)
        if key is not None:
            apply(event, key)

    return call


def _by_keys(step: Step, kept: Remembered) -> _Call:
    locate, apply = step.locate, keying_each(step, kept)

    def call(event: Recorded[Any]) -> None:
        for key in dict.fromkeys(locate(event)):
            apply(event, key)

    return call


def _touching(step: Step, tables: dict[str, Remembered], plan: Plan) -> _Call:
    locate, apply = step.locate, touching(step, tables)
    changeable = {name for name in tables if name not in plan.grouped | plan.appended}

    def call(event: Recorded[Any]) -> None:
        pairs: tuple[tuple[AnyTable, Any], ...] = tuple(locate(event))
        for table, _ in pairs:
            if table.name not in changeable:
                refuse(table, "is not one that touches= can change")
        if pairs:
            apply(event, pairs)

    return call


def _fold_carefully(
    projections: Sequence[Projection],
    batches: Iterable[Events],
    registry: EventRegistry,
    *,
    rows: RowsByTable,
) -> int:
    """The same by the engine, in views in memory; gives how many events there were."""
    views = MemoryViews()
    engine = Engine(views, projections, registry)
    count = 0
    for events in batches:
        count += len(events)
        for part in _parts(events):
            engine.apply(Page(list(part), part[-1].position))
            if engine.failures:
                raise engine.failures[0]
    with views.snapshot() as snapshot:
        tables = [table for one in projections for table in one.tables]
        for table in (*tables, UNITS, WORK):
            if snapshot.columns(table):
                found = [row for page in snapshot.pages(table) for row in page]
                rows.setdefault(table.name, []).extend(found)
    return count


def _parts(events: Events) -> Iterator[Events]:
    for first in range(0, len(events), CAREFUL_EVENTS):
        yield events[first : first + CAREFUL_EVENTS]
