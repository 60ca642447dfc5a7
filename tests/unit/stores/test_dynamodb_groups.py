"""Callers who share transactions: who is waited for, and that an interrupted one takes nobody else
with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from typing_extensions import override

from eventcore.errors import StoreUnavailableError
from eventcore.stores.dynamodb import appending
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.requests import Commit, Request, Turn
from eventcore.stores.log import AppendResult, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables

HANG_SECONDS = 60.0


class InterruptedTurn(Turn):
    """A turn whose wait is interrupted when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()
        self.go = threading.Event()

    @override
    def wait(self, seconds: float = -1) -> None:
        del seconds
        self.waits.set()
        assert self.go.wait(HANG_SECONDS)
        raise KeyboardInterrupt


class Held:
    """A log whose first transaction waits until the test lets it go."""

    def __init__(self) -> None:
        self.log = DynamoDBLog(DynamoDBCalls(ModelTables()), "log-table")
        self.entered, self.go = threading.Event(), threading.Event()
        self.make = EventMaker()
        self.outcomes: dict[str, Any] = {}
        self._write = self.log._writing.write
        self.log._writing.write = self._held  # type: ignore[method-assign]
        self._threads: list[threading.Thread] = []

    def _held(self, commit: Commit) -> tuple[int, list[int]]:
        if not self.entered.is_set():
            self.entered.set()
            assert self.go.wait(HANG_SECONDS)
        return self._write(commit)

    def request(self, stream: str, *, interrupted: bool = False) -> Request:
        request = Request("log", [StreamAppend(stream, 0, [self.make()])])
        if interrupted:
            request.turn = InterruptedTurn()
        return request

    def start(self, request: Request) -> None:
        def run() -> None:
            stream = request.heads[0].stream
            try:
                self.outcomes[stream] = self.log._appending.append(request)
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.outcomes[stream] = type(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def in_line(self, count: int) -> None:
        while len(self.log._appending._line) < count:
            pass

    def finish(self) -> None:
        self.go.set()
        for thread in self._threads:
            thread.join(HANG_SECONDS)
            assert not thread.is_alive(), "a caller hangs"


@pytest.fixture
def held() -> Held:
    return Held()


def done(position: int) -> AppendResult:
    return AppendResult((position,), (1,), repeated=False)


def test_one_who_is_interrupted_in_line_is_not_written_and_the_others_are(held: Held) -> None:
    held.start(held.request("first-1"))
    assert held.entered.wait(HANG_SECONDS)
    gone = held.request("gone-1", interrupted=True)
    held.start(gone)
    held.in_line(1)
    held.start(held.request("last-1"))
    held.in_line(2)

    gone.turn.go.set()  # type: ignore[attr-defined]
    while len(held.log._appending._line) > 1:
        pass
    held.finish()

    assert held.outcomes == {"first-1": done(1), "last-1": done(2), "gone-1": KeyboardInterrupt}
    assert held.log.stream_version("gone-1") == 0


def test_one_who_is_interrupted_while_it_is_handed_the_lead_hands_it_on(held: Held) -> None:
    appending = held.log._appending
    gone = held.request("gone-1", interrupted=True)
    held.start(held.request("first-1"))
    assert held.entered.wait(HANG_SECONDS)
    held.start(gone)
    held.in_line(1)
    assert gone.turn.waits.wait(HANG_SECONDS)  # type: ignore[attr-defined]
    leave = appending._leave

    def leave_late(request: Request) -> None:
        if request is gone:
            # Interrupted already, and not gone yet: the one before hands the lead to it now.
            held.go.set()
            while "first-1" not in held.outcomes:
                pass
        leave(request)

    appending._leave = leave_late  # type: ignore[method-assign]
    gone.turn.go.set()  # type: ignore[attr-defined]
    held.finish()

    assert held.outcomes == {"first-1": done(1), "gone-1": KeyboardInterrupt}
    # Nobody leads any more: the next caller does.
    held.start(held.request("next-1"))
    held.finish()
    assert held.outcomes["next-1"] == done(2)


@pytest.mark.parametrize("place", ["_write", "_ready", "_packed"])
def test_a_leader_who_is_interrupted_leaves_nobody_waiting(held: Held, place: str) -> None:
    appending = held.log._appending
    held.start(held.request("first-1"))
    assert held.entered.wait(HANG_SECONDS)
    held.start(held.request("a-1"))
    held.in_line(1)
    held.start(held.request("b-1"))
    held.in_line(2)

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with _replaced(appending, place, interrupted):
        held.finish()

    assert held.outcomes == {
        "first-1": done(1),
        "a-1": KeyboardInterrupt,
        "b-1": StoreUnavailableError,
    }
    held.start(held.request("next-1"))
    held.finish()
    assert held.outcomes["next-1"].versions == (1,)


@pytest.mark.parametrize("place", ["_chosen", "_hand_on"])
def test_one_who_is_interrupted_with_the_line_in_its_hands_drops_nobody(
    held: Held, place: str
) -> None:
    appending = held.log._appending
    step = getattr(appending, place)
    left = [1]
    held.start(held.request("first-1"))
    assert held.entered.wait(HANG_SECONDS)
    held.start(held.request("a-1"))
    held.in_line(1)
    held.start(held.request("b-1"))
    held.in_line(2)

    def interrupted(*arguments: Any) -> Any:
        # The first one who leads goes on as if nothing was: "_chosen" is behind it already.
        if left and left.pop():
            raise KeyboardInterrupt
        return step(*arguments)

    with _replaced(appending, place, interrupted):
        held.finish()

    assert KeyboardInterrupt in held.outcomes.values()
    assert held.outcomes["b-1"] == done(2 if place == "_chosen" else 3)
    held.start(held.request("next-1"))
    held.finish()
    assert held.outcomes["next-1"].versions == (1,)


@contextmanager
def _replaced(appending: Any, name: str, by: Any) -> Iterator[None]:
    """Replace a step for all but the transaction that is held already."""
    setattr(appending, name, by)
    try:
        yield
    finally:
        delattr(appending, name)


def test_requests_taken_in_one_go_keep_their_order(held: Held) -> None:
    appending = held.log._appending
    requests = [held.request(f"order-{number}") for number in range(5)]
    appending._line.extend(requests)

    taken: Sequence[Request] = appending._take()

    assert list(taken) == requests
    assert appending._taken == requests


class WaitedFor:
    """In place of turns: what the one who leads does, and how long it would wait for company.

    Args:
        meanwhile: Done while it waits; it goes on at once.
    """

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.seconds: list[float] = []
        self._meanwhile = meanwhile
        self.was_set = False

    def __call__(self) -> WaitedFor:
        return self

    def wait(self, seconds: float = -1) -> None:
        self.seconds.append(seconds)
        self._meanwhile()

    def set(self) -> None:
        self.was_set = True


class Clock:
    """Shows what the test says; a transaction takes a while."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Shared:
    """A log that wrote a transaction for so many callers just now.

    Attributes:
        sizes: How many events each transaction holds.
        outcomes: What those who joined were told, by their streams.
    """

    def __init__(self, callers: int, *, took_seconds: float = 0.004) -> None:
        self.clock, self.make = Clock(), EventMaker()
        self.log = DynamoDBLog(DynamoDBCalls(ModelTables(), clock=self.clock), "log-table")
        self.appending = self.log._appending
        self.sizes: list[int] = []
        self.outcomes: dict[str, AppendResult | None] = {}
        self._threads: list[threading.Thread] = []
        write = self.log._writing.write

        def counted(commit: Commit) -> tuple[int, list[int]]:
            self.clock.now += took_seconds
            self.sizes.append(commit.count)
            return write(commit)

        self.log._writing.write = counted  # type: ignore[method-assign]
        self.appending._line.extend(self.request(f"before-{one}") for one in range(callers - 1))
        self.append("first-1")

    def request(self, stream: str) -> Request:
        return Request("log", [StreamAppend(stream, 0, [self.make()])])

    def append(self, stream: str) -> None:
        self.appending.append(self.request(stream))

    def join(self, stream: str) -> None:
        """Another caller gets in line, and is served by whoever leads."""
        in_line, request = len(self.appending._line), self.request(stream)

        def run() -> None:
            self.outcomes[stream] = self.appending.append(request)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()
        while len(self.appending._line) == in_line:
            pass

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(HANG_SECONDS)
            assert not thread.is_alive(), "a caller hangs"


def test_one_who_shared_a_transaction_waits_for_the_others_and_takes_them_along() -> None:
    log = Shared(callers=3)

    def come_back() -> None:
        log.join("other-1")
        assert not waited.was_set
        log.join("other-2")

    with patch.object(appending, "Turn", WaitedFor(come_back)) as waited:
        log.append("first-2")
    log.finish()

    assert log.sizes == [3, 3]
    assert log.outcomes == {"other-1": done(5), "other-2": done(6)}
    assert waited.seconds == [pytest.approx(0.001)]
    assert waited.was_set


def test_one_who_is_left_alone_waits_once_and_never_again() -> None:
    log = Shared(callers=3)

    with patch.object(appending, "Turn", WaitedFor()) as waited:
        log.append("first-2")
        log.append("first-3")
        log.append("first-4")

    assert log.sizes == [3, 1, 1, 1]
    assert len(waited.seconds) == 1
    assert not waited.was_set


def test_nobody_waits_who_comes_a_while_after_a_shared_transaction() -> None:
    log = Shared(callers=3)
    log.clock.now += appending.COMPANY_SECONDS_MAX

    with patch.object(appending, "Turn", WaitedFor()) as waited:
        log.append("first-2")

    assert waited.seconds == []


def test_a_wait_for_company_has_a_bound_however_long_the_transaction_took() -> None:
    log = Shared(callers=3, took_seconds=60.0)

    with patch.object(appending, "Turn", WaitedFor()) as waited:
        log.append("first-2")

    assert waited.seconds == [pytest.approx(appending.COMPANY_SECONDS_MAX)]


def test_one_that_cannot_share_does_not_wait_for_company() -> None:
    log = Shared(callers=3)

    with patch.object(appending, "Turn", WaitedFor()) as waited:
        log.log.append_judged([StreamAppend("first-2", 0, [log.make()])], [], {"other-1": 0})

    assert waited.seconds == []
    assert log.sizes == [3, 1]


def test_one_who_is_interrupted_while_it_waits_for_company_hands_the_lead_on() -> None:
    log = Shared(callers=3)

    def interrupted() -> None:
        log.join("other-1")
        raise KeyboardInterrupt

    with (
        patch.object(appending, "Turn", WaitedFor(interrupted)),
        pytest.raises(KeyboardInterrupt),
    ):
        log.append("first-2")
    log.finish()

    assert log.outcomes == {"other-1": done(4)}
    assert log.log.stream_version("first-2") == 0
    # Nobody leads any more, and nothing is left of the wait.
    log.append("first-2")
    assert log.appending._company is None


def test_a_turn_is_waited_for_until_it_is_set_or_for_so_long() -> None:
    turn = Turn()

    turn.wait(0.001)
    turn.set()
    turn.set()
    turn.wait()
