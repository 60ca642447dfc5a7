"""ProcessRunner: keeps process managers: folds events, sends commands, records what came due."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Final, NamedTuple

from eventcore.commands.command import Command, CommandResult
from eventcore.errors import ConfigurationError, StoreUnavailableError
from eventcore.events.garbage import collector_paused
from eventcore.processes.folding import Folding, projection_of
from eventcore.processes.process import ProcessManager
from eventcore.processes.relay import Relay
from eventcore.processes.tables import ProcessTables, RefusalRow
from eventcore.processes.timers import Timers
from eventcore.projections.backoff import Backoff
from eventcore.projections.engine import Engine
from eventcore.projections.observing import engine_for
from eventcore.projections.projection import Projection
from eventcore.projections.repairs import ParkedKey, Repairs
from eventcore.projections.retrying import Retried
from eventcore.projections.runner import ProjectionRunner
from eventcore.projections.statuses import measured
from eventcore.projections.transient import TransientRetries
from eventcore.projections.views import Views
from eventcore.stores.log import Log, Subscription
from eventcore.telemetry import Telemetry

PAGE_EVENTS: Final = 1_000
"""Events folded in one transaction."""

LOOK_SECONDS: Final = 0.5
"""How often timers and what was put off are looked at, and whether to stop, while nothing happens.
A timer is recorded at most so much later than it is due."""

ROUNDS_MAX: Final = 1_000
"""Rounds of :meth:`ProcessRunner.run_to_rest`: processes that answer each other for ever end it."""


_logger = logging.getLogger("eventcore.processes")


class Handled(NamedTuple):
    """What a run came to.

    Attributes:
        events: Events that were folded.
        commands: Commands that were executed.
        refused: Commands that were refused; see :meth:`ProcessRunner.refusals`.
        timed_out: Timers that were recorded as due.
        waiting: Events whose commands could not be sent yet.
    """

    events: int = 0
    commands: int = 0
    refused: int = 0
    timed_out: int = 0
    waiting: int = 0


class ProcessStatus(NamedTuple):
    """How one process manager is.

    Attributes:
        process: Its name.
        position: Every event up to it is folded.
        head: Position of the newest event of the log.
        instances: Rows it has.
        outbox: Events whose commands and timers are still to be taken care of.
        timers: Timers that are watched.
        next_due: When the next of them is due; None if there is none.
        refused: Commands that were refused, of the last days.
        parked: Instances whose events wait since a handler raised.
    """

    process: str
    position: int
    head: int
    instances: int
    outbox: int
    timers: int
    next_due: datetime | None
    refused: int
    parked: int


class _Kept:
    """One process manager with all that keeps it."""

    def __init__(self, process: ProcessManager) -> None:
        self.process = process
        self.tables = ProcessTables(process)
        self.folding = Folding(process, self.tables)
        self.projection = projection_of(self.folding)


class ProcessRunner:
    """Runs process managers over a log.

    Several runners, also on other machines, may run the same ones: every command has one effect,
    and every timer comes due once. They do the work several times, though: run one, and a second
    one where it must go on by itself.

    Args:
        log: Where the events are, and where what came due is recorded.
        views: Where the rows, the outbox and the timers are kept.
        processes: Which.
        execute: Executes a command, once for each id, as :meth:`eventcore.app.App.execute` does.
        now: The time, aware: when timers are due.
        monotonic: Seconds of a clock that never steps back, for waiting between attempts.
        telemetry: Where spans and metrics go, as of projections of those names; None: nothing is
            measured.

    Raises:
        ConfigurationError: Two have one name, or the rows were made by another version.
        SchemaMismatchError: A table of theirs exists with other columns.
    """

    def __init__(  # noqa: PLR0913 - each a keyword
        self,
        log: Log,
        views: Views,
        processes: Iterable[ProcessManager],
        *,
        execute: Callable[[Command], CommandResult],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.log = log
        self.views = views
        self._now = now
        self._telemetry = telemetry
        self._kept = {kept.process.name: kept for kept in map(_Kept, processes)}
        self._timers = [Timers(kept.folding, views, log) for kept in self._kept.values()]
        self._relays = [
            Relay(kept.folding, views, execute=execute, now=now, monotonic=monotonic)
            for kept in self._kept.values()
        ]
        self._transient = TransientRetries(monotonic)
        self._repairs = Repairs(log, views, registry=log.codec.registry, clock=now)
        self._engine: Engine | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._subscription: Subscription | None = None
        self._failure: BaseException | None = None

    @property
    def processes(self) -> list[ProcessManager]:
        """Those that it runs."""
        return [kept.process for kept in self._kept.values()]

    def _begin(self) -> Engine:
        """The engine; made when first used, since that creates the tables."""
        if self._engine is None:
            for kept in self._kept.values():
                kept.folding.sends_from = self._sends_from(kept)
            self._engine = self._engine_of(self._projections())
            self._engine.check_log()
        return self._engine

    def _engine_of(self, projections: Sequence[Projection]) -> Engine:
        registry = self.log.codec.registry
        return engine_for(
            self._telemetry, self.views, projections, registry, log=self.log, clock=self._now
        )

    def _projections(self) -> list[Projection]:
        return [kept.projection for kept in self._kept.values()]

    def _sends_from(self, kept: _Kept) -> int:
        """Position of the first event that may send; decided once, when it is first run."""
        sending = kept.tables.sending
        checkpoint = self.views.ensure(sending)
        if kept.process.begins == "head" and checkpoint.position == 0:
            # One above the head: zero says that nothing was decided yet.
            first = self.log.head() + 1
            with self.views.transaction() as transaction:
                transaction.advance(sending.name, checkpoint, first)
            return first
        return checkpoint.position

    def run_to_rest(self) -> Handled:
        """Fold all events, send all commands, record all timers that are due, until nothing is new.

        What could not be sent is left to a later run.

        Raises:
            ProjectionFailedError: A handler raised; see :meth:`ProjectionRunner.run_to_head`.
            ViewsOfAnotherLogError: The rows were made from another log.
            StoreError: The log or the views failed; run it again.
        """
        handled = Handled()
        for _ in range(ROUNDS_MAX):
            found = self.run_once()
            handled = Handled(
                events=handled.events + found.events,
                commands=handled.commands + found.commands,
                refused=handled.refused + found.refused,
                timed_out=handled.timed_out + found.timed_out,
                waiting=found.waiting,
            )
            if not (found.events or found.commands or found.refused or found.timed_out):
                break
        return handled

    def run_once(self) -> Handled:
        """Fold what is in the log, send what that gives, record what is due: one round.

        Raises:
            As :meth:`run_to_rest`.
        """
        engine = self._begin()
        self._retry_transient(engine)
        events = self._fold(engine)
        sent = [relay.send() for relay in self._relays]
        commands = sum(one.commands for one in sent)
        refused = sum(one.refused for one in sent)
        waiting = sum(one.waiting for one in sent)
        timed_out = sum(timers.record(self._now()) for timers in self._timers)
        if engine.failures:
            # The others, and what was to be sent, were taken care of first.
            self._engine = None
            raise engine.failures[0]
        return Handled(events, commands, refused, timed_out, waiting)

    def _retry_transient(self, engine: Engine) -> None:
        """Try again what is parked because of something that may have gone by itself."""
        due = self._transient.due(engine.transient)
        for name, units in due.items():
            self._repairs.retry_if_parked(self._kept[name].projection, units)
        if due:
            engine.reload()

    def _fold(self, engine: Engine) -> int:
        events, head = 0, self.log.head()
        while engine.running and engine.position < head and not self._stop.is_set():
            before = engine.position
            with collector_paused():
                page = self.log.read_page(before, PAGE_EVENTS, engine.where())
                applied = engine.apply(page)
            events += applied.events
            if applied.moved:
                engine.check_log()
            elif engine.position == before:
                break
        return events

    def follow(self, stop: threading.Event | None = None) -> None:
        """Run, then react to each event as it is recorded and to each timer as it comes due.

        Ends within a second after ``stop`` is set, at once after :meth:`stop`. A database that
        goes away is waited for, with pauses that grow and a warning in the log
        ``eventcore.processes`` each.

        Raises:
            As :meth:`run_to_rest`, but for databases that are away.
        """
        stop = stop or self._stop
        with nullcontext() if self._telemetry is None else self._telemetry.observing(self._measure):
            self._follow_again_and_again(stop)

    def _follow_again_and_again(self, stop: threading.Event) -> None:
        backoff = Backoff()
        while not (stop.is_set() or self._stop.is_set()):
            try:
                self._follow(stop, backoff)
            except StoreUnavailableError as error:
                seconds = backoff.failed()
                _logger.warning("a database is away, trying again in %.1f s: %s", seconds, error)
                self._pause(seconds, stop)

    def _follow(self, stop: threading.Event, backoff: Backoff) -> None:
        engine = self._begin()
        with self.log.subscribe(engine.position, engine.where()) as subscription:
            self._subscription = subscription
            while not (stop.is_set() or self._stop.is_set()):
                self.run_to_rest()
                backoff.succeeded()
                # Only woken by it: what is folded is read from where the rows are.
                if subscription.next_page(LOOK_SECONDS) is None:
                    return

    def _pause(self, seconds: float, stop: threading.Event) -> None:
        deadline = time.monotonic() + seconds
        while not (stop.is_set() or self._stop.is_set()):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            stop.wait(min(left, LOOK_SECONDS))

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
            target=self._follow_in_thread, name="eventcore-processes", daemon=True
        )
        self._thread.start()

    def _follow_in_thread(self) -> None:
        try:
            self.follow()
        except BaseException as error:  # noqa: BLE001 - kept, and raised to whoever stops it
            self._failure = error

    def stop(self) -> None:
        """End following and wait for what is at hand.

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
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def rebuild(self, name: str) -> Handled:
        """Make the rows and timers of a process anew from the log. Sends no command again.

        Raises:
            ConfigurationError: There is no process of that name.
            SchemaMismatchError: A table of that name is not its own.
        """
        kept = self._named(name)
        kept.folding.sends_from = self._sends_from(kept)
        self.views.reset(kept.projection)
        self._engine = None
        engine = self._engine_of([kept.projection])
        events = self._fold(engine)
        if engine.failures:
            raise engine.failures[0]
        return Handled(events=events)

    def parked(self, name: str) -> list[ParkedKey]:
        """What of a process waits since a handler raised, and why; all other instances go on.

        Raises:
            ConfigurationError: There is no process of that name.
        """
        kept = self._named(name)
        # The same events are parked for the instance's timers and outbox, too.
        beside = (kept.tables.armed, kept.tables.reached, kept.tables.outbox)
        hidden = {table.name for table in beside}
        return [one for one in self._repairs.parked(kept.projection) if one.table not in hidden]

    def retry(self, name: str, key: Any = None) -> Retried:
        """Let a process handle what is parked, in order, as far as it can by now.

        Commands that come of it are sent by the next run.

        Args:
            name: Of which process.
            key: Of which instance: the key of its row; all by default.

        Raises:
            As :meth:`eventcore.projections.runner.ProjectionRunner.retry`.
        """
        table = None if key is None else self._named(name).tables.state.name
        runner = self._projection_runner([self._named(name).projection])
        return runner.retry(name, key, table=table)

    def skip(self, name: str, key: Any, *, reason: str, by: str | None = None) -> Retried:
        """Decide that the first event parked for an instance is not handled; retry what follows.

        Args:
            name: Of which process.
            key: Of which instance: the key of its row.
            reason: Why; kept.
            by: Who decided; kept.

        Raises:
            As :meth:`eventcore.projections.runner.ProjectionRunner.skip`.
        """
        kept = self._named(name)
        runner = self._projection_runner([kept.projection])
        return runner.skip(name, key, reason=reason, by=by, table=kept.tables.state.name)

    def status(self) -> list[ProcessStatus]:
        """How each process manager is. Creates nothing."""
        return [self._status(kept) for kept in self._kept.values()]

    def _status(self, kept: _Kept) -> ProcessStatus:
        tables, count = kept.tables, self.views.count
        checkpoint = self.views.checkpoint(kept.process.name)
        timers = count(tables.due)
        return ProcessStatus(
            process=kept.process.name,
            position=checkpoint.position if checkpoint else 0,
            head=self.log.head(),
            instances=count(tables.state),
            outbox=count(tables.outbox),
            timers=timers,
            next_due=Timers(kept.folding, self.views, self.log).next_due() if timers else None,
            refused=count(tables.refusals),
            parked=len(self.parked(kept.process.name)),
        )

    def _measure(self) -> Iterator[tuple[str, str, float]]:
        for one in self._projection_runner(self._projections()).status(self._now()):
            # An instance is one, however many of its tables have something parked.
            parked = len(self.parked(one.projection))
            yield from measured([one._replace(parked=parked)])

    def refusals(self, name: str, limit: int | None = None) -> list[RefusalRow]:
        """Commands of a process that were refused, by the position of their events.

        Raises:
            ConfigurationError: There is no process of that name.
        """
        where = {"process": name}
        return list(self.views.query(self._named(name).tables.refusals, where, limit))

    def expire(self, now: datetime) -> int:
        """Forget refusals that are old enough; gives how many."""
        return sum(self.views.expire(kept.tables.sending, now) for kept in self._kept.values())

    def wait_for(self, position: int, *, timeout_seconds: float) -> None:
        """Wait until the processes have folded everything up to a position.

        What they send because of it may still be on its way.

        Raises:
            WaitTimeoutError: They did not get there in time.
        """
        runner = self._projection_runner(self._projections())
        runner.wait_for(position, timeout_seconds=timeout_seconds)

    def _projection_runner(self, projections: Sequence[Projection]) -> ProjectionRunner:
        return ProjectionRunner(self.log, self.views, projections, registry=self.log.codec.registry)

    def _named(self, name: str) -> _Kept:
        if name not in self._kept:
            known = ", ".join(self._kept) or "none"
            raise ConfigurationError(message=f"There is no process {name!r}, only {known}")
        return self._kept[name]
