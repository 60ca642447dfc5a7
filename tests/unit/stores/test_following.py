"""The subscription that stores share: woken, never slept through, ended at once."""

import threading

import pytest
from typing_extensions import override

from eventcore.errors import StoreUnavailableError
from eventcore.stores import following
from eventcore.stores.following import PullSubscription
from eventcore.stores.log import EVERYTHING, Page, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing import EventMaker

HANG_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _nothing_but_a_signal_wakes(monkeypatch):
    # A follower that missed its signal would otherwise be saved by its own timer.
    monkeypatch.setattr(following, "STOP_CHECK_SECONDS", 3_600.0)


@pytest.fixture
def log():
    log = MemoryLog()
    yield log
    log.close()


@pytest.fixture
def make() -> EventMaker:
    return EventMaker()


class Signal:
    """A commit signal that does something of the test's at a given moment."""

    def __init__(self, log: MemoryLog, *, before_token=None, before_wait=None) -> None:
        self._log = log
        self._before_token = before_token
        self._before_wait = before_wait
        self.waits: list[float] = []

    def token(self) -> int:
        if self._before_token is not None:
            action, self._before_token = self._before_token, None
            action()
        return self._log.token()

    def wait(self, token: int, timeout_seconds: float) -> bool:
        self.waits.append(timeout_seconds)
        if self._before_wait is not None:
            action, self._before_wait = self._before_wait, None
            action()
        return self._log.wait(token, min(timeout_seconds, HANG_SECONDS))

    def notify(self) -> None:
        self._log.notify()


def test_what_is_committed_between_the_read_and_the_sleep_ends_the_sleep(log, make):
    signal = Signal(log, before_wait=lambda: log.append([StreamAppend("order-1", 0, [make()])]))
    subscription = PullSubscription(log, signal, 0, EVERYTHING)

    page = subscription.next_page()

    assert page is not None
    assert page.end == 1
    assert len(signal.waits) == 1


def test_a_close_between_the_look_at_the_flag_and_the_sleep_ends_the_sleep(log):
    subscription = PullSubscription(log, Signal(log), 0, EVERYTHING)
    signal = Signal(log, before_token=subscription.close)
    subscription._signal = signal

    assert subscription.next_page() is None
    assert signal.waits == []


def test_a_close_just_before_the_sleep_ends_it(log):
    subscription = PullSubscription(log, Signal(log), 0, EVERYTHING)
    signal = Signal(log, before_wait=subscription.close)
    subscription._signal = signal

    assert subscription.next_page() is None
    assert len(signal.waits) == 1


def test_closing_wakes_a_consumer_that_sleeps(log):
    subscription = log.subscribe()
    ended = threading.Event()

    def consume() -> None:
        assert list(subscription) == []
        ended.set()

    thread = threading.Thread(target=consume)
    thread.start()
    subscription.close()

    assert ended.wait(HANG_SECONDS)
    thread.join()


def test_commits_that_bring_nothing_do_not_extend_the_wait(log, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("eventcore.stores.following.time.monotonic", lambda: now[0])

    class Restless(Signal):
        @override
        def wait(self, token: int, timeout_seconds: float) -> bool:
            self.waits.append(timeout_seconds)
            now[0] += 0.25
            return True  # something was committed, to another table

    signal = Restless(log)
    page = PullSubscription(log, signal, 0, EVERYTHING).next_page(1.0)

    assert page == Page([], 0)
    assert signal.waits == [1.0, 0.75, 0.5, 0.25]


def test_a_failed_read_loses_nothing(log, make, monkeypatch):
    log.append([StreamAppend("order-1", 0, make.many(3))])
    subscription = log.subscribe()
    assert next(iter(subscription)).position == 1
    subscription.next_page(0)

    def fail(*arguments: object) -> Page:
        raise StoreUnavailableError(store="memory log", problem="as the test wants it")

    with monkeypatch.context() as patch:
        patch.setattr(log, "read_page", fail)
        with pytest.raises(StoreUnavailableError):
            subscription.next_page(0)
    log.append([StreamAppend("order-1", 3, [make()])])

    page = subscription.next_page(0)
    assert page is not None
    assert [event.position for event in page.events] == [4]


def test_a_follower_holds_one_page_at_a_time(log, make, monkeypatch):
    monkeypatch.setattr(following, "READ_PAGE_EVENTS", 10)
    log.append([StreamAppend("order-1", 0, make.many(95))])
    subscription = log.subscribe()

    held = []
    for event in subscription:
        held.append(len(subscription._left))
        if event.position == 95:
            break

    assert max(held) == 9
    assert held.count(0) == 10
