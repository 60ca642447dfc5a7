"""Folding: a process manager as a projection, so that one engine keeps both.

One handler is called for every event. It is given, for each instance that the event concerns, the
row, the timers, and how far it has sent; and it leaves what is to be done in the outbox, which is
written in the same transaction. An event that an instance has reached before, as in a rebuild,
makes rows and timers anew and sends no commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from uuid import UUID, uuid5

from eventcore.commands.command import Command
from eventcore.events.catalogue.processes import ProcessTimedOut
from eventcore.events.event import DomainEvent
from eventcore.events.recorded import Recorded
from eventcore.events.times import to_text
from eventcore.processes.process import (
    ProcessManager,
    Reaction,
    reactions_of,
    timers_of,
)
from eventcore.processes.tables import (
    ArmedRow,
    OutboxRow,
    ProcessTables,
    ReachedRow,
    as_json,
    timers_in,
)
from eventcore.projections.projection import AnyTable, Locate, Projection, on
from eventcore.projections.tables import Key

PROCESS_NAMESPACE: Final = UUID("0d4d5d0a-53a5-5f2c-8f6e-5a9d2c1b7e40")
"""Namespace of the ids of commands and timers: the same event always makes the same."""

Event = Recorded[Any]
React = Callable[[Any, Event], Reaction]


def command_id_of(process: str, event_id: str, number: int) -> UUID:
    """Id of the ``number``-th command (from 0) that a process sends because of an event."""
    return uuid5(PROCESS_NAMESPACE, f"{process}:{event_id}:{number}")


def timer_id_of(process: str, event_id: str, *, instance: str, timer: str) -> UUID:
    """Id of a timer that an event set, and of the event that tells that it came due."""
    return uuid5(PROCESS_NAMESPACE, f"{process}:{event_id}:{instance}:{timer}")


class Folding:
    """What a process manager does with an event.

    Args:
        process: Whose handlers.
        tables: Its tables.

    Attributes:
        sends_from: Position of the first event that may send commands.
    """

    def __init__(self, process: ProcessManager, tables: ProcessTables) -> None:
        self.process = process
        self.tables = tables
        self.sends_from = 0
        cls = type(process)
        self._reactions: list[tuple[tuple[type[DomainEvent], ...], Locate, React]] = [
            (event_types, key, getattr(process, name))
            for name, event_types, key in reactions_of(cls)
        ]
        self._timers: dict[str, list[React]] = {
            timer: [getattr(process, name) for name in names]
            for timer, names in timers_of(cls).items()
        }
        self._commands = {command.__name__: command for command in process.sends}

    @property
    def event_types(self) -> tuple[type[DomainEvent], ...]:
        """Classes of the events that concern it."""
        named = (event_type for types, _, _ in self._reactions for event_type in types)
        return tuple(dict.fromkeys([*named, ProcessTimedOut]))

    def command_of(self, name: str) -> type[Command] | None:
        """The class of a command that was sent under this name; None: it is declared no more."""
        return self._commands.get(name)

    def touched(self, event: Event) -> list[tuple[AnyTable, Key]]:
        """Rows that an event concerns: three for each instance, and two of the outbox."""
        tables = self.tables
        pairs: list[tuple[AnyTable, Key]] = []
        for key in self._concerned(event):
            instance = tables.instance_of(key)
            pairs += [(tables.state, key), (tables.armed, instance), (tables.reached, instance)]
        if pairs:
            name, position = self.process.name, event.position
            pairs += [(tables.outbox, (name, position, part)) for part in (0, 1)]
        return pairs

    def react(self, rows: Sequence[Any], event: Event) -> list[Any]:
        """Call the handlers; gives the rows in the order they came, as they are now."""
        first, again = _Outgoing(self.process, event, 0), _Outgoing(self.process, event, 1)
        after: list[Any] = []
        for place, (key, calls) in enumerate(self._concerned(event).items()):
            instance = self.tables.instance_of(key)
            row, armed, reached = rows[3 * place : 3 * place + 3]
            is_new = event.position >= self.sends_from and (
                reached is None or reached.position < event.position
            )
            timers: dict[str, Any] = timers_in(armed)
            # A timer that was replaced or given up before calls nobody.
            stale = isinstance(event.payload, ProcessTimedOut) and not _disarm(timers, event)
            for call in () if stale else calls:
                reaction = Reaction(*call(row, event))
                row = reaction.row
                if is_new:
                    first.add(instance, reaction.commands)
                if row is None:
                    timers.clear()
                timers.update((first if is_new else again).set_timers(instance, reaction))
            timers = {name: timer for name, timer in timers.items() if timer is not None}
            if timers != timers_in(armed):
                armed = ArmedRow(instance, as_json(timers)) if timers else None
            after += [row, armed, ReachedRow(instance, event.position) if is_new else reached]
        return [*after, first.row(rows[-2]), again.row(rows[-1])] if after else []

    def _concerned(self, event: Event) -> dict[Key, Sequence[React]]:
        payload = event.payload
        if isinstance(payload, ProcessTimedOut):
            if payload.process != self.process.name:
                return {}
            key = self.tables.key_of(payload.instance)
            return {key: self._timers.get(payload.timer, ())}
        found: dict[Key, list[React]] = {}
        for event_types, locate, call in self._reactions:
            if isinstance(payload, event_types) and (key := locate(event)) is not None:
                found.setdefault(key, []).append(call)
        return dict(found)


class _Outgoing:
    """What one event wants done, by instance."""

    def __init__(self, process: ProcessManager, event: Event, part: int) -> None:
        self._process = process
        self._event = event
        self._part = part
        self._messages: dict[str, dict[str, Any]] = {}

    def _message(self, instance: str) -> dict[str, Any]:
        empty: dict[str, Any] = {"instance": instance, "commands": [], "timers": []}
        return self._messages.setdefault(instance, empty)

    def add(self, instance: str, commands: Iterable[Command]) -> None:
        """Note commands to be sent."""
        for command in commands:
            if type(command) not in self._process.sends:
                msg = f"{type(command).__name__} is not named in sends of {self._process.name}"
                raise ValueError(msg)
            fields = command.model_dump(mode="json", by_alias=True, exclude_none=True)
            fields.pop("commandId", None)
            message = {"name": type(command).__name__, "fields": fields}
            self._message(instance)["commands"].append(message)

    def set_timers(self, instance: str, reaction: Reaction) -> dict[str, Any]:
        """Note timers to be watched; gives how they are kept with the instance."""
        kept: dict[str, Any] = {}
        for name, due in reaction.timers:
            if due is None:
                kept[name] = None
                continue
            if reaction.row is None:
                msg = f"an instance that has ended set the timer {name}"
                raise ValueError(msg)
            process, event_id = self._process.name, str(self._event.event_id)
            timer_id = str(timer_id_of(process, event_id, instance=instance, timer=name))
            kept[name] = {"id": timer_id, "due": to_text(due)}
            self._message(instance)["timers"].append({"name": name, **kept[name]})
        return kept

    def row(self, before: OutboxRow | None) -> OutboxRow | None:
        """The row of the outbox; what stands there stays if nothing is to be done."""
        messages = [one for one in self._messages.values() if one["commands"] or one["timers"]]
        if not messages:
            return before
        event = self._event
        event_id = str(event.event_id)
        return OutboxRow(
            process=self._process.name,
            position=event.position,
            part=self._part,
            event_id=event_id,
            correlation_id=event.correlation_id or event_id,
            messages=as_json(messages),
        )


def _disarm(timers: dict[str, Any], event: Event) -> bool:
    """Take the timer that came due away; False if that one is no longer set."""
    payload = event.payload
    set_to = {"id": payload.timer_id, "due": event.timestamp_text}
    if timers.get(payload.timer) != set_to:
        return False
    del timers[payload.timer]
    return True


def projection_of(folding: Folding) -> Projection:
    """The projection that keeps a process manager's rows, timers and outbox."""
    process, of = folding.process, folding.tables

    class Process(Projection):
        name = process.name
        version = process.version
        tables = (of.state, of.armed)
        beside = (of.reached, of.outbox)

        @on(*folding.event_types, touches=folding.touched)
        def react(self, rows: Sequence[Any], event: Event) -> Iterable[Any]:
            return folding.react(rows, event)

    return Process()


def projections_of(process: ProcessManager) -> list[Projection]:
    """All that is kept of a process manager: what a rebuild makes anew, and what outlasts it."""
    tables = ProcessTables(process)
    return [projection_of(Folding(process, tables)), tables.sending]
