"""Verifying: reads a whole log and says what the first event is that is not as it was.

Three things are checked on the way. What holds of every log (:mod:`eventcore.seals.structure`): its
order, the versions of its streams. What was sealed: that each event is as it was when it was
sealed, and where. And whether a log tells the same by stream and by event id as in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from eventcore.errors import SealsDamagedError
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.seals.checks import Checks, trusted_seals
from eventcore.seals.differing import Range, first_difference
from eventcore.seals.digests import LogDigest, event_digest
from eventcore.seals.findings import Finding, FoundError, Kind, Verdict
from eventcore.seals.reading import DAMAGES, Reader, raise_if_away
from eventcore.seals.seal import (
    MARK_BYTES,
    SEAL_EVENTS_MAX,
    Content,
    Seal,
    marks_of,
    runs_of,
)
from eventcore.seals.sources import Indexed, Source
from eventcore.seals.structure import Structure
from eventcore.stores.integrity import Problem, SelfChecking

OnProgress = Callable[[int, int], None]
"""Called with the position that was reached and that of the head."""

_BEYOND: Final = 2**62


def verify_log(
    source: Source, checks: Checks | None = None, *, on_progress: OnProgress | None = None
) -> Verdict:
    """Read a log, or anything that is read like one, and look for the first thing that is wrong.

    Reads up to what was the head when this was called; others may go on writing. Nothing is
    written. Memory: a page, and 250 bytes a stream.

    Args:
        source: What to read.
        checks: What to check.
        on_progress: See :data:`OnProgress`.

    Raises:
        InputError: The file of seals is missing or cannot be read.
        StoreUnavailableError: The store does not answer; verify again.
    """
    return _Verification(source, checks or Checks(), on_progress).run()


class _Verification:
    def __init__(self, source: Source, checks: Checks, on_progress: OnProgress | None) -> None:
        self._source = source
        self._checks = checks
        self._on_progress = on_progress
        # Of a log that is read through an archive, the store itself.
        store = getattr(source, "store", source)
        self._store = store if checks.indexes and isinstance(store, SelfChecking) else None
        reads = checks.indexes and self._store is None
        self._index = source if reads and isinstance(source, Indexed) else None
        self._structure = Structure(self._index)
        self._digest = LogDigest()
        self._position = self._seals = self._sealed = 0
        self._head = 0

    def run(self) -> Verdict:
        # Before the head is asked for: what is sealed by now is in the log.
        seals = trusted_seals(self._checks)
        finding = None
        try:
            self._head = self._ask_head()
            reader = Reader(self._source, self._head)
            self._read_sealed(reader, seals)
            self._read_rest(reader)
            self._check_indexes()
        except FoundError as found:
            finding = found.finding
        return Verdict(
            events=self._digest.events,
            position=self._position,
            streams=len(self._structure.streams),
            seals=self._seals,
            sealed=self._sealed,
            unsealed=self._digest.events - self._sealed,
            log=self._digest.hex(),
            finding=finding,
        )

    def _ask_head(self) -> int:
        try:
            return self._source.head()
        except DAMAGES as error:
            raise_if_away(error)
            problem = f"the store cannot say where the log ends: {error}"
            raise FoundError(Finding(Kind.UNREADABLE, problem)) from error

    def _read_sealed(self, reader: Reader, seals: Iterator[Seal]) -> None:
        for seal in seals:
            if self._checks.is_backup and seal.content.last > self._head:
                self._check_end_of_backup(reader, seal.content)
                continue
            events = reader.up_to(seal.content.last, seal.content.events + SEAL_EVENTS_MAX)
            if reader.failure is not None and reader.after < seal.content.last:
                self._check_until(seal.content, events, reader)
            self._check_range(seal, events)
            self._seals += 1
            self._sealed = self._digest.events

    def _check_until(self, content: Content, events: list[Recorded[Any]], reader: Reader) -> None:
        """Check what could be read of a range, then say what could not."""
        assert reader.failure is not None
        positions = [one for one in content.positions() if one <= reader.after]
        if positions:
            marks = content.marks[: len(positions) * MARK_BYTES]
            self._compare(replace(content, runs=runs_of(positions), marks=marks), events)
        finding = reader.failure
        if finding.kind is Kind.UNREADABLE:
            finding = finding._replace(position=content.positions()[len(positions)])
        raise FoundError(finding)

    def _check_end_of_backup(self, reader: Reader, content: Content) -> None:
        """Check the part of a range that a backup still has; none of those behind it."""
        positions = [one for one in content.positions() if one <= self._head]
        if not positions or self._position >= positions[-1]:
            return
        events = reader.up_to(self._head, content.events + SEAL_EVENTS_MAX)
        marks = content.marks[: len(positions) * MARK_BYTES]
        self._compare(replace(content, runs=runs_of(positions), marks=marks), events)
        self._take(events, [event_digest(event) for event in events])
        self._sealed = self._digest.events

    def _compare(self, content: Content, events: list[Recorded[Any]]) -> None:
        found = Range(content, events, [event_digest(event) for event in events], self._head)
        finding = first_difference(found, _Elsewhere(self._source, self._checks, self._head))
        if finding is not None:
            raise FoundError(finding)

    def _check_range(self, seal: Seal, events: list[Recorded[Any]]) -> None:
        content = seal.content
        digests = [event_digest(event) for event in events]
        after = self._digest.then(digests)
        positions = [event.position for event in events]
        is_same = (
            marks_of(digests) == content.marks
            and positions == content.positions()
            and after.hex() == content.log
        )
        if not is_same:
            self._compare(content, events)
            raise FoundError(_no_mark_differs(content))
        self._take(events, digests)

    def _read_rest(self, reader: Reader) -> None:
        while events := reader.up_to(_BEYOND, READ_PAGE_EVENTS):
            self._take(events, [event_digest(event) for event in events])
        if reader.failure is not None:
            raise FoundError(reader.failure)
        if self._position != self._head:
            problem = (
                f"the store says that the log ends at position {self._head}, the last event that "
                f"it gives is at {self._position}"
            )
            raise FoundError(Finding(Kind.MISSING, problem, self._position + 1))

    def _take(self, events: list[Recorded[Any]], digests: list[bytes]) -> None:
        self._structure.add(events, digests)
        self._digest = self._digest.then(digests)
        if events:
            self._position = events[-1].position
        if self._on_progress is not None:
            self._on_progress(self._position, self._head)

    def _check_indexes(self) -> None:
        if self._index is not None:
            self._structure.check_streams(self._head, self._index)
        if self._store is None:
            return
        try:
            problem = next(self._store.problems(self._head), None)
        except DAMAGES as error:
            raise_if_away(error)
            problem = Problem(str(error))
        if problem is not None:
            raise FoundError(Finding(Kind.INDEX, problem.text, problem.position))


class _Elsewhere:
    """See :class:`eventcore.seals.differing.Elsewhere`; reads everything anew, once it is asked."""

    def __init__(self, source: Source, checks: Checks, head: int) -> None:
        self._source = source
        self._checks = checks
        self._head = head

    def sealed_at(self, mark: bytes) -> int | None:
        assert self._checks.seals is not None
        try:
            for seal in self._checks.seals.read():
                # At any place first: a comparison of all marks one by one takes long.
                if mark in seal.content.marks and mark in (marks := seal.content.each_mark()):
                    return seal.content.positions()[marks.index(mark)]
        except SealsDamagedError:
            return None  # the range at hand was read; what comes behind it was changed
        return None

    def now_at(self, mark: bytes) -> int | None:
        reader = Reader(self._source, self._head)
        while events := reader.up_to(_BEYOND, READ_PAGE_EVENTS):
            for event in events:
                if event_digest(event)[:MARK_BYTES] == mark:
                    return event.position
        return None

    def stands_at(self, position: int, mark: bytes) -> bool:
        reader = Reader(self._source, self._head, position - 1)
        found = reader.up_to(position, 1)
        return bool(found) and event_digest(found[0])[:MARK_BYTES] == mark


def _no_mark_differs(content: Content) -> Finding:
    return Finding(
        Kind.ALTERED,
        f"an event of the positions {content.first} to {content.last} was altered, and made to "
        "have the mark of the one that was sealed: only the digest of the log tells",
        content.first,
    )
