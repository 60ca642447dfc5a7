"""Aggregate: what a stream of events folds to, and the rules that decide which events may follow.

Pure: no clock, no storage, no randomness. The same events always fold to the same state::

    @dataclass(kw_only=True)
    class Account(Aggregate, category="account", begins_with=AccountOpened):
        balance: int = 0

        @applies(MoneyPaidIn)                       # never fails; the only thing that changes state
        def _paid_in(self, event: MoneyPaidIn) -> None:
            self.balance += event.amount

        @guards(MoneyPaidIn)                        # the rule; changes nothing
        def _may_be_paid_in(self, event: MoneyPaidIn) -> None:
            if event.amount <= 0:
                self.refuse("amount-not-positive", "an amount is above zero")

        def pay_in(self, amount: int) -> None:      # convenience for commands
            self.record(MoneyPaidIn(account_id=self.id, amount=amount))

The rules live here once: commands reach them through methods such as ``pay_in``, imports by
recording the events they received.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, Protocol, Self, TypeVar, overload

from typing_extensions import override

from eventcore.aggregates.dispatch import Handlers, handlers_of, mark
from eventcore.aggregates.fingerprints import fingerprint_of
from eventcore.aggregates.state import copied, from_json, to_json
from eventcore.errors import RegistrationError, RuleViolationError
from eventcore.events.event import DomainEvent

EventT = TypeVar("EventT", bound=DomainEvent)
OtherT = TypeVar("OtherT", bound=DomainEvent)
AggregateT = TypeVar("AggregateT")

_classes: dict[str, type[Aggregate]] = {}


@dataclass(frozen=True, slots=True)
class Claim:
    """A value that only one aggregate may hold at a time, such as a user's e-mail address.

    Attributes:
        kind: What it is, e.g. ``email``; a lower-case word.
        value: In the one spelling that counts as the same. May be personal: never shown or stored.
        reason: Code of the refusal if another aggregate holds it.
    """

    kind: str
    value: str = field(repr=False)
    reason: str


class _Mark(Protocol[EventT]):
    """Decorates a method that takes one of these events."""

    def __call__(
        self, method: Callable[[AggregateT, EventT], None], /
    ) -> Callable[[AggregateT, EventT], None]: ...


@overload
def applies(event_class: type[EventT], /) -> _Mark[EventT]: ...
@overload
def applies(event_class: type[EventT], other: type[OtherT], /) -> _Mark[EventT | OtherT]: ...
@overload
def applies(*event_classes: type[DomainEvent]) -> _Mark[Any]: ...
def applies(*event_classes: type[DomainEvent]) -> _Mark[Any]:
    """Mark a method as what these events do to the state. It must not fail on any stored history.

    The most derived event class decides; an event that no method applies only raises the version.
    """
    return mark("__applies__", event_classes)


@overload
def guards(event_class: type[EventT], /) -> _Mark[EventT]: ...
@overload
def guards(event_class: type[EventT], other: type[OtherT], /) -> _Mark[EventT | OtherT]: ...
@overload
def guards(*event_classes: type[DomainEvent]) -> _Mark[Any]: ...
def guards(*event_classes: type[DomainEvent]) -> _Mark[Any]:
    """Mark a method as a rule that these events, and those of their subclasses, must pass.

    Rules run in the order they are written, those of base classes first; each changes nothing, and
    either calls :meth:`Aggregate.refuse` or returns.
    """
    return mark("__guards__", event_classes)


@dataclass(kw_only=True)
class Aggregate:
    """Base of every aggregate: subclasses are ``kw_only`` dataclasses, each field with a default.

    Class arguments:
        category: First part of the stream's name. Without it the class is an abstract base.
        begins_with: Event class, or classes, that begin a stream. Any other event needs the
            aggregate to exist (``not-found``), these need that it does not (``already-exists``).
            Without it the class's own rules decide.

    Attributes:
        id: The stream's name without its category.
        version: Number of events folded and recorded; 0: it does not exist.
        pending: Events recorded since it was loaded, not stored yet.

    Raises:
        RegistrationError: On definition: the category is taken, or a handled event belongs to
            another one.
    """

    category: ClassVar[str] = ""
    begins_with: ClassVar[tuple[type[DomainEvent], ...]] = ()
    fold_version: ClassVar[int] = 1
    """Raise it when the fold changes in a way that its own code does not show."""
    _handlers: ClassVar[Handlers]

    id: str
    version: int = 0
    pending: list[DomainEvent] = field(default_factory=list, repr=False, compare=False)

    @override
    def __init_subclass__(
        cls,
        *,
        category: str = "",
        begins_with: type[DomainEvent] | tuple[type[DomainEvent], ...] = (),
    ) -> None:
        super().__init_subclass__()
        if begins_with:
            cls.begins_with = begins_with if isinstance(begins_with, tuple) else (begins_with,)
        cls._handlers = handlers_of(cls)
        if category:
            cls.category = category
            _register(cls, cls._handlers)

    @classmethod
    def stream_of(cls, id_: str) -> str:
        """Name of the stream of the aggregate with this id."""
        return f"{cls.category}-{id_}"

    @property
    def stream(self) -> str:
        """Name of its stream, e.g. ``order-536365``."""
        return f"{self.category}-{self.id}"

    @property
    def exists(self) -> bool:
        """Whether anything has happened to it."""
        return self.version > 0

    def fold(self, events: Iterable[DomainEvent]) -> Self:
        """Apply stored events, in order, unchecked: what is stored has happened. Gives itself."""
        appliers = self._handlers.appliers
        for event in events:
            appliers[type(event)](self, event)
            self.version += 1
        return self

    def record(self, event: DomainEvent) -> None:
        """Let an event happen: check it against every rule, apply it, keep it to be stored.

        Raises:
            RuleViolationError: A rule refuses it. Nothing has changed.
        """
        self.check(event)
        self._handlers.appliers[type(event)](self, event)
        self.version += 1
        self.pending.append(event)

    def check(self, event: DomainEvent) -> None:
        """Check an event against every rule without applying it.

        Raises:
            RuleViolationError: A rule refuses it.
        """
        declared = event.__event__
        if declared.category != self.category or getattr(event, declared.key) != self.id:
            self.refuse("id-mismatch", "the event belongs to another stream")
        if self.begins_with:
            begins = isinstance(event, self.begins_with)
            if begins and self.version:
                self.refuse("already-exists", "it exists already")
            if not begins and not self.version:
                self.refuse("not-found", "it does not exist")
        for guard in self._handlers.guards[type(event)]:
            guard(self, event)

    def refuse(self, reason: str, message: str) -> NoReturn:
        """Refuse what is being checked.

        Args:
            reason: Stable code, e.g. ``invalid-transition``.
            message: What is wrong and what would be right, without personal values.

        Raises:
            RuleViolationError: Always.
        """
        raise RuleViolationError(reason=reason, aggregate=self.stream, message=message)

    def claims(self) -> frozenset[Claim]:
        """The values it holds now that no other aggregate may hold at the same time."""
        return frozenset()

    def copy(self) -> Self:
        """An aggregate in the same state that can be changed without changing this one."""
        twin = copy.copy(self)
        twin.__dict__.update({name: copied(value) for name, value in self.__dict__.items()})
        return twin

    def to_json(self) -> bytes:
        """The state as JSON, without pending events: what snapshots keep."""
        return to_json(self)

    @classmethod
    def from_json(cls, state: bytes) -> Self:
        """The aggregate that :meth:`to_json` wrote.

        Raises:
            ValueError: It is not a state of this class.
        """
        return from_json(cls, state)

    @classmethod
    def fingerprint(cls) -> str:
        """Names the fold: the code of the appliers, the fields, the schema versions of the events.

        A snapshot taken under another fingerprint is ignored.
        """
        return fingerprint_of(cls, cls._handlers, cls.fold_version)


def aggregate_class_of(category: str) -> type[Aggregate] | None:
    """The aggregate class whose streams have this category; None for log-only streams."""
    return _classes.get(category)


def aggregate_classes() -> tuple[type[Aggregate], ...]:
    """Every aggregate class there is, by category."""
    return tuple(_classes[category] for category in sorted(_classes))


def _register(cls: type[Aggregate], handlers: Handlers) -> None:
    for event_class in (*handlers.declared, *cls.begins_with):
        if event_class.__event__.category not in {"", cls.category}:
            raise RegistrationError(
                message=(
                    f"Aggregate {cls.__name__} ({cls.category}) handles {event_class.__name__}, "
                    f"which belongs to {event_class.__event__.category}"
                )
            )
    present = _classes.setdefault(cls.category, cls)
    if present is not cls:
        raise RegistrationError(
            message=(
                f"Category {cls.category!r} is declared twice: "
                f"{present.__module__}.{present.__qualname__} and "
                f"{cls.__module__}.{cls.__qualname__}"
            )
        )
