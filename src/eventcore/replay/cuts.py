"""Cuts: which events had happened by a position or a time, told alike for a log and for a stream.

As of a *position*: every event up to it. As of a *time*: of each stream the events before the first
one that happened later, which is what ``read_stream(until_time=)``, ``app.get(as_of=)`` and
``eventcore state`` say of that stream. Times need not grow with positions: what was imported late
happened early, and belongs to the past it tells of. But an event builds on those before it in its
stream, so where a clock stepped back, a stream ends at its first later event for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from eventcore.errors import ConfigurationError
from eventcore.events.recorded import Recorded
from eventcore.events.times import to_text
from eventcore.stores.log import Page

SCAN_EVENTS: Final = 4_000
"""Events read at once while only their times are looked at."""

Events = Sequence[Recorded[Any]]


class PageLog(Protocol):
    """The part of a log that a replay reads."""

    def read_page(self, after: int, limit: int) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`."""

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""


class Cut(NamedTuple):
    """Where a replay ends. Plain values: tasks carry it to other processes.

    Attributes:
        position: No event above it is looked at.
        time: Fixed-width UTC text: of each stream only what had happened by then; None: everything
            up to the position.
    """

    position: int
    time: str | None = None

    @property
    def label(self) -> str:
        """What was asked for, in words that equal cuts share."""
        return f"position {self.position}" if self.time is None else self.time

    def admission(self) -> Admission:
        """Decides event by event, from the start of the log or of a shard."""
        return Admission(self)


def cut_of(until: int | datetime | None, head: int) -> Cut:
    """The cut that a position or a time makes in a log with this head.

    Args:
        until: A position, an aware time, or None: everything there is.
        head: Position of the newest event: nothing appended later counts, whenever it happened.

    Raises:
        ConfigurationError: The position is beyond the head or below 0, or the time has no zone or
            lies outside the years 1 to 9999 of UTC.
    """
    if until is None:
        return Cut(head)
    if isinstance(until, datetime):
        return Cut(head, _text_of(until))
    if not 0 <= until <= head:
        raise ConfigurationError(
            message=f"There is no state at position {until:,} yet: the log ends at {head:,}"
            if until > head
            else f"Positions begin at 1, and 0 is before all events: {until:,} is none"
        )
    return Cut(until)


def _text_of(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ConfigurationError(message="until is a time with a zone, such as UTC")
    try:
        return to_text(moment.astimezone(UTC))
    except OverflowError:
        raise ConfigurationError(
            message="until is a time within the years 1 to 9999 in UTC"
        ) from None


class Admission:
    """Lets events through that belong to a cut; sees each event of a stream once, in order.

    Of a time it remembers the streams in which something later was met: their names are what a
    replay keeps in memory besides its rows.

    Args:
        cut: Which.

    Attributes:
        position: Everything up to it was looked at.
    """

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._ended: set[str] = set()
        self.position = 0

    def of(self, events: Events) -> Events:
        """Those of the next events that belong to the cut."""
        position, time = self._cut
        if events and events[-1].position > position:
            events = [event for event in events if event.position <= position]
        if time is None or not events:
            return events
        ended, end = self._ended, self._ended.add
        admitted = []
        for event in events:
            if event.timestamp_text > time:
                end(event.stream)
            elif event.stream not in ended:
                admitted.append(event)
        return admitted

    def page(self, page: Page) -> Page:
        """The same for a page of the log, which begins where the last one ended."""
        end = min(page.end, self._cut.position)
        self.position = max(self.position, end)
        return Page(list(self.of(page.events)), end)

    def skip_to(self, log: PageLog, position: int) -> None:
        """Look at the times of events up to a position, which were replayed before.

        Raises:
            StoreError: The log failed.
        """
        if self._cut.time is None:
            self.position = max(self.position, position)
            return
        while self.position < position:
            page = log.read_page(self.position, SCAN_EVENTS)
            if page.end <= self.position:
                return  # a log that ends earlier: its owner refuses it
            self.of([event for event in page.events if event.position <= position])
            self.position = min(page.end, position)
