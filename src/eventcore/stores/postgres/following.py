"""Following the log on Postgres: through gaps, restarts and lost notifications."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Any, Final

from eventcore.errors import LogRewoundError, StoreClosedError, StoreUnavailableError
from eventcore.events.recorded import Recorded
from eventcore.stores.log import LogFilter, Page
from eventcore.stores.postgres.connections import PostgresConnections, is_lost
from eventcore.stores.postgres.gaps import LOOK_SECONDS_MAX, LOOK_SECONDS_MIN, Fence
from eventcore.stores.postgres.reading import PageReading
from eventcore.stores.postgres.wakeup import PostgresWakeup

OUTAGE_PAUSE_SECONDS: Final = 0.2
"""How often a follower looks for a server that went away."""

OUTAGE_WARNING_SECONDS: Final = 30.0
"""How often it says that it still does."""

_logger = logging.getLogger(__name__)


class Tail:
    """What one subscription reads from and waits for; keeps what held it when it looked last.

    A server that went away is looked for until it is back: nothing was lost meanwhile, and there is
    nothing better to do. A warning says so, at once and every :data:`OUTAGE_WARNING_SECONDS`.

    Another server may answer after a failover, which lacks the newest commits and gives their
    positions out again: after each new connection it is asked for the last event handed out, or the
    one it began behind. Through a proxy, where another server may answer on the same connection, it
    is asked with each page.

    Args:
        connections: To the primary.
        reading: Does not look again by itself.
        wakeup: Tells of commits.
    """

    def __init__(
        self, connections: PostgresConnections, reading: PageReading, wakeup: PostgresWakeup
    ) -> None:
        self._connections = connections
        self._reading = reading
        self._wakeup = wakeup
        self._fence: Fence | None = None
        self._pause_seconds = LOOK_SECONDS_MIN
        self._is_lost = False
        self._warned_at = float("-inf")
        self._stopped = threading.Event()
        self._is_begun = False
        self._last: Recorded[Any] | None = None
        self._seen_connections = connections.opened

    def read_page(self, after: int, limit: int, where: LogFilter) -> Page:
        """What is final now; empty while the feed is held or the server is away.

        Raises:
            LogRewoundError: The last event that was handed out is gone.
        """
        try:
            if not self._is_begun:
                self._last = self._reading.last_until(after) if after > 0 else None
                self._is_begun = True
            page, fence = self._reading.look(after, limit, where, fence=self._fence)
            self._check_last(page)
        except StoreUnavailableError as error:
            if not is_lost(error.__cause__):
                raise
            self._warn(error)
            self._is_lost, self._fence = True, None
            return Page([], after)
        if self._is_lost:
            self._is_lost = False
            self._warned_at = float("-inf")
            _logger.info("%s is back", self._connections.name)
        if fence is None or page.events:
            self._pause_seconds = LOOK_SECONDS_MIN
        self._fence = fence
        if page.events:
            self._last = page.events[-1]
        return page

    def _check_last(self, page: Page) -> None:
        # After the page was read: the connection that it came by is counted.
        opened = self._connections.opened
        may_be_another = self._connections.is_pooled and bool(page.events)
        if opened == self._seen_connections and not may_be_another:
            return
        if self._last is not None and not self._reading.has(self._last):
            raise LogRewoundError(store=self._connections.name, position=self._last.position)
        self._seen_connections = opened

    def _warn(self, error: StoreUnavailableError) -> None:
        now = time.monotonic()
        if now - self._warned_at >= OUTAGE_WARNING_SECONDS:
            self._warned_at = now
            _logger.warning("a follower lost its server and looks for it again: %s", error)

    def token(self) -> int:
        """See :class:`eventcore.stores.following.CommitSignal`."""
        return self._wakeup.token()

    def wait(self, token: int, timeout_seconds: float) -> bool:
        """Sleep until there may be more: after a commit, or when it is time to look again."""
        if self._is_lost:
            self._stopped.wait(min(OUTAGE_PAUSE_SECONDS, timeout_seconds))
            with suppress(StoreClosedError):  # the next look says so
                self._connections.revive(0)
            return True
        if self._fence is not None:
            self._stopped.wait(min(self._pause_seconds, timeout_seconds))
            self._pause_seconds = min(self._pause_seconds * 2, LOOK_SECONDS_MAX)
            return True
        return self._wakeup.wait(token, timeout_seconds)

    def notify(self) -> None:
        """Wake the one who waits here."""
        self._stopped.set()
        self._wakeup.wake()
