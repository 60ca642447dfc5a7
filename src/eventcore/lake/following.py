"""Following an archive and then its log: one subscription, wherever it begins."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from eventcore.errors import StoreClosedError, TrimmedHistoryError
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.stores.log import Log, LogFilter, Page, Subscription


class Stitched(Protocol):
    """What a subscription needs of the two.

    Attributes:
        store: The log.
    """

    store: Log

    @property
    def boundary(self) -> int:
        """Where the log takes over."""

    def look_again(self) -> int:
        """See whether the boundary has moved."""

    def archived_page(self, after: int, limit: int, where: LogFilter) -> Page:
        """A page of the archive, up to the boundary."""


class StitchedSubscription:
    """Yields the archive's events, then follows the log. Iterate it in one thread, close it in any.

    Args:
        log: Both.
        after: Events above this position.
        where: Which of them.
    """

    def __init__(self, log: Stitched, after: int, where: LogFilter) -> None:
        self._log = log
        self._after = after
        self._where = where
        self._left: deque[Recorded[Any]] = deque()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._tail: Subscription | None = None

    def next_page(self, timeout_seconds: float | None = None) -> Page | None:
        """See :meth:`eventcore.stores.log.Subscription.next_page`."""
        if self._left and not self._closed.is_set():
            page = Page(list(self._left), self._after)
            self._left.clear()
            return page
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self._closed.is_set():
            try:
                found = self._look(deadline)
            except StoreClosedError:
                break
            if found is None:
                break
            moved = found.end > self._after
            self._after = found.end
            if found.events or (deadline is not None and (moved or time.monotonic() >= deadline)):
                return found
        return None

    def _look(self, deadline: float | None) -> Page | None:
        """A page, perhaps empty; None: the log is closed."""
        found = Page([], self._after)
        if self._tail is None and self._after < self._log.boundary:
            found = self._log.archived_page(self._after, READ_PAGE_EVENTS, self._where)
            if found.end < self._log.boundary or len(found.events) == READ_PAGE_EVENTS:
                return found
            # The rest of the page is the log's, as far as it is there now.
            deadline = 0.0
        tail = self._follow(found.end)
        try:
            page = tail.next_page(None if deadline is None else max(deadline - time.monotonic(), 0))
        except TrimmedHistoryError:
            # A slow follower: what it comes to next was trimmed meanwhile.
            tail.close()
            self._tail = None
            if self._log.look_again() <= found.end:
                raise
            return found
        return None if page is None else Page(found.events + page.events, page.end)

    def _follow(self, after: int) -> Subscription:
        with self._lock:
            if self._tail is None:
                self._tail = self._log.store.subscribe(after, self._where)
                if self._closed.is_set():
                    self._tail.close()
            return self._tail

    def __iter__(self) -> Iterator[Recorded[Any]]:
        while (page := self.next_page()) is not None:
            self._left.extend(page.events)
            while self._left:
                if self._closed.is_set():
                    return
                yield self._left.popleft()

    def close(self) -> None:
        """See :meth:`eventcore.stores.log.Subscription.close`."""
        self._closed.set()
        with self._lock:
            if self._tail is not None:
                self._tail.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
