"""Logs for tests of seals: plain rows that anything can be done to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.seals import Checks, Finding, verify_log
from eventcore.seals.sources import Source
from eventcore.stores.log import Log, Page, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing import EventMaker

Row = tuple[int, str, int, str, bytes]

CODEC = Codec(allow_unknown=True)


@dataclass
class RowLog:
    """A log of rows, read in order and no other way: position, stream, version, type, state."""

    rows: list[Row] = field(default_factory=list)

    def head(self) -> int:
        return self.rows[-1][0] if self.rows else 0

    def read_page(self, after: int, limit: int) -> Page:
        rows = [row for row in self.rows if row[0] > after][:limit]
        events: list[Recorded[Any]] = [Recorded(*row, CODEC) for row in rows]
        return Page(events, rows[-1][0] if rows else after)


def rows_of(streams: Iterable[str], apart: int = 1) -> list[Row]:
    """An event for each name of a stream, their positions so far apart."""
    make = EventMaker()
    versions: dict[str, int] = {}
    rows: list[Row] = []
    for number, stream in enumerate(streams, start=1):
        versions[stream] = versions.get(stream, 0) + 1
        event = make(data={"number": number})
        rows.append((number * apart, stream, versions[stream], event.type, event.state))
    return rows


def found(source: Source, checks: Checks | None = None) -> Finding:
    """What verifying finds; the test fails if that is nothing."""
    finding = verify_log(source, checks).finding
    assert finding is not None
    return finding


def fill(log: Log, streams: Sequence[str], make: EventMaker | None = None) -> None:
    """Append an event for each name of a stream."""
    make = make or EventMaker()
    versions = dict(log.stream_versions(list(set(streams))))
    for number, stream in enumerate(streams, start=1):
        log.append([StreamAppend(stream, versions[stream], [make(data={"number": number})])])
        versions[stream] += 1


def memory_log(streams: Sequence[str]) -> MemoryLog:
    """A log in memory with an event for each name of a stream."""
    log = MemoryLog(Codec(allow_unknown=True))
    fill(log, streams)
    return log
