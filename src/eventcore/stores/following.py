"""Following a log by pulling pages: the subscription of every store with a commit signal."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from eventcore.errors import StoreClosedError
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.stores.log import LogFilter, Page

STOP_CHECK_SECONDS = 0.5
"""Longest sleep of a follower that nothing wakes; a commit or ``close()`` wakes it at once."""


class CommitSignal(Protocol):
    """Tells that something may have been committed."""

    def token(self) -> int:
        """A mark of now. Take it before reading: what is committed later changes it."""

    def wait(self, token: int, timeout_seconds: float) -> bool:
        """Sleep until something was committed since ``token``; False if the time ran out."""

    def notify(self) -> None:
        """Wake everybody who waits."""


class PageReader(Protocol):
    """The part of a log that a subscription needs."""

    def read_page(self, after: int, limit: int, where: LogFilter) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`."""


class PullSubscription:
    """Yields the log from a position on, for ever.

    The token is taken before each read, so a commit between the read and the sleep ends the sleep
    at once: nothing committed is ever slept through. Holds one page at a time; what an iteration
    that was broken off left of it comes first when it is iterated, or asked for a page, again.
    """

    def __init__(  # noqa: PLR0917 - every store makes it the same way
        self, log: PageReader, signal: CommitSignal, after: int, where: LogFilter
    ) -> None:
        self._log = log
        self._signal = signal
        self._where = where
        self._after = after
        self._left: deque[Recorded[Any]] = deque()
        self._closed = threading.Event()

    def next_page(self, timeout_seconds: float | None = None) -> Page | None:
        """The next page; empty if nothing came in time; None once closed."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        if self._left and not self._closed.is_set():
            page = Page(list(self._left), self._after)
            self._left.clear()
            return page
        while True:
            # Before the flag is looked at: close() sets the flag, then changes the token.
            token = self._signal.token()
            if self._closed.is_set():
                return None
            try:
                page = self._log.read_page(self._after, READ_PAGE_EVENTS, self._where)
            except StoreClosedError:
                return None
            moved = page.end > self._after
            self._after = page.end
            if page.events or (moved and deadline is not None):
                return page
            pause = STOP_CHECK_SECONDS
            if deadline is not None:
                # By the clock: commits that bring nothing (of other tables, say) end waits as well.
                pause = min(pause, deadline - time.monotonic())
                if pause <= 0:
                    return page
            self._signal.wait(token, pause)

    def __iter__(self) -> Iterator[Recorded[Any]]:
        while (page := self.next_page()) is not None:
            self._left.extend(page.events)
            while self._left:
                if self._closed.is_set():
                    return
                yield self._left.popleft()

    def close(self) -> None:
        """End the iteration; a waiting consumer wakes at once."""
        self._closed.set()
        self._signal.notify()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
