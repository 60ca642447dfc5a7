"""Inline: read models that show what was appended when the append returns.

Where log and read models share an SQLite file or a Postgres database, rows and events are committed
together: nobody can see one without the other. Elsewhere the process that appended applies its
events right after the commit and before it returns; if it crashes in between, the next append, or
any runner, catches up. Either way it is the engine that runners use: same rows, same checkpoint,
and events that others appended meanwhile are applied on the way, in order.

On Postgres such appends come one after another, over all processes, since each moves the same
checkpoint; threads of one process share a commit. Writers without inline read models do not wait
for them. While the transaction of such a writer is open with a position below, rows are applied
after the commit, as elsewhere.

An append is never refused because of a read model: what a projection cannot take stops, or parks,
that projection, as in a runner.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, cast

from typing_extensions import override

from eventcore.errors import EventCoreError, StoreClosedError
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry
from eventcore.projections.engine import Engine
from eventcore.projections.projection import Projection
from eventcore.projections.views import Views
from eventcore.stores.following import CommitSignal
from eventcore.stores.log import Log, LogFilter, Page, store_of

BACKLOG_EVENTS_MAX: Final = 500
"""Events of others that are applied inside an append; more are caught up with after it."""

PAGE_EVENTS: Final = 1_000
"""Events in one transaction of catching up."""

ATTEMPTS_MAX: Final = 5
"""How often a page is applied anew because another runner was faster."""

_logger = logging.getLogger("eventcore.projections")


class Inline:
    """Brings projections to the events that this process appends. Safe under threads.

    Args:
        log: Where the events are appended.
        views: Where the read models are.
        projections: Which.
        registry: Tells which class an event's stored name belongs to.

    Raises:
        ConfigurationError: Rows were made by another version of a projection.
        SchemaMismatchError: A table exists with other columns. The tables are created now.
        ViewsOfAnotherLogError: Rows were made from another log.
    """

    def __init__(
        self,
        log: Log,
        views: Views,
        projections: Sequence[Projection],
        *,
        registry: EventRegistry,
    ) -> None:
        self._log = log
        self._projections = projections
        self._lock = threading.Lock()
        self._make_engine: Callable[[], Engine] = lambda: Engine(
            views, projections, registry, log=log
        )
        self._engine = self._make_engine()
        self._engine.check_log()
        self._in_append: _InAppend | None = None
        store = store_of(log)
        if _may_share_transactions(store, views):
            joined = cast("_JoiningViews", views)
            # Only Postgres has several writers at once.
            kind = _InConcurrentAppend if hasattr(views, "lock") else _InAppend
            self._in_append = kind(log, joined, self._make_engine())
            cast("_JoinableLog", store).join_appends(self._in_append)

    def reach(self, position: int) -> None:
        """Apply everything up to a position that was appended, unless that was done already.

        A failure is told in the log ``eventcore.projections``, not raised: the events are stored.
        """
        if self._in_append is not None and self._in_append.reached >= position:
            return
        try:
            with self._lock:
                self._catch_up(position)
        except StoreClosedError:
            raise
        except EventCoreError as error:
            names = ", ".join(projection.name for projection in self._projections)
            _logger.warning("%s are behind position %d: %s", names, position, error)

    def _catch_up(self, position: int) -> None:
        engine, attempts = self._engine, 0
        while engine.running and engine.position < position and attempts < ATTEMPTS_MAX:
            before = engine.position
            page = self._log.read_page(before, PAGE_EVENTS, engine.where())
            applied = engine.apply(page)
            attempts = attempts + 1 if engine.position == before or applied.moved else 0
        if engine.failures:
            # Perhaps somebody mends it: it is tried again with the next append.
            self._engine = self._make_engine()
            raise engine.failures[0]


class _JoinableLog(Protocol):
    """A log whose appends take further work along in their transactions."""

    def join_appends(self, in_append: Any) -> None:
        """Have the work done from now on."""


class _JoiningViews(Protocol):
    """Views whose transactions can be part of one of a log's."""

    @property
    def signal(self) -> CommitSignal:
        """See :class:`eventcore.projections.views.Views`."""

    def joining(self, connection: Any) -> AbstractContextManager[None]:
        """Let this thread's transactions be part of one that is open."""

    def lock(self, connection: Any, names: Sequence[str]) -> None:
        """Keep checkpoints from being moved by anybody else; where there are several writers."""


def _may_share_transactions(log: Log, views: Views) -> bool:
    """Whether both are in one database, and reached in the same way."""
    of_log, of_views = (getattr(one, "connections", None) for one in (log, views))
    if of_log is None or not (hasattr(log, "join_appends") and hasattr(views, "joining")):
        return False
    to: str | None = getattr(of_log, "conninfo", None)
    return of_views is of_log or (to is not None and getattr(of_views, "conninfo", None) == to)


class _InAppend:
    """Applies what a log appends, in the append's own transaction.

    One thread at a time calls it: the one that writes for all of this process.
    """

    def __init__(self, log: Log, views: _JoiningViews, engine: Engine) -> None:
        self._log = log
        self._views = views
        self._engine = engine
        self._last = 0
        self._confirmed = 0
        self._failed = False
        self._after: dict[int, int] = {}
        self.reached = 0

    def apply(self, connection: Any, events: Sequence[Recorded[Any]]) -> int:
        """See :meth:`eventcore.stores.sqlite.inline.InAppend.apply`."""
        # After an append whose commit failed, this engine would remember rows that never were.
        unsure = self._failed or self._confirmed != self._last
        self._last += 1
        self._failed = False
        try:
            with self._views.joining(connection):
                if unsure:
                    self._after.clear()
                    self._engine.reload()
                self._apply(events)
            self._after[self._last] = self._engine.position
        except EventCoreError as error:
            self._failed = True
            _logger.warning("inline projections go on after the append: %s", error)
        return self._last

    def committed(self, number: int) -> None:
        """See :meth:`eventcore.stores.sqlite.inline.InAppend.committed`."""
        self._confirmed = max(self._confirmed, number)
        self.reached = max(self.reached, self._after.pop(number, 0))

    def _apply(self, events: Sequence[Recorded[Any]]) -> None:
        page = self._page(events)
        if page is None:
            # Somebody may have caught up meanwhile; else that is for after the append.
            self._engine.reload()
            page = self._page(events)
        attempts = 0
        while page is not None and self._engine.running and attempts < ATTEMPTS_MAX:
            if not self._engine.apply(page).moved:
                return
            page, attempts = self._page(events), attempts + 1

    def _page(self, events: Sequence[Recorded[Any]]) -> Page | None:
        """What is above the engine; None if others appended too much to be applied here."""
        first, where = events[0].position, self._engine.where()
        backlog = Page([], first - 1)
        if self._engine.position < first - 1:
            # Committed before: no one else can append while this transaction is open.
            backlog = self._log.read_page(self._engine.position, BACKLOG_EVENTS_MAX, where)
            if backlog.end < first - 1 and backlog.events:
                return None
        own = [event for event in events if _passes(event, where)]
        return Page([*backlog.events, *own], events[-1].position)


class _InConcurrentAppend(_InAppend):
    """The same where others append at the same time, perhaps below what is appended here."""

    def lock(self, connection: Any) -> None:
        """See :meth:`eventcore.stores.postgres.inline.InAppend.lock`."""
        self._views.lock(connection, self._engine.checkpoint_names)

    @override
    def committed(self, number: int) -> None:
        super().committed(number)
        self._views.signal.notify()

    @override
    def _page(self, events: Sequence[Recorded[Any]]) -> Page | None:
        position, last = self._engine.position, events[-1].position
        where = self._engine.where()
        if position + len(events) == last:
            # Every position in between is one of these: nobody else's can appear there.
            return Page([event for event in events if _passes(event, where)], last)
        page = self._log.read_page(position, BACKLOG_EVENTS_MAX + len(events), where)
        return page if page.end >= last else None


def _passes(event: Recorded[Any], where: LogFilter) -> bool:
    return where.types is None or event.type in where.types
