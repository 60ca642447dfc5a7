"""Naming the first event of a sealed range that is not as it was sealed, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from eventcore.events.recorded import Recorded
from eventcore.seals.findings import Finding, Kind
from eventcore.seals.seal import MARK_BYTES, Content


class Elsewhere(Protocol):
    """Looks for events outside of a range, when something was found in it."""

    def sealed_at(self, mark: bytes) -> int | None:
        """Position at which an event of this mark was sealed."""

    def now_at(self, mark: bytes) -> int | None:
        """The first position at which an event of this mark is now."""

    def stands_at(self, position: int, mark: bytes) -> bool:
        """Whether the event that is at a position now has this mark."""


class Range(NamedTuple):
    """A sealed range as it is now.

    Attributes:
        content: What was sealed.
        events: What is there.
        digests: Of these events.
        head: Where the log ends.
    """

    content: Content
    events: Sequence[Recorded[Any]]
    digests: Sequence[bytes]
    head: int

    def marks(self) -> list[bytes]:
        """Of the events that are there."""
        return [digest[:MARK_BYTES] for digest in self.digests]


def first_difference(found: Range, elsewhere: Elsewhere) -> Finding | None:
    """The first event that is not as it was sealed; None if each is, by its mark."""
    return _Comparison(found, elsewhere).run()


class _Comparison:
    def __init__(self, found: Range, elsewhere: Elsewhere) -> None:
        self._found = found
        self._marks = found.marks()
        self._elsewhere = elsewhere

    def run(self) -> Finding | None:
        events, content = self._found.events, self._found.content
        sealed = list(zip(content.positions(), content.each_mark(), strict=True))
        for at, (position, mark) in enumerate(sealed):
            if at == len(events) or events[at].position > position:
                return self._gone(position, mark)
            if events[at].position < position:
                return self._extra(at)
            if self._marks[at] != mark:
                return self._other(at, mark)
        return self._extra(len(sealed)) if len(events) > len(sealed) else None

    def _gone(self, position: int, mark: bytes) -> Finding:
        """There is nothing where an event was sealed."""
        if self._found.head < position:
            return Finding(
                Kind.RESTORED,
                f"the log ends at position {self._found.head}, but was sealed up to "
                f"{self._found.content.last} and beyond, perhaps: an earlier state of it was "
                "restored, or its end was cut off",
                position,
            )
        now = self._elsewhere.now_at(mark)
        if now is None:
            return Finding(Kind.MISSING, "the event that was sealed here is gone", position)
        problem = f"the event that was sealed here is at position {now}"
        return Finding(Kind.REORDERED, problem, position)

    def _extra(self, at: int) -> Finding:
        """There is an event where none was sealed."""
        event = self._found.events[at]
        sealed = self._elsewhere.sealed_at(self._marks[at])
        if sealed is not None:
            return self._twice_or_moved(at, sealed)
        return Finding.at(event, Kind.ADDED, "it was not there when what follows it was sealed")

    def _other(self, at: int, mark: bytes) -> Finding:
        """There is another event where one was sealed."""
        event = self._found.events[at]
        sealed = self._elsewhere.sealed_at(self._marks[at])
        if sealed is not None:
            return self._twice_or_moved(at, sealed)
        now = self._elsewhere.now_at(mark)
        if now is not None:
            problem = f"the event that was sealed here is at position {now}"
            return Finding.at(event, Kind.REORDERED, problem)
        problem = "it is not the event that was sealed here"
        if self._is_all_other(at):
            problem += (
                "; nor is any that follows it: an earlier state of the log was restored, perhaps, "
                "and written again"
            )
        return Finding.at(event, Kind.ALTERED, problem)

    def _twice_or_moved(self, at: int, sealed: int) -> Finding:
        """An event that was sealed at one position is at another one."""
        event = self._found.events[at]
        if self._elsewhere.stands_at(sealed, self._marks[at]):
            problem = f"it is the event of position {sealed} again"
            return Finding.at(event, Kind.DOUBLED, problem)
        return Finding.at(event, Kind.REORDERED, f"it was sealed at position {sealed}")

    def _is_all_other(self, at: int) -> bool:
        """Whether nothing is as it was sealed from a place on, which is not the last one."""
        rest = set(self._found.content.each_mark()[at:])
        return len(rest) > 1 and rest.isdisjoint(self._marks[at:])
