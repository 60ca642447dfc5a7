"""Archiver: the log's events into files, segment by segment, each file once.

A segment is planned, its files are published, and last its manifest: from then on it is part of the
archive. Killed anywhere and run again, it makes the same files from the same plan, leaves those
that are there, and goes on. Two that run at once do the same work and harm nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute as pc

import eventcore.events.catalogue  # noqa: F401 - declares the families of the built-in types
from eventcore.errors import (
    ArchiveDamagedError,
    ArchiveOfAnotherLogError,
    ConfigurationError,
    TrimmedHistoryError,
)
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry
from eventcore.lake.columns import MICROSECONDS_A_DAY, table_of
from eventcore.lake.files import parquet_of, table_in
from eventcore.lake.layout import (
    SEGMENT_BYTES_MAX,
    SEGMENT_EVENTS_MAX,
    SHARDS_DEFAULT,
    SHARDS_MAX,
    UNKNOWN_DAY,
    day_of,
    family_of,
    file_name,
    manifest_name,
    plan_name,
    shard_of,
)
from eventcore.lake.manifests import ArchivedFile, Manifest, Plan, manifest_json, read_plan
from eventcore.lake.reading import Archive
from eventcore.lake.rows import gone_among, id_of
from eventcore.stores.log import Log
from eventcore.stores.trimming import TrimmableLog

PACKED_EVENTS: Final = 8_192
"""Events that are packed at once."""

PUBLISHERS: Final = 8
"""Files compressed and published at once."""


class ArchiveReport(NamedTuple):
    """What a run did.

    Attributes:
        segments: Manifests published.
        events: Events in them.
        files: Files they name.
        bytes: Size of those files.
        state_bytes: Bytes of the events' states, as the log stores them.
        until: Position up to which the archive reaches now.
    """

    segments: int
    events: int
    files: int
    bytes: int
    state_bytes: int
    until: int


class _Group(NamedTuple):
    """Rows of a segment that go into one file."""

    family: str
    day: int
    shard: int
    rows: pa.Table


class _Taken:
    """Events of a segment, packed while they are read.

    As objects they would cost more than all the rest: the garbage collector looks at each again and
    again.
    """

    def __init__(self) -> None:
        self.count = 0
        self.state_bytes = 0
        self.types: set[str] = set()
        self.last: Recorded[Any] | None = None
        self._tables: list[pa.Table] = []
        self._waiting: list[Recorded[Any]] = []

    def add(self, events: list[Recorded[Any]]) -> None:
        """Take the next ones."""
        if not events:
            return
        self.count += len(events)
        self.state_bytes += sum([len(event.state) for event in events])
        self.types.update([event.type for event in events])
        self.last = events[-1]
        self._waiting += events
        if len(self._waiting) >= PACKED_EVENTS:
            self._pack()

    def is_full(self, limits: SegmentLimits) -> bool:
        """Whether a segment ends here."""
        return self.count >= limits.events_max or self.state_bytes >= limits.bytes_max

    def table(self) -> pa.Table:
        """All of them, by position."""
        self._pack()
        return pa.concat_tables(self._tables)

    def _pack(self) -> None:
        if self._waiting:
            self._tables.append(table_of(self._waiting))
            self._waiting = []


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLimits:
    """How large a segment may be.

    Attributes:
        events_max: Events in it.
        bytes_max: Bytes of their states at which it ends before that.
        events_min: A segment with fewer is not begun: they stay in the log until there are more, so
            that frequent runs do not make many small files. One that is full is.
    """

    events_max: int = SEGMENT_EVENTS_MAX
    bytes_max: int = SEGMENT_BYTES_MAX
    events_min: int = 1


class Archiver:
    """Archives a log.

    Args:
        archive: Where to; it may be empty.
        shards: In how many parts streams are split. An archive keeps what its first run said;
            None: that, or :data:`~eventcore.lake.layout.SHARDS_DEFAULT`.
        limits: Of a segment.

    Raises:
        ConfigurationError: The archive has another number of shards, or none can have so many.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        shards: int | None = None,
        limits: SegmentLimits | None = None,
    ) -> None:
        kept = len(archive.shards()) or None
        if shards is not None and kept not in {None, shards}:
            raise ConfigurationError(
                message=f"The archive {archive.url} has {kept} shards for ever: leave --shards out"
            )
        if shards is not None and not 0 < shards <= SHARDS_MAX:
            raise ConfigurationError(message=f"An archive has 1 to {SHARDS_MAX} shards")
        self._archive = archive
        self._folder = archive.folder
        self._shards = kept or shards or SHARDS_DEFAULT
        self._limits = limits or SegmentLimits()

    def run(
        self, log: Log, *, on_segment: Callable[[Manifest], None] | None = None
    ) -> ArchiveReport:
        """Archive every event that the log has and the archive has not, if they are enough.

        Args:
            log: It may go on being written to; what comes after the beginning may be left for the
                next run.
            on_segment: Called after each segment with its manifest.

        Raises:
            ArchiveOfAnotherLogError: The archive was made from another log. Nothing was written.
            ArchiveDamagedError: What is there is not what a run can have left.
            StoreUnavailableError: The log or the archive cannot be reached. Run it again.
        """
        self._archive.refresh()
        self._check_same(log)
        head, total, files, size, states = log.head(), 0, 0, 0, 0
        first = len(self._archive.manifests)
        while self._archive.until < head:
            state_bytes = self._next_segment(log, head)
            if not self._archive.refresh():
                break
            for manifest in self._archive.manifests[-1:]:
                total, files = total + manifest.events, files + len(manifest.files)
                size, states = size + manifest.bytes, states + state_bytes
                if on_segment is not None:
                    on_segment(manifest)
        segments = len(self._archive.manifests) - first
        return ArchiveReport(segments, total, files, size, states, self._archive.until)

    def _check_same(self, log: Log) -> None:
        """Check that the log has the archive's last event."""
        if not self._archive.manifests:
            return
        last = self._archive.manifests[-1]
        try:
            events = log.read_page(last.until - 1, 1).events
        except TrimmedHistoryError:
            # It was compared, byte by byte, before it was removed: if it was this one.
            assert isinstance(log, TrimmableLog)
            events = list(self._archive.at([last.until], log.codec).values())
            if gone_among(log, events):
                return
            events = []
        found = events[0] if events else None
        if found is None or (found.position, id_of(found)) != (
            last.until,
            last.last_event_id,
        ):
            raise ArchiveOfAnotherLogError(
                archive=self._archive.url, position=last.until, event_id=last.last_event_id
            )

    def _next_segment(self, log: Log, head: int) -> int:
        """Plan, write and publish one segment; gives the bytes of its events' states."""
        after, number = self._archive.until, len(self._archive.manifests) + 1
        plan = self._plan(number)
        taken = self._take(log, after, head if plan is None else plan.until, whole=plan is not None)
        if taken.last is None:
            return 0
        is_small = taken.count < self._limits.events_min and not taken.is_full(self._limits)
        if plan is None and is_small:
            return 0
        if plan is None:
            plan = self._publish_plan(number, after, taken, log.codec.registry)
            if plan.until != taken.last.position:
                # Another archiver was faster, and its segment is the one that counts.
                taken = self._take(log, after, plan.until, whole=True)
        last = taken.last
        if last is None or (taken.count, last.position) != (plan.events, plan.until):
            raise ArchiveOfAnotherLogError(
                archive=self._archive.url, position=plan.until, event_id="of an unfinished plan"
            )
        files = self._publish_files(plan, taken.table())
        data = manifest_json(plan, files, id_of(last))
        name = manifest_name(number)
        if not self._folder.publish(name, data) and self._folder.read(name) != data:
            raise self._damaged(name, "is another one than this run came to")
        return taken.state_bytes

    def _plan(self, number: int) -> Plan | None:
        data = self._folder.read(plan_name(number))
        if data is None:
            return None
        plan = read_plan(self._archive.url, number, data)
        manifests = self._archive.manifests
        before = manifests[-1].sha256 if manifests else None
        if (plan.after, plan.previous) != (self._archive.until, before):
            raise self._damaged(plan_name(number), "does not go on where the archive ends")
        return plan

    def _publish_plan(  # noqa: PLR0917 - what a plan says, in its order
        self, number: int, after: int, taken: _Taken, registry: EventRegistry
    ) -> Plan:
        manifests = self._archive.manifests
        assert taken.last is not None
        plan = Plan(
            number=number,
            previous=manifests[-1].sha256 if manifests else None,
            after=after,
            until=taken.last.position,
            events=taken.count,
            shards=self._shards,
            families={name: family_of(name, registry) for name in sorted(taken.types)},
        )
        if self._folder.publish(plan_name(number), plan.to_json()):
            return plan
        found = self._plan(number)
        assert found is not None
        return found

    def _take(self, log: Log, after: int, until: int, *, whole: bool) -> _Taken:
        """The events of the next segment; all up to ``until`` if it was planned so."""
        taken = _Taken()
        while after < until and (whole or not taken.is_full(self._limits)):
            page = log.read_page(after, READ_PAGE_EVENTS)
            events = [event for event in page.events if event.position <= until]
            if not whole:
                events = events[: self._limits.events_max - taken.count]
            taken.add(events)
            if page.end <= after:
                break
            after = page.end
        return taken

    def _publish_files(self, plan: Plan, table: pa.Table) -> list[ArchivedFile]:
        with ThreadPoolExecutor(PUBLISHERS) as publishers:
            groups = _groups(plan, table)
            return list(publishers.map(lambda group: self._publish(plan, group), groups))

    def _publish(self, plan: Plan, group: _Group) -> ArchivedFile:
        day = day_of(group.day)
        name = file_name(group.family, day, group.shard, plan.after + 1, plan.until)
        data = parquet_of(group.rows)
        if not self._folder.publish(name, data):
            data = self._same(name, data, group.rows)
        places = group.rows["position"]
        return ArchivedFile(
            name=name,
            family=group.family,
            day=day.isoformat(),
            shard=group.shard,
            events=group.rows.num_rows,
            first=places[0].as_py(),
            last=places[-1].as_py(),
            bytes=len(data),
            sha256=sha256(data).hexdigest(),
        )

    def _same(self, name: str, data: bytes, rows: pa.Table) -> bytes:
        """The bytes of a file that is there already, which must hold these rows."""
        there = self._folder.read(name) or b""
        if there == data:
            return data
        try:
            # Written by another version of Arrow: the rows count, not how they are packed.
            if table_in(there).equals(rows):
                return there
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(name, f"cannot be read: {error}") from error
        raise self._damaged(name, "holds other events than the log at its positions")

    def _damaged(self, name: str, problem: str) -> ArchiveDamagedError:
        return ArchiveDamagedError(archive=self._archive.url, file=name, problem=problem)


def _groups(plan: Plan, table: pa.Table) -> Iterator[_Group]:
    """The rows of a segment, one group a family, day and shard, each by position."""
    types, type_of = _distinct(table["type"])
    streams, stream_of = _distinct(table["stream"])
    families = sorted(set(plan.families.values()))
    family = np.array([families.index(plan.families[name]) for name in types], np.int64)[type_of]
    shard = np.array([shard_of(name, plan.shards) for name in streams], np.int64)[stream_of]
    keys = np.stack([family, _days(table["timestamp"]), shard])
    order = np.lexsort(keys[::-1])
    sorted_keys = keys[:, order]
    starts = np.flatnonzero(np.diff(sorted_keys, axis=1).any(axis=0)) + 1
    bounds = [0, *starts.tolist(), len(order)]
    sorted_rows = table.take(pa.array(order)).combine_chunks()
    for start, end in pairwise(bounds):
        place, day, number = sorted_keys[:, start].tolist()
        yield _Group(families[place], day, number, sorted_rows.slice(start, end - start))


def _distinct(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    encoded = column.combine_chunks().dictionary_encode()
    found = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    return found.dictionary.to_pylist(), found.indices.to_numpy().astype(np.int64)


def _days(moments: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    unknown = (UNKNOWN_DAY - day_of(0)).days * MICROSECONDS_A_DAY
    times = pc.fill_null(moments.cast(pa.int64()), unknown).to_numpy()
    days: npt.NDArray[np.int64] = np.floor_divide(times, MICROSECONDS_A_DAY)
    return days
