"""Anchors: the event a checkpoint stands on, so that read models know the log they were made from.

A position alone says nothing of which log it counts in. Another log, or an older backup of the same
one, has other events at the same positions: going on there would skip some and keep rows of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from eventcore.errors import UndecodableEventError, ViewsOfAnotherLogError
from eventcore.events.recorded import Recorded
from eventcore.stores.log import Page


class Anchor(NamedTuple):
    """The last event at or below a checkpoint.

    Attributes:
        position: Where it is in the log.
        event: Its id; of one whose bytes are damaged, its place in its stream.
    """

    position: int
    event: str


class AnchorLog(Protocol):
    """The part of a log that is needed to look an anchor up."""

    def read_page(self, after: int, limit: int) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`."""

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""


def anchor_of(event: Recorded[Any]) -> Anchor:
    """The anchor that an event is."""
    try:
        identity = str(event.envelope["id"])
    except UndecodableEventError:
        identity = f"{event.stream}@{event.version}"
    return Anchor(event.position, identity)


def anchor_at(log: AnchorLog, position: int) -> Anchor | None:
    """The anchor at exactly this position; None if no event is there. Reads one row."""
    events: Sequence[Recorded[Any]] = log.read_page(position - 1, 1).events if position > 0 else ()
    return anchor_of(events[0]) if events and events[0].position == position else None


def other_log(log: AnchorLog, position: int, anchor: Anchor | None) -> str | None:
    """Why a checkpoint cannot have been made from a log as it is now; None if it may have been.

    Args:
        log: What it would go on with.
        position: The checkpoint.
        anchor: What it was kept with; None if that is not known.
    """
    if position == 0:
        return None
    same = anchor is None or anchor_at(log, anchor.position) == anchor
    if same and anchor is not None and anchor.position == position:
        return None
    head = log.head()
    if position > head:
        return f"they are at position {position}, the log ends at {head}"
    return None if same or anchor is None else f"the event at position {anchor.position} is another"


def check_log(
    log: AnchorLog, *, projection: str, database: str, position: int, anchor: Anchor | None
) -> None:
    """Refuse to go on with another log.

    Raises:
        ViewsOfAnotherLogError: See :func:`other_log`.
    """
    problem = other_log(log, position, anchor)
    if problem is not None:
        raise ViewsOfAnotherLogError(
            projection=projection, database=database, position=position, problem=problem
        )
