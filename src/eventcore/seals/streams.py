"""One stream alone: a few events, compared with the seals of where they are in the log."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

from eventcore.events.recorded import Recorded
from eventcore.seals.checks import Checks, trusted_seals
from eventcore.seals.digests import LogDigest, event_digest
from eventcore.seals.findings import Finding, FoundError, Kind, Verdict
from eventcore.seals.reading import DAMAGES, raise_if_away
from eventcore.seals.seal import MARK_BYTES, Content
from eventcore.seals.sources import Indexed


def verify_stream(log: Indexed, stream: str, checks: Checks) -> Verdict:
    """Verify the events of one stream, without reading the rest of the log.

    Finds what was altered, moved or put in between, and versions that are gone; not that the last
    events of the stream are gone, which only the whole log tells. In the verdict, ``log`` is the
    digest of the stream.

    Args:
        log: Where it is.
        stream: Its name.
        checks: What to check it by; whole seals are read, though not the events that they are of.

    Raises:
        InputError: The file of seals is missing or cannot be read.
        StoreUnavailableError: The store does not answer.
    """
    seals = trusted_seals(checks)
    digest, sealed, count = LogDigest(), 0, 0
    events: list[Recorded[Any]] = []
    try:
        events = _read(log, stream)
        digests = [event_digest(event) for event in events]
        digest = digest.then(digests)
        positions = [event.position for event in events]
        for seal in seals:
            count += 1
            first = bisect_left(positions, seal.content.first)
            last = bisect_right(positions, seal.content.last)
            if first < last:
                _check(seal.content, events[first:last], digests[first:last])
            sealed = last
        finding = None
    except FoundError as found:
        finding = found.finding
    return Verdict(
        events=digest.events,
        position=events[-1].position if events else 0,
        streams=1 if events else 0,
        seals=count,
        sealed=sealed,
        unsealed=digest.events - sealed,
        log=digest.hex(),
        finding=finding,
    )


def _read(log: Indexed, stream: str) -> list[Recorded[Any]]:
    found: list[Recorded[Any]] = []
    try:
        for event in log.read_stream(stream):
            before = found[-1].position if found else 0
            if event.version != len(found) + 1 or event.position <= before:
                problem = f"it follows version {len(found)} of its stream"
                raise FoundError(Finding.at(event, Kind.MISSING, problem))
            found.append(event)
    except DAMAGES as error:
        raise_if_away(error)
        problem = f"the stream cannot be read behind version {len(found)}: {error}"
        raise FoundError(Finding(Kind.UNREADABLE, problem, stream=stream)) from error
    return found


def _check(content: Content, events: list[Recorded[Any]], digests: list[bytes]) -> None:
    marks = dict(zip(content.positions(), content.each_mark(), strict=True))
    for event, digest in zip(events, digests, strict=True):
        mark = marks.get(event.position)
        if mark is None:
            problem = "it was not there when what is around it was sealed"
            raise FoundError(Finding.at(event, Kind.ADDED, problem))
        if digest[:MARK_BYTES] != mark:
            problem = "it is not the event that was sealed here"
            raise FoundError(Finding.at(event, Kind.ALTERED, problem))
