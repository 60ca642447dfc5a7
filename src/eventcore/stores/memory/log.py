"""The log in memory: for tests and trials, as strict as any store, gone with the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eventcore.errors import (
    ConcurrencyConflictError,
    EventIdReusedError,
    StoreClosedError,
    TrimRefusedError,
)
from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.stores.following import PullSubscription
from eventcore.stores.limits import (
    CONTRACT_LIMITS,
    LogLimits,
    check_append,
    check_judged,
    check_page,
)
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
from eventcore.stores.refusals import Refusal
from eventcore.stores.repeats import repeated_append
from eventcore.stores.signals import LocalSignal
from eventcore.stores.snapshots import Snapshot
from eventcore.stores.trimming import TrimRecord, check_trim, refuse_trimmed

_NAME = "memory log"

_Row = tuple[int, str, int, str, bytes]
"""Position, stream, version, type, state. Readers get objects of their own, as from any store."""


class MemoryLog:
    """A log in this process's memory.

    Args:
        codec: Reads the events that this log hands out.
        limits: What it takes at once: those of another store, to try what would be written there.
    """

    def __init__(self, codec: Codec | None = None, limits: LogLimits = CONTRACT_LIMITS) -> None:
        self.codec = codec or Codec()
        self.limits = limits
        self._lock = threading.Lock()
        self._signal = LocalSignal()
        self._rows: list[_Row | None] = []  # None where an event was trimmed
        self._streams: dict[str, list[_Row | None]] = {}
        self._trimmed: dict[str, int] = {}
        self._trim_record: TrimRecord | None = None
        self._by_id: dict[str, _Row] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._refusals: dict[tuple[str, str], Refusal] = {}
        self._closed = False

    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """See :meth:`eventcore.stores.log.Log.append`."""
        check_append(_NAME, appends, self.limits)
        with self._lock:
            self._check_open()
            return self._find_repeated(appends) or self._append(appends)

    def append_judged(
        self,
        appends: Sequence[StreamAppend],
        refusals: Sequence[Refusal],
        unmoved: Mapping[str, int],
    ) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.append_judged`."""
        if appends:
            check_append(_NAME, appends, self.limits)
        check_judged(appends, refusals, unmoved, limits=self.limits)
        with self._lock:
            self._check_open()
            for stream, version in unmoved.items():
                self._check_version(stream, version, len(self._streams.get(stream, ())))
            if appends:
                self._append(appends)
            self._refusals.update({(found.event_id, found.digest): found for found in refusals})

    def _append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        self._check_versions(appends)
        rows = self._place(appends)
        for event_id, row in rows.items():
            self._rows.append(row)
            self._streams.setdefault(row[1], []).append(row)
            self._by_id[event_id] = row
        self.notify()
        placed = rows.values()
        return AppendResult(
            tuple([row[0] for row in placed]), tuple([row[2] for row in placed]), repeated=False
        )

    def _check_versions(self, appends: Sequence[StreamAppend]) -> None:
        reached: dict[str, int] = {}
        for stream, expected_version, events in appends:
            version = reached.get(stream, len(self._streams.get(stream, ())))
            reached[stream] = version + len(events)
            if expected_version != ANY_VERSION:
                self._check_version(stream, expected_version, version)

    @staticmethod
    def _check_version(stream: str, expected_version: int, version: int) -> None:
        if expected_version != version:
            raise ConcurrencyConflictError(
                store=_NAME,
                stream=stream,
                expected_version=expected_version,
                actual_version=version,
            )

    def _place(self, appends: Sequence[StreamAppend]) -> dict[str, _Row]:
        position = len(self._rows)
        placed: dict[str, _Row] = {}
        reached: dict[str, int] = {}
        for stream, _, events in appends:
            version = reached.get(stream, len(self._streams.get(stream, ())))
            reached[stream] = version + len(events)
            for encoded in events:
                self._check_not_trimmed(encoded.event_id)
                present = self._by_id.get(encoded.event_id)
                if present is not None:
                    raise EventIdReusedError(
                        event_id=encoded.event_id, stream=present[1], version=present[2]
                    )
                position, version = position + 1, version + 1
                placed[encoded.event_id] = (position, stream, version, encoded.type, encoded.state)
        return placed

    def _find_repeated(self, appends: Sequence[StreamAppend]) -> AppendResult | None:
        ids = [event.event_id for append in appends for event in append.events]
        return repeated_append(appends, self._located(ids))

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
        with self._lock:
            self._check_open()
            rows = self._streams.get(stream, [])
            low, high = max(after, 0), len(rows) if until is None else min(max(until, 0), len(rows))
            if until_time is not None:
                high = min(high, self._version_at(rows, until_time))
            size = max(high - low, 0)
            size = size if limit is None else min(max(limit, 0), size)
            found = rows[high - size : high][::-1] if backwards else rows[low : low + size]
        return self._told(found)

    def _told(self, rows: Sequence[_Row | None]) -> Iterator[Recorded[Any]]:
        # One by one: backwards, what is there comes before what was trimmed.
        for row in rows:
            if row is None:
                refuse_trimmed(_NAME, self._trim_record, "the beginning of a stream")
            else:
                yield Recorded(*row, self.codec)

    def _version_at(self, rows: Sequence[_Row | None], until_time: str) -> int:
        # A prefix: the state that was true then, even where a clock stepped back.
        events = self._recorded(rows)
        later = (event.version for event in events if event.timestamp_text > until_time)
        return next(later, len(rows) + 1) - 1

    def stream_version(self, stream: str) -> int:
        """See :meth:`eventcore.stores.log.Log.stream_version`."""
        with self._lock:
            self._check_open()
            return len(self._streams.get(stream, ()))

    def stream_versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.log.Log.stream_versions`."""
        with self._lock:
            self._check_open()
            return {stream: len(self._streams.get(stream, ())) for stream in streams}

    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`."""
        check_page(_NAME, limit)
        after = max(after, 0)
        with self._lock:
            self._check_open()
            if where.types is None and where.categories is None:
                rows = self._rows[after : after + limit]
                return Page(self._recorded(rows), after + len(rows))
            head = len(self._rows)
        found: list[Recorded[Any]] = []
        # Without the lock, so that a long search stops nobody: rows below the head never change.
        for position in range(after, head):
            (event,) = self._recorded(self._rows[position : position + 1])
            if where.matches(event):
                found.append(event)
                if len(found) == limit:
                    return Page(found, event.position)
        return Page(found, max(after, head))

    def read(
        self, after: int = 0, *, until: int | None = None, where: LogFilter = EVERYTHING
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read`."""
        return read_all(self, after, until, where)

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""
        with self._lock:
            self._check_open()
            return len(self._rows)

    def locate(self, event_ids: Sequence[str]) -> Mapping[str, Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.locate`."""
        with self._lock:
            self._check_open()
            return self._located(event_ids)

    def _located(self, event_ids: Sequence[str]) -> dict[str, Recorded[Any]]:
        codec = self.codec
        for event_id in event_ids:
            self._check_not_trimmed(event_id)
        return {
            id_: Recorded(*row, codec)
            for id_ in event_ids
            if (row := self._by_id.get(id_)) is not None
        }

    def subscribe(self, after: int = 0, where: LogFilter = EVERYTHING) -> Subscription:
        """See :meth:`eventcore.stores.log.Log.subscribe`."""
        with self._lock:
            self._check_open()
        return PullSubscription(self, self, after, where)

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.load_snapshot`."""
        with self._lock:
            self._check_open()
            return self._snapshots.get(stream)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.save_snapshot`."""
        with self._lock:
            self._check_open()
            present = self._snapshots.get(snapshot.stream)
            if (
                present is None
                or present.version < snapshot.version
                or present.fingerprint != snapshot.fingerprint
            ):
                self._snapshots[snapshot.stream] = snapshot

    def find_refusals(self, event_ids: Sequence[str]) -> Mapping[tuple[str, str], Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.find_refusals`."""
        with self._lock:
            self._check_open()
            wanted = set(event_ids)
            return {key: refusal for key, refusal in self._refusals.items() if key[0] in wanted}

    def remember_refusals(self, refusals: Sequence[Refusal]) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.remember_refusals`."""
        with self._lock:
            self._check_open()
            self._refusals.update({(found.event_id, found.digest): found for found in refusals})

    def all_refusals(self) -> Iterator[Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.all_refusals`."""
        with self._lock:
            self._check_open()
            return iter([self._refusals[key] for key in sorted(self._refusals)])

    def trim(self, events: Sequence[Recorded[Any]], *, archive: str) -> int:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim`."""
        check_trim(_NAME, events)
        with self._lock:
            self._check_open()
            left = [event for event in events if str(event.event_id) not in self._trimmed]
            streams = {event.stream: list(self._streams.get(event.stream, ())) for event in left}
            for event in left:
                self._check_removable(event, streams[event.stream])
                streams[event.stream][event.version - 1] = None
            self._streams |= streams
            for event in left:
                event_id = str(event.event_id)
                self._rows[event.position - 1] = None
                self._trimmed[event_id] = event.position
                del self._by_id[event_id]
            if left:
                before = self._trim_record.until if self._trim_record else 0
                self._trim_record = TrimRecord(max(before, left[-1].position), archive)
            return len(left)

    def _check_removable(self, event: Recorded[Any], rows: Sequence[_Row | None]) -> None:
        problem = None
        held = self._by_id.get(str(event.event_id))
        if held != (event.position, event.stream, event.version, event.type, event.state):
            problem = f"the event at position {event.position} is another one than in the archive"
        elif event.version == len(rows):
            problem = f"version {event.version} of {event.stream} is its newest event"
        elif any(row is not None for row in rows[: event.version - 1]):
            problem = f"older events of {event.stream} than version {event.version} would stay"
        if problem is not None:
            raise TrimRefusedError(store=_NAME, problem=problem)

    def trim_record(self) -> TrimRecord | None:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim_record`."""
        with self._lock:
            self._check_open()
            return self._trim_record

    def trimmed_positions(self, event_ids: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trimmed_positions`."""
        with self._lock:
            self._check_open()
            return {id_: self._trimmed[id_] for id_ in event_ids if id_ in self._trimmed}

    def _check_not_trimmed(self, event_id: str) -> None:
        if event_id in self._trimmed:
            refuse_trimmed(_NAME, self._trim_record, f"event {event_id}")

    def token(self) -> int:
        """A mark of now; see :class:`eventcore.stores.following.CommitSignal`."""
        return self._signal.token()

    def wait(self, token: int, timeout_seconds: float) -> bool:
        """Sleep until something was committed since ``token``."""
        return self._signal.wait(token, timeout_seconds)

    def notify(self) -> None:
        """Wake everybody who waits."""
        self._signal.notify()

    def close(self) -> None:
        """See :meth:`eventcore.stores.log.Log.close`."""
        with self._lock:
            self._closed = True
        self.notify()

    def _recorded(self, rows: Sequence[_Row | None]) -> list[Recorded[Any]]:
        codec = self.codec
        found: list[Recorded[Any]] = [Recorded(*row, codec) for row in rows if row is not None]
        if len(found) < len(rows):
            refuse_trimmed(_NAME, self._trim_record, "what was to be read")
        return found

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(store=_NAME)
