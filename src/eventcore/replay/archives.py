"""Archives as sources of shards: each shard from its own files, and beyond them from the log.

The archive's own shards are taken as they are, so that a reader opens no other's files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry
from eventcore.replay.shards import ParquetFiles, Shards
from eventcore.replay.sources import LogShards, pages_until

Events = Sequence[Recorded[Any]]


class ArchiveReader(Protocol):
    """The part of an archive that is needed."""

    @property
    def until(self) -> int:
        """Position of the last event that is archived."""

    def read_shard(self, shard: int, *, after: int = 0, until: int | None = None) -> Iterator[Any]:
        """A shard's events as Arrow batches, by position."""


class ArchiveAccess(NamedTuple):
    """How an archive is opened and read: functions of modules, found by name in other processes.

    Attributes:
        open: Opens the archive at a URL.
        recorded_of: The events of a batch.
        shard_of: The shard of a stream, of so many.
        paths_of: Files of an archive, if they are on this machine; else None.
    """

    open: Callable[[str], ArchiveReader]
    recorded_of: Callable[[Any, Codec], list[Recorded[Any]]]
    shard_of: Callable[[str, int], int]
    paths_of: Callable[[Any], tuple[str, ...] | None]


class ArchiveShards:
    """An archive in its own shards.

    Args:
        access: How it is read.
        archive: Its URL.
        shards: How many it has.
        log: The log it is of, for what is not archived.
    """

    def __init__(self, access: ArchiveAccess, archive: str, shards: int, *, log: LogShards) -> None:
        self._access = access
        self._archive = archive
        self._shards = shards
        self._log = log

    @property
    def division(self) -> str:
        """See :class:`eventcore.replay.shards.ShardSource`."""
        return f"{self._shards} of the archive"

    @property
    def registry(self) -> EventRegistry:
        """See :class:`eventcore.replay.shards.ShardSource`."""
        return self._log.registry

    def groups(self, workers: int | None) -> list[Shards]:  # noqa: ARG002 - not asked for here
        """See :class:`eventcore.replay.shards.ShardSource`: each alone, whoever reads."""
        return [(shard,) for shard in range(self._shards)]

    def read(self, shards: Shards, *, until: int, types: frozenset[str] | None) -> Iterator[Events]:
        """See :class:`eventcore.replay.shards.ShardSource`."""
        access, (shard,) = self._access, shards
        archive = access.open(self._archive)
        wanted = None if types is None else pa.array(sorted(types), pa.string())
        for batch in archive.read_shard(shard, until=until):
            chosen = batch
            if wanted is not None:
                chosen = batch.filter(pc.is_in(batch.column("type"), wanted))
            yield access.recorded_of(chosen, self._log.codec)
        if archive.until < until:
            with self._log.open() as log:
                for events in pages_until(log, after=archive.until, until=until, types=types):
                    yield [e for e in events if access.shard_of(e.stream, self._shards) == shard]

    def parquet(self) -> ParquetFiles | None:
        """See :class:`eventcore.replay.shards.ShardSource`."""
        archive = self._access.open(self._archive)
        paths = self._access.paths_of(archive)
        return None if paths is None else ParquetFiles(paths, archive.until)
