"""The log on any application recorder of ``eventsourcing``.

================== ===========================
in the recorder    in the log
================== ===========================
originator id      name of the stream
originator version version
topic              stored name of the event
state              stored bytes
notification id    position
================== ===========================
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from eventsourcing.persistence import ApplicationRecorder, Notification, StoredEvent

from eventcore.errors import (
    ConcurrencyConflictError,
    EventIdReusedError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.events.codec import Codec
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded, event_id_of
from eventcore.stores.following import PullSubscription
from eventcore.stores.limits import PLACE_MAX, check_append, check_page, is_storable, limits_of
from eventcore.stores.log import (
    ANY_VERSION,
    EVERYTHING,
    AppendResult,
    LogFilter,
    Page,
    StreamAppend,
    Subscription,
)
from eventcore.stores.paging import read_all
from eventcore.stores.recorders.calls import RecorderCalls
from eventcore.stores.recorders.index import PlaceIndex, Places
from eventcore.stores.repeats import repeated_append
from eventcore.stores.signals import LocalSignal

ATTEMPTS_MAX: Final = 50
"""How often an append is tried while other writers are faster; each time one of them wrote."""

TOPICS_MAX: Final = 100
"""Types that a recorder is asked for by name; with more, everything is read and sifted here."""

NEIGHBOURS_APART_MAX: Final = 16
"""Events located at once lie in one stretch if at most so many positions are between them."""


class RecorderLog:
    """A log on a recorder that belongs to the caller: closing the log leaves the recorder open.

    It keeps the log contract with these differences, which come from what a recorder can be asked:

    - One event id is refused everywhere by one log object, in all its threads, and always in the
      stream it is in. Two log objects (two processes) that append the same id to two *different*
      streams at the same instant may both succeed. A repeated append names the same streams, so
      safe retry is not touched by it.
    - An index in memory says where each event is: 200 to 400 bytes an event, the more the shorter
      the streams. Its first use (an append, a stream, an id) reads the whole log once. Pages,
      ``head`` and following need no index.
    - A follower is woken at once by appends of the same log object; what others append it sees
      within :data:`~eventcore.stores.following.STOP_CHECK_SECONDS`.
    - Events are as immutable and as durable as the recorder's own table. There are neither
      snapshots nor remembered refusals.

    Order and completeness are the recorder's: it must never show an event below one that it has
    shown already. Those of ``eventsourcing`` do, except on Postgres with
    ``POSTGRES_ENABLE_DB_FUNCTIONS``.

    Args:
        recorder: Made with ``ORIGINATOR_ID_TYPE=text``, for this log alone.
        codec: Reads the events that this log hands out.

    Raises:
        ConfigurationError: The recorder takes UUIDs only.
    """

    def __init__(self, recorder: ApplicationRecorder, codec: Codec | None = None) -> None:
        self.codec = codec or Codec()
        self._calls = RecorderCalls(recorder)
        # Those of this library say what they take at once.
        self.limits = limits_of(recorder)
        self._name = self._calls.name
        self._index = PlaceIndex(self._calls)
        self._appending = threading.Lock()
        self._signal = LocalSignal()
        self._closed = False

    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """See :meth:`eventcore.stores.log.Log.append`.

        A recorder checks one thing, that no two events have one version of a stream. That is
        enough: this looks at the log up to one position, finds a stream at version v, and inserts
        v+1. If the stream moves in between, v+1 is taken and the insert fails. v itself was seen,
        and nothing is ever removed: so there can be no gap. And an event id that was not seen up to
        that position cannot come into the same stream meanwhile without taking v+1.
        """
        check_append(self._name, appends)
        event_ids = self._checked_ids(appends)
        streams = [append.stream for append in appends]
        # One at a time, so that an id is refused in every stream; the database writes so anyway.
        with self._appending:
            for _ in range(ATTEMPTS_MAX):
                self._check_open()
                places = self._index.find(streams, event_ids)
                repeated = self._find_repeated(appends, places, event_ids)
                if repeated is not None:
                    return repeated
                rows = self._rows(appends, places.versions)
                self._refuse_reused(places, event_ids)
                positions = self._calls.insert(rows)
                if positions is not None:
                    break
                if self._index.find((), ()).end == places.end:
                    raise StoreError(
                        store=self._name, problem="the recorder refused events that are not there"
                    )
            else:
                raise StoreUnavailableError(
                    store=self._name, problem=f"other writers were faster {ATTEMPTS_MAX} times"
                )
            self._index.extend(positions, rows)
        self._signal.notify()
        return AppendResult(
            tuple(positions), tuple([row.originator_version for row in rows]), repeated=False
        )

    def _checked_ids(self, appends: Sequence[StreamAppend]) -> list[str]:
        event_ids: list[str] = []
        for append in appends:
            for event in append.events:
                # There is no column for it: what the state says is what will be found.
                if event_id_of(event.state) != event.event_id:
                    raise StoreError(
                        store=self._name,
                        problem=f"the state of event {event.event_id} has another id in it",
                    )
                event_ids.append(event.event_id)
        return event_ids

    def _rows(
        self, appends: Sequence[StreamAppend], versions: Mapping[str, int]
    ) -> list[StoredEvent]:
        rows: list[StoredEvent] = []
        reached = dict(versions)
        for stream, expected_version, events in appends:
            version = reached[stream]
            if expected_version not in {ANY_VERSION, version}:
                raise ConcurrencyConflictError(
                    store=self._name,
                    stream=stream,
                    expected_version=expected_version,
                    actual_version=version,
                )
            for event in events:
                version += 1
                rows.append(StoredEvent(stream, version, event.type, event.state))
            reached[stream] = version
        return rows

    def _find_repeated(
        self, appends: Sequence[StreamAppend], places: Places, event_ids: Sequence[str]
    ) -> AppendResult | None:
        if len(places.positions) < len(event_ids):
            return None
        return repeated_append(appends, self._events_at(places.positions))

    def _refuse_reused(self, places: Places, event_ids: Sequence[str]) -> None:
        taken = next((id_ for id_ in event_ids if id_ in places.positions), None)
        if taken is not None:
            event = self._events_at({taken: places.positions[taken]})[taken]
            raise EventIdReusedError(event_id=taken, stream=event.stream, version=event.version)

    def read_stream(  # noqa: PLR0913 - the contract's signature
        self,
        stream: str,
        *,
        after: int = 0,
        until: int | None = None,
        until_time: str | None = None,
        backwards: bool = False,
        limit: int | None = None,
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read_stream`."""
        low, high = max(after, 0), self.stream_version(stream)
        if until is not None:
            high = min(high, until)
        if until_time is not None:
            high = self._version_at(stream, until_time, high)
        remaining = PLACE_MAX if limit is None else limit
        while low < high and remaining > 0:
            size = min(remaining, READ_PAGE_EVENTS, high - low)
            first = high - size + 1 if backwards else low + 1
            yield from self._stream_page(stream, first, size, backwards=backwards)
            remaining -= size
            if backwards:
                high -= size
            else:
                low += size

    def _stream_page(
        self, stream: str, first: int, size: int, *, backwards: bool
    ) -> Iterator[Recorded[Any]]:
        self._check_open()
        last = first + size - 1
        positions = self._index.positions(stream, first, last)
        rows = self._calls.select_stream(
            stream, after=first - 1, until=last, backwards=backwards, limit=size
        )
        for row in rows:
            version = row.originator_version
            yield Recorded(
                positions[version - first], stream, version, row.topic, row.state, self.codec
            )

    def _version_at(self, stream: str, until_time: str, until: int) -> int:
        # A prefix: the state that was true then, even where a clock stepped back.
        version = 0
        for event in self.read_stream(stream, until=until):
            if event.timestamp_text > until_time:
                break
            version = event.version
        return version

    def stream_version(self, stream: str) -> int:
        """See :meth:`eventcore.stores.log.Log.stream_version`."""
        return self.stream_versions([stream])[stream]

    def stream_versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.log.Log.stream_versions`."""
        self._check_open()
        return self._index.find(streams, ()).versions

    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`."""
        check_page(self._name, limit)
        self._check_open()
        after, limit = min(max(after, 0), PLACE_MAX), min(limit, PLACE_MAX)
        if where.types is None and where.categories is None:
            events = self._recorded(self._calls.select(after, limit))
            return Page(events, events[-1].position if events else after)
        return self._sifted_page(after, limit, where)

    def _sifted_page(self, after: int, limit: int, where: LogFilter) -> Page:
        # The head is read first: what is committed in between lies above it, for the next page.
        head = self._calls.head()
        topics = sorted(name for name in where.types or () if is_storable(name))
        if len(topics) > TOPICS_MAX:
            topics = []
        elif where.types is not None and not topics:
            return Page([], max(after, head))  # a recorder reads "no topics" as "all"
        found: list[Recorded[Any]] = []
        low = after
        while low < head:
            rows = self._calls.select(low, READ_PAGE_EVENTS, until=head, types=topics)
            for event in self._recorded(rows):
                if where.matches(event):
                    found.append(event)
                    if len(found) == limit:
                        return Page(found, event.position)
            low = rows[-1].id if len(rows) == READ_PAGE_EVENTS else head
        return Page(found, max(after, head))

    def read(
        self, after: int = 0, *, until: int | None = None, where: LogFilter = EVERYTHING
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read`."""
        return read_all(self, after, until, where)

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""
        self._check_open()
        return self._calls.head()

    def locate(self, event_ids: Sequence[str]) -> Mapping[str, Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.locate`."""
        self._check_open()
        return self._events_at(self._index.find((), event_ids).positions) if event_ids else {}

    def _events_at(self, positions: Mapping[str, int]) -> dict[str, Recorded[Any]]:
        """The events at these positions, under the keys given; neighbours are read together."""
        found: dict[int, Recorded[Any]] = {}
        wanted = sorted(positions.values())
        begin = 0
        for end, position in enumerate(wanted, start=1):
            is_last = end == len(wanted) or wanted[end] - position > NEIGHBOURS_APART_MAX
            # A page bounds what is read beside the events asked for.
            if is_last or wanted[end] - wanted[begin] >= READ_PAGE_EVENTS:
                rows = self._calls.select(wanted[begin] - 1, READ_PAGE_EVENTS, until=position)
                found.update((event.position, event) for event in self._recorded(rows))
                begin = end
        return {key: found[position] for key, position in positions.items()}

    def subscribe(self, after: int = 0, where: LogFilter = EVERYTHING) -> Subscription:
        """See :meth:`eventcore.stores.log.Log.subscribe`."""
        self._check_open()
        return PullSubscription(self, self._signal, after, where)

    def close(self) -> None:
        """Release the log and end its subscriptions; the recorder stays open, it is the caller's.

        Closing twice is fine.
        """
        self._closed = True
        self._signal.notify()

    def _recorded(self, rows: Sequence[Notification]) -> list[Recorded[Any]]:
        codec = self.codec
        return [
            Recorded(
                row.id, str(row.originator_id), row.originator_version, row.topic, row.state, codec
            )
            for row in rows
        ]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(store=self._name)
