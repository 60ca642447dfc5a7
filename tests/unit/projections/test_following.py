"""Following through outages: what waiting mends is waited for, with pauses that grow."""

import logging
import threading
from contextlib import contextmanager

import pytest
from typing_extensions import override

from eventcore.errors import ConfigurationError, StoreUnavailableError
from eventcore.projections import MemoryViews, ProjectionRunner
from eventcore.projections import following as following_module
from eventcore.projections.backoff import (
    BACKOFF_FIRST_SECONDS,
    BACKOFF_SECONDS_MAX,
    Backoff,
    while_unavailable,
)
from eventcore.projections.following import Follower
from eventcore.projections.read_models import ORDERS, Orders
from eventcore.projections.workers import WorkerOptions
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import moment, order, record

AWAY = StoreUnavailableError(store="memory views", problem="away")


class FailingViews(MemoryViews):
    """Fails a number of times, as a database does that is away for a while."""

    failures = 0
    error: Exception = AWAY

    def _fail(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise self.error

    @override
    def ensure(self, projection):
        self._fail()
        return super().ensure(projection)

    @override
    @contextmanager
    def transaction(self):
        self._fail()
        with super().transaction() as transaction:
            yield transaction


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch):
    monkeypatch.setattr("eventcore.projections.backoff.BACKOFF_FIRST_SECONDS", 0.001)


@pytest.mark.parametrize("worker", [None, WorkerOptions(now=lambda: moment(0))])
@pytest.mark.parametrize("failures", [1, 4])
def test_a_database_that_was_away_is_waited_for_and_said_so(caplog, failures, worker):
    log, views, stop = MemoryLog(), FailingViews(), threading.Event()
    record(log, order("o1"), order("o2"))
    views.failures = failures
    runner = ProjectionRunner(
        log, views, [Orders()], on_page=lambda _events, end: stop.set() if end == 2 else None
    )

    with caplog.at_level(logging.INFO, logger="eventcore.projections"):
        runner.follow(stop, worker=worker)

    assert views.count(ORDERS) == 2
    attempts = [one.attempt for one in caplog.records if "is away" in one.message]
    assert attempts == list(range(1, failures + 1))


def test_what_waiting_does_not_mend_is_raised_at_once():
    views = FailingViews()
    views.failures, views.error = 1, ConfigurationError(message="a wrong table")

    with pytest.raises(ConfigurationError, match="wrong table"):
        ProjectionRunner(MemoryLog(), views, [Orders()]).follow()

    assert views.failures == 0


def test_a_runner_that_waits_for_a_database_stops_at_once(monkeypatch):
    monkeypatch.setattr("eventcore.projections.backoff.BACKOFF_FIRST_SECONDS", 3_600.0)
    monkeypatch.setattr("eventcore.projections.backoff.BACKOFF_SECONDS_MAX", 7_200.0)
    monkeypatch.setattr(following_module, "STOP_CHECK_SECONDS", 3_600.0)
    waiting = threading.Event()
    pause = Follower._pause

    def paused(self: Follower, seconds: float) -> None:
        waiting.set()
        pause(self, seconds)

    monkeypatch.setattr(Follower, "_pause", paused)
    views = FailingViews()
    views.failures = 1_000
    runner = ProjectionRunner(MemoryLog(), views, [Orders()])
    runner.start()
    waiting.wait()

    runner.stop()  # would take an hour

    assert views.failures == 999


def test_pauses_double_up_to_a_bound_and_are_drawn_from_the_upper_half(monkeypatch):
    monkeypatch.setattr(
        "eventcore.projections.backoff.BACKOFF_FIRST_SECONDS", BACKOFF_FIRST_SECONDS
    )
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    backoff = Backoff(draw)
    pauses = [backoff.failed() for _ in range(9)]

    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == BACKOFF_SECONDS_MAX
    assert all(low == high / 2 for low, high in drawn)
    assert backoff.succeeded()
    assert not backoff.succeeded()
    assert backoff.failed() == 0.2


def test_an_action_is_repeated_while_a_store_is_away_and_left_when_told_to_stop():
    stop, calls = threading.Event(), []

    def action() -> None:
        calls.append(1)
        if len(calls) == 3:
            stop.set()
        raise AWAY

    while_unavailable(action, stop)

    assert len(calls) == 3
