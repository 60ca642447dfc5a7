"""DomainEvent: what happened, as a frozen model of the payload alone, under a stable stored name.

::

    class OrderPaid(DomainEvent, type="order.paid", version=1, category="order", key="order_id"):
        order_id: Id
        amount: Money
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from typing_extensions import override

from eventcore.errors import RegistrationError
from eventcore.events.limits import CATEGORY_LENGTH_MAX, EVENT_TYPE_LENGTH_MAX

_TYPE_FORM = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_CATEGORY_FORM = re.compile(r"[a-z][a-z0-9_]*")

Payload = dict[str, Any]
"""A payload before it is an event: JSON names to JSON values."""

Upcast = Callable[[Payload], Payload]
"""Turns the payload of one schema version into that of the next."""

_UpcastT = TypeVar("_UpcastT", bound=Upcast)


def upcast(*, from_version: int) -> Callable[[_UpcastT], _UpcastT]:
    """Mark a static method of an event class as the step from ``from_version`` to the next.

    The function gets the stored payload (JSON names, JSON values) and returns the next version's::

        class OrderPaid(DomainEvent, type="order.paid", version=2, ...):
            @staticmethod
            @upcast(from_version=1)
            def _currency_was_always_gbp(payload: Payload) -> Payload:
                return {**payload, "currency": "GBP"}
    """

    def mark(function: _UpcastT) -> _UpcastT:
        function.__upcasts_from__ = from_version  # type: ignore[attr-defined]  # a mark on a function
        return function

    return mark


class PayloadModel(BaseModel):
    """Base of everything inside a payload: frozen, strict, closed, camelCase on the wire."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # a rejected value may be personal: it stays out of messages
        protected_namespaces=(),  # the catalogue has modelId, modelType, modelVersion
    )


class EventMetadata(PayloadModel):
    """Base of typed metadata: the named keys are checked, all others are kept."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class EventDeclaration:
    """How an event class is stored.

    Attributes:
        type: Stored name, e.g. ``order.paid``; empty on an abstract base.
        version: Schema version of the payload, from 1; 0 on an abstract base.
        category: First part of the stream's name, e.g. ``order``.
        key: Python name of the payload field that holds the rest of it.
        group: Family of events: user, business, system, integration, ml, or one of your own.
        metadata: Model of the metadata keys that are checked.
        internal: Bookkeeping of the library, left out of read models that list events.
        upcasts: From old schema version to the function that leads to the next.
    """

    type: str = ""
    version: int = 0
    category: str = ""
    key: str = ""
    group: str = ""
    metadata: builtins.type[EventMetadata] | None = None
    internal: bool = False
    upcasts: Mapping[int, Upcast] = field(default_factory=dict)


class DomainEvent(PayloadModel):
    """Base of every event: the payload, immutable once made.

    Its attributes cannot be set. A dict inside it (free JSON, ``metrics``) could be changed in
    place, which changes this object alone: treat it as read-only, or copy it. Each read of a log
    gives objects of its own, and copying on every access would cost more than reading does.

    Class arguments:
        type: Stored name, ``category.verb`` in the past tense. Never changes once an event is
            stored.
        version: Schema version of the payload, from 1.
        category: First part of the stream's name; inherited by subclasses.
        key: Name of the field that holds the aggregate's id; inherited by subclasses.
        group: Family the event belongs to (user, business, system, integration, ml); inherited.
        metadata: Typed metadata model, a subclass of :class:`EventMetadata`; inherited.
        internal: True for bookkeeping events; inherited.
        registry: Where to register; the library's own by default.

    A class without ``type`` is an abstract base and is not registered.

    Raises:
        RegistrationError: The name is taken, malformed, or a step of the upcaster chain is missing.
    """

    __event__: ClassVar[EventDeclaration] = EventDeclaration()
    """How the class is stored. A dunder, so that no payload field can ever collide with it."""

    @override
    def __init_subclass__(
        cls,
        *,
        type: str | None = None,
        version: int = 1,
        category: str | None = None,
        key: str | None = None,
        group: str | None = None,
        metadata: type[EventMetadata] | None = None,
        internal: bool | None = None,
        registry: EventRegistry | None = None,
    ) -> None:
        # States the class arguments for type checkers; pydantic calls the method below once the
        # fields are known.
        super().__init_subclass__()

    @classmethod
    @override
    def __pydantic_init_subclass__(
        cls,
        *,
        type: str | None = None,
        version: int = 1,
        registry: EventRegistry | None = None,
        **inherited: Any,
    ) -> None:
        super().__pydantic_init_subclass__()
        given = {name: value for name, value in inherited.items() if value is not None}
        # A subclass inherits where events of its family go, but never a name or upcasters.
        cls.__event__ = replace(cls.__event__, type="", version=0, upcasts={}, **given)
        if type is None:
            return
        cls.__event__ = replace(
            cls.__event__, type=type, version=version, upcasts=_collect_upcasts(cls)
        )
        _check_declaration(cls)
        (default_registry if registry is None else registry).register(cls)

    def to_json(self) -> bytes:
        """The payload as compact JSON: camelCase, absent instead of null."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True, exclude_none=True)

    @override
    def __repr_args__(self) -> Any:
        # Payloads hold personal values; logs and tracebacks show representations.
        key = self.__event__.key
        return [(key, getattr(self, key, None))]


class EventRegistry:
    """The event types an application knows.

    Most programs use :data:`default_registry`, where classes land by being defined. A registry of
    one's own serves tests and programs that read two applications' logs.

    Args:
        extends: Types of another registry that are known here as well.
    """

    def __init__(self, extends: EventRegistry | None = None) -> None:
        self._by_type: dict[str, type[DomainEvent]] = {
            cls.__event__.type: cls for cls in extends or ()
        }

    def register(self, event_class: type[DomainEvent]) -> None:
        """Add a class under its stored name.

        Raises:
            RegistrationError: Another class holds the name.
        """
        present = self._by_type.setdefault(event_class.__event__.type, event_class)
        if present is not event_class:
            raise RegistrationError(
                message=(
                    f"Event type {event_class.__event__.type!r} is declared twice: "
                    f"{present.__module__}.{present.__qualname__} and "
                    f"{event_class.__module__}.{event_class.__qualname__}"
                )
            )

    def get(self, event_type: str) -> type[DomainEvent] | None:
        """The class stored under this name, or None."""
        return self._by_type.get(event_type)

    def __contains__(self, event_type: object) -> bool:
        return event_type in self._by_type

    def __iter__(self) -> Iterator[type[DomainEvent]]:
        """All classes, by name."""
        return iter([self._by_type[name] for name in sorted(self._by_type)])

    def __len__(self) -> int:
        return len(self._by_type)


default_registry = EventRegistry()
"""Where event classes register themselves unless told otherwise."""


def stream_of(event: DomainEvent) -> str:
    """Name of the stream an event belongs to, e.g. ``order-536365``."""
    declaration = event.__event__
    return f"{declaration.category}-{getattr(event, declaration.key)}"


def _collect_upcasts(cls: type[DomainEvent]) -> dict[int, Upcast]:
    steps: dict[int, Upcast] = {}
    for name in vars(cls):
        function = getattr(cls, name, None)
        from_version = getattr(function, "__upcasts_from__", None)
        if from_version is not None and function is not None:
            if from_version in steps:
                raise RegistrationError(
                    message=f"{cls.__name__} has two upcasters from version {from_version}"
                )
            steps[from_version] = function
    return steps


def _check_declaration(cls: type[DomainEvent]) -> None:
    declared = cls.__event__
    steps_needed, steps_given = set(range(1, declared.version)), set(declared.upcasts)
    problem = None
    if not _TYPE_FORM.fullmatch(declared.type) or len(declared.type) > EVENT_TYPE_LENGTH_MAX:
        problem = f"the type {declared.type!r} is not of the form category.verb in lower case"
    elif not _CATEGORY_FORM.fullmatch(declared.category) or (
        len(declared.category) > CATEGORY_LENGTH_MAX
    ):
        problem = f"the category {declared.category!r} is not a lower-case word (give category=...)"
    elif declared.key not in cls.model_fields:
        problem = f"the key {declared.key!r} is not one of its fields (give key=...)"
    elif declared.version < 1:
        problem = "versions count from 1"
    elif missing := sorted(steps_needed - steps_given):
        problem = f"version {declared.version} has no upcaster from version {missing[0]}"
    elif surplus := sorted(steps_given - steps_needed):
        problem = f"version {declared.version} cannot have an upcaster from version {surplus[0]}"
    if problem:
        raise RegistrationError(message=f"Event class {cls.__name__}: {problem}")
