"""Following: read models at the head of the log for ever, through outages, beside other workers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from eventcore.errors import StoreError, StoreUnavailableError
from eventcore.events.garbage import collector_paused
from eventcore.projections.backoff import Backoff, say_unavailable
from eventcore.projections.engine import Applied, Engine
from eventcore.projections.kept import Held
from eventcore.projections.leases import Heart, Leases
from eventcore.projections.pages import PAGE_EVENTS_MAX, PageReader
from eventcore.projections.transient import TransientRetries
from eventcore.projections.units import Unit
from eventcore.projections.views import Views
from eventcore.stores.log import Log, Page, Subscription

STOP_CHECK_SECONDS: Final = 0.25
"""How often a follower looks whether it is to stop, when nothing else wakes it."""

OnPage = Callable[[int, int], None]
"""Called after each page with the events applied and the position reached; for progress bars."""

_logger = logging.getLogger("eventcore.projections")


class Follower:
    """Keeps the projections of an engine at the head.

    Args:
        log: Where the events are.
        views: Where the read models are.
        make_engine: Makes the engine; with which shares it is to keep, if not all.
        on_page: See :data:`OnPage`.
        stopped: Asked between pages whether to end.
        leases: The shares of this worker; None: all there is to keep.
        retry: Retries what is parked of a projection for these units.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        log: Log,
        views: Views,
        make_engine: Callable[[Held | None], Engine],
        *,
        on_page: OnPage,
        stopped: Callable[[], bool],
        leases: Leases | None = None,
        retry: Callable[[str, Sequence[Unit]], None] | None = None,
    ) -> None:
        self._log = log
        self._views = views
        self._make_engine = make_engine
        self._on_page = on_page
        self._stopped = stopped
        self._leases = leases
        self._retry = retry
        self._retries = TransientRetries()
        self._heart: Heart | None = None
        self._backoff = Backoff()
        self._subscription: Subscription | None = None
        self._woken = threading.Event()

    def wake(self) -> None:
        """End what it waits for: it is to look whether it is stopped."""
        self._woken.set()
        subscription = self._subscription
        if subscription is not None:
            subscription.close()

    def follow(self) -> None:
        """Follow until stopped; wait for a database that is away, and go on.

        Raises:
            ProjectionFailedError: A handler raised.
            ConfigurationError: Something is wrong that does not mend itself.
            StoreError: Likewise, with the log or the views.
        """
        while not self._stopped():
            try:
                self._follow()
            except StoreUnavailableError as error:
                self._pause(say_unavailable(error, self._backoff))

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopped() and (left := deadline - time.monotonic()) > 0:
            if self._woken.wait(min(left, STOP_CHECK_SECONDS)):
                self._woken.clear()

    def _follow(self) -> None:
        if self._leases is None:
            engine = self._make_engine(None)
            self._say_following(engine)
            while not self._stopped():
                self._catch_up_and_follow(engine)
            return
        self._leases.join()
        with Heart(self._leases, self._note_missed_beat) as self._heart:
            try:
                self._work(self._leases)
            except StoreUnavailableError:
                raise  # the lease goes on, or ends by itself: nobody can be told now
            except BaseException:
                self._leave(self._leases)
                raise
            self._leave(self._leases)

    def _work(self, leases: Leases) -> None:
        """Keep the shares that are this worker's, for as long as they are."""
        leases.settle(split_again=True)
        engine = self._make_engine(leases.held)
        self._say_following(engine)
        self._say_shares(engine, leases)
        moved = False
        while not self._stopped():
            if leases.lapsed:
                # Others have what was ours, or will in a moment; they are not to be disturbed.
                self._pause(leases.beat_seconds)
                moved = True
                continue
            if leases.settle(split_again=moved) or moved:
                engine.reload()
                self._say_shares(engine, leases)
            moved = self._catch_up_and_follow(engine)

    def _leave(self, leases: Leases) -> None:
        try:
            leases.leave()
        except StoreError as error:
            _logger.warning("the shares stay until their lease ends: %s", error)

    def _note_missed_beat(self, error: StoreError) -> None:
        _logger.warning("a beat failed, the next one follows: %s", error)

    def _say_following(self, engine: Engine) -> None:
        _logger.info(
            "following %s from position %d",
            self._log_name(),
            engine.position,
            extra={
                "projections": [projection.name for projection in engine.projections],
                "position": engine.position,
                "views": self._views.name,
            },
        )

    def _log_name(self) -> str:
        return str(getattr(self._log, "name", "the log"))

    def _say_shares(self, engine: Engine, leases: Leases) -> None:
        held = {
            projection.name: sorted(leases.held(projection.name, 0))
            for projection in engine.projections
        }
        _logger.info(
            "keeping %d shares of %d projections",
            sum(map(len, held.values())),
            sum(1 for shares in held.values() if shares),
            extra={"worker": leases.me.worker_id, "shares": held},
        )

    def _interrupted(self) -> bool:
        """Whether there is something to do between two pages."""
        return self._stopped() or (self._heart is not None and self._heart.is_due)

    def _catch_up_and_follow(self, engine: Engine) -> bool:
        """Apply pages until there is something else to do; whether another runner moved them."""
        if self._heart is not None:
            self._heart.taken()
        if not engine.running:
            self._raise_failures(engine)
            while not self._interrupted():
                self._pause(STOP_CHECK_SECONDS)
            return False
        _, moved = self._catch_up(engine)
        if self._backoff.succeeded():
            _logger.info("the databases are back", extra={"position": engine.position})
        if moved and self._leases is not None:
            return True
        return not self._interrupted() and self._follow_from(engine)

    def catch_up(self, engine: Engine) -> int:
        """Apply what is in the log now, in pages that grow; gives how many events that was.

        Raises:
            ProjectionFailedError: When the projections that did not fail are at the head.
        """
        return self._catch_up(engine)[0]

    def _catch_up(self, engine: Engine) -> tuple[int, bool]:
        engine.check_log()
        head = self._log.head()
        if head - engine.position <= PAGE_EVENTS_MAX:
            return self._run(engine, head)
        with self._views.catching_up():
            return self._run(engine, head)

    def _run(self, engine: Engine, head: int) -> tuple[int, bool]:
        """How many events were applied, and whether another runner moved a checkpoint."""
        events = 0
        with PageReader(self._log) as pages:
            while engine.running and engine.position < head and not self._interrupted():
                with collector_paused():
                    before = engine.position
                    applied = self._apply(engine, pages.page(before, engine.where(), until=head))
                events += applied.events
                if applied.moved and self._leases is not None:
                    return events, True  # first whose the shares are, then what they are at
                if applied.moved:
                    engine.check_log()
                elif engine.position == before:
                    break
        self._raise_failures(engine)
        return events, False

    def _raise_failures(self, engine: Engine) -> None:
        if engine.failures:
            raise engine.failures[0]

    def _apply(self, engine: Engine, page: Page) -> Applied:
        applied = engine.apply(page)
        self._on_page(applied.events, engine.position)
        _logger.debug(
            "applied %d events up to position %d",
            applied.events,
            engine.position,
            extra={"events": applied.events, "position": engine.position},
        )
        return applied

    def _follow_from(self, engine: Engine) -> bool:
        """Follow as long as this engine alone moves its checkpoints; whether another did."""
        with self._log.subscribe(engine.position, engine.where()) as subscription:
            self._subscription = subscription
            while not self._interrupted():
                page = subscription.next_page(STOP_CHECK_SECONDS)
                if page is None:
                    return False
                if page.end != engine.position and self._apply(engine, page).moved:
                    return True
                self._raise_failures(engine)
                if self._retry_due(engine):
                    return True
        return False

    def _retry_due(self, engine: Engine) -> bool:
        """Retry what failed in a way that may go by itself, if it is time; whether anything was."""
        due = self._retries.due(engine.transient) if self._retry is not None else {}
        for name, units in due.items():
            assert self._retry is not None
            _logger.info("retrying %d keys of %s", len(units), name, extra={"projection": name})
            self._retry(name, units)
        if due:
            engine.reload()
        return bool(due)
