"""The next page is read while one is applied, and is used only where it is what is wanted."""

import threading
from typing import Any

import pytest
from typing_extensions import override

from eventcore.errors import StoreUnavailableError
from eventcore.projections.pages import PAGE_EVENTS_MAX, PAGE_EVENTS_MIN, PageReader
from eventcore.stores.log import EVERYTHING, LogFilter, Page
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import order, record

EVENTS = 12_000


class Watched(MemoryLog):
    """Notes what it was asked for, and by which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.fails_at: int | None = None

    @override
    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        self.asked.append((after, limit, where, threading.current_thread().name))
        if after == self.fails_at:
            raise StoreUnavailableError(store="log", problem="gone")
        return super().read_page(after, limit, where)


@pytest.fixture(scope="module")
def filled():
    log = Watched()
    record(log, *(order("a") for _ in range(EVENTS)))
    return log


@pytest.fixture
def log(filled):
    filled.asked.clear()
    filled.fails_at = None
    return filled


def test_every_event_comes_once_in_pages_that_grow(log):
    seen: list[int] = []
    sizes: list[int] = []
    with PageReader(log) as pages:
        while len(seen) < EVENTS:
            page = pages.page(len(seen), EVERYTHING, until=EVENTS)
            seen += [event.position for event in page.events]
            sizes.append(len(page.events))

    assert seen == list(range(1, EVENTS + 1))
    assert sizes[0] == PAGE_EVENTS_MIN
    assert max(sizes) == PAGE_EVENTS_MAX
    assert len(log.asked) == len(sizes)


def test_the_next_page_is_read_before_it_is_wanted(log):
    with PageReader(log) as pages:
        end = pages.page(0, EVERYTHING, until=EVENTS).end
    assert [after for after, *_ in log.asked] == [0, end]
    assert log.asked[1][3] != threading.current_thread().name


def test_nothing_is_read_beyond_what_is_wanted(log):
    with PageReader(log) as pages:
        pages.page(0, EVERYTHING, until=PAGE_EVENTS_MIN)
        pages.page(EVENTS, EVERYTHING, until=EVENTS + 1)

    assert [after for after, *_ in log.asked] == [0, EVENTS]


@pytest.mark.parametrize(
    ("after", "where"),
    [(7, EVERYTHING), (PAGE_EVENTS_MIN, LogFilter(types=frozenset({"order.cancelled"})))],
)
def test_what_was_read_for_another_place_or_filter_is_not_used(log, after, where):
    with PageReader(log) as pages:
        pages.page(0, EVERYTHING, until=EVENTS)
        page = pages.page(after, where, until=0)

    assert log.asked[-1][0] == after
    assert log.asked[-1][2] == where
    assert [event.position for event in page.events[:1]] == ([8] if where == EVERYTHING else [])


def test_a_page_that_cannot_be_read_is_told_where_it_is_wanted_and_read_anew(log):
    with PageReader(log) as pages:
        log.fails_at = PAGE_EVENTS_MIN
        first = pages.page(0, EVERYTHING, until=EVENTS)
        with pytest.raises(StoreUnavailableError):
            pages.page(first.end, EVERYTHING, until=EVENTS)
        log.fails_at = None
        page = pages.page(first.end, EVERYTHING, until=0)

    assert page.events[0].position == first.end + 1


def test_nothing_reads_any_more_when_it_is_left(log):
    others = set(threading.enumerate())  # of readers that earlier tests left open
    with PageReader(log) as pages:
        pages.page(0, EVERYTHING, until=EVENTS)
    asked = len(log.asked)

    left = set(threading.enumerate()) - others
    assert not [one for one in left if one.name.startswith("eventcore-pages")]
    assert len(log.asked) == asked
