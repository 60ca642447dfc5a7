"""Replaying: whole read models as of a position or a time, from any log into any views.

The very projections that runners keep fold the events up to a cut, in one of two ways. *Together*:
page by page, rows and checkpoint in one transaction. *Apart*: in shards, each folded in memory by
whoever the executor chooses, its rows written at once. Either way a replay that is killed and
repeated goes on where it was, and the rows are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple, TypedDict

from eventcore.errors import ConfigurationError
from eventcore.projections.engine import check_names
from eventcore.projections.parking import Clock, ParkingLot
from eventcore.projections.projection import Projection
from eventcore.projections.views import Views
from eventcore.replay.cuts import Cut, cut_of
from eventcore.replay.gathering import Gathering
from eventcore.replay.paging import Paging
from eventcore.replay.pools import check_sendable
from eventcore.replay.pools import processes as pool_of
from eventcore.replay.querying import make_by_query, may_be_queried
from eventcore.replay.shards import ShardSource, ShardTask
from eventcore.replay.targets import ReplayRow, Target, as_replayed
from eventcore.stores.log import Log

OnReplayed = Callable[[int, int], None]
"""Called as it goes on, with the position reached and the position of the end. Of shards it is told
how much of them is done."""


class Replayed(NamedTuple):
    """What came of a replay.

    Attributes:
        until: What the rows are: ``position 1234``, or a time.
        position: No event above it is in them.
        events: Events applied by this call; 0 if all had been done before.
        resumed: It went on with one that was begun before.
        parked: Keys whose events wait since one of them failed, as in any read model.
        together: Names of projections that were made as a whole, in one process.
        apart: Names of those that were made in shards.
        queried: Names of those whose rows a query made, as far as the archive goes.
    """

    until: str
    position: int
    events: int
    resumed: bool
    parked: int
    together: tuple[str, ...]
    apart: tuple[str, ...] = ()
    queried: tuple[str, ...] = ()


class ReplayOptions(TypedDict, total=False):
    """What :func:`replay` takes besides the log, the read models, their target and a source."""

    until: int | datetime | None
    executor: Executor | None
    processes: int | None
    on_progress: OnReplayed | None


def replay(  # noqa: PLR0913 - each a keyword with a default but the first three
    log: Log,
    projections: Iterable[Projection],
    into: Views,
    *,
    until: int | datetime | None = None,
    source: ShardSource | None = None,
    executor: Executor | None = None,
    processes: int | None = None,
    clock: Clock | None = None,
    on_progress: OnReplayed | None = None,
) -> Replayed:
    """Make read models as of a position or a time.

    Repeated after it was killed it goes on where it was; repeated after that it does nothing. Where
    a time is asked for, what is appended after the first call counts no more, whenever it happened.

    Args:
        log: Where the events are.
        projections: Which read models.
        into: Where the rows go: views of the past alone, or those of other replays.
        until: A position, or an aware time (see :mod:`eventcore.replay.cuts`); None: everything
            there is.
        source: The same events in shards, for an executor.
        executor: Folds shards, of the projections that say ``share_by = "stream"``; the others are
            made in this process meanwhile.
        processes: Make an executor of so many processes here; 1: fold the shards in this process.
        clock: Gives the time, aware, to note when something failed; nothing depends on it.
        on_progress: See :data:`OnReplayed`.

    Raises:
        ReplayRefusedError: The target holds something else. Nothing was changed.
        ConfigurationError: There is no such position yet, the time cannot be read, or there are no
            shards for an executor.
        SchemaMismatchError: A table of the name is somebody else's. Nothing was changed.
        ProjectionFailedError: A handler raised, and its event cannot be parked.
        ReplayBrokenOffError: A process of the executor was killed; do it again.
        StoreError: The log or the views failed; do it again.
    """
    if processes is not None and executor is not None:
        raise ConfigurationError(message="Give an executor or a number of processes, not both")
    if source is None and (processes is not None or executor is not None):
        raise ConfigurationError(
            message="A log that has no URL cannot be opened by other processes: replay it without "
            "an executor"
        )
    run = _Run(log, list(projections), into, until=until, source=source, clock=clock)
    run.workers = processes
    run.begin(divided=executor is not None or processes is not None)
    with run.pool(executor, processes) as chosen:
        return run.to_end(chosen, on_progress or _ignore_progress)


class _Run:
    """One call of :func:`replay`."""

    def __init__(  # noqa: PLR0913 - what it was called with
        self,
        log: Log,
        projections: Sequence[Projection],
        views: Views,
        *,
        until: int | datetime | None,
        source: ShardSource | None,
        clock: Clock | None,
    ) -> None:
        check_names(projections)
        self._log = log
        self._projections = projections
        self._views = views
        self._source = source
        self._clock = clock
        self._target = Target(views, log, projections)
        self._cut = cut_of(until, log.head())
        self._until = "the head" if until is None else self._cut.label
        self._rows: list[ReplayRow] = []
        self._files = None if source is None else source.parquet()
        self._queried: list[str] = []
        self.workers: int | None = None

    def begin(self, *, divided: bool) -> None:
        """Note in the target what is to be made, and how; or find that noted."""
        division = self._source.division if self._source is not None else ""
        apart = [one.name for one in self._projections if divided and self._may_be_apart(one)]
        self._rows = self._target.begin(self._cut, self._until, apart=apart, division=division)

    @contextmanager
    def pool(self, executor: Executor | None, count: int | None) -> Iterator[Executor | None]:
        """Whoever folds the shards; None: this process does, or there are none."""
        if count is None or count == 1 or not any(row.division for row in self._rows):
            yield executor
            return
        check_sendable(self._source, *self._projections)
        with pool_of(count) as made:
            yield made

    def to_end(self, executor: Executor | None, on_progress: OnReplayed) -> Replayed:
        """Make what is not there yet."""
        events = 0
        # Usually one: projections that were begun together end at one place.
        with self._views.catching_up():
            for cut in dict.fromkeys(row.cut for row in self._rows):
                events += self._make(cut, executor, on_progress)
        lot = ParkingLot(self._views, None)
        return Replayed(
            until=self._until,
            position=max((row.position for row in self._rows), default=self._cut.position),
            events=events,
            resumed=self._target.resumed,
            parked=sum(len(lot.units(as_replayed(one).name)) for one in self._projections),
            together=tuple(row.projection for row in self._rows if not row.division),
            apart=tuple(row.projection for row in self._rows if row.division),
            queried=tuple(self._queried),
        )

    def _make(self, cut: Cut, executor: Executor | None, on_progress: OnReplayed) -> int:
        """Make what ends at one place; gives how many events were applied."""
        rows = dict(zip(self._projections, self._rows, strict=True))
        here = [one for one, row in rows.items() if row.cut == cut]
        apart = [one for one in here if rows[one].division]
        together = [one for one in here if not rows[one].division]
        self._query(together, cut)
        paging = Paging(self._log, self._views, together, cut=cut, clock=self._clock)
        gathering = Gathering(self._views, apart, self._tasks(apart, cut))
        # Each page of the one and each shard of the others is a step of the way.
        ways = bool(together) + bool(apart)

        def tell(reached: int) -> None:
            of_shards = gathering.part_done * cut.position if apart else 0
            on_progress(int((reached + of_shards) / ways), cut.position)

        with gathering.handed_to(executor):
            for reached in paging.pages():
                gathering.take(waiting=False)
                tell(reached)
            while gathering.take(waiting=True):
                tell(cut.position if together else 0)
        gathering.finish(self._log, cut.position)
        return max(paging.events, gathering.events)

    def _may_be_apart(self, projection: Projection) -> bool:
        # A query is faster than any number of processes.
        is_queried = self._files is not None and may_be_queried(projection, self._log.codec)
        return may_be_apart(projection) and not is_queried

    def _query(self, together: Sequence[Projection], cut: Cut) -> None:
        """Make the rows of summaries as far as an archive goes; the rest is made by pages."""
        for one in together:
            if self._files is None or not may_be_queried(one, self._log.codec):
                continue
            if make_by_query(one, self._files, log=self._log, into=self._views, cut=cut):
                self._queried.append(one.name)

    def _tasks(self, apart: Sequence[Projection], cut: Cut) -> list[ShardTask]:
        if not apart:
            return []
        assert self._source is not None  # the target has seen that it is the right one
        return [
            ShardTask(self._source, shards, tuple(apart), cut)
            for shards in self._source.groups(self.workers)
        ]


def may_be_apart(projection: Projection) -> bool:
    """Whether a projection can be made in shards: each of its rows belongs to one stream."""
    return projection.share_by == "stream" and not projection.beside


def _ignore_progress(position: int, end: int) -> None:
    """Nobody looks."""
