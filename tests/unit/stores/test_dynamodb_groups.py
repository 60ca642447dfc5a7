"""Callers who share transactions: an interrupted one takes nobody else with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from typing_extensions import override

from eventcore.errors import StoreUnavailableError
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.requests import Commit, Request
from eventcore.stores.log import AppendResult, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables

HANG_SECONDS = 60.0


class Turn(threading.Event):
    """A caller's turn whose wait is interrupted when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()
        self.go = threading.Event()

    @override
    def wait(self, timeout: float | None = None) -> bool:
        del timeout
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
            request.turn = Turn()
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
