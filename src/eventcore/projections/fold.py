"""Folding a page: find the rows it touches, load them at once, change each, write each once.

A fold remembers rows between pages. That is safe because a projection's rows change only together
with its checkpoint: if the checkpoint is where this fold left it, its rows are what it remembers;
if it is not, the page is rolled back and everything remembered is dropped. What a handler is given
is as it would be loaded, and its own to change: whether a row was remembered can not be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import localcontext
from operator import attrgetter
from typing import Any, NamedTuple

from eventcore.errors import StoreError
from eventcore.projections.alike import Alike, alike_of, several
from eventcore.projections.applying import (
    Apply,
    Event,
    appending,
    grouping,
    keying,
    keying_each,
    refuse,
    touching,
)
from eventcore.projections.careful import (
    EXACT,
    Blocked,
    Failure,
    ParkedWork,
    fold_carefully,
    wants_of,
)
from eventcore.projections.pieces import Piece, Pieces
from eventcore.projections.plan import Plan, Step
from eventcore.projections.projection import Fold
from eventcore.projections.remembered import Remembered
from eventcore.projections.transactions import TableChanges
from eventcore.projections.units import Unit
from eventcore.projections.views import Views

_type_of = attrgetter("type")

Work = tuple[Apply, Event, Any]
"""One call to make: plain tuples, made once per event on the hottest path."""
Find = Callable[[Event], None]
"""Finds out what one handler is to do for an event, and notes the work and the rows it needs."""
Gate = Callable[[Event, tuple[Unit, ...]], bool]
"""Whether a piece of an event's work, which touches these units, is to be done here and now."""


class Folded(NamedTuple):
    """What a page comes to, ready to be written.

    Attributes:
        changes: One per table that changed.
        failure: Set if the page was folded only up to the event before that one.
        parked: Work that was not done, in the order of events.
    """

    changes: list[TableChanges]
    failure: Failure | None = None
    parked: Sequence[ParkedWork] = ()


class _EventFailedError(Exception):
    """Carries a failure out of the loops, so that it is looked at closer."""


class PageFold:
    """Folds pages for one projection.

    Args:
        plan: The projection's handlers.
        views: Where its rows are.
        gate: Lets pieces of work through; None: all. Nothing is said of those it does not.
    """

    def __init__(self, plan: Plan, views: Views, gate: Gate | None = None) -> None:
        self.plan = plan
        self._views = views
        self._gate = gate
        self._work: list[Work] = []
        self._tables: dict[str, Remembered] = {}
        self._finders: dict[str, tuple[Find, ...]] = {}
        self._blocked = Blocked()
        self.forget(empty=False)

    def forget(self, *, empty: bool) -> None:
        """Drop everything remembered of the rows.

        Args:
            empty: The projection's tables are known to be empty.
        """
        self._work.clear()
        self._finders.clear()
        self._blocked.restore()
        self._tables = {
            name: Remembered(
                table,
                grouped=name in self.plan.grouped,
                complete=empty and name not in self.plan.beside,
            )
            for name, table in self.plan.tables.items()
        }
        self._pieces = Pieces(self.plan, self._tables)
        self._alike = self._find_alike()

    def block(self, blocked: Blocked) -> None:
        """From now on, park or pass over the work that this says.

        Args:
            blocked: Gets what is parked. By default nothing can be: a page ends before the event at
                fault.
        """
        self._blocked = blocked
        self._finders.clear()
        self._alike = self._find_alike()

    def committed(self, position: int) -> None:
        """What was folded last is kept now, up to this position."""
        for remembered in self._tables.values():
            remembered.committed()
        if self._blocked.committed(position):
            self._finders.clear()
            self._alike = self._find_alike()

    def fold(self, events: Sequence[Event]) -> Folded:
        """Fold events above the checkpoint, in order.

        Returns:
            The changes of all events, without what is parked; or, if one can be neither applied nor
            parked, those of the events before it.

        Raises:
            StoreError: The database failed.
        """
        try:
            return Folded(self._fold(events), parked=tuple(self._blocked.parked))
        except (_EventFailedError, StoreError, TypeError):
            # Perhaps one event is wrong (a key that cannot be hashed is a TypeError), perhaps the
            # database: once more, piece by piece, to know which it is.
            self._restore()
        taken = [(event, *self._pieces_of(event)) for event in events]
        for _, pieces, _ in taken:
            self._want(pieces)
        for remembered in self._tables.values():
            remembered.load(self._views)
        failure = fold_carefully(taken, self._blocked)
        return Folded(self._changes(), failure, tuple(self._blocked.parked))

    def _fold(self, events: Sequence[Event]) -> list[TableChanges]:
        if self._alike is not None and self._fold_alike(self._alike, events):
            return self._changes()
        self._find(events)
        for remembered in self._tables.values():
            remembered.load(self._views)
        self._run()
        return self._changes()

    def _fold_alike(self, alike: Alike, events: Sequence[Event]) -> bool:
        """The same faster, where each event is for one row of one table; False if they are not.

        What needs no loop in Python has none.
        """
        try:
            types = list(map(_type_of, events))
            known = {type_: alike.calls[type_] for type_ in set(types)}
            if several in known.values():
                return False
            if None in known.values():  # other projections' events
                events = [event for event in events if known[event.type] is not None]
                types = list(map(_type_of, events))
            calls = list(map(known.__getitem__, types))
            keys = list(map(alike.locate, events))
            if None in keys:
                return False
            remembered = alike.remembered
            remembered.wanted.extend(keys)
        except Exception as error:
            raise _EventFailedError from error
        remembered.load(self._views)
        try:
            with localcontext(EXACT):
                alike.apply_all(calls, events, keys)
        except Exception as error:
            raise _EventFailedError from error
        return True

    def _changes(self) -> list[TableChanges]:
        changes = [remembered.changes() for remembered in self._tables.values()]
        return [change for change in changes if change is not None]

    def _find(self, events: Iterable[Event]) -> None:
        finders = self._finders
        for event in events:
            found = finders.get(event.type)
            if found is None:
                found = finders[event.type] = self._finders_for(event.type)
            try:
                for find in found:
                    find(event)
            except Exception as error:
                raise _EventFailedError from error

    def _run(self) -> None:
        try:
            with localcontext(EXACT):
                for apply, event, key in self._work:
                    apply(event, key)
        except Exception as error:
            raise _EventFailedError from error
        self._work.clear()

    def _restore(self) -> None:
        self._work.clear()
        self._blocked.restore()
        for remembered in self._tables.values():
            remembered.restore()

    def _pieces_of(self, event: Event) -> tuple[list[Piece], int]:
        """The pieces to do here, and how many there are altogether."""
        pieces = self._pieces.of(event)
        total = len(pieces)
        if self._gate is not None:
            pieces = [
                # What else it touches is perhaps another's, who knows nothing of it.
                piece if piece.cause is None else piece._replace(units=piece.units[:1])
                for piece in pieces
                if self._gate(event, piece.units)
            ]
        return pieces, total

    def _want(self, pieces: Iterable[Piece]) -> None:
        for remembered, key in wants_of(pieces):
            remembered.wanted.append(key)

    def _find_alike(self) -> Alike | None:
        """How all events are folded, if all are in one way: by one key, into one table."""
        if self._gate is not None or self._blocked:
            return None
        return alike_of(self.plan, self._tables)

    def _finders_for(self, event_type: str) -> tuple[Find, ...]:
        if self._gate is not None or self._blocked:
            return (self._find_gated,)
        return tuple(self._finder(step) for step in self.plan.steps_for(event_type))

    def _find_gated(self, event: Event) -> None:
        blocked = self._blocked
        pieces, total = self._pieces_of(event)
        if blocked:
            left = [piece for piece in pieces if not blocked.skips(piece)]
            pieces = [piece for piece in left if not blocked.holds(piece)]
            parked = [(piece, None) for piece in left if blocked.holds(piece)]
            if parked:
                blocked.park(parked, whole=len(parked) == total)
        for piece in pieces:
            if piece.cause is not None:
                raise piece.cause
            self._work.extend((job.apply, event, job.key) for job in piece.jobs)
        self._want(pieces)

    def _finder(self, step: Step) -> Find:
        add = self._work.append
        if step.table is None:
            return _finding_touched(step, self._tables, self.plan, add=add)
        remembered = self._tables[step.table.name]
        match step.fold:
            case Fold.APPEND:
                return _finding_appended(appending(step, remembered), add)
            case Fold.KEYS:
                return _finding_keys(step, remembered, add)
            case Fold.GROUP:
                return _finding_key(step, grouping(step, remembered), remembered, add=add)
            case _:
                return _finding_key(step, keying(step, remembered), remembered, add=add)


Add = Callable[[Work], None]


def _finding_appended(apply: Apply, add: Add) -> Find:
    def find(event: Event) -> None:
        add((apply, event, None))

    return find


def _finding_key(step: Step, apply: Apply, remembered: Remembered, *, add: Add) -> Find:
    locate, want = step.locate, remembered.wanted.append

    def find(event: Event) -> None:
        key = locate(event)
        if key is not None:
            want(key)
            add((apply, event, key))

    return find


def _finding_keys(step: Step, remembered: Remembered, add: Add) -> Find:
    locate, want, apply = step.locate, remembered.wanted.append, keying_each(step, remembered)

    def find(event: Event) -> None:
        for key in dict.fromkeys(locate(event)):
            want(key)
            add((apply, event, key))

    return find


def _finding_touched(step: Step, tables: dict[str, Remembered], plan: Plan, *, add: Add) -> Find:
    locate, apply = step.locate, touching(step, tables)
    wants = {
        name: remembered.wanted.append
        for name, remembered in tables.items()
        if name not in plan.grouped and name not in plan.appended
    }

    def find(event: Event) -> None:
        pairs = tuple(locate(event))
        if pairs:
            for table, key in pairs:
                if table.name not in wants:
                    refuse(table, "is not one that touches= can change")
                wants[table.name](key)
            add((apply, event, pairs))

    return find
