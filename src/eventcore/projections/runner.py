"""ProjectionRunner: brings read models to the head of the log, keeps them there, rebuilds them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final, NamedTuple

from eventcore.errors import ConfigurationError, WaitTimeoutError
from eventcore.events.garbage import collector_paused
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.anchors import check_log, other_log
from eventcore.projections.engine import Applied, Engine, check_names
from eventcore.projections.projection import Projection
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.views import Views
from eventcore.stores.log import Log, LogFilter, Page, Subscription

PAGE_EVENTS_MIN: Final = 100
PAGE_EVENTS_MAX: Final = 4_000
"""Events in one transaction: more would hold the write lock over 0.1 s and gain nothing."""

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Stored bytes a page should stay below: large events make small pages."""

STOP_CHECK_SECONDS: Final = 0.25
"""How often a follower looks whether it is to stop, when nothing else wakes it."""

WAIT_TIMEOUT_SECONDS: Final = 10.0
"""How long :meth:`ProjectionRunner.wait_for` waits unless told."""

OnPage = Callable[[int, int], None]
"""Called after each page with the events applied and the position reached; for progress bars."""


_state_of = attrgetter("state")


class Progress(NamedTuple):
    """What a run came to.

    Attributes:
        events: Events applied to at least one projection.
        position: Every projection that did not fail is at least here.
    """

    events: int
    position: int


class ProjectionStatus(NamedTuple):
    """How one projection is.

    Attributes:
        projection: Its name.
        position: Its checkpoint; 0 if it was never run.
        head: Position of the newest event of the log.
        lag_events: Positions between the two.
        lag_seconds: Age of the oldest event not yet applied; 0.0 at the head; None if no time was
            given.
        rows: Rows of its tables, together.
        problem: Why its rows cannot have been made from this log; None if they may have been. The
            lag is then all of the log.
    """

    projection: str
    position: int
    head: int
    lag_events: int
    lag_seconds: float | None
    rows: int
    problem: str | None = None


class ProjectionRunner:
    """Runs projections over a log.

    Args:
        log: Where the events are.
        views: Where the read models are; may share the log's database.
        projections: Which; all of them by default of the application.
        registry: Tells which class an event's stored name belongs to.
        on_page: See :data:`OnPage`.

    Raises:
        ConfigurationError: Two projections share a name or a table.
    """

    def __init__(
        self,
        log: Log,
        views: Views,
        projections: Iterable[Projection],
        *,
        registry: EventRegistry = default_registry,
        on_page: OnPage | None = None,
    ) -> None:
        self.log = log
        self.views = views
        self.projections = list(projections)
        check_names(self.projections)
        self._registry = registry
        self._on_page = on_page or _ignore_page
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._subscription: Subscription | None = None
        self._failure: BaseException | None = None

    def run_to_head(self) -> Progress:
        """Apply everything that was in the log when this was called.

        Raises:
            ProjectionFailedError: A handler raised. The other projections are at the head; the
                failed one has everything before the event at fault.
            SchemaMismatchError: A table exists with other columns.
            ConfigurationError: Rows were made by another version of a projection: rebuild it.
            ViewsOfAnotherLogError: Rows were made from another log, or a later state of this one.
            StoreError: The log or the views failed; run it again.
        """
        return self._catch_up(self._engine())

    def _engine(self, projections: Sequence[Projection] | None = None) -> Engine:
        return Engine(self.views, projections or self.projections, self._registry, log=self.log)

    def _catch_up(self, engine: Engine) -> Progress:
        engine.check_log()
        head = self.log.head()
        if head - engine.position <= PAGE_EVENTS_MAX:
            return self._run(engine, head)
        with self.views.catching_up():
            return self._run(engine, head)

    def _run(self, engine: Engine, head: int) -> Progress:
        size, events = PAGE_EVENTS_MIN, 0
        while engine.running and engine.position < head and not self._stop.is_set():
            with collector_paused():
                before = engine.position
                applied, size = self._read_and_apply(engine, size)
            events += applied.events
            if applied.moved:
                engine.check_log()
            elif engine.position == before:
                break
        if engine.failures:
            raise engine.failures[0]
        return Progress(events, engine.position)

    def _read_and_apply(self, engine: Engine, size: int) -> tuple[Applied, int]:
        """One page, and the size of the next. What a page is made of is gone when this returns."""
        page = self.log.read_page(engine.position, size, engine.where())
        return self._apply(engine, page), _next_size(size, page)

    def _apply(self, engine: Engine, page: Page) -> Applied:
        applied = engine.apply(page)
        self._on_page(applied.events, engine.position)
        return applied

    def follow(self, stop: threading.Event | None = None) -> None:
        """Catch up, then apply each event as it is recorded, for ever.

        Ends within a second after ``stop`` is set, at once after :meth:`stop`.

        Args:
            stop: Ends it; an event of one's own, e.g. set by a signal handler.

        Raises:
            ProjectionFailedError: See :meth:`run_to_head`.
            ViewsOfAnotherLogError: Likewise.
            StoreError: The log or the views failed; follow again.
        """
        stop = stop or self._stop
        engine = self._engine()
        while not (stop.is_set() or self._stop.is_set()):
            self._catch_up(engine)
            self._follow_from(engine, stop)

    def _follow_from(self, engine: Engine, stop: threading.Event) -> None:
        """Follow as long as this engine alone moves its checkpoints."""
        with self.log.subscribe(engine.position, engine.where()) as subscription:
            self._subscription = subscription
            while not (stop.is_set() or self._stop.is_set()):
                page = subscription.next_page(STOP_CHECK_SECONDS)
                if page is None:
                    return
                if page.end == engine.position:
                    continue
                if self._apply(engine, page).moved:
                    return
                if engine.failures:
                    raise engine.failures[0]

    def start(self) -> None:
        """Follow in a thread of its own, which never keeps the process alive.

        Raises:
            ConfigurationError: It is following already.
        """
        if self._thread is not None:
            raise ConfigurationError(message="This runner is following already")
        self._stop.clear()
        self._failure = None
        self._thread = threading.Thread(
            target=self._follow_in_thread, name="eventcore-projections", daemon=True
        )
        self._thread.start()

    def _follow_in_thread(self) -> None:
        try:
            self.follow()
        except BaseException as error:  # noqa: BLE001 - kept, and raised to whoever waits or stops
            self._failure = error

    def stop(self) -> None:
        """End following and wait for the page at hand.

        Raises:
            ProjectionFailedError: It had ended by itself, because of this.
            StoreError: Likewise.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        subscription = self._subscription
        if subscription is not None:
            subscription.close()
        thread.join()
        self._stop.clear()
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def rebuild(self, name: str) -> Progress:
        """Drop one projection's rows and make them again from the log, up to the head.

        Interrupted, it goes on where it was at the next run. The other projections are not touched.

        Raises:
            ConfigurationError: There is no projection of that name.
            SchemaMismatchError: A table of that name is not the projection's. It is left alone.
            ProjectionFailedError: See :meth:`run_to_head`.
        """
        projection = self._named(name)
        self.views.reset(projection)
        return self._catch_up(self._engine([projection]))

    def expire(self, now: datetime) -> int:
        """Delete rows older than their tables' TTL; gives how many."""
        return sum(self.views.expire(projection, now) for projection in self.projections)

    def status(self, now: datetime | None = None) -> list[ProjectionStatus]:
        """How each projection is.

        Args:
            now: The time, to tell the lag in seconds.
        """
        checkpoints = [self.views.checkpoint(projection.name) for projection in self.projections]
        # Later than the checkpoints, which never are beyond it then.
        head = self.log.head()
        return [
            self._status(projection, checkpoint or _NOWHERE, head, now=now)
            for projection, checkpoint in zip(self.projections, checkpoints, strict=True)
        ]

    def _status(
        self, projection: Projection, checkpoint: Checkpoint, head: int, *, now: datetime | None
    ) -> ProjectionStatus:
        position = checkpoint.position
        problem = other_log(self.log, position, checkpoint.anchor)
        applied = 0 if problem else position
        lag_seconds: float | None = 0.0
        if applied < head:
            oldest = self.log.read_page(applied, 1, LogFilter()).events
            lag_seconds = None
            if now is not None and oldest:
                lag_seconds = max(0.0, (now - oldest[0].timestamp).total_seconds())
        return ProjectionStatus(
            projection=projection.name,
            position=position,
            head=head,
            lag_events=max(0, head - applied),
            lag_seconds=lag_seconds,
            rows=sum(self.views.count(table) for table in projection.tables),
            problem=problem,
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
        deadline = time.monotonic() + timeout_seconds
        for name in waited_for:
            self._wait_for(name, position, timeout_seconds=timeout_seconds, deadline=deadline)

    def _wait_for(
        self, name: str, position: int, *, timeout_seconds: float, deadline: float
    ) -> None:
        signal = self.views.signal
        while True:
            token = signal.token()
            checkpoint = self.views.checkpoint(name)
            if checkpoint is not None and checkpoint.position >= position:
                self._check_log(name, checkpoint)
                return
            if self._failure is not None:
                raise self._failure
            remaining_seconds = deadline - time.monotonic()
            if remaining_seconds <= 0:
                self._check_log(name, checkpoint or _NOWHERE)
                raise WaitTimeoutError(
                    projection=name,
                    current=checkpoint.position if checkpoint else 0,
                    timeout_seconds=timeout_seconds,
                    position=position,
                )
            signal.wait(token, min(remaining_seconds, STOP_CHECK_SECONDS))

    def _check_log(self, name: str, checkpoint: Checkpoint) -> None:
        check_log(
            self.log,
            projection=name,
            database=self.views.name,
            position=checkpoint.position,
            anchor=checkpoint.anchor,
        )

    def _named(self, name: str) -> Projection:
        for projection in self.projections:
            if projection.name == name:
                return projection
        known = ", ".join(projection.name for projection in self.projections)
        raise ConfigurationError(message=f"There is no projection {name!r}, only {known}")


_NOWHERE: Final = Checkpoint(position=0, version=1, revision=1)


def _next_size(size: int, page: Page) -> int:
    """Larger pages while they are full and light, smaller ones when events are large."""
    if not page.events:
        return size
    per_event = max(1, sum(map(len, map(_state_of, page.events))) // len(page.events))
    return max(1, min(size * 2, PAGE_EVENTS_MAX, PAGE_BYTES_MAX // per_event))


def _ignore_page(applied: int, end: int) -> None:
    """Nobody looks at the progress."""
