"""ProjectionRunner: brings read models to the head of the log, keeps them there, rebuilds them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from eventcore.errors import ConfigurationError
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.background import Background
from eventcore.projections.engine import Engine, check_names
from eventcore.projections.following import Follower, OnPage
from eventcore.projections.health import (
    HELD_SECONDS_MAX,
    LAG_SECONDS_MAX,
    Health,
    check_feed,
)
from eventcore.projections.kept import Held
from eventcore.projections.leases import Leases
from eventcore.projections.observing import engine_for
from eventcore.projections.parking import Clock
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.projections.rebuilds import OnProgress, Rebuild, Rebuilt, RolledBack
from eventcore.projections.repairs import ParkedKey, Repairs, SkippedEvent
from eventcore.projections.retrying import Retried
from eventcore.projections.statuses import (
    HELD_SECONDS_MIN,
    ProjectionStatus,
    check_statuses,
    measured,
    statuses_of,
)
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.transient import retryable
from eventcore.projections.uniting import unite
from eventcore.projections.units import Unit
from eventcore.projections.views import Views
from eventcore.projections.waiting import Waiting
from eventcore.projections.workers import WorkerOptions
from eventcore.stores.log import Log
from eventcore.telemetry import Telemetry

__all__ = [
    "HELD_SECONDS_MIN",
    "WAIT_TIMEOUT_SECONDS",
    "Progress",
    "ProjectionRunner",
    "ProjectionStatus",
]

WAIT_TIMEOUT_SECONDS: Final = 10.0
"""How long :meth:`ProjectionRunner.wait_for` waits unless told."""


class Progress(NamedTuple):
    """What a run came to.

    Attributes:
        events: Events applied to at least one projection.
        position: Every projection that did not stop is at least here.
        parked: Keys of the projections, together, whose events wait since one of them failed; see
            :meth:`ProjectionRunner.parked`.
    """

    events: int
    position: int
    parked: int = 0


class ProjectionRunner:
    """Runs projections over a log.

    Args:
        log: Where the events are.
        views: Where the read models are; may share the log's database.
        projections: Which; all of them by default of the application.
        registry: Tells which class an event's stored name belongs to.
        on_page: See :data:`~eventcore.projections.following.OnPage`.
        clock: Gives the time, aware, to note when something was parked or skipped, and for metrics
            that tell how old something is.
        telemetry: Where spans and metrics go; None: nothing is measured.

    Raises:
        ConfigurationError: Two projections share a name or a table.
    """

    def __init__(  # noqa: PLR0913 - what it works with, each once
        self,
        log: Log,
        views: Views,
        projections: Iterable[Projection],
        *,
        registry: EventRegistry = default_registry,
        on_page: OnPage | None = None,
        clock: Clock | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.log = log
        self.views = views
        self.projections = list(projections)
        check_names(self.projections)
        self._registry = registry
        self._clock = clock
        self._repairs = Repairs(log, views, registry=registry, clock=clock)
        self._on_page = on_page or _ignore_page
        self._telemetry = telemetry
        self._stop = threading.Event()
        self._background = Background(self._stop)
        self._followed: Follower | None = None

    def run_to_head(self) -> Progress:
        """Apply everything that was in the log when this was called.

        What fails is parked with all that follows for the rows it would have changed, and
        everything else goes on: see :attr:`Progress.parked`. What was parked before and failed in a
        way that may go by itself is tried once more.

        Raises:
            ProjectionFailedError: A projection stopped, since what failed could not be parked: it
                overrides ``apply_page``, or too much is parked. The other projections are at the
                head; that one has everything before the event at fault.
            SchemaMismatchError: A table exists with other columns.
            ConfigurationError: Rows were made by another version of a projection: rebuild it.
            ViewsOfAnotherLogError: Rows were made from another log, or a later state of this one.
            StoreError: The log or the views failed; run it again.
        """
        engine = self._engine()
        due: dict[str, list[Unit]] = {}
        for (name, unit), _ in retryable(engine.transient):
            due.setdefault(name, []).append(unit)
        for name, units in due.items():
            self._retry_if_parked(name, units)
        if due:
            engine.reload()
        return self._catch_up(engine)

    def _engine(
        self, projections: Sequence[Projection] | None = None, held: Held | None = None
    ) -> Engine:
        return engine_for(
            self._telemetry,
            self.views,
            projections or self.projections,
            self._registry,
            log=self.log,
            held=held,
            clock=self._clock,
        )

    def _catch_up(self, engine: Engine) -> Progress:
        events = self._follower(self._stop.is_set).catch_up(engine)
        return Progress(events, engine.position, sum(map(len, engine.parked.values())))

    def _follower(self, stopped: Callable[[], bool], leases: Leases | None = None) -> Follower:
        return Follower(
            self.log,
            self.views,
            lambda held: self._engine(held=held),
            on_page=self._on_page,
            stopped=stopped,
            leases=leases,
            retry=self._retry_if_parked,
        )

    def _retry_if_parked(self, name: str, units: Sequence[Unit]) -> None:
        self._repairs.retry_if_parked(self._named(name), units)

    def parked(self, name: str | None = None) -> list[ParkedKey]:
        """The keys whose events wait since one of them failed, and why.

        Args:
            name: Of which projection; all by default.

        Raises:
            ConfigurationError: There is no projection of that name.
        """
        projections = self.projections if name is None else [self._named(name)]
        return [one for projection in projections for one in self._repairs.parked(projection)]

    def skipped(self, name: str) -> list[SkippedEvent]:
        """The events of which somebody decided that they are not applied, and why.

        Raises:
            ConfigurationError: There is no projection of that name.
        """
        return self._repairs.skipped(self._named(name))

    def retry(self, name: str, key: Any = None, *, table: str | None = None) -> Retried:
        """Apply what is parked, in order, as far as it can be applied now.

        The events are read and decoded anew. Rows change together with the notes of what is parked;
        runners that keep the projection notice and go on.

        Args:
            name: Of which projection.
            key: Of which key: its value, a tuple of several, or text as printed; all by default.
                What waits for the same events is retried with it.
            table: Of which table, if the same key is parked in several.

        Raises:
            ConfigurationError: There is no such projection, or nothing is parked under the key.
            StoreUnavailableError: A runner was faster every time; try again.
            ViewsOfAnotherLogError: The log has another event where one was parked.
        """
        projection = self._named(name)
        if key is None:
            return self._repairs.retry(projection)
        return self._repairs.retry(projection, self._repairs.find(projection, key, table))

    def skip(
        self, name: str, key: Any, *, reason: str, by: str | None = None, table: str | None = None
    ) -> Retried:
        """Decide that the first event parked for a key is not applied, and retry what follows.

        The decision is kept with the reason, see :meth:`skipped`, and holds in rebuilds as well.

        Args:
            name: Of which projection.
            key: See :meth:`retry`.
            reason: Why; for whoever wonders later.
            by: Who decided.
            table: See :meth:`retry`.

        Raises:
            ConfigurationError: No reason is given; or as :meth:`retry`, also if the key is parked
                in several tables and none is named.
        """
        projection = self._named(name)
        found = self._repairs.find(projection, key, table)
        if len(found) > 1:
            tables = ", ".join(unit.table or "(stream)" for unit in found)
            raise ConfigurationError(
                message=f"That key of projection {name} is parked in several tables: name one of "
                f"{tables}"
            )
        return self._repairs.skip(projection, found[0], reason=reason, by=by)

    def follow(
        self, stop: threading.Event | None = None, *, worker: WorkerOptions | None = None
    ) -> None:
        """Catch up, then apply each event as it is recorded, for ever.

        Ends within a second after ``stop`` is set, at once after :meth:`stop`. A database that
        goes away is waited for, as is one that is not there yet: with pauses that grow to
        :data:`~eventcore.projections.backoff.BACKOFF_SECONDS_MAX`, each with a warning in the log
        ``eventcore.projections``.

        Args:
            stop: Ends it; an event of one's own, e.g. set by a signal handler.
            worker: Keep only a part, beside other workers in any number of processes and hosts.

        Raises:
            ProjectionFailedError: See :meth:`run_to_head`.
            ViewsOfAnotherLogError: Likewise.
            ConfigurationError: Likewise.
            StoreError: The log or the views failed in a way that waiting does not mend.
        """
        stop = stop or self._stop
        plans = [Plan(projection, self._registry) for projection in self.projections]
        leases = None if worker is None else worker.leases(self.views, plans)
        self._followed = self._follower(lambda: stop.is_set() or self._stop.is_set(), leases)
        if self._telemetry is None:
            self._followed.follow()
            return
        with self._telemetry.observing(self._measure):
            self._followed.follow()

    def _measure(self) -> Iterator[tuple[str, str, float]]:
        yield from measured(self.status(None if self._clock is None else self._clock()))

    def start(self) -> None:
        """Follow in a thread of its own, which never keeps the process alive.

        Raises:
            ConfigurationError: It is following already.
        """
        self._background.start(self.follow)

    def stop(self) -> None:
        """End following and wait for the page at hand.

        Raises:
            ProjectionFailedError: It had ended by itself, because of this.
            StoreError: Likewise.
        """
        self._background.stop(self._wake)

    def _wake(self) -> None:
        if self._followed is not None:
            self._followed.wake()

    def rebuild(
        self,
        name: str,
        *,
        now: datetime | None = None,
        accept_differences: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Rebuilt:
        """Make one projection's rows again beside the live ones, compare, and swap.

        The live ones are read and kept as ever meanwhile. Interrupted, the next call goes on where
        this one was. What is replaced is set aside: see :meth:`roll_back`, :meth:`drop_old`.

        Args:
            name: Which.
            now: The time, aware: a row whose time to live has passed by then may be missing in the
                live ones. Without it any row of a table with a time to live may be.
            accept_differences: Swap also if rows differ that the same definition made.
            on_progress: Called with the phase, the position, and where it ends.

        Raises:
            ReadModelsDifferError: Rows differ that the same definition made. Nothing is replaced;
                the new ones are kept beside.
            ProjectionFailedError: A handler raised. The live rows are as they were.
            ConfigurationError: There is no projection of that name, or it cannot be rebuilt so.
            StoreUnavailableError: The database is away or too busy; call it again.
        """
        rebuild = self._rebuild(name, on_progress)
        return rebuild.run(now, accept_differences=accept_differences)

    def _rebuild(self, name: str, on_progress: OnProgress | None = None) -> Rebuild:
        return Rebuild(
            self.log,
            self.views,
            self._named(name),
            registry=self._registry,
            on_progress=on_progress,
        )

    def roll_back(self, name: str) -> RolledBack:
        """Make the rows live again that the last rebuild replaced; those are set aside instead.

        Raises:
            ConfigurationError: There are none.
            StoreUnavailableError: The database is away or too busy; call it again.
        """
        return self._rebuild(name).roll_back()

    def drop_old(self, name: str) -> int:
        """Drop the rows that rebuilds replaced; gives how many generations that was."""
        return self._rebuild(name).drop_old()

    def give_up_rebuild(self, name: str) -> int:
        """Drop what is half built beside the live rows; gives how many generations that was."""
        return self._rebuild(name).give_up()

    def accept(self, name: str) -> Checkpoint:
        """Take the rows of a projection as made by its definition as it is now.

        Raises:
            SchemaMismatchError: Its tables have other columns.
            ConfigurationError: It was never kept, or there is no projection of that name.
        """
        return self.views.accept(self._named(name))

    def reset(self, name: str) -> Progress:
        """Drop one projection's rows and make them again from the log, up to the head.

        Readers find no rows, then few, until it is done; :meth:`rebuild` spares them that.
        Interrupted, it goes on where it was at the next run. The other projections are not touched.

        Raises:
            ConfigurationError: There is no projection of that name.
            SchemaMismatchError: A table of that name is not the projection's. It is left alone.
            ProjectionFailedError: See :meth:`run_to_head`.
        """
        projection = self._named(name)
        self.views.reset(projection)
        self._repairs.clear(projection)
        return self._catch_up(self._engine([projection]))

    def unite(self, name: str) -> Progress:
        """Make a projection one again that workers keep in shares.

        Raises:
            ConfigurationError: There is no projection of that name.
            ProjectionFailedError: See :meth:`run_to_head`.
            StoreUnavailableError: Others kept moving it; try again.
        """
        united = unite(self.log, self.views, self._named(name), registry=self._registry)
        return Progress(0, united.position)

    def expire(self, now: datetime) -> int:
        """Delete rows older than their tables' TTL; gives how many."""
        return sum(self.views.expire(projection, now) for projection in self.projections)

    def status(self, now: datetime | None = None) -> list[ProjectionStatus]:
        """How each projection is.

        If one is behind, and the database hides how old a transaction is that holds the feed, this
        takes up to a second to see whether it lasts.

        Args:
            now: The time, to tell the lag in seconds.
        """
        return statuses_of(self.log, self.views, self.projections, repairs=self._repairs, now=now)

    def health(
        self,
        now: datetime,
        *,
        lag_seconds_max: float = LAG_SECONDS_MAX,
        held_seconds_max: float = HELD_SECONDS_MAX,
    ) -> Health:
        """Whether the read models are current, and whether the feed gets further.

        Databases that cannot be reached are an answer here, not an error.

        Args:
            now: The time.
            lag_seconds_max: Age of the oldest event not yet applied that is put up with.
            held_seconds_max: Age of a transaction that holds the feed that is put up with.
        """
        return Health(
            (
                check_statuses(lambda: self.status(now), lag_seconds_max),
                check_feed(self.log, held_seconds_max),
            )
        )

    def wait_for(
        self,
        position: int,
        names: Iterable[str] | None = None,
        *,
        timeout_seconds: float = WAIT_TIMEOUT_SECONDS,
    ) -> None:
        """Wait until read models have applied everything up to a position: read your own writes.

        Any runner may keep them, here or in another process.

        Args:
            position: What an append or a command returned.
            names: Which projections; all of this runner's by default.
            timeout_seconds: How long at most.

        Raises:
            WaitTimeoutError: They did not get there in time.
            ProjectionFailedError: The runner in this process has stopped because of it.
            ViewsOfAnotherLogError: They were made from another log: what they show is not yours.
            ConfigurationError: There is no projection of that name.
        """
        waited_for = [self._named(name).name for name in names] if names else None
        if waited_for is None:
            waited_for = [projection.name for projection in self.projections]
        waiting = Waiting(
            self.log,
            self.views,
            position=position,
            timeout_seconds=timeout_seconds,
            failure=lambda: self._background.failure,
        )
        for name in waited_for:
            waiting.wait_for(name)

    def _named(self, name: str) -> Projection:
        for projection in self.projections:
            if projection.name == name:
                return projection
        known = ", ".join(projection.name for projection in self.projections)
        raise ConfigurationError(message=f"There is no projection {name!r}, only {known}")


def _ignore_page(applied: int, end: int) -> None:
    """Nobody looks at the progress."""
