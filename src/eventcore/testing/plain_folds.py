"""A projection's handlers called event by event, by nothing but loops: what its rows ought to be.

It shares no code with the engine that keeps read models, so that neither hides a mistake of the
other: rows are in dictionaries, nothing is a page, nothing is remembered, loaded or stored.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, localcontext
from typing import Any, Final

from eventcore.events.event import DomainEvent
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.projection import Fold, Handler, Projection, handlers_of, table_of
from eventcore.projections.tables import AnyTable, Key

Rows = dict[str, dict[Key, Any]]
"""Rows by key, by the name of their table."""

_EXACT: Final = Context(prec=80)
"""Handlers are called with exact decimal arithmetic; documented in ``docs/reference/limits.md``."""


class HandlerFailedError(Exception):
    """A handler, or what says which rows an event touches, raised or gave what cannot be kept."""

    def __init__(self, function: str, event: Recorded[Any], problem: str) -> None:
        super().__init__(f"{function} on event {event.position}, {event.type}: {problem}")


class PlainFold:
    """Rows of one projection, made event by event.

    Args:
        projection: Whose handlers are called.
        registry: Tells which class an event's stored name belongs to.
    """

    def __init__(self, projection: Projection, registry: EventRegistry = default_registry) -> None:
        self._projection = projection
        self._registry = registry
        self._handlers = handlers_of(type(projection))
        self.rows: Rows = {table.name: {} for table in (*projection.tables, *projection.beside)}

    def apply(self, events: Iterable[Recorded[Any]]) -> Rows:
        """Call the handlers for each event, in order; gives all rows there are then.

        Raises:
            HandlerFailedError: Which handler failed, on which event, and how.
        """
        for event in events:
            for function, handler in self._handlers:
                if not self._is_for(handler, event):
                    continue
                try:
                    with localcontext(_EXACT):
                        self._call(function, handler, event)
                except Exception as error:
                    problem = f"{type(error).__name__}: {error}"
                    raise HandlerFailedError(function, event, problem) from error
        return self.rows

    def _is_for(self, handler: Handler, event: Recorded[Any]) -> bool:
        event_class = self._registry.get(event.type) or DomainEvent
        if event_class.__event__.internal and not handler.internal:
            return event_class in handler.event_types
        return issubclass(event_class, handler.event_types)

    def _call(self, function: str, handler: Handler, event: Recorded[Any]) -> None:
        call = getattr(self._projection, function)
        table = table_of(type(self._projection), handler)
        if handler.fold is Fold.APPEND:
            assert table is not None
            self._put(table, _as_rows(call(event)))
            return
        assert handler.locate is not None
        found = handler.locate(event)
        if handler.fold is Fold.TOUCHES:
            pairs = tuple(found)
            # An event that touches nothing is passed over.
            if pairs:
                self._touch(pairs, call([self._given(*pair) for pair in pairs], event))
            return
        assert table is not None
        if handler.fold is Fold.KEYS:
            for key in dict.fromkeys(found):
                self._replace(table, key, call(self._given(table, key), event, key))
        elif found is None:
            return
        elif handler.fold is Fold.KEY:
            self._replace(table, found, call(self._given(table, found), event))
        else:
            self._regroup(table, found, list(call(self._group(table, found), event)))

    def _given(self, table: AnyTable, key: Key) -> Any:
        # A copy: a handler may change what it is given.
        return copy.deepcopy(self.rows[table.name].get(key))

    def _group(self, table: AnyTable, group: Key) -> list[Any]:
        rows = self.rows[table.name].values()
        found = [copy.deepcopy(row) for row in rows if table.group_of(row) == group]
        return sorted(found, key=table.key_of)

    def _regroup(self, table: AnyTable, group: Key, rows: Sequence[Any]) -> None:
        for key in [table.key_of(row) for row in self._group(table, group)]:
            del self.rows[table.name][key]
        for row in rows:
            if table.group_of(row) != group:
                _refuse(f"a row of another group of {table.name} than the one the event touches")
        self._put(table, rows)

    def _touch(self, pairs: Sequence[tuple[AnyTable, Key]], rows: Iterable[Any]) -> None:
        for (table, key), row in zip(pairs, rows, strict=True):
            self._replace(table, key, row)

    def _replace(self, table: AnyTable, key: Key, row: Any) -> None:
        if row is None:
            self.rows[table.name].pop(key, None)
        elif table.key_of(row) != key:
            _refuse(f"a row of {table.name} whose key is not the one the event touches")
        else:
            self.rows[table.name][key] = row

    def _put(self, table: AnyTable, rows: Iterable[Any]) -> None:
        for row in rows:
            self.rows[table.name][table.key_of(row)] = copy.deepcopy(row)


def _as_rows(made: Any) -> Iterator[Any]:
    if made is None:
        return
    if hasattr(made, "_fields"):
        yield made
        return
    yield from made


def _refuse(problem: str) -> None:
    msg = f"it gave {problem}"
    raise ValueError(msg)
