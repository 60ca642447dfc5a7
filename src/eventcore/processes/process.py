"""ProcessManager: events in, commands out; declared like a read model.

::

    class PaymentDeadline(ProcessManager):
        name = "payment_deadline"
        table = Table("payment_deadlines", DeadlineRow, key=["order_id"])
        sends = (CancelOrder,)

        @reacts(OrderCreated, key=lambda event: event.id)
        def placed(self, row: DeadlineRow | None, event: Recorded[OrderCreated]) -> Reaction:
            due = event.timestamp + timedelta(days=3)
            return Reaction(DeadlineRow(event.id), timers=[Timer("payment", due)])

        @reacts(OrderPaid, OrderCancelled, key=lambda event: event.id)
        def settled(self, row: DeadlineRow | None, event: Recorded[OrderEvent]) -> Reaction:
            return ENDED

        @timed_out("payment")
        def late(self, row: DeadlineRow | None, event: Recorded[ProcessTimedOut]) -> Reaction:
            return Reaction(None, commands=[CancelOrder(order_id=row.order_id)])

A handler is a pure function of the row and the event: no clock, no randomness, nothing read
elsewhere. Then a replay makes the same rows, the same timers and the same commands, whose ids are
derived: sent again, they change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeVar

from typing_extensions import override

from eventcore.commands.command import Command
from eventcore.errors import RegistrationError
from eventcore.events.event import DomainEvent
from eventcore.projections.projection import Locate
from eventcore.projections.tables import AnyTable

_F = TypeVar("_F", bound=Callable[..., Any])


class Timer(NamedTuple):
    """A time at which an instance wants to be called.

    Attributes:
        name: Which of the instance's timers; setting it again replaces it.
        due: When, aware; computed from the event. None: no longer.
    """

    name: str
    due: datetime | None


class Reaction(NamedTuple):
    """What an event comes to.

    Attributes:
        row: The instance's row from now on. None: the instance has ended, and so have its timers.
        commands: Sent in this order, once.
        timers: Timers that are set or given up; those that are not named stay as they are.
    """

    row: Any
    commands: Sequence[Command] = ()
    timers: Sequence[Timer] = ()


ENDED: Final = Reaction(None)
"""Nothing more is to be done."""


class _Mark(NamedTuple):
    """What a decorator found out about a function: events with a key, or the name of a timer."""

    event_types: tuple[type[DomainEvent], ...] = ()
    key: Locate | None = None
    timer: str = ""


def reacts(*event_types: type[DomainEvent], key: Locate) -> Callable[[_F], _F]:
    """Mark a method as what is done on events of these classes and their subclasses.

    It is called as ``f(self, row | None, event) -> Reaction``.

    Args:
        event_types: Event classes.
        key: From the event to the key of the instance that it concerns; None: it concerns none.

    Raises:
        RegistrationError: No event class is named.
    """
    if not event_types:
        raise RegistrationError(message="@reacts needs event classes")
    return _marking(_Mark(event_types, key))


def timed_out(timer: str) -> Callable[[_F], _F]:
    """Mark a method as what is done when a timer comes due: ``f(self, row, event) -> Reaction``.

    The event is a ``ProcessTimedOut`` whose timestamp is the time that the timer was set to. A
    timer that was replaced or given up before that event was recorded calls nobody.
    """
    return _marking(_Mark(timer=timer))


def _marking(mark: _Mark) -> Callable[[_F], _F]:
    def note(function: _F) -> _F:
        marks = (mark, *getattr(function, "__reacts__", ()))
        function.__reacts__ = marks  # type: ignore[attr-defined]  # a mark on a function
        return function

    return note


class ProcessManager:
    """Base of every process manager.

    Attributes:
        name: Unique among the projections and processes of one database. It never changes: the ids
            of commands are derived from it.
        version: Raise it when the same events would now make other rows: they are then refused
            until ``eventcore processes rebuild`` made them anew. Rebuilding sends nothing.
        table: Its rows, one an instance.
        sends: Classes of the commands that it may send.
        begins: Which events may make it send commands: all (``"start"``), or those recorded after
            it was first run (``"head"``). Its rows are made from all of them either way, and its
            timers come due either way.

    Raises:
        RegistrationError: The class has no name or table, a command cannot be told by its name, or
            nothing is declared to react.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    table: ClassVar[AnyTable]
    sends: ClassVar[Sequence[type[Command]]] = ()
    begins: ClassVar[Literal["start", "head"]] = "start"

    @override
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        problem = None
        if not cls.name or not hasattr(cls, "table") or cls.version < 1:
            problem = "it needs a name, a table, and a version from 1"
        elif cls.table.group:
            problem = f"table {cls.table.name} has a group; an instance is one row"
        elif len({command.__name__ for command in cls.sends}) < len(cls.sends):
            problem = "two commands in sends share a name"
        elif not reactions_of(cls):
            problem = "no method is marked with @reacts"
        if problem:
            raise RegistrationError(message=f"Process manager {cls.__name__}: {problem}")

    @override
    def __repr__(self) -> str:
        return f"<ProcessManager {self.name}>"


def reactions_of(
    cls: type[ProcessManager],
) -> list[tuple[str, tuple[type[DomainEvent], ...], Locate]]:
    """Names of the methods that react to events, with those and their keys, bases first."""
    return [
        (name, mark.event_types, mark.key) for name, mark in _marks_of(cls) if mark.key is not None
    ]


def timers_of(cls: type[ProcessManager]) -> dict[str, list[str]]:
    """Names of timers to those of the methods they call."""
    found: dict[str, list[str]] = {}
    for name, mark in _marks_of(cls):
        if mark.timer:
            found.setdefault(mark.timer, []).append(name)
    return found


def _marks_of(cls: type[ProcessManager]) -> list[tuple[str, _Mark]]:
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        names.update(dict.fromkeys(vars(base)))
    return [
        (name, mark)
        for name in names
        for mark in getattr(getattr(cls, name, None), "__reacts__", ())
    ]
