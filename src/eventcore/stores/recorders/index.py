"""Where each event is: what a recorder cannot be asked, read from it once and kept in memory."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

from eventsourcing.persistence import StoredEvent

from eventcore.errors import StoreError
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import event_id_of
from eventcore.stores.recorders.calls import RecorderCalls


class Places(NamedTuple):
    """What the log held up to one position, all of it seen at once.

    Attributes:
        versions: Of each stream asked for, 0 where it has no events.
        positions: Of those event ids asked for that are stored.
        end: The position.
    """

    versions: dict[str, int]
    positions: dict[str, int]
    end: int


class PlaceIndex:
    """Positions by event id, and by stream and version. Safe under threads.

    Takes 200 bytes an event in long streams, 400 in streams of one. Each question first reads what
    others appended since the last one; the first of all reads the whole log, a page at a time.
    """

    def __init__(self, calls: RecorderCalls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._by_id: dict[str, int] = {}
        # 8 bytes a position: the place in the array is the version, less one.
        self._by_stream: dict[str, array[int]] = {}
        self._end = 0

    def find(self, streams: Iterable[str], event_ids: Iterable[str]) -> Places:
        """Versions and positions as they are now, or later than when this was called.

        Raises:
            StoreError: The recorder holds events that this library did not write.
        """
        head = self._calls.head()
        with self._lock:
            # Up to the head that was: this ends however fast others write.
            while self._end < head:
                page = self._calls.select(self._end, READ_PAGE_EVENTS, until=head)
                for event in page:
                    self._add(event.id, event)
                if len(page) < READ_PAGE_EVENTS:
                    # Positions may have holes, where an insert was undone.
                    self._end = head
            versions = {stream: len(self._by_stream.get(stream, ())) for stream in streams}
            positions = {id_: self._by_id[id_] for id_ in event_ids if id_ in self._by_id}
            return Places(versions, positions, self._end)

    def positions(self, stream: str, first: int, last: int) -> Sequence[int]:
        """Positions of these versions of a stream, both included, as far as they are known."""
        with self._lock:
            known = self._by_stream.get(stream)
            return () if known is None else known[first - 1 : last]

    def extend(self, positions: Sequence[int], events: Sequence[StoredEvent]) -> None:
        """Take note of an insert of one's own, unless others came in between: those come first."""
        with self._lock:
            if list(positions) == list(range(self._end + 1, self._end + len(events) + 1)):
                for position, event in zip(positions, events, strict=True):
                    self._add(position, event)

    def _add(self, position: int, event: StoredEvent) -> None:
        stream, event_id = event.originator_id, event_id_of(event.state)
        if not isinstance(stream, str) or event_id is None:
            self._refuse(position, "it is no event of this library")
        known = self._by_stream.get(stream)
        last = 0 if known is None else len(known)
        if event.originator_version != last + 1:
            self._refuse(position, f"it is version {event.originator_version} after {last}")
        if known is None:
            known = self._by_stream[stream] = array("q")
        known.append(position)
        # The first of two wins, should two handles have raced one id into two streams.
        self._by_id.setdefault(event_id, position)
        self._end = position

    def _refuse(self, position: int, problem: str) -> NoReturn:
        raise StoreError(
            store=self._calls.name,
            problem=(
                f"the event at position {position} was written by something else, {problem}. "
                "Give this log a recorder, and a table, of its own"
            ),
        )
