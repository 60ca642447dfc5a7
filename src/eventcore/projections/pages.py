"""Pages of a log for who applies them: the next one is read while one is being applied."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from operator import attrgetter
from typing import Final, NamedTuple, Self

from eventcore.stores.log import Log, LogFilter, Page, PageFetcher

PAGE_EVENTS_MIN: Final = 100
PAGE_EVENTS_MAX: Final = 4_000
"""Events in one transaction: more would hold the write lock over 0.1 s and gain nothing."""

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Stored bytes a page should stay below: large events make small pages. Two are in memory."""

_state_of = attrgetter("state")


class _Ahead(NamedTuple):
    """The page that will be wanted next if nothing unusual happens, on its way."""

    after: int
    where: LogFilter
    page: Future[Callable[[], Page]]


class PageReader:
    """Reads a log in pages that grow; use it in a ``with`` statement, in one thread.

    While a page is applied, a thread reads the next one: a database in another process, or on
    another machine, is not waited for.

    Args:
        log: What is read.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._fetch = log.fetch_page if isinstance(log, PageFetcher) else _Whole(log).fetch_page
        self._size = PAGE_EVENTS_MIN
        self._ahead: _Ahead | None = None
        self._thread: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._thread is not None:
            self._thread.shutdown()  # waits: the log may be closed as soon as this is left

    def page(self, after: int, where: LogFilter, *, until: int) -> Page:
        """The page behind a position.

        Args:
            after: The position.
            where: Which events.
            until: How far reading is going to go on: no page is read ahead beyond that.

        Raises:
            StoreError: See :meth:`eventcore.stores.log.Log.read_page`.
        """
        page = self._taken(after, where)
        if page is None:
            page = self._log.read_page(after, self._size, where)
        self._size = next_size(self._size, page)
        if after < page.end < until:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="eventcore-pages")
            reading = self._thread.submit(self._fetch, page.end, self._size, where)
            self._ahead = _Ahead(page.end, where, reading)
        return page

    def _taken(self, after: int, where: LogFilter) -> Page | None:
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        if (ahead.after, ahead.where) != (after, where):
            wait([ahead.page])  # it is for nobody; but one reads at a time
            return None
        return ahead.page.result()()


class _Whole:
    """Any other log: its pages are made into events by the thread that reads."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def fetch_page(self, after: int, limit: int, where: LogFilter) -> Callable[[], Page]:
        page = self._log.read_page(after, limit, where)
        return lambda: page


def next_size(size: int, page: Page) -> int:
    """Larger pages while they are full and light, smaller ones when events are large."""
    if not page.events:
        return size
    per_event = max(1, sum(map(len, map(_state_of, page.events))) // len(page.events))
    return max(1, min(size * 2, PAGE_EVENTS_MAX, PAGE_BYTES_MAX // per_event))
