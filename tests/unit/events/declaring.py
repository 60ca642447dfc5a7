"""Event classes made on the spot, to compare one shape of a payload with another."""

from collections.abc import Callable
from types import new_class
from typing import Any

from eventcore.events import DomainEvent, EventRegistry, Id, Payload, upcast


def declare(
    fields: dict[str, Any], *, version: int = 1, key: str = "thing_id", **arguments: Any
) -> EventRegistry:
    """A registry of one type with these fields; ``(annotation, default)`` for an optional one."""
    registry = EventRegistry()
    fields = {key: Id, **fields}
    body: dict[str, Any] = {
        "__module__": __name__,
        "__annotations__": {
            name: field[0] if isinstance(field, tuple) else field for name, field in fields.items()
        },
        **{name: field[1] for name, field in fields.items() if isinstance(field, tuple)},
        **{f"_step_{n}": staticmethod(_same(n)) for n in range(1, version)},
    }
    arguments = {
        "type": "thing.made",
        "version": version,
        "category": "thing",
        "key": key,
        **arguments,
    }
    new_class(
        "ThingMade", (DomainEvent,), {**arguments, "registry": registry}, lambda to: to.update(body)
    )
    return registry


def _same(from_version: int) -> Callable[[Payload], Payload]:
    @upcast(from_version=from_version)
    def same(payload: Payload) -> Payload:
        return payload

    return same
