"""Plan: a projection's handlers, looked up by the stored name of an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from eventcore.errors import RegistrationError
from eventcore.events.event import DomainEvent
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.projection import (
    AnyTable,
    Fold,
    Locate,
    Projection,
    handlers_of,
    table_of,
)


class Step(NamedTuple):
    """One handler, ready to be called."""

    fold: Fold
    table: AnyTable | None
    locate: Locate
    call: Callable[..., Any]


class _Rule(NamedTuple):
    event_types: tuple[type[DomainEvent], ...]
    internal: bool
    step: Step


class Plan:
    """Which handlers of a projection an event meets.

    Args:
        projection: Whose handlers.
        registry: Tells which class an event's stored name belongs to.
        is_alone: No other projection is given the same events: they need not stay decoded.

    Raises:
        RegistrationError: A table is changed in two ways (by key, by group, by appending), which
        would
            not see each other's rows.
    """

    def __init__(
        self,
        projection: Projection,
        registry: EventRegistry = default_registry,
        *,
        is_alone: bool = False,
    ) -> None:
        self.projection = projection
        self.is_alone = is_alone
        self._registry = registry
        self._steps: dict[str, tuple[Step, ...]] = {}
        cls = type(projection)
        self.by_page = cls.takes_pages()
        self._rules = [
            _Rule(
                handler.event_types,
                handler.internal,
                Step(
                    handler.fold,
                    table_of(cls, handler),
                    handler.locate or _nowhere,
                    getattr(projection, name),
                ),
            )
            for name, handler in handlers_of(cls)
        ]
        if self.by_page:
            self._rules = [
                _Rule(
                    projection.listens,
                    internal=False,
                    step=Step(Fold.APPEND, None, _nowhere, _nowhere),
                )
            ]
        self.steps = [rule.step for rule in self._rules]
        self.folds = {rule.step.fold for rule in self._rules}
        self.beside = frozenset(table.name for table in projection.beside)
        self.tables: dict[str, AnyTable] = {
            table.name: table for table in (*projection.tables, *projection.beside)
        }
        self.grouped = self._tables_folded(Fold.GROUP)
        self.appended = self._tables_folded(Fold.APPEND)
        keyed = self._tables_folded(Fold.KEY, Fold.KEYS)
        mixed = (self.grouped & keyed) | (self.appended & (keyed | self.grouped))
        if mixed:
            raise RegistrationError(
                message=f"Projection {projection.name}: all handlers that change {min(mixed)} must "
                "do so in one way: by key, by group, or by appending"
            )

    def _tables_folded(self, *folds: Fold) -> set[str]:
        steps = (rule.step for rule in self._rules)
        return {step.table.name for step in steps if step.table and step.fold in folds}

    def steps_for(self, event_type: str) -> tuple[Step, ...]:
        """The handlers for events stored under this name, in the order of definition."""
        steps = self._steps.get(event_type)
        if steps is None:
            event_class = self._registry.get(event_type) or DomainEvent
            steps = tuple(rule.step for rule in self._rules if _meets(rule, event_class))
            self._steps[event_type] = steps
        return steps

    def types(self) -> frozenset[str] | None:
        """Stored names of all events that meet a handler; None if that is any, known or not."""
        if any(DomainEvent in rule.event_types for rule in self._rules):
            return None
        return frozenset(
            event_class.__event__.type
            for event_class in self._registry
            if any(_meets(rule, event_class) for rule in self._rules)
        )


def _meets(rule: _Rule, event_class: type[DomainEvent]) -> bool:
    if event_class.__event__.internal and not rule.internal:
        # Asked for by name, an internal event is meant; as one of many, it is not.
        return event_class in rule.event_types
    return issubclass(event_class, rule.event_types)


def _nowhere(_event: Any) -> None:
    return None
