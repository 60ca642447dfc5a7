"""What is kept of a process manager besides its rows, in tables of its own.

=========================== ================================================== ===============
table                       holds                                              after a rebuild
=========================== ================================================== ===============
``eventcore_NAME_timers``   timers of each instance as the events left them    made anew
``eventcore_NAME_reached``  the last event of each instance that may have sent kept
``eventcore_NAME_outbox``   what is to be done: commands to send, timers       kept
``eventcore_NAME_due``      timers by the time they come due                   kept
``eventcore_NAME_refusals`` commands that were refused, and why                kept
=========================== ================================================== ===============

What is made anew belongs to the projection ``NAME``. What is kept belongs to ``NAME.sending``; both
are written together with the checkpoint of ``NAME``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import orjson

from eventcore.processes.process import ProcessManager
from eventcore.projections.projection import Projection
from eventcore.projections.tables import Key, Table

REFUSALS_DAYS = 90
"""Days until a refusal may be expired."""


class ArmedRow(NamedTuple):
    """Timers of an instance as JSON: name to ``{"id", "due"}``; see :func:`timers_in`."""

    instance: str
    timers: str


class ReachedRow(NamedTuple):
    """Events of an instance up to this position have sent what they send."""

    instance: str
    position: int


class OutboxRow(NamedTuple):
    """What one event wants done.

    Attributes:
        process: Name of the process; the same in all rows.
        position: Of the event.
        part: 0: when it was folded first. 1: again, in a rebuild: timers only. They are kept apart
            so that a rebuild leaves alone what was not sent yet.
        event_id: Of the event.
        correlation_id: What commands and timeouts are to carry.
        messages: As JSON, a list by instance of ``{"instance", "commands", "timers"}``, with
            ``{"name", "fields"}`` for a command and ``{"name", "id", "due"}`` for a timer.
    """

    process: str
    position: int
    part: int
    event_id: str
    correlation_id: str
    messages: str


class DueRow(NamedTuple):
    """A timer to be watched; whether it still counts is decided by :class:`ArmedRow`."""

    process: str
    due_at: datetime
    timer_id: str
    instance: str
    timer: str
    position: int
    event_id: str
    correlation_id: str


class RefusalRow(NamedTuple):
    """A command that was not done.

    Attributes:
        position: Of the event that sent it.
        number: Which of its commands, from 0.
        reason: Code of the rule that refuses, or the name of the error.
        stream: Of the aggregate that it was for.
    """

    process: str
    position: int
    number: int
    command: str
    stream: str
    reason: str
    noted_at: datetime


def timers_in(row: ArmedRow | None) -> dict[str, dict[str, str]]:
    """The timers that are set: name to ``{"id", "due"}``."""
    timers: dict[str, dict[str, str]] = orjson.loads(row.timers) if row else {}
    return timers


def messages_in(row: OutboxRow) -> list[dict[str, Any]]:
    """What a row wants done, by instance."""
    messages: list[dict[str, Any]] = orjson.loads(row.messages)
    return messages


def as_json(value: Any) -> str:
    """How the two are kept: as text, so that a row that does not change is not written again."""
    return orjson.dumps(value).decode()


class ProcessTables:
    """The tables of one process manager.

    Args:
        process: Whose.
    """

    def __init__(self, process: ProcessManager) -> None:
        name = process.name
        self.state = process.table
        self.armed = Table(f"eventcore_{name}_timers", ArmedRow, key=["instance"], internal=True)
        self.reached = Table(
            f"eventcore_{name}_reached", ReachedRow, key=["instance"], internal=True
        )
        self.outbox = Table(
            f"eventcore_{name}_outbox",
            OutboxRow,
            key=["process", "position", "part"],
            group=["process"],
            internal=True,
        )
        self.due = Table(
            f"eventcore_{name}_due",
            DueRow,
            key=["process", "due_at", "timer_id"],
            group=["process"],
            internal=True,
        )
        self.refusals = Table(
            f"eventcore_{name}_refusals",
            RefusalRow,
            key=["process", "position", "number"],
            group=["process"],
            ttl_days=REFUSALS_DAYS,
            ttl_column="noted_at",
            internal=True,
        )
        self.sending = sending_projection(
            name, (self.reached, self.outbox, self.due, self.refusals)
        )

    def instance_of(self, key: Key) -> str:
        """The key of an instance as text, the same on every backend."""
        encoded = self.state.encode_keys([key], self.state.key_columns)[0]
        return as_json(encoded)

    def key_of(self, instance: str) -> Key:
        """The key that :meth:`instance_of` wrote."""
        columns = self.state.key_columns
        parts = tuple(
            value if column.decoder is None else column.decoder(value)
            for column, value in zip(columns, orjson.loads(instance), strict=True)
        )
        return parts[0] if len(parts) == 1 else parts


def sending_projection(process: str, kept: tuple[Table[Any], ...]) -> Projection:
    """Owner of the tables that outlast a rebuild. Its checkpoint says where sending began."""

    class Sending(Projection):
        name = f"{process}.sending"
        tables = kept

    return Sending()
