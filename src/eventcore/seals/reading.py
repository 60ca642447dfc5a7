"""Reading a log that may be damaged: what can be read comes first, then what cannot is named."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from typing import Any, Final

from eventcore.errors import (
    EventCoreError,
    StoreClosedError,
    StoreUnavailableError,
    TrimmedHistoryError,
)
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.seals.findings import Finding, Kind
from eventcore.seals.sources import Source

DAMAGES: Final = (
    EventCoreError,
    zlib.error,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
)
"""What a store raises that reads bytes which it did not write."""


def raise_if_away(error: BaseException) -> None:
    """A store that does not answer, or was trimmed, is not damaged: raise that as it is."""
    if isinstance(error, StoreUnavailableError | StoreClosedError | TrimmedHistoryError):
        raise error


class Reader:
    """Reads a source forwards, once.

    Args:
        source: What.
        head: Up to which position.
        after: Behind which position it begins.
    """

    def __init__(self, source: Source, head: int, after: int = 0) -> None:
        self._source = source
        self._head = head
        self._after = after
        self._size = READ_PAGE_EVENTS
        self._page: list[Recorded[Any]] = []
        self._positions: list[int] = []
        self._failure: Finding | None = None

    @property
    def after(self) -> int:
        """Everything up to here was read from the source."""
        return self._after

    @property
    def failure(self) -> Finding | None:
        """What is behind the events that were given and cannot be read, or is in a wrong place."""
        return None if self._page else self._failure

    def up_to(self, position: int, limit: int) -> list[Recorded[Any]]:
        """Events up to a position, at most so many, that were not given before.

        They end early where :attr:`failure` says why.
        """
        found: list[Recorded[Any]] = []
        while len(found) < limit and (self._page or self._fill()):
            count = min(bisect_right(self._positions, position), limit - len(found))
            found += self._page[:count]
            self._page, self._positions = self._page[count:], self._positions[count:]
            if self._page:
                break
        return found

    def _fill(self) -> bool:
        """Read the next page; whether there is one."""
        while self._after < self._head and self._failure is None:
            try:
                page = self._source.read_page(self._after, self._size)
                _check_types(page.events)
            except DAMAGES as error:
                raise_if_away(error)
                if self._size == 1:
                    self._failure = self._unreadable(error)
                # One by one: what comes before the damage is looked at before it.
                self._size = 1
                continue
            events = [event for event in page.events if event.position <= self._head]
            events = events[: self._rising(events)]
            if not events:
                return False
            self._page, self._positions = events, [event.position for event in events]
            self._after = self._positions[-1]
            return True
        return False

    def _rising(self, events: list[Recorded[Any]]) -> int:
        """How many of them come one behind the other."""
        before = self._after
        for at, event in enumerate(events):
            if event.position <= before:
                problem = "the store gives it behind a later one"
                self._failure = Finding.at(event, Kind.REORDERED, problem)
                return at
            before = event.position
        return len(events)

    def _unreadable(self, error: BaseException) -> Finding:
        problem = f"the store cannot read the event behind position {self._after}: {error}"
        return Finding(Kind.UNREADABLE, problem, self._after + 1)


def _check_types(events: list[Recorded[Any]]) -> None:
    """A damaged file may give the rows of another table; SQLite keeps any type in any column."""
    for event in events:
        if not (
            type(event.position) is type(event.version) is int
            and type(event.stream) is type(event.type) is str
            and type(event.state) is bytes
        ):
            msg = "what is there has columns of other types"
            raise TypeError(msg)
