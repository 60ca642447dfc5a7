"""Archive: what was archived, by position, by shard and by stream, with or without its log.

Memory is bounded by a segment (:data:`~eventcore.lake.layout.SEGMENT_EVENTS_MAX` events), however
large the archive is. Nothing here writes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from eventcore.errors import ArchiveDamagedError
from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.lake.columns import events_of
from eventcore.lake.files import ArchiveFiles
from eventcore.lake.folders import Folder, open_folder
from eventcore.lake.indexes import StreamIndexes
from eventcore.lake.layout import MANIFESTS, manifest_name
from eventcore.lake.manifests import ArchivedFile, Manifest, check_chain, read_manifest
from eventcore.lake.rows import choose, recorded_of
from eventcore.stores.limits import PLACE_MAX, is_storable
from eventcore.stores.log import EVERYTHING, LogFilter, Page

__all__ = ["Archive", "open_archive", "recorded_of"]

BATCH_EVENTS: Final = 8_192
"""Events in one batch that readers get."""

SEGMENTS_KEPT: Final = 2
"""Segments kept in memory for readers of pages, the least recently used dropped first."""

FEW_EVENTS: Final = 32
"""Events looked up one by one in a segment; for more of them it is read whole."""

LOADERS: Final = 8
"""Manifests fetched at once when an archive is opened."""


class Archive:
    """An archive, open for reading. Safe under threads; goes to other processes as its URL.

    Args:
        folder: Where it lies.
        verify: Check each file's SHA-256 whenever it is read.

    Raises:
        ArchiveDamagedError: A manifest is missing, was changed, or does not follow the one before.
        StoreUnavailableError: The place cannot be read now.
    """

    def __init__(self, folder: Folder, *, verify: bool = False) -> None:
        self.folder = folder
        self.verify_reads = verify
        self._files = ArchiveFiles(folder, verify=verify)
        self._indexes = StreamIndexes(self._files)
        self._manifests: tuple[Manifest, ...] = ()
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._load()

    @property
    def url(self) -> str:
        """Names it; :func:`open_archive` opens it again."""
        return self.folder.url

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All of them, the first one first."""
        return self._manifests

    @property
    def until(self) -> int:
        """Position of the last event that is archived; every earlier one is, too. 0: none."""
        return self._manifests[-1].until if self._manifests else 0

    @property
    def events(self) -> int:
        """How many events are archived."""
        return sum(manifest.events for manifest in self._manifests)

    def refresh(self) -> bool:
        """Look for segments that were archived since; whether there are any."""
        before = len(self._manifests)
        with self._lock:
            while (data := self.folder.read(manifest_name(len(self._manifests) + 1))) is not None:
                self._take(data)
        return len(self._manifests) > before

    def _load(self) -> None:
        found = list(self.folder.names(MANIFESTS))
        wanted = [manifest_name(number) for number in range(1, len(found) + 1)]
        if missing := sorted(set(wanted) - set(found)):
            raise self._damaged(missing[0], "is missing")
        with ThreadPoolExecutor(LOADERS) as loaders:
            for name, data in zip(wanted, loaders.map(self.folder.read, wanted), strict=True):
                if data is None:
                    raise self._damaged(name, "is missing")
                self._take(data)

    def _take(self, data: bytes) -> None:
        before = self._manifests[-1] if self._manifests else None
        manifest = read_manifest(self.url, len(self._manifests) + 1, data)
        check_chain(self.url, before, manifest)
        self._manifests = (*self._manifests, manifest)

    def shards(self) -> Sequence[int]:
        """The numbers of its shards: parts that can be replayed at the same time.

        A stream's events are all in one shard, by a stable hash of its name.
        """
        return range(self._manifests[0].shards) if self._manifests else range(0)

    def files(self) -> Iterator[ArchivedFile]:
        """Every file with its digest, segment by segment."""
        for manifest in self._manifests:
            yield from manifest.files

    def verify(self, *, after: int = 0, until: int | None = None) -> int:
        """Check the SHA-256 of every file, and that the rows are those its manifest tells of.

        Args:
            after: Only segments that reach above this position.
            until: Only segments that begin at or below this position.

        Returns:
            How many events were looked at.

        Raises:
            ArchiveDamagedError: The first file that is missing or differs.
        """
        checked = 0
        for manifest in self._between(after, until):
            for file in manifest.files:
                self._files.check(file)
                checked += file.events
        return checked

    def read_shard(
        self, shard: int, *, after: int = 0, until: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """A shard's events as batches of :data:`~eventcore.lake.columns.EVENT_SCHEMA`.

        Args:
            shard: One of :meth:`shards`.
            after: Only positions above this one.
            until: Only positions up to and including this one.

        Returns:
            Batches by position, of at most :data:`BATCH_EVENTS` rows, none empty.

        Raises:
            ArchiveDamagedError: A file is missing or cannot be read.
        """
        for manifest in self._between(after, until):
            files = [file for file in manifest.files if file.shard == shard]
            yield from self._batches(files, after, until)

    def read_batches(self, *, after: int = 0, until: int | None = None) -> Iterator[pa.RecordBatch]:
        """The events of all shards, by position; see :meth:`read_shard`."""
        for manifest in self._between(after, until):
            yield from self._batches(manifest.files, after, until)

    def _batches(
        self, files: Sequence[ArchivedFile], after: int, until: int | None
    ) -> Iterator[pa.RecordBatch]:
        wanted = [f for f in files if f.last > after and (until is None or f.first <= until)]
        if not wanted:
            return
        table = choose(self._files.events(wanted), after, until)
        yield from (batch for batch in table.to_batches(BATCH_EVENTS) if batch.num_rows)

    def read(
        self,
        after: int = 0,
        *,
        until: int | None = None,
        where: LogFilter = EVERYTHING,
        codec: Codec,
    ) -> Iterator[Recorded[Any]]:
        """Recorded events by position, as :meth:`eventcore.stores.log.Log.read` gives them."""
        for manifest in self._between(after, until):
            table = choose(self._files.events(manifest.files), after, until, where)
            for batch in table.to_batches(BATCH_EVENTS):
                yield from recorded_of(batch, codec)

    def read_page(
        self, after: int, limit: int, where: LogFilter = EVERYTHING, *, until: int, codec: Codec
    ) -> Page:
        """At most ``limit`` matching events above ``after`` and up to ``until``, in order."""
        found: list[Recorded[Any]] = []
        for manifest in self._between(after, until):
            table = choose(self._segment(manifest), after, until, where)
            for batch in table.slice(0, limit - len(found)).to_batches():
                found += recorded_of(batch, codec)
            if len(found) == limit:
                return Page(found, found[-1].position)
        return Page(found, max(after, min(until, self.until)))

    def read_stream(  # noqa: PLR0913 - each a keyword, each a bound of its own
        self,
        stream: str,
        *,
        after: int = 0,
        until: int | None = None,
        until_position: int | None = None,
        backwards: bool = False,
        codec: Codec,
    ) -> Iterator[Recorded[Any]]:
        """The archived events of one stream, by version.

        The first time, the names in every file are read; those of the segments used last are
        remembered.

        Args:
            stream: Its name.
            after: Only versions above this one.
            until: Only versions up to and including this one.
            until_position: Only positions up to and including this one.
            backwards: Newest first.
            codec: Reads the events.
        """
        if not self._manifests or not is_storable(stream):
            return
        high = PLACE_MAX if until is None else until
        last = PLACE_MAX if until_position is None else until_position
        manifests = self._between(0, until_position)
        for manifest in reversed(manifests) if backwards else manifests:
            events = self._stream_in(self._indexes.files_of(manifest, stream), stream, codec)
            events.sort(key=lambda event: event.version, reverse=backwards)
            yield from (e for e in events if after < e.version <= high and e.position <= last)
            # Nothing that was asked for is beyond these.
            if events and (
                events[-1].version <= after if backwards else events[-1].version >= high
            ):
                return

    def _stream_in(
        self, files: Sequence[ArchivedFile], stream: str, codec: Codec
    ) -> list[Recorded[Any]]:
        found: list[Recorded[Any]] = []
        for file in files:
            table = self._files.rows_where(file, "stream", [stream])
            for batch in events_of(table).to_batches():
                found += recorded_of(batch, codec)
        return found

    def at(self, positions: Sequence[int], codec: Codec) -> Mapping[int, Recorded[Any]]:
        """The archived events at these positions, by position; those that are not are left out."""
        found: dict[int, Recorded[Any]] = {}
        wanted = np.array(sorted(set(positions)), np.int64)
        for manifest in self._manifests:
            low, high = np.searchsorted(wanted, [manifest.after, manifest.until], "right")
            if high - low > FEW_EVENTS:
                found |= self._among(self._segment(manifest), wanted[low:high], codec)
                continue
            for file in manifest.files if low < high else ():
                mine = [int(p) for p in wanted[low:high] if file.first <= p <= file.last]
                if not mine:
                    continue
                for batch in events_of(self._files.rows_where(file, "position", mine)).to_batches():
                    found |= {event.position: event for event in recorded_of(batch, codec)}
        return found

    @staticmethod
    def _among(
        table: pa.Table, positions: npt.NDArray[np.int64], codec: Codec
    ) -> dict[int, Recorded[Any]]:
        mask = pc.is_in(table["position"], pa.array(positions))
        batches = table.filter(mask).to_batches()
        return {event.position: event for batch in batches for event in recorded_of(batch, codec)}

    def _between(self, after: int, until: int | None) -> list[Manifest]:
        return [
            manifest
            for manifest in self._manifests
            if manifest.until > after and (until is None or manifest.after < until)
        ]

    def _segment(self, manifest: Manifest) -> pa.Table:
        with self._lock:
            kept = self._kept.get(manifest.number)
            if kept is not None:
                self._kept.move_to_end(manifest.number)
                return kept
        table = self._files.events(manifest.files)
        with self._lock:
            self._kept[manifest.number] = table
            while len(self._kept) > SEGMENTS_KEPT:
                self._kept.popitem(last=False)
        return table

    def _damaged(self, name: str, problem: str) -> ArchiveDamagedError:
        return ArchiveDamagedError(archive=self.url, file=name, problem=problem)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return open_archive, (self.url, self.verify_reads)

    @override
    def __repr__(self) -> str:
        return f"<Archive {self.url} until={self.until} events={self.events}>"


def open_archive(url: str, verify: bool = False) -> Archive:  # noqa: FBT001, FBT002 - as pickled
    """Open an archive for reading. One that nobody has written to yet is empty.

    Args:
        url: See :func:`eventcore.lake.folders.open_folder`.
        verify: Check each file's SHA-256 whenever it is read.

    Raises:
        ConfigurationError: The URL names no place for one.
        ArchiveDamagedError: A manifest is missing, was changed, or does not follow the one before.
    """
    return Archive(open_folder(url), verify=verify)
