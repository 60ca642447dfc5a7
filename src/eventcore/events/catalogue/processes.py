"""What the library records of process managers: that a time has come.

Bookkeeping of the library, never shown in read models that list events. A process reacts to this
event, not to a clock: a replay sees the same times come in the same order.
"""

from __future__ import annotations

from eventcore.events.event import DomainEvent
from eventcore.events.fields import Id, Text


class ProcessTimedOut(
    DomainEvent,
    type="process.timed_out",
    category="process",
    key="timer_id",
    group="system",
    internal=True,
):
    """A timer of a process came due. Its timestamp is the time that it was set to.

    Attributes:
        timer_id: The timer, whose stream has this one event; derived from what set it.
        process: Name of the process manager.
        instance: Which of its instances: the key of its row, as JSON.
        timer: The timer's name within the instance.
    """

    timer_id: Id
    process: Id
    instance: Text
    timer: Text
