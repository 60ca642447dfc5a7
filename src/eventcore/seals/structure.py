"""Structure: what holds of every log, sealed or not, checked while it is read in order."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from eventcore.events.recorded import Recorded, event_id_of
from eventcore.seals.digests import row_digest
from eventcore.seals.findings import Finding, FoundError, Kind
from eventcore.seals.reading import DAMAGES, raise_if_away
from eventcore.seals.sources import Indexed
from eventcore.stores.log import LogFilter

VALUE_BYTES: Final = 16


class StreamSeen(NamedTuple):
    """A stream as the log has it.

    Attributes:
        version: Its last.
        value: Folded from its events and their positions.
    """

    version: int
    value: bytes


class Structure:
    """Checks that versions follow each other, and remembers each stream: 250 bytes a stream.

    Args:
        index: Where each event is looked up by its id besides, and each stream in the end; None:
            neither.
    """

    def __init__(self, index: Indexed | None) -> None:
        self._index = index
        self.streams: dict[str, StreamSeen] = {}

    def add(self, events: Sequence[Recorded[Any]], digests: Sequence[bytes]) -> None:
        """Take the next events.

        Raises:
            FoundError: One of them cannot be right.
        """
        if self._index is not None:
            self._check_ids(self._index, events)
        streams = self.streams
        for event, digest in zip(events, digests, strict=True):
            seen = streams.get(event.stream, _NEVER)
            if event.version != seen.version + 1:
                raise FoundError(_wrong_version(event, seen.version))
            value = _folded(seen.value, digest, event.position)
            streams[event.stream] = StreamSeen(event.version, value)

    def _check_ids(self, index: Indexed, events: Sequence[Recorded[Any]]) -> None:
        ids = [event_id_of(event.state) for event in events]
        for event, id_ in zip(events, ids, strict=True):
            if id_ is None:
                raise FoundError(Finding.at(event, Kind.UNREADABLE, "there is no id in its state"))
        try:
            located = index.locate([id_ for id_ in ids if id_ is not None])
        except DAMAGES as error:
            raise_if_away(error)
            problem = f"events cannot be looked up by their ids: {error}"
            raise FoundError(Finding.at(events[0], Kind.INDEX, problem)) from error
        for event, id_ in zip(events, ids, strict=True):
            there = located.get(id_ or "")
            if there == event:
                continue
            if there is None:
                problem = "it is not found by its id"
                raise FoundError(Finding.at(event, Kind.INDEX, problem))
            problem = f"its id is also that of the event at position {there.position}"
            kind = Kind.INDEX if there.position == event.position else Kind.DOUBLED
            if kind is Kind.INDEX:
                problem = "looked up by its id it is another event"
            raise FoundError(Finding.at(event, kind, problem))

    def check_streams(self, head: int, categories: Indexed) -> None:
        """Read each stream, and compare it with what the log has of it.

        Raises:
            FoundError: One of them is another.
        """
        for stream, seen in self.streams.items():
            try:
                is_same = self._as_read(categories, stream, head) == seen
            except DAMAGES as error:
                raise_if_away(error)
                problem = f"its stream cannot be read: {error}"
                raise FoundError(Finding(Kind.INDEX, problem, stream=stream)) from error
            if not is_same:
                raise FoundError(_first_in_stream(categories, stream, head))

    def _as_read(self, index: Indexed, stream: str, head: int) -> StreamSeen:
        seen = _NEVER
        for event in index.read_stream(stream):
            if event.position > head:
                break
            if event.version != seen.version + 1:
                return _NEVER
            digest = row_digest(event.stream, event.version, event.type, event.state)
            seen = StreamSeen(event.version, _folded(seen.value, digest, event.position))
        return seen


_NEVER: Final = StreamSeen(0, b"")


def _folded(value: bytes, digest: bytes, position: int) -> bytes:
    return sha256(value + digest + position.to_bytes(8, "big")).digest()[:VALUE_BYTES]


def _wrong_version(event: Recorded[Any], before: int) -> Finding:
    if event.version <= before:
        problem = f"its stream had reached version {before} before it"
        return Finding.at(event, Kind.DOUBLED, problem)
    problem = f"its stream was at version {before} before it: what is between is gone"
    return Finding.at(event, Kind.MISSING, problem)


def _first_in_stream(index: Any, stream: str, head: int) -> Finding:
    """The first event that a stream and the log do not agree on."""
    where = LogFilter(categories=frozenset({stream.partition("-")[0]}))
    in_log = (one for one in index.read(until=head, where=where) if one.stream == stream)
    in_stream = index.read_stream(stream)
    for event in in_log:
        there = next(in_stream, None)
        if there != event:
            problem = "read by its stream it is another event, or none"
            return Finding.at(event, Kind.INDEX, problem)
    there = next(in_stream, None)
    problem = "its stream has events that are not in the log"
    position = None if there is None else there.position
    return Finding(Kind.INDEX, problem, position, stream)
