"""What all cases of the log contract stand on: the log under test, and a few short forms."""

from __future__ import annotations

import threading
import unittest
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar, Final, NoReturn, TypeVar

from eventcore.errors import EventCoreError
from eventcore.events.limits import EVENTS_PER_APPEND_MAX, STATE_BYTES_MAX, STREAMS_PER_APPEND_MAX
from eventcore.events.recorded import EncodedEvent, Recorded
from eventcore.stores.log import AppendResult, Log, StreamAppend
from eventcore.testing.scenarios import EventMaker

HANG_SECONDS: Final = 60.0
"""A thread of a test that takes longer hangs: the test fails instead of never ending."""

_Error = TypeVar("_Error", bound=EventCoreError)


class LogCases:
    """Base of the cases. Subclass :class:`~eventcore.testing.LogContract`, not this.

    Attributes:
        is_shared: Whether the logs that :meth:`open_log` opens within one test hold the same events
            (a file, a table), or are each a new one (memory).
        has_unique_event_ids: Whether an event id is refused also when several logs append it, each
            to a stream of its own, at the same instant. One log refuses it in any case.
        state_bytes_max: Largest event that the store takes.
        events_per_append_max: Most events of one append that it takes.
        streams_per_append_max: Most streams of one append that it takes.
    """

    is_shared: ClassVar[bool] = True
    has_unique_event_ids: ClassVar[bool] = True
    state_bytes_max: ClassVar[int] = STATE_BYTES_MAX
    events_per_append_max: ClassVar[int] = EVENTS_PER_APPEND_MAX
    streams_per_append_max: ClassVar[int] = STREAMS_PER_APPEND_MAX

    def open_log(self) -> Log:
        """Open the log of the running test, empty when it is opened first. The suite closes it."""
        raise NotImplementedError

    @cached_property
    def log(self) -> Log:
        """The log under test, opened when a case first asks for it."""
        return self.open_another()

    @cached_property
    def make(self) -> EventMaker:
        """Makes the events of the running test."""
        return EventMaker()

    @cached_property
    def _opened(self) -> list[Log]:
        return []

    def open_another(self) -> Log:
        """One more handle, closed at the end of the test."""
        log = self.open_log()
        self._opened.append(log)
        return log

    def teardown_method(self) -> None:
        """Close what the test opened, and let go of it (pytest calls this)."""
        opened = self._opened
        # pytest keeps the object of every test until its run ends, and all events with it.
        vars(self).clear()
        for log in opened:
            log.close()

    def append(
        self, stream: str, expected_version: int, events: Sequence[EncodedEvent]
    ) -> AppendResult:
        """Append to one stream."""
        return self.log.append([StreamAppend(stream, expected_version, events)])

    def fill(self, stream: str, count: int, type: str = "test.happened") -> AppendResult:  # noqa: A002 - as elsewhere
        """Begin a stream with so many new events."""
        return self.append(stream, 0, self.make.many(count, type))

    def contents(self) -> list[Recorded[Any]]:
        """Everything in the log."""
        return list(self.log.read())


def versions(events: Iterable[Recorded[Any]]) -> list[int]:
    """Versions of the events, in their order."""
    return [event.version for event in events]


def positions(events: Iterable[Recorded[Any]]) -> list[int]:
    """Positions of the events, in their order."""
    return [event.position for event in events]


@contextmanager
def expect_error(kind: type[_Error]) -> Iterator[list[_Error]]:
    """The block must raise exactly this class; the error is in the list afterwards."""
    caught: list[_Error] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
    # The very class: a subclass may ask the caller for something else.
    assert [type(error) for error in caught] == [kind], f"expected {kind.__name__}, got {caught}"


def run_threads(*works: Callable[[], object]) -> None:
    """Run all at once; the first error of any of them is raised here."""
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
        assert not thread.is_alive(), "a thread of the test hangs"
    if errors:
        raise errors[0]


def skip(reason: str) -> NoReturn:
    """Leave the case out, visibly."""
    raise unittest.SkipTest(reason)
