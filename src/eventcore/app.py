"""App: settings in, a wired application out. It alone owns the clock, identifiers and connections.

::

    with open_app("sqlite:///shop.db") as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        app.get(User, "u-1")
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
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
from eventcore.settings import Settings, parse_store_url
from eventcore.stores.log import Log

if TYPE_CHECKING:
    from eventcore.projections.projection import Projection
    from eventcore.projections.runner import OnPage, ProjectionRunner
    from eventcore.projections.tables import RowT, Table
    from eventcore.projections.views import Views

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
        owns_log: bool = True,
    ) -> None:
        self.settings = settings
        self.log = log
        self._owns_log = owns_log
        self._projections = None if projections is None else tuple(projections)
        self._clock = clock
        self._new_id = UUIDv7Generator(lambda: int(clock().timestamp() * 1000), os.urandom)
        self._repository = Repository(
            log,
            store=settings.store if owns_log else f"the {type(log).__name__} given",
            snapshots=snapshots,
            cached_max=cached_max,
        )
        self._executor = CommandExecutor(
            log,
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
        return self._executor.execute(command)

    def get(
        self, cls: type[A], id_: str, *, version: int | None = None, as_of: datetime | None = None
    ) -> A:
        """An aggregate as it is now, after ``version`` events, or as it was at a time.

        Args:
            cls: Class of the aggregate.
            id_: Its id.
            version: After so many events.
            as_of: An aware time: every event up to the first one that happened later.

        Raises:
            AggregateNotFoundError: Nothing is stored of it, or nothing had happened by then.
            VersionNotFoundError: It has fewer events.
        """
        return self._repository.get(cls, id_, version=version, as_of=as_of)

    def save(self, aggregate: Aggregate) -> CommandResult:
        """Store what an aggregate recorded since it was loaded; it can be used further.

        Raises:
            ConcurrencyConflictError: Its stream moved since. Nothing was written and what it
                recorded is still pending: load it anew, or use :meth:`execute`, which does.
        """
        return self._executor.save(aggregate)

    def append(self, *events: DomainEvent) -> tuple[Recorded[Any], ...]:
        """Append events of log-only types, all or none, with the running context around them.

        Raises:
            ConfigurationError: An event belongs to an aggregate: execute a command.
        """
        return self._executor.append(events)

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

    @cached_property
    def views(self) -> Views:
        """Where the read models are: beside the log, or at the URL of the settings."""
        create = not self._owns_log or parse_store_url(self.settings.store).create
        return open_views(self.settings.views, self.log, create=create)

    def runner(self, *, on_page: OnPage | None = None) -> ProjectionRunner:
        """Runs the projections: to the head, following, or building one anew.

        Args:
            on_page: Called after each page with the events applied and the position reached.
        """
        from eventcore.projections.runner import ProjectionRunner  # noqa: PLC0415 - only where used

        return ProjectionRunner(
            self.log,
            self.views,
            self.projections,
            registry=self.log.codec.registry,
            on_page=on_page,
        )

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
    log: Log | None = None,
    settings: Settings | None = None,
    codec: Codec | None = None,
    clock: Callable[[], datetime] | None = None,
    snapshots: Mapping[type[Aggregate], int] | None = None,
    cached_max: int = CACHED_AGGREGATES_MAX,
    projections: Iterable[Projection] | None = None,
) -> App:
    """Open an application.

    Args:
        url: URL of the log; wins over the settings.
        log: A log that is open already, instead of a URL. It stays open when the application is
            closed, and its codec is used.
        settings: Else from the environment, see :mod:`eventcore.settings`.
        codec: Reads and writes the events; by default it knows every registered type.
        clock: Gives the time, aware; by default the system's.
        snapshots: Aggregate class to how many events apart its state is saved, so that loading it
            need not read every event. None are saved by default.
        cached_max: Aggregates kept in memory between calls; 0 keeps none.
        projections: The read models to keep; the built-in ones by default.

    Raises:
        ConfigurationError: A URL or a setting is wrong, or a log and its URL or codec are given.
        StoreUnavailableError: The log cannot be opened.
    """
    if log is not None and (url is not None or codec is not None):
        raise ConfigurationError(message="A log that is open has its URL and codec: give it alone")
    if settings is None:
        settings = Settings.load(store=url)
    elif url is not None:
        settings = replace(settings, store=url)
    return App(
        settings,
        open_log(settings.store, codec) if log is None else log,
        owns_log=log is None,
        clock=clock or _system_clock,
        snapshots=snapshots,
        cached_max=cached_max,
        projections=projections,
    )


def open_log(url: str, codec: Codec | None = None) -> Log:
    """Open a log alone, without an application around it. Close it after use.

    Args:
        url: See :func:`eventcore.settings.parse_store_url`.
        codec: Reads the events that the log hands out.

    Raises:
        ConfigurationError: The URL is not understood, or the file is no such log.
        StoreUnavailableError: The log cannot be opened.
    """
    location = parse_store_url(url)
    if location.scheme == "memory":
        from eventcore.stores.memory.log import MemoryLog  # noqa: PLC0415 - only what is used

        return MemoryLog(codec)
    # Importing it takes as long as all the rest, and not every application uses it.
    from eventcore.stores.sqlite.log import SQLiteLog  # noqa: PLC0415

    return SQLiteLog(location.path, codec, synchronous=location.synchronous, create=location.create)


def open_views(url: str | None, log: Log, *, create: bool = True) -> Views:
    """Open the database of read models. Close it after use.

    Args:
        url: See :func:`eventcore.settings.parse_store_url`; None: the log's own database.
        log: The log they are made from.
        create: Without a URL: create missing tables, else refuse. A URL says so itself.

    Raises:
        ConfigurationError: The URL is not understood, or the file is no database.
        SchemaMismatchError: It holds no read models, and they are not to be created.
        StoreUnavailableError: It cannot be opened.
    """
    from eventcore.projections.memory import MemoryViews  # noqa: PLC0415 - only what is used
    from eventcore.stores.memory.log import MemoryLog  # noqa: PLC0415 - likewise

    if url is None and isinstance(log, MemoryLog):
        return MemoryViews()
    if url is not None and parse_store_url(url).scheme == "memory":
        return MemoryViews()
    from eventcore.projections.sqlite import SQLiteViews  # noqa: PLC0415 - likewise
    from eventcore.stores.sqlite.log import SQLiteLog  # noqa: PLC0415 - likewise

    if url is not None:
        location = parse_store_url(url)
        return SQLiteViews(location.path, create=location.create, synchronous=location.synchronous)
    if isinstance(log, SQLiteLog):
        # The same connections: a page of rows and an append never wait for each other's file lock.
        return SQLiteViews(log.connections, create=create)
    raise ConfigurationError(
        message=f"A {type(log).__name__} holds no read models: name their database with views=URL"
    )


def _system_clock() -> datetime:
    return datetime.now(UTC)


def _pause(attempt: int) -> None:
    # Spread out, so that those who met once do not meet again.
    longest = min(PAUSE_FIRST_SECONDS * 2**attempt, PAUSE_SECONDS_MAX)
    time.sleep(random.uniform(0, longest))  # noqa: S311 - not a secret
