"""Shards: parts of a replay that share nothing, wherever and whenever each is folded.

A stream's events are all in one shard. Of a projection that says ``share_by = "stream"`` each row
is changed by events of one stream, so that the rows of all shards together are those of the whole.

:func:`fold_shard` is a plain function of a plain value: give it to a pool of processes, to Dask,
Ray or Spark. It writes nothing, so that it may be called twice; who began the replay writes what
comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.replay.cuts import Cut
from eventcore.replay.folding import Events, RowsByTable, fold_rows
from eventcore.replay.targets import as_replayed

Shards = tuple[int, ...]
"""Numbers of shards that are folded together."""


class ParquetFiles(NamedTuple):
    """Files of an archive.

    Their columns are ``position``, ``stream``, ``version``, ``type``, ``schema_version``,
    ``timestamp`` and ``body``: JSON with the payload under ``data``.

    Attributes:
        paths: All of them, on this machine.
        until: Every event up to this position is in them.
    """

    paths: tuple[str, ...]
    until: int


class ShardSource(Protocol):
    """Where shards are read; a plain value that can be pickled, and opens what it names itself.

    ``eventcore.opening.shard_source`` makes them of URLs.
    """

    @property
    def division(self) -> str:
        """How events are divided, in words: equal words, equal shards."""

    @property
    def registry(self) -> EventRegistry:
        """Tells which class an event's stored name belongs to."""

    def groups(self, workers: int | None) -> Sequence[Shards]:
        """All shards, those together that are better read together.

        Args:
            workers: How many are to read; None: not known.
        """

    def read(
        self, shards: Shards, *, until: int, types: frozenset[str] | None
    ) -> Iterator[Sequence[Recorded[Any]]]:
        """The events of these shards by position, a bounded number at a time.

        Args:
            shards: Which, one of the groups.
            until: Only positions up to and including this one.
            types: Events of other types may be left out; None: of none.

        Raises:
            StoreError: They cannot be read.
        """

    def parquet(self) -> ParquetFiles | None:
        """Files that a query can read; None: there are none."""


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What :func:`fold_shard` is to do: a plain value, for other processes and machines.

    Attributes:
        source: Where the events are.
        shards: Which of them.
        projections: Whose rows, under their own names; instances of importable classes.
        cut: Where it ends.
    """

    source: ShardSource
    shards: Shards
    projections: tuple[Projection, ...]
    cut: Cut


class ShardRows(NamedTuple):
    """What comes of a task.

    Attributes:
        shards: As in the task.
        events: How many events were looked at.
        rows: Stored rows by table, those that note what is parked among them.
    """

    shards: Shards
    events: int
    rows: RowsByTable


def fold_shard(task: ShardTask) -> ShardRows:
    """Fold the events of some shards, from the first one to the cut, in this process.

    Peak memory is that of their rows, and of a batch of events.

    Args:
        task: What to do.

    Raises:
        ProjectionFailedError: A handler raised, and its event cannot be parked.
        StoreError: The events cannot be read; call it again.
    """
    source, cut = task.source, task.cut
    renamed = [as_replayed(one) for one in task.projections]
    types = None if cut.time is not None else _types(renamed, source.registry)

    def batches() -> Iterator[Events]:
        admission = cut.admission()
        for events in source.read(task.shards, until=cut.position, types=types):
            admitted = admission.of(events)
            if admitted:
                yield admitted

    folded = fold_rows(renamed, batches, source.registry)
    return ShardRows(task.shards, folded.events, folded.rows)


def _types(projections: Sequence[Projection], registry: EventRegistry) -> frozenset[str] | None:
    """Stored names of the events that any of them handles; None: all may be."""
    found: frozenset[str] = frozenset()
    for projection in projections:
        types = Plan(projection, registry).types()
        if types is None:
            return None
        found |= types
    return found
