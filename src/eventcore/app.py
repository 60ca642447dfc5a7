"""App: settings in, a wired application out. It alone owns the clock, identifiers and connections.

::

    with open_app("sqlite:///shop.db") as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        app.get(User, "u-1")
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack, cast
from uuid import UUID

from eventcore.aggregates.aggregate import Aggregate
from eventcore.commands.command import Command, CommandResult
from eventcore.commands.envelopes import Envelopes
from eventcore.commands.execution import CommandExecutor
from eventcore.commands.repository import CACHED_AGGREGATES_MAX, Repository
from eventcore.errors import ConfigurationError
from eventcore.events.codec import Codec
from eventcore.events.context import EventContext, event_context
from eventcore.events.event import DomainEvent
from eventcore.events.identifiers import UUIDv7Generator
from eventcore.events.recorded import Recorded
from eventcore.opening import open_log, open_views, shard_source, system_clock, views_at
from eventcore.settings import Settings, parse_store_url
from eventcore.stores.log import Log, store_of

if TYPE_CHECKING:
    from eventcore.processes.process import ProcessManager
    from eventcore.processes.runner import ProcessRunner
    from eventcore.projections.following import OnPage
    from eventcore.projections.inline import Inline
    from eventcore.projections.live import LiveView
    from eventcore.projections.projection import Projection
    from eventcore.projections.runner import ProjectionRunner
    from eventcore.projections.tables import RowT, Table
    from eventcore.projections.views import Views
    from eventcore.replay.replaying import Replayed, ReplayOptions
    from eventcore.telemetry import Telemetry

__all__ = [
    "PAUSE_FIRST_SECONDS",
    "PAUSE_SECONDS_MAX",
    "WAIT_TIMEOUT_SECONDS",
    "App",
    "open_app",
    "open_log",
    "open_views",
]

WAIT_TIMEOUT_SECONDS: Final = 10.0
"""How long :meth:`App.wait_for` waits unless told."""

PAUSE_FIRST_SECONDS: Final = 0.001
PAUSE_SECONDS_MAX: Final = 0.1
"""Bounds of the wait before a command that lost its race is decided again."""

A = TypeVar("A", bound=Aggregate)


class App:
    """A wired application. Safe under threads; close it, or use it in a ``with`` statement.

    Made by :func:`open_app`.

    Attributes:
        settings: What it was opened with.
        log: The log itself, for reading and following.
        processes: The process managers it runs.
        telemetry: Where spans and metrics go, if anywhere.
    """

    def __init__(  # noqa: PLR0913 - each a keyword, the last two with a default
        self,
        settings: Settings,
        log: Log,
        *,
        clock: Callable[[], datetime],
        snapshots: Mapping[type[Aggregate], int] | None = None,
        cached_max: int = CACHED_AGGREGATES_MAX,
        projections: Iterable[Projection] | None = None,
        processes: Iterable[ProcessManager] = (),
        inline: Iterable[str] = (),
        telemetry: Telemetry | None = None,
        owns_log: bool = True,
    ) -> None:
        self.settings = settings
        self.log = log
        self._owns_log = owns_log
        self.processes = tuple(processes)
        self.telemetry = telemetry
        self._inline_names = tuple(inline)
        self._inline_lock = threading.Lock()
        self._inline_made: Inline | None = None
        self._projections = None if projections is None else tuple(projections)
        self._clock = clock
        self._new_id = UUIDv7Generator(lambda: int(clock().timestamp() * 1000), os.urandom)
        self._repository = Repository(
            log,
            store=settings.store if owns_log else f"the {type(log).__name__} given",
            snapshots=snapshots,
            cached_max=cached_max,
            uses_any=store_of(log) is not log,
        )
        self._executor = CommandExecutor(
            log if telemetry is None else _observed(log, telemetry),
            repository=self._repository,
            envelopes=Envelopes(
                now=clock,
                new_id=self._new_id,
                defaults=EventContext(
                    source=settings.source,
                    environment=settings.environment,
                    region=settings.region,
                ),
            ),
            reservation_key=settings.reservation_key,
            pause=_pause,
        )

    def execute(self, command: Command) -> CommandResult:
        """Make happen what a command wants.

        It is decided on the state as it is now, and again if another writer was faster. A command
        with an id is executed once, however often it is sent.

        Raises:
            RuleViolationError: A rule refuses; ``reason`` says which. Nothing was written.
            RetriesExhaustedError: Other writers were faster every time. Nothing was written.
            StoreUnavailableError: The outcome is unknown. A command with an id can be repeated.
        """
        if self.telemetry is None:
            return self._execute(command)
        name, aggregate = type(command).__name__, command.__aggregate__.category
        with self.telemetry.command(name, aggregate) as set_attributes:
            result = self._execute(command)
            set_attributes(
                {"eventcore.events": len(result.events), "eventcore.repeated": result.repeated}
            )
            return result

    def _execute(self, command: Command) -> CommandResult:
        if not self._inline_names:
            return self._executor.execute(command)
        inline = self._inline  # before the append: it may have work to do inside
        result = self._executor.execute(command)
        inline.reach(result.position)
        return result

    def get(
        self,
        cls: type[A],
        id_: str,
        *,
        version: int | None = None,
        as_of: datetime | int | None = None,
    ) -> A:
        """An aggregate as it is now, after ``version`` events, or as it was.

        Args:
            cls: Class of the aggregate.
            id_: Its id.
            version: After so many events.
            as_of: An aware time: every event up to the first one that happened later. Or a
                position: every event that the log had up to there.

        Raises:
            AggregateNotFoundError: Nothing is stored of it, or nothing had happened by then.
            VersionNotFoundError: It has fewer events.
        """
        return self._repository.get(cls, id_, version=version, as_of=as_of)

    def save_snapshot(self, cls: type[Aggregate], id_: str) -> int:
        """Save the state that an aggregate has now; gives its version.

        Loading it reads from there, and what is older may leave the log for an archive.

        Raises:
            AggregateNotFoundError: Nothing is stored of it.
            ConfigurationError: The store keeps no snapshots.
        """
        return self._repository.save_snapshot(cls, id_)

    def save(self, aggregate: Aggregate) -> CommandResult:
        """Store what an aggregate recorded since it was loaded; it can be used further.

        Raises:
            ConcurrencyConflictError: Its stream moved since. Nothing was written and what it
                recorded is still pending: load it anew, or use :meth:`execute`, which does.
        """
        inline = self._inline if self._inline_names else None
        result = self._executor.save(aggregate)
        if inline is not None:
            inline.reach(result.position)
        return result

    def append(self, *events: DomainEvent) -> tuple[Recorded[Any], ...]:
        """Append events of log-only types, all or none, with the running context around them.

        Raises:
            ConfigurationError: An event belongs to an aggregate: execute a command.
        """
        inline = self._inline if self._inline_names else None
        recorded = self._executor.append(events)
        if inline is not None and recorded:
            inline.reach(recorded[-1].position)
        return recorded

    def context(
        self, *, metadata: Mapping[str, Any] | None = None, **facts: str | None
    ) -> AbstractContextManager[EventContext]:
        """Facts that every event recorded in a ``with`` block carries.

        Args:
            metadata: Transport facts under their wire names, e.g. ``ipAddress``.
            facts: Attributes of :class:`~eventcore.events.context.EventContext`.
        """
        return event_context(metadata=metadata, **facts)

    @cached_property
    def projections(self) -> tuple[Projection, ...]:
        """The read models this application keeps: the built-in ones unless others were given."""
        if self._projections is not None:
            return self._projections
        from eventcore.projections.read_models import built_in_projections  # noqa: PLC0415 - only where used

        return tuple(built_in_projections())

    @property
    def _inline(self) -> Inline:
        with self._inline_lock:
            if self._inline_made is None:
                self._inline_made = self._make_inline()
            return self._inline_made

    def _make_inline(self) -> Inline:
        from eventcore.projections.inline import Inline  # noqa: PLC0415 - only where used

        named = {projection.name: projection for projection in self.projections}
        if unknown := [name for name in self._inline_names if name not in named]:
            raise ConfigurationError(
                message=f"inline names {unknown[0]!r}, which is none of {', '.join(named)}"
            )
        chosen = [named[name] for name in dict.fromkeys(self._inline_names)]
        return Inline(self.log, self.views, chosen, registry=self.log.codec.registry)

    @cached_property
    def views(self) -> Views:
        """Where the read models are: beside the log, or at the URL of the settings."""
        # A log that was handed over has no URL here.
        url = self.settings.store if self._owns_log else "memory://"
        store = parse_store_url(url)
        return open_views(
            self.settings.views,
            self.log,
            create=store.create,
            notify=store.notify,
            ttl=store.ttl,
            clock=self._clock,
        )

    def runner(
        self, names: Iterable[str] | None = None, *, on_page: OnPage | None = None
    ) -> ProjectionRunner:
        """Runs the projections: to the head, following, or building one anew.

        Args:
            names: Which; all of them by default.
            on_page: Called after each page with the events applied and the position reached.

        Raises:
            ConfigurationError: There is no projection of a name.
        """
        from eventcore.projections.runner import ProjectionRunner  # noqa: PLC0415 - only where used

        return ProjectionRunner(
            self.log,
            self.views,
            self.projections if names is None else self._projections_named(names),
            registry=self.log.codec.registry,
            on_page=on_page,
            clock=self._clock,
            telemetry=self.telemetry,
        )

    def live(self, projection: Projection, *, streams: Iterable[str] | None = None) -> LiveView:
        """A read model folded from the log when it is asked for, in memory, never stored.

        Args:
            projection: Which; it need not be one that this application keeps.
            streams: Fold these streams alone, where each row belongs to one; else the whole log.

        Raises:
            ConfigurationError: Its rows may be made of several streams.
        """
        from eventcore.projections.live import LiveView  # noqa: PLC0415 - only where used

        chosen = None if streams is None else list(streams)
        registry = self.log.codec.registry
        return LiveView(self.log, projection, registry=registry, streams=chosen)

    def replay(
        self,
        into: str | Views,
        names: Iterable[str] | None = None,
        **options: Unpack[ReplayOptions],
    ) -> Replayed:
        """Make read models as they were; see :func:`eventcore.replay.replaying.replay`."""
        from eventcore.replay import replay  # noqa: PLC0415 - only where used

        chosen = self.projections if names is None else self._projections_named(names)
        source = shard_source(self.settings, self.log.codec) if self._owns_log else None
        with views_at(into, self.log, clock=self._clock) as views:
            return replay(self.log, chosen, views, source=source, clock=self._clock, **options)

    def process_runner(self, processes: Iterable[ProcessManager] | None = None) -> ProcessRunner:
        """Runs process managers: folds events, sends commands, records what came due.

        Args:
            processes: Which; those that the application was opened with by default.
        """
        from eventcore.processes.runner import ProcessRunner  # noqa: PLC0415 - only where used

        return ProcessRunner(
            self.log,
            self.views,
            self.processes if processes is None else processes,
            execute=self.execute,
            now=self._clock,
            telemetry=self.telemetry,
        )

    def _projections_named(self, names: Iterable[str]) -> list[Projection]:
        known = {projection.name: projection for projection in self.projections}
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in known:
                message = f"There is no projection {name!r}, only {', '.join(known)}"
                raise ConfigurationError(message=message)
        return [known[name] for name in wanted]

    def query(
        self,
        table: Table[RowT],
        where: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
    ) -> Iterator[RowT]:
        """Rows of a read model as it stands; see :meth:`wait_for` to read your own writes.

        Args:
            table: e.g. :data:`eventcore.projections.read_models.ORDERS`.
            where: Column names to the values they equal.
            limit: At most so many.

        Raises:
            ConfigurationError: No such column, or a value it cannot hold.
        """
        return self.views.query(table, where, limit)

    def wait_for(
        self,
        position: int,
        names: Iterable[str] | None = None,
        *,
        timeout_seconds: float = WAIT_TIMEOUT_SECONDS,
    ) -> None:
        """Wait until read models, whoever keeps them, have a position: read your own writes.

        Args:
            position: What a command returned.
            names: Which projections; all by default.
            timeout_seconds: How long at most.

        Raises:
            WaitTimeoutError: They did not get there in time.
        """
        self.runner().wait_for(position, names, timeout_seconds=timeout_seconds)

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self._clock()

    def new_id(self) -> UUID:
        """A new identifier, UUID version 7: later ones sort after earlier ones."""
        return self._new_id()

    def close(self) -> None:
        """Release what it opened; ends every subscription of it. Closing twice is fine.

        A log that was handed to :func:`open_app` stays open: whoever opened it closes it. Stop a
        runner that follows it first.
        """
        if "views" in self.__dict__:
            self.views.close()
        if self._owns_log:
            self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_app(  # noqa: PLR0913 - each a keyword with a default
    url: str | None = None,
    *,
    archive: str | None = None,
    log: Log | None = None,
    settings: Settings | None = None,
    codec: Codec | None = None,
    clock: Callable[[], datetime] | None = None,
    snapshots: Mapping[type[Aggregate], int] | None = None,
    cached_max: int = CACHED_AGGREGATES_MAX,
    projections: Iterable[Projection] | None = None,
    processes: Iterable[ProcessManager] = (),
    inline: Iterable[str] = (),
    telemetry: Telemetry | None = None,
) -> App:
    """Open an application.

    Args:
        url: URL of the log; wins over the settings.
        archive: Folder or ``s3://`` URL of the log's archive; wins over the settings.
        log: A log that is open already, instead of a URL. It stays open when the application is
            closed, and its codec is used.
        settings: Else from the environment, see :mod:`eventcore.settings`.
        codec: Reads and writes the events; by default it knows every registered type.
        clock: Gives the time, aware; by default the system's.
        snapshots: Aggregate class to how many events apart its state is saved, so that loading it
            need not read every event. None are saved by default.
        cached_max: Aggregates kept in memory between calls; 0 keeps none.
        projections: The read models to keep; the built-in ones by default.
        processes: The process managers to run, see :meth:`App.process_runner`; none by default.
        inline: Names of projections that show what a command did when :meth:`App.execute` returns;
            see :mod:`eventcore.projections.inline`. Runners may keep them as well.
        telemetry: Where spans and metrics go; else to OpenTelemetry's own providers if the settings
            ask for it.

    Raises:
        ConfigurationError: A URL or a setting is wrong, or a log and its URL or codec are given.
        StoreUnavailableError: The log cannot be opened.
    """
    if log is not None and not (url is None and codec is None and archive is None):
        message = "A log that is open has its URL, codec and archive: give it alone"
        raise ConfigurationError(message=message)
    if settings is None:
        settings = Settings.load(store=url, archive=archive)
    else:
        settings = replace(
            settings, store=url or settings.store, archive=archive or settings.archive
        )
    return App(
        settings,
        open_log(settings.store, codec, archive=settings.archive) if log is None else log,
        owns_log=log is None,
        clock=clock or system_clock,
        snapshots=snapshots,
        cached_max=cached_max,
        projections=projections,
        processes=processes,
        inline=inline,
        telemetry=telemetry or (_own_telemetry() if settings.telemetry else None),
    )


def _own_telemetry() -> Telemetry:
    from eventcore.telemetry import Telemetry  # noqa: PLC0415 - only where it is asked for

    return Telemetry()


def _observed(log: Log, telemetry: Telemetry) -> Log:
    from eventcore.commands.observing import ObservedLog  # noqa: PLC0415 - only where used

    return cast("Log", ObservedLog(log, telemetry))


def _pause(attempt: int) -> None:
    # Spread out, so that those who met once do not meet again.
    longest = min(PAUSE_FIRST_SECONDS * 2**attempt, PAUSE_SECONDS_MAX)
    time.sleep(random.uniform(0, longest))  # noqa: S311 - not a secret
