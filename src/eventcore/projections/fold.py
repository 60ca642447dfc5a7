"""Folding a page: find the rows it touches, load them at once, change each, write each once.

A fold remembers rows between pages. That is safe because a projection's rows change only together
with its checkpoint: if the checkpoint is where this fold left it, its rows are what it remembers;
if it is not, the page is rolled back and everything remembered is dropped. What a handler is given
is as it would be loaded, and its own to change: whether a row was remembered can not be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Context, localcontext
from typing import Any, Final, NamedTuple, NoReturn

from eventcore.errors import StoreError
from eventcore.events.recorded import Recorded
from eventcore.projections.plan import Plan, Step
from eventcore.projections.projection import AnyTable, Fold
from eventcore.projections.remembered import Remembered
from eventcore.projections.transactions import TableChanges
from eventcore.projections.views import Views

EXACT: Final = Context(prec=80)
"""How handlers calculate, whatever the calling thread is set to: sums of money are exact."""

Event = Recorded[Any]
Apply = Callable[[Event, Any], None]
"""Calls one handler for an event and what it touches, and keeps the outcome for the page's end."""
Work = tuple[Apply, Event, Any]
"""One call to make: plain tuples, made once per event on the hottest path."""
Find = Callable[[Event], None]
"""Finds out what one handler is to do for an event, and notes the work and the rows it needs."""


class Failure(NamedTuple):
    """The first event of a page that a projection could not apply, and why."""

    event: Event
    cause: Exception


class Folded(NamedTuple):
    """What a page comes to, ready to be written.

    Attributes:
        changes: One per table that changed.
        failure: Set if the page was folded only up to the event before that one.
    """

    changes: list[TableChanges]
    failure: Failure | None = None


class _EventFailedError(Exception):
    """Carries the place of a failure out of the loops; never leaves this module."""

    def __init__(self, event: Event, cause: Exception) -> None:
        self.failure = Failure(event, cause)


class PageFold:
    """Folds pages for one projection.

    Args:
        plan: The projection's handlers.
        views: Where its rows are.
    """

    def __init__(self, plan: Plan, views: Views) -> None:
        self.plan = plan
        self._views = views
        self._work: list[Work] = []
        self._tables: dict[str, Remembered] = {}
        self._finders: dict[str, tuple[Find, ...]] = {}
        self.forget(empty=False)

    def forget(self, *, empty: bool) -> None:
        """Drop everything remembered.

        Args:
            empty: The projection's tables are known to be empty.
        """
        self._work.clear()
        self._finders.clear()
        self._tables = {
            name: Remembered(table, grouped=name in self.plan.grouped, complete=empty)
            for name, table in self.plan.tables.items()
        }

    def committed(self) -> None:
        """What was folded last is kept now."""
        for remembered in self._tables.values():
            remembered.committed()

    def fold(self, events: Sequence[Event]) -> Folded:
        """Fold events above the checkpoint, in order.

        Returns:
            The changes of all events; or, if one cannot be applied, those of the events before it.

        Raises:
            StoreError: The database failed.
        """
        try:
            return Folded(self._fold(events))
        except (_EventFailedError, StoreError, TypeError):
            # Perhaps one event is wrong (a key that cannot be hashed is a TypeError), perhaps the
            # database: once more, every row checked as it is made, to know which event it is; then
            # the events before that one alone.
            self._restore()
        try:
            for event in events:
                self._check(event)
            self._restore()
            return Folded(self._fold(events))
        except _EventFailedError as failed:
            self._restore()
            failure = failed.failure
        before = [event for event in events if event.position < failure.event.position]
        return Folded(self._fold(before), failure)

    def _fold(self, events: Iterable[Event]) -> list[TableChanges]:
        self._find(events)
        for remembered in self._tables.values():
            remembered.load(self._views)
        self._run()
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
                raise _EventFailedError(event, error) from error

    def _run(self) -> None:
        event: Event | None = None
        try:
            with localcontext(EXACT):
                for apply, event, key in self._work:
                    apply(event, key)
        except Exception as error:
            assert event is not None
            raise _EventFailedError(event, error) from error
        self._work.clear()

    def _restore(self) -> None:
        self._work.clear()
        for remembered in self._tables.values():
            remembered.restore()

    def _check(self, event: Event) -> None:
        """Fold one event on top of those before it, and find fault with it if there is any."""
        self._find((event,))
        keys = {name: list(remembered.wanted) for name, remembered in self._tables.items()}
        try:
            for name, remembered in self._tables.items():
                remembered.check_keys(keys[name])
        except StoreError as error:
            raise _EventFailedError(event, error) from error
        for remembered in self._tables.values():
            remembered.load_more(self._views)
        self._run()
        try:
            for name, remembered in self._tables.items():
                remembered.check(keys[name])
        except StoreError as error:
            raise _EventFailedError(event, error) from error

    def _finders_for(self, event_type: str) -> tuple[Find, ...]:
        return tuple(self._finder(step) for step in self.plan.steps_for(event_type))

    def _finder(self, step: Step) -> Find:
        add = self._work.append
        if step.table is None:
            return _finding_touched(step, self._tables, self.plan, add=add)
        remembered = self._tables[step.table.name]
        match step.fold:
            case Fold.APPEND:
                return _finding_appended(_appending(step, remembered), add)
            case Fold.KEYS:
                return _finding_keys(step, remembered, add)
            case Fold.GROUP:
                return _finding_key(step, _grouping(step, remembered), remembered, add=add)
            case _:
                return _finding_key(step, _keying(step, remembered), remembered, add=add)


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
    locate, want, apply = step.locate, remembered.wanted.append, _keying_each(step, remembered)

    def find(event: Event) -> None:
        for key in dict.fromkeys(locate(event)):
            want(key)
            add((apply, event, key))

    return find


def _finding_touched(step: Step, tables: dict[str, Remembered], plan: Plan, *, add: Add) -> Find:
    locate, apply = step.locate, _touching(step, tables)
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
                    _refuse(table, "is not one that touches= can change")
                wants[table.name](key)
            add((apply, event, pairs))

    return find


def _keying(step: Step, remembered: Remembered) -> Apply:
    call, rows, table, key_of = (
        step.call,
        remembered.rows,
        remembered.table,
        remembered.table.key_of,
    )
    settled = table.settled

    def apply(event: Event, key: Any) -> None:
        before = rows.get(key)
        row = call(before if before is None or settled is None else settled(before), event)
        if row is not None and key_of(row) != key:
            _refuse(table, "got a row whose key is not the one the event touches")
        rows[key] = row

    return apply


def _keying_each(step: Step, remembered: Remembered) -> Apply:
    call, rows, table, key_of = (
        step.call,
        remembered.rows,
        remembered.table,
        remembered.table.key_of,
    )

    settled = table.settled

    def apply(event: Event, key: Any) -> None:
        before = rows.get(key)
        row = call(before if before is None or settled is None else settled(before), event, key)
        if row is not None and key_of(row) != key:
            _refuse(table, "got a row whose key is not the one the event touches")
        rows[key] = row

    return apply


def _grouping(step: Step, remembered: Remembered) -> Apply:
    call, groups, table = step.call, remembered.rows, remembered.table
    key_of, group_of, settled = table.key_of, table.group_of, table.settled

    def apply(event: Event, group: Any) -> None:
        before = groups.get(group) or ()
        rows = list(call(list(map(settled, before) if settled else before), event))
        if rows and set(map(group_of, rows)) != {group}:
            _refuse(table, "got a row of another group than the one the event touches")
        if len(rows) > 1:
            rows.sort(key=key_of)
            if len(set(map(key_of, rows))) < len(rows):
                _refuse(table, "got two rows with one key")
        groups[group] = rows

    return apply


def _touching(step: Step, tables: dict[str, Remembered]) -> Apply:
    call = step.call
    rows_of = {table.table: table.rows for table in tables.values()}

    def apply(event: Event, pairs: Sequence[tuple[AnyTable, Any]]) -> None:
        held = [rows_of[table].get(key) for table, key in pairs]
        # The handler has this list for itself: it may put rows into it and give it back.
        given = [
            row if row is None or table.settled is None else table.settled(row)
            for (table, _), row in zip(pairs, held, strict=True)
        ]
        for (table, key), before, row in zip(pairs, held, call(given, event), strict=True):
            if row is before:
                continue
            if row is not None and table.key_of(row) != key:
                _refuse(table, "got a row whose key is not the one the event touches")
            rows_of[table][key] = row

    return apply


def _appending(step: Step, remembered: Remembered) -> Apply:
    call, row_type = step.call, remembered.table.row
    add, add_all = remembered.appended.append, remembered.appended.extend

    def apply(event: Event, _key: Any) -> None:
        made = call(event)
        if type(made) is row_type:
            add(made)
        elif made is not None:
            add_all(made)

    return apply


def _refuse(table: AnyTable, problem: str) -> NoReturn:
    msg = f"table {table.name} {problem}"
    raise ValueError(msg)
