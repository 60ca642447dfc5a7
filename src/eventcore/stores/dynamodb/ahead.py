"""Reading ahead: the segments that a reader of the whole log is about to want, asked for early.

While one segment is taken apart the next ones are under way, so a reader that catches up waits for
the service once, not once a segment. How many are asked for doubles with each segment that is read,
from the second one on that is read whole. It is nothing for a reader that follows the end of the
log: it would ask for what is not there.

What was asked for is handed out once, and not when it is old: what is in the log never changes, but
who reads it anew wants to see what is there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property
from typing import Final, NamedTuple

from eventcore.stores.dynamodb.calls import Item
from eventcore.stores.dynamodb.layout import number
from eventcore.stores.dynamodb.limits import SEGMENT_POSITIONS

SEGMENTS_AHEAD: Final = 4
"""Segments asked for at most before they are wanted: some 512 events, or 4 MB of large ones."""

AGE_SECONDS_MAX: Final = 2.0
"""How old an answer may be that is handed out."""

READERS_MAX: Final = 4
"""For how many readers at once answers are kept; what others left is forgotten."""


class _Asked(NamedTuple):
    """The records of a segment from a place on, on their way.

    Attributes:
        at: When they were asked for, by the clock.
        items: They.
    """

    at: float
    items: Future[list[Item]]


class ReadAhead:
    """What one log's readers will want next. May be used from any thread.

    Args:
        query: Reads the records of a segment from a place on.
        clock: Seconds that only grow.
        segments: How many at most are asked for before they are wanted. 0: none, and no threads.
    """

    def __init__(
        self,
        query: Callable[[int, int], list[Item]],
        clock: Callable[[], float],
        segments: int = SEGMENTS_AHEAD,
    ) -> None:
        self._query = query
        self._clock = clock
        self._segments = segments
        self._lock = threading.Lock()
        self._asked: OrderedDict[int, _Asked] = OrderedDict()
        self._windows: OrderedDict[int, int] = OrderedDict()

    def take(self, start: int) -> list[Item]:
        """The records from a place on as far as they were asked for. None: nothing is known."""
        segment = start // SEGMENT_POSITIONS
        with self._lock:
            # From the place itself: what a page left over. Else the segment that it is in.
            asked = self._asked.pop(start, None)
            if asked is None:
                asked = self._asked.pop(_begin(segment), None)
        if asked is None or self._clock() - asked.at > AGE_SECONDS_MAX:
            return []
        wait([asked.items])
        if asked.items.cancelled() or asked.items.exception() is not None:
            return []  # who wants them asks himself, and is told what is wrong
        return [item for item in asked.items.result() if number(item, "sk") >= start]

    def keep(self, start: int, items: list[Item]) -> None:
        """Keep what a page did not use of an answer, for the next one."""
        kept: Future[list[Item]] = Future()
        kept.set_result(items)
        with self._lock:
            self._note(start, _Asked(self._clock(), kept))

    def note_read(self, start: int, end: int) -> None:
        """Ask for what comes next, if a reader that read from a place to another is catching up."""
        segment, following = start // SEGMENT_POSITIONS, (end + 1) // SEGMENT_POSITIONS
        if not self._segments or following == segment:
            return
        is_whole = end - start >= SEGMENT_POSITIONS // 2
        for wanted in self._wanted(segment, following, is_whole=is_whole):
            at = self._clock()
            items = self._threads.submit(self._query, wanted, _begin(wanted))
            with self._lock:
                self._note(_begin(wanted), _Asked(at, items))

    def forget(self) -> None:
        """Drop everything: it was another log."""
        with self._lock:
            self._asked.clear()
            self._windows.clear()

    def close(self) -> None:
        """End the threads."""
        if "_threads" in self.__dict__:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _wanted(self, segment: int, following: int, *, is_whole: bool) -> list[int]:
        """The segments to ask for, for a reader that came from one to another."""
        with self._lock:
            before = self._windows.pop(segment, None)
            if before is None and not is_whole:
                return []
            # The first whole segment only tells that somebody may be catching up.
            window = 0 if before is None else min(max(2 * before, 1), self._segments)
            self._windows[following] = window
            if len(self._windows) > READERS_MAX:
                self._windows.popitem(last=False)
            wanted = range(following, following + window)
            return [one for one in wanted if _begin(one) not in self._asked]

    def _note(self, start: int, asked: _Asked) -> None:
        self._asked[start] = asked
        while len(self._asked) > READERS_MAX * (self._segments + 1):
            self._asked.popitem(last=False)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._segments, thread_name_prefix="eventcore-dynamodb-ahead")


def _begin(segment: int) -> int:
    return segment * SEGMENT_POSITIONS
