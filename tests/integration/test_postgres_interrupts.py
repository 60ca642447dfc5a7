"""Threads that share a commit of the Postgres log, of which one is interrupted at any moment."""

from __future__ import annotations

import ctypes
import gc
import random
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from typing_extensions import override

from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.postgres import PostgresSchema

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.slow,
    # A connection that was just being made is left to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

THREADS = 8
INTERRUPTS = 150
PATIENCE_SECONDS = 20.0

NESTED = 3

HEARD_SECONDS = 1.0
"""One that comes while another error is being cleared away may never be heard of."""


class Interrupt(BaseException):
    """As Ctrl-C would be in the main thread: it may come between any two steps."""


@pytest.fixture
def log(postgres_schema: PostgresSchema) -> Iterator[PostgresLog]:
    log = PostgresLog(postgres_schema.url, schema=postgres_schema.schema)
    yield log
    log.close()


class Writer(threading.Thread):
    """Appends, one event after the other, and goes on when it is interrupted."""

    def __init__(self, log: PostgresLog, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.log = log
        self.make = EventMaker(series=number)
        self.stream = f"day-{number % 3}"
        self.stop = stop
        self.told: dict[str, int] = {}
        self.interrupts = 0
        self.calm = 0
        self.was_interrupted = threading.Event()
        self.errors: list[BaseException] = []

    @override
    def run(self) -> None:
        self.go_on(NESTED)

    def go_on(self, nested: int) -> None:
        """Append until told to stop, one inside of the other.

        An interrupt that comes while another one is being caught, or between two rounds, is caught
        by the one outside.
        """
        while not (self.errors or (self.stop.is_set() and self.calm >= 3)):
            try:
                if nested:
                    self.go_on(nested - 1)
                    continue
                is_calm = self.stop.is_set()
                self.append()
                self.calm += is_calm
            except Interrupt:
                self.interrupts += 1
                self.was_interrupted.set()
            except Exception as error:  # noqa: BLE001 - the test looks at it
                self.errors.append(error)

    def append(self) -> None:
        event = self.make()
        result = self.log.append([StreamAppend(self.stream, ANY_VERSION, [event])])
        self.told[event.event_id] = result.positions[0]

    def interrupt(self) -> None:
        """Raise an error in it, wherever it is, and wait until it has got over that."""
        assert self.ident is not None
        self.was_interrupted.clear()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.ident), ctypes.py_object(Interrupt)
        )
        self.was_interrupted.wait(HEARD_SECONDS)


def test_an_interrupted_thread_leaves_nobody_waiting(log, monkeypatch):
    # One that comes while the interpreter clears away another is reported there.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    stop = threading.Event()
    writers = [Writer(log, number, stop) for number in range(THREADS)]
    chance = random.Random(5)
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    # As many as are heard of: on a busy machine one may come before the last one was.
    while sum(one.interrupts for one in writers) < INTERRUPTS and time.monotonic() < deadline:
        time.sleep(chance.uniform(0.0002, 0.004))
        chance.choice(writers).interrupt()
    time.sleep(0.1)
    stop.set()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for writer in writers:
        writer.join(max(0.0, deadline - time.monotonic()))

    gc.collect()  # while what it complains about is heard by nobody

    assert [writer.errors for writer in writers] == [[]] * THREADS
    assert [writer.is_alive() for writer in writers] == [False] * THREADS
    assert sum(writer.interrupts for writer in writers) > INTERRUPTS // 2
    stored = {str(event.event_id): event.position for event in log.read()}
    told = {id_: position for writer in writers for id_, position in writer.told.items()}
    assert told.items() <= stored.items()
