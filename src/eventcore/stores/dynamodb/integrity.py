"""Whether the items of a log agree with each other: both copies of each event, and its id's."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from eventcore.events.recorded import event_id_of
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item, binary
from eventcore.stores.dynamodb.chain import Chain
from eventcore.stores.dynamodb.layout import (
    VERSION_ZERO,
    CellEvent,
    Keys,
    cell_events,
    is_packed_alike,
    number,
    pack_cell,
    pack_stream,
    record_of,
    stream_events,
)
from eventcore.stores.dynamodb.streams import StreamReading
from eventcore.stores.dynamodb.surveys import log_items
from eventcore.stores.integrity import Problem


@dataclass(slots=True)
class _Half:
    """One of the two copies of the events of a transaction: how many, and all of them in one."""

    count: int = 0
    mixed: int = 0

    def add(self, position: int, event: CellEvent) -> None:
        framed = repr((position, *event)).encode("utf-8", "surrogatepass")
        # In any order: items are scanned as they lie.
        self.mixed ^= int.from_bytes(sha256(framed).digest())
        self.count += 1


@dataclass(slots=True)
class _Commit:
    """What the items of one transaction say of it."""

    places: set[tuple[int, int]] = field(default_factory=set)
    cells: _Half = field(default_factory=_Half)
    streams: _Half = field(default_factory=_Half)


class _Items:
    """What a scan found."""

    def __init__(self) -> None:
        self.commits: dict[bytes, _Commit] = {}
        self.ids: dict[str, int] = {}
        self.problems: list[Problem] = []

    def add(self, kind: str, rest: str, item: Item) -> None:
        """Take an item; what is no part of the log is passed over."""
        try:
            if kind == "l" and not record_of(item).is_tombstone:
                self._add_cell(item)
            elif kind == "s":
                self._add_stream(rest, item)
            elif kind == "i":
                self.ids[rest] = number(item, "p")
        except (ValueError, LookupError, TypeError, zlib.error) as error:
            self._note(item, f"cannot be read: {error}")

    def _note(self, item: Item, problem: str, position: int = 0) -> None:
        text = f"item {item['pk']['S']} {item['sk']['N']} {problem}"
        self.problems.append(Problem(text, position or None))

    def _add_cell(self, item: Item) -> None:
        events, first = cell_events(item), number(item, "sk")
        commit = self._commit(item, len(events), pack_cell(events))
        for position, event in enumerate(events, start=first):
            commit.cells.add(position, event)
        base, total = number(item, "b"), number(item, "m")
        if not base <= first <= base + total - len(events):
            self._note(item, "is outside of its transaction", base)

    def _add_stream(self, stream: str, item: Item) -> None:
        events, first, base = stream_events(item), number(item, "sk"), number(item, "b")
        commit = self._commit(item, len(events), pack_stream(events))
        name, begins = (stream, first) if first else (stream + VERSION_ZERO, 1)
        for version, event in enumerate(events, start=begins):
            whole = CellEvent(name, version, event.type, event.state)
            commit.streams.add(base + event.offset, whole)

    def _commit(self, item: Item, count: int, anew: Item) -> _Commit:
        commit = self.commits.setdefault(binary(item["k"]), _Commit())
        base = number(item, "b")
        commit.places.add((base, number(item, "m")))
        if number(item, "n") != count:
            self._note(item, f"holds {count} events and says {number(item, 'n')}", base)
        if not is_packed_alike(item, anew):
            self._note(item, "is packed otherwise than it is written", base)
        return commit


class Integrity:
    """Compares what a log keeps twice.

    Args:
        calls: To the service.
        keys: Of the log.
        chain: Reads its cells.
        streams: Reads the items of its streams.
    """

    def __init__(  # noqa: PLR0917 - the parts of a log
        self, calls: DynamoDBCalls, keys: Keys, chain: Chain, streams: StreamReading
    ) -> None:
        self._calls = calls
        self._keys = keys
        self._chain = chain
        self._streams = streams

    def problems(self, head: int) -> Iterator[Problem]:
        """See :meth:`eventcore.stores.integrity.SelfChecking.problems`.

        Reads the whole table; keeps some hundred bytes a commit in memory.
        """
        items = _Items()
        for kind, rest, item in log_items(self._calls, self._keys):
            items.add(kind, rest, item)
        yield from self._of_commits(items.commits.values(), head)
        yield from (one for one in items.problems if one.position is None or one.position <= head)
        yield from self._of_ids(items.ids, head)

    def _of_commits(self, commits: Iterable[_Commit], head: int) -> Iterator[Problem]:
        for commit in sorted(commits, key=_base_of):
            base, count = min(commit.places)
            if base + count - 1 > head:
                continue  # a transaction that was going on
            if len(commit.places) > 1:
                text = f"the items of the transaction at position {base} differ on where it is"
                yield Problem(text, base)
            elif not commit.cells == commit.streams == _Half(count, commit.cells.mixed):
                yield self._otherwise(base, count, commit)

    def _otherwise(self, base: int, count: int, commit: _Commit) -> Problem:
        """Which event of a transaction is not the same in both copies."""
        position = base
        while position < base + count and (record := self._chain.record_at(position)) is not None:
            for event in [] if record.is_tombstone else cell_events(record.body):
                rows = self._streams.rows(event.stream, event.version - 1, event.version)
                if [row for page in rows for row in page] != [(position, *event[1:])]:
                    text = f"read by its stream, version {event.version} of {event.stream} is other"
                    return Problem(text, position)
                position += 1
            position = max(position, record.end + 1)
        text = (
            f"of {count} events from position {base} on, {commit.cells.count} are in the log and "
            f"{commit.streams.count} in their streams"
        )
        return Problem(text, base)

    def _of_ids(self, ids: Mapping[str, int], head: int) -> Iterator[Problem]:
        for event_id, position in sorted(ids.items(), key=_position_of):
            record = self._chain.record_at(position)
            if record is None and head < position <= self._chain.reserved():
                continue  # a transaction that was going on
            names = f"the item of id {event_id} names position {position}"
            if record is None or record.is_tombstone:
                yield Problem(f"{names}, where no event is", position)
            elif event_id_of(cell_events(record.body)[position - record.first].state) != event_id:
                yield Problem(f"{names}, where another event is", position)


def _base_of(commit: _Commit) -> tuple[int, int]:
    return min(commit.places)


def _position_of(entry: tuple[str, int]) -> int:
    return entry[1]
