"""Events, ids and times for tests: no randomness and no clock, so every run makes the same ones."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from eventcore.events.recorded import EncodedEvent
from eventcore.events.times import to_text

START: Final = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)
"""When the first event of a test happens, unless the test says otherwise."""

_VERSION_AND_VARIANT: Final = (7 << 76) | (2 << 62)


class SequentialIds:
    """Makes UUIDs of version 7 that count up. Safe under threads.

    Args:
        series: Ids of different series never collide: give each writer of a test its own.
    """

    def __init__(self, series: int = 0) -> None:
        self._series = series
        self._numbers = itertools.count(1)

    def __call__(self) -> UUID:
        """Make the next id."""
        return UUID(int=(self._series << 80) | _VERSION_AND_VARIANT | next(self._numbers))


class SteppingClock:
    """Tells a time that only moves when asked for it. Safe under threads.

    Args:
        start: The first time told, aware.
        step: How far each question moves it on.
    """

    def __init__(self, start: datetime = START, step: timedelta = timedelta(seconds=1)) -> None:
        self._lock = threading.Lock()
        self._next = start
        self._step = step

    def __call__(self) -> datetime:
        """The time now."""
        with self._lock:
            now = self._next
            self._next = now + self._step
        return now

    def advance(self, by: timedelta) -> None:
        """Move it on, or back."""
        with self._lock:
            self._next += by


class EventMaker:
    """Makes encoded events as a codec would, of any type name, without an event class.

    Args:
        series: See :class:`SequentialIds`.
        clock: Tells when the events happen.
    """

    def __init__(self, series: int = 0, clock: SteppingClock | None = None) -> None:
        self.ids = SequentialIds(series)
        self.clock = clock or SteppingClock()

    def __call__(
        self,
        type: str = "test.happened",  # noqa: A002 - the word for it everywhere else
        *,
        event_id: UUID | None = None,
        at: datetime | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> EncodedEvent:
        """Make one event; id and time are the next ones unless given."""
        id_text = str(event_id or self.ids())
        time_text = to_text(at or self.clock())
        state = orjson.dumps({"v": 1, "id": id_text, "at": time_text, "data": dict(data or {})})
        return EncodedEvent(id_text, type, time_text, state)

    def many(self, count: int, type: str = "test.happened") -> list[EncodedEvent]:  # noqa: A002 - as above
        """Make so many events, numbered from 1 in their data."""
        return [self(type, data={"number": number}) for number in range(1, count + 1)]
