"""Which method of an aggregate handles which event: marks on methods, gathered once per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from eventcore.events.event import DomainEvent

Handler = Callable[[Any, Any], None]
_HandlerT = TypeVar("_HandlerT", bound=Callable[..., None])


class Appliers(dict[type[DomainEvent], Handler]):
    """Event class to the method that applies it: one lookup an event while folding."""

    def __missing__(self, event_class: type[DomainEvent]) -> Handler:
        # Kept under the class itself, so that the search happens once.
        found = next((self[base] for base in event_class.__mro__[1:] if base in self), _ignore)
        self[event_class] = found
        return found


class Guards(dict[type[DomainEvent], tuple[Handler, ...]]):
    """Event class to every rule it must pass, in the order they were written."""

    def __init__(self, declared: list[tuple[type[DomainEvent], Handler]]) -> None:
        super().__init__()
        self._declared = declared

    def __missing__(self, event_class: type[DomainEvent]) -> tuple[Handler, ...]:
        matching = (guard for guarded, guard in self._declared if issubclass(event_class, guarded))
        found = self[event_class] = tuple(dict.fromkeys(matching))
        return found


@dataclass(frozen=True, slots=True)
class Handlers:
    """How one aggregate class handles events.

    Attributes:
        appliers: What events do.
        guards: What they must pass.
        applied: What ``appliers`` was made of, without what was looked up since.
        declared: Every event class named by a mark.
    """

    appliers: Appliers
    guards: Guards
    applied: Mapping[type[DomainEvent], Handler]
    declared: frozenset[type[DomainEvent]]


def mark(
    name: str, event_classes: tuple[type[DomainEvent], ...]
) -> Callable[[_HandlerT], _HandlerT]:
    """Remember on a method which events it is for."""

    def decorate(method: _HandlerT) -> _HandlerT:
        setattr(method, name, event_classes)
        return method

    return decorate


def handlers_of(cls: type) -> Handlers:
    """Gather the marked methods of a class and its bases; an overriding one replaces the other."""
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    methods: list[Any] = [getattr(cls, name, None) for name in names]
    applied = {
        event_class: method
        for method in methods
        for event_class in getattr(method, "__applies__", ())
    }
    guarded = [
        (event_class, method)
        for method in methods
        for event_class in getattr(method, "__guards__", ())
    ]
    declared = frozenset(applied) | {event_class for event_class, _ in guarded}
    return Handlers(Appliers(applied), Guards(guarded), applied, declared)


def _ignore(_aggregate: Any, _event: Any) -> None:
    """An event that changes nothing but the version."""
