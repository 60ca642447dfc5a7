"""Repository: aggregates as they are, or were: a cache or a snapshot, and always the log's tail.

A cache or a snapshot saves work and decides nothing: everything after it is read from the log every
time. What is cached is checked against the stored event that it ends with; a snapshot, which lies
beside the log, is used if the same fold made it and the log has an event of its version.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import Any, Final, TypeVar, cast

from eventcore.aggregates.aggregate import Aggregate
from eventcore.aggregates.state import copied
from eventcore.errors import (
    AggregateNotFoundError,
    ConfigurationError,
    StoreError,
    VersionNotFoundError,
)
from eventcore.events.event import DomainEvent
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.events.times import to_text
from eventcore.stores.log import Log, RowReader, StreamRow
from eventcore.stores.snapshots import Snapshot, SnapshotStore

CACHED_AGGREGATES_MAX: Final = 1_000
"""Aggregates kept in memory, the least recently used dropped first."""

_logger = logging.getLogger(__name__)

FOLDED_EVENTS: Final = 100
"""Events decoded at once while loading."""

A = TypeVar("A", bound=Aggregate)


_Proof = tuple[int, bytes]
"""Position and bytes of the last event in a state."""


class _Baseline:
    """A state to start from: never handed out itself, and changed by what is stored, alone.

    Args:
        aggregate: The state.
        proof: Of it.
    """

    __slots__ = ("_aggregate", "_lock", "_proof")

    def __init__(self, aggregate: Aggregate, proof: _Proof) -> None:
        # Re-entrant, for a signal handler that reads the same aggregate.
        self._lock = threading.RLock()
        self._aggregate: Aggregate | None = aggregate
        self._proof = proof

    def copy(self, cls: type[A]) -> tuple[A, _Proof] | None:
        """An aggregate in this state, and its proof; None if of another class, spoilt or busy."""
        with self._lock:
            if not isinstance(self._aggregate, cls):
                return None
            return self._aggregate.copy(), self._proof

    def advance(self, after: Aggregate, events: Sequence[DomainEvent], proof: _Proof) -> bool:
        """Fold events that were stored behind it; False if they do not continue this state.

        Args:
            after: What the aggregate that recorded them is at now.
            events: They. What could be changed in them is copied.
            proof: Of the last one.
        """
        with self._lock:
            aggregate = self._aggregate
            # Also the same history: `after` may have been read from a log that was set back.
            if type(aggregate) is not type(after) or _seen(after) != self._proof:
                return False
            assert aggregate is not None
            if aggregate.version + len(events) != after.version:
                return False
            self._aggregate = None  # spoilt, unless all of them are folded
            aggregate.fold(map(copied, events))
            self._aggregate, self._proof = aggregate, proof
        return True


class Repository:
    """Loads aggregates from a log. Safe under threads; what it hands out belongs to the caller.

    Args:
        log: The log.
        store: How messages name it.
        snapshots: Aggregate class to how many events apart its state is saved; classes that are not
            named are never saved.
        cached_max: Aggregates kept in memory; 0 keeps none.
        uses_any: Begin with a saved state of any class, also of those that are never saved here:
            for a log whose beginning is far away, in an archive.
    """

    def __init__(
        self,
        log: Log,
        *,
        store: str = "the log",
        snapshots: Mapping[type[Aggregate], int] | None = None,
        cached_max: int = CACHED_AGGREGATES_MAX,
        uses_any: bool = False,
    ) -> None:
        self._log = log
        self._uses_any = uses_any and isinstance(log, SnapshotStore)
        # Asked once: to look for every method of a protocol takes longer than to read a page.
        self._reads_rows = isinstance(log, RowReader)
        self._codec = log.codec
        self._store = store
        self._intervals = dict(snapshots or {})
        for cls, interval in self._intervals.items():
            if interval < 1 or not isinstance(log, SnapshotStore):
                raise ConfigurationError(
                    message=f"Snapshots of {cls.__name__}: the interval is at least 1 event, "
                    "and the store must keep snapshots"
                )
        self._cached_max = cached_max
        self._cache: OrderedDict[str, _Baseline] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self,
        cls: type[A],
        id_: str,
        *,
        version: int | None = None,
        as_of: datetime | int | None = None,
    ) -> A:
        """The aggregate now, at a version, at a time, or at a position of the log.

        Args:
            cls: Class of the aggregate.
            id_: Its id.
            version: After so many events.
            as_of: As it was at this time: every event up to the first one that happened later; or
                as it was when the log ended at this position.

        Raises:
            AggregateNotFoundError: Nothing is stored of it, or nothing had happened yet.
            VersionNotFoundError: It has fewer events.
            ConfigurationError: Both bounds are given, or the time has no zone, or in UTC it lies
                outside the years 1 to 9999.
        """
        if version is not None and as_of is not None:
            raise ConfigurationError(message="give version or as_of, not both")
        if version is not None:
            return self._at_version(cls, id_, version)
        if isinstance(as_of, datetime):
            return self._at_time(cls, id_, as_of)
        if as_of is not None:
            return self._at_position(cls, id_, as_of)
        aggregate = self.load(cls, id_)
        if not aggregate.exists:
            raise self._not_found(cls, id_)
        return aggregate

    def load(self, cls: type[A], id_: str) -> A:
        """The aggregate now; a blank one, at version 0, if nothing is stored of it."""
        stream = cls.stream_of(id_)
        with self._lock:
            kept = self._cache.get(stream)
            if kept is not None:
                self._cache.move_to_end(stream)
        found: tuple[A, StreamRow] | None = None
        begun = None if kept is None else kept.copy(cls)
        if begun is not None:
            found = self._continue(*begun, None)
            if found is not None and _proof(found[1]) == begun[1]:
                return _shown(found[0], begun[1])
        if found is None:
            found = self._from_snapshot(cls, id_, None)
        aggregate, last = found or self._from_start(cls, id_, None)
        if last is None:
            self.forget(stream)
            return aggregate
        if self._cached_max:
            self._keep(aggregate.copy(), _proof(last))
        return _shown(aggregate, _proof(last))

    def stored(
        self, aggregate: Aggregate, events: Sequence[DomainEvent], last: Recorded[Any]
    ) -> None:
        """Note that an aggregate's events were just stored. It stays the caller's.

        Args:
            aggregate: At the version of ``last``, nothing pending.
            events: What it had recorded.
            last: The stream's last event.
        """
        proof = last.position, last.state
        if self._cached_max:
            self._follow(aggregate, events, proof)
        _shown(aggregate, proof)
        interval = self._intervals.get(type(aggregate))
        stored_before = aggregate.version - len(events)
        if interval and aggregate.version // interval > stored_before // interval:
            self._save_snapshot(aggregate)

    def _follow(self, aggregate: Aggregate, events: Sequence[DomainEvent], proof: _Proof) -> None:
        """Keep the state after these events: to fold a few costs less than to copy a large one."""
        with self._lock:
            kept = self._cache.get(aggregate.stream)
            if kept is not None:
                self._cache.move_to_end(aggregate.stream)
        try:
            if len(events) == aggregate.version:
                self._keep(type(aggregate)(id=aggregate.id).fold(map(copied, events)), proof)
            elif kept is None or not kept.advance(aggregate, events, proof):
                self._keep(aggregate.copy(), proof)
        except Exception:  # noqa: BLE001 - stored they are; what is kept is only to save work
            self.forget(aggregate.stream)

    def forget(self, stream: str) -> None:
        """Drop what is kept of a stream; it is read anew."""
        with self._lock:
            self._cache.pop(stream, None)

    def save_snapshot(self, cls: type[Aggregate], id_: str) -> int:
        """Save the state that an aggregate has now; gives its version.

        Raises:
            AggregateNotFoundError: Nothing is stored of it.
            ConfigurationError: The store keeps no snapshots.
        """
        if not isinstance(self._log, SnapshotStore):
            raise ConfigurationError(message=f"{self._store} keeps no snapshots")
        aggregate = self.get(cls, id_)
        self._log.save_snapshot(_snapshot_of(aggregate))
        return aggregate.version

    def _save_snapshot(self, aggregate: Aggregate) -> None:
        assert isinstance(self._log, SnapshotStore)
        try:
            self._log.save_snapshot(_snapshot_of(aggregate))
        except StoreError as error:
            # The events are stored: a caller who is told of a failure now would write them twice.
            _logger.warning("No snapshot of %s was saved: %s", aggregate.stream, error)

    def _keep(self, aggregate: Aggregate, proof: _Proof) -> None:
        with self._lock:
            self._cache[aggregate.stream] = _Baseline(aggregate, proof)
            self._cache.move_to_end(aggregate.stream)
            while len(self._cache) > self._cached_max:
                self._cache.popitem(last=False)

    def _continue(
        self, aggregate: A, proof: _Proof | None, until: int | None
    ) -> tuple[A, StreamRow] | None:
        """Bring a state up to the log's end; None if the log does not have what is in it."""
        # From the last event the state has, so that one read also shows whether it is still there.
        pages = self._pages(aggregate.stream, after=aggregate.version - 1, until=until)
        first = next(pages, None)
        if first is None:
            return None
        last, *tail = first
        if proof not in {None, _proof(last)}:
            return None
        for page in chain((tail,), pages):
            if page:
                self._fold(aggregate, page)
                last = page[-1]
        return aggregate, last

    def _fold(self, aggregate: Aggregate, page: list[StreamRow]) -> None:
        # In small portions, whose events are gone before the garbage collector looks for them.
        stream = aggregate.stream
        for start in range(0, len(page), FOLDED_EVENTS):
            portion = page[start : start + FOLDED_EVENTS]
            aggregate.fold(self._codec.decode_rows(stream, portion))

    def _from_snapshot(
        self, cls: type[A], id_: str, until: int | None
    ) -> tuple[A, StreamRow] | None:
        if cls not in self._intervals and not self._uses_any:
            return None
        assert isinstance(self._log, SnapshotStore)
        snapshot = self._log.load_snapshot(cls.stream_of(id_))
        if (
            snapshot is None
            or snapshot.fingerprint != cls.fingerprint()
            or (until is not None and snapshot.version > until)
        ):
            return None
        try:
            aggregate = cls.from_json(snapshot.state)
        except ValueError:
            return None  # damaged: it costs time, never truth
        if (aggregate.id, aggregate.version) != (id_, snapshot.version):
            return None
        return self._continue(aggregate, None, until)

    def _from_start(self, cls: type[A], id_: str, until: int | None) -> tuple[A, StreamRow | None]:
        aggregate, last = cls(id=id_), None
        for page in self._pages(aggregate.stream, after=0, until=until):
            self._fold(aggregate, page)
            last = page[-1]
        return aggregate, last

    def _pages(self, stream: str, *, after: int, until: int | None) -> Iterator[list[StreamRow]]:
        if self._reads_rows:
            yield from cast("RowReader", self._log).read_stream_rows(
                stream, after=after, until=until
            )
            return
        events = self._log.read_stream(stream, after=after, until=until)
        while page := list(islice(events, READ_PAGE_EVENTS)):
            yield [(e.position, e.version, e.type, e.state) for e in page]

    def _at_version(self, cls: type[A], id_: str, version: int) -> A:
        found = self._from_snapshot(cls, id_, version) or self._from_start(cls, id_, version)
        aggregate = found[0]
        if aggregate.version != version or version < 1:
            last_version = self._log.stream_version(aggregate.stream)
            if not last_version:
                raise self._not_found(cls, id_)
            raise VersionNotFoundError(
                aggregate=cls.__name__,
                id=id_,
                store=self._store,
                last_version=last_version,
                version=version,
            )
        return aggregate

    def _at_time(self, cls: type[A], id_: str, as_of: datetime) -> A:
        if as_of.tzinfo is None:
            raise ConfigurationError(message="as_of is a time with a zone, such as UTC")
        try:
            moment = to_text(as_of)
        except OverflowError:
            raise ConfigurationError(
                message="as_of is a time within the years 1 to 9999 in UTC"
            ) from None
        aggregate = cls(id=id_)
        events = self._log.read_stream(aggregate.stream, until_time=moment)
        aggregate.fold(event.payload for event in events)
        if not aggregate.exists:
            raise self._not_found(cls, id_, f" as of {moment}")
        return aggregate

    def _at_position(self, cls: type[A], id_: str, position: int) -> A:
        aggregate = cls(id=id_)
        for page in self._pages(aggregate.stream, after=0, until=None):
            rows = [row for row in page if row[0] <= position]
            self._fold(aggregate, rows)
            if len(rows) < len(page):
                break
        if not aggregate.exists:
            raise self._not_found(cls, id_, f" at position {position}")
        return aggregate

    def _not_found(self, cls: type[Aggregate], id_: str, when: str = "") -> AggregateNotFoundError:
        return AggregateNotFoundError(aggregate=cls.__name__, id=id_, store=self._store, when=when)


def _snapshot_of(aggregate: Aggregate) -> Snapshot:
    return Snapshot(
        aggregate.stream, aggregate.version, aggregate.fingerprint(), aggregate.to_json()
    )


def _proof(row: StreamRow) -> _Proof:
    return row[0], row[3]


_SEEN: Final = "_seen"
"""Attribute of an aggregate that a repository handed out: the last event in it, as its proof."""


def _shown(aggregate: A, proof: _Proof) -> A:
    vars(aggregate)[_SEEN] = proof
    return aggregate


def _seen(aggregate: Aggregate) -> _Proof | None:
    found: _Proof | None = vars(aggregate).get(_SEEN)
    return found
