"""Whether the items of a log agree with each other: both copies of each event, and its id's."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from eventcore.errors import TrimmedHistoryError
from eventcore.events.recorded import event_id_of
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item, binary
from eventcore.stores.dynamodb.chain import Chain
from eventcore.stores.dynamodb.layout import (
    VERSION_ZERO,
    CellEntry,
    CellEvent,
    Keys,
    TrimmedId,
    TrimmedOffset,
    cell_entries,
    is_packed_alike,
    number,
    pack_cell,
    pack_stream,
    record_of,
    stream_entries,
)
from eventcore.stores.dynamodb.streams import StreamReading
from eventcore.stores.dynamodb.surveys import log_items
from eventcore.stores.integrity import Problem

LOOKS_MAX: Final = 3
"""How often a transaction is looked at of which events seem to be trimmed in one half alone: they
may be leaving at this moment."""


@dataclass(slots=True)
class _Half:
    """One of the two copies of the events of a transaction: how many, and all of them in one.

    Attributes:
        trimmed: How many of them were trimmed: of these only the position is known in both.
    """

    count: int = 0
    mixed: int = 0
    trimmed: int = 0

    def add(self, position: int, event: CellEvent | None) -> None:
        """Take an event, None for one that was trimmed."""
        if event is None:
            self.trimmed += 1
        framed = repr((position, *(event or ()))).encode("utf-8", "surrogatepass")
        # In any order: items are scanned as they lie.
        self.mixed ^= int.from_bytes(sha256(framed).digest())
        self.count += 1


@dataclass(slots=True)
class _Commit:
    """What the items of one transaction say of it."""

    places: set[tuple[int, int]] = field(default_factory=set)
    cells: _Half = field(default_factory=_Half)
    streams: _Half = field(default_factory=_Half)

    @property
    def is_being_trimmed(self) -> bool:
        """Whether an event seems to be gone from one of its places and not from the other."""
        return self.cells != self.streams and self.cells.trimmed + self.streams.trimmed > 0


class _Items:
    """What a scan found.

    Args:
        wanted: Tokens of the transactions to look at; None: of all.
    """

    def __init__(self, wanted: Collection[bytes] | None = None) -> None:
        self._wanted = wanted
        self.commits: dict[bytes, _Commit] = {}
        self.ids: dict[str, int] = {}
        self.problems: list[Problem] = []

    def add(self, kind: str, rest: str, item: Item) -> None:
        """Take an item; what is no part of the log is passed over."""
        if self._wanted is not None and ("k" not in item or binary(item["k"]) not in self._wanted):
            return
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
        events, first = cell_entries(item), number(item, "sk")
        commit = self._commit(item, len(events), pack_cell(events))
        for position, event in enumerate(events, start=first):
            commit.cells.add(position, None if isinstance(event, TrimmedId) else event)
        base, total = number(item, "b"), number(item, "m")
        if not base <= first <= base + total - len(events):
            self._note(item, "is outside of its transaction", base)

    def _add_stream(self, stream: str, item: Item) -> None:
        events, first, base = stream_entries(item), number(item, "sk"), number(item, "b")
        commit = self._commit(item, len(events), pack_stream(events))
        name, begins = (stream, first) if first else (stream + VERSION_ZERO, 1)
        for version, event in enumerate(events, start=begins):
            whole = None
            if not isinstance(event, TrimmedOffset):
                whole = CellEvent(name, version, event.type, event.state)
            commit.streams.add(base + event.offset, whole)

    def _commit(self, item: Item, count: int, anew: Item) -> _Commit:
        commit = self.commits.setdefault(binary(item["k"]), _Commit())
        base = number(item, "b")
        commit.places.add((base, number(item, "m")))
        if number(item, "n") != count:
            self._note(item, f"holds {count} events and says {number(item, 'n')}", base)
        if not is_packed_alike(item, anew) or item.get("x") != anew.get("x"):
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
        self._look_again(items)
        yield from self._of_commits(items.commits.values(), head)
        yield from (one for one in items.problems if one.position is None or one.position <= head)
        yield from self._of_ids(items.ids, head)

    def _look_again(self, items: _Items) -> None:
        """See whether events that were gone from one of their places are gone from both now.

        A scan meets the items of a transaction at different moments, and that of a trim may be done
        between them. What is only half gone is still so at the next look.
        """
        for _ in range(LOOKS_MAX):
            half = [token for token, one in items.commits.items() if one.is_being_trimmed]
            if not half:
                return
            again = _Items(frozenset(half))
            for kind, rest, item in log_items(self._calls, self._keys):
                again.add(kind, rest, item)
            items.commits.update(again.commits)

    def _of_commits(self, commits: Iterable[_Commit], head: int) -> Iterator[Problem]:
        for commit in sorted(commits, key=_base_of):
            base, count = min(commit.places)
            if base + count - 1 > head:
                continue  # a transaction that was going on
            if len(commit.places) > 1:
                text = f"the items of the transaction at position {base} differ on where it is"
                yield Problem(text, base)
            elif commit.cells != commit.streams or commit.cells.count != count:
                yield self._otherwise(base, count, commit)

    def _otherwise(self, base: int, count: int, commit: _Commit) -> Problem:
        """Which event of a transaction is not the same in both copies."""
        position = base
        while position < base + count and (record := self._chain.record_at(position)) is not None:
            for event in [] if record.is_tombstone else cell_entries(record.body):
                if isinstance(event, CellEvent) and not self._is_in_stream(position, event):
                    text = f"read by its stream, version {event.version} of {event.stream} is other"
                    return Problem(text, position)
                position += 1
            position = max(position, record.end + 1)
        text = (
            f"of {count} events from position {base} on, {commit.cells.count} are in the log and "
            f"{commit.streams.count} in their streams"
        )
        return Problem(text, base)

    def _is_in_stream(self, position: int, event: CellEvent) -> bool:
        rows = self._streams.rows(event.stream, event.version - 1, event.version)
        try:
            return [row for page in rows for row in page] == [(position, *event[1:])]
        except TrimmedHistoryError:
            return False

    def _of_ids(self, ids: Mapping[str, int], head: int) -> Iterator[Problem]:
        for event_id, position in sorted(ids.items(), key=_position_of):
            record = self._chain.record_at(position)
            if record is None and head < position <= self._chain.reserved():
                continue  # a transaction that was going on
            names = f"the item of id {event_id} names position {position}"
            if record is None or record.is_tombstone:
                yield Problem(f"{names}, where no event is", position)
            elif _id_of(cell_entries(record.body)[position - record.first]) != event_id:
                yield Problem(f"{names}, where another event is", position)


def _base_of(commit: _Commit) -> tuple[int, int]:
    return min(commit.places)


def _id_of(entry: CellEntry) -> str | None:
    return entry.event_id if isinstance(entry, TrimmedId) else event_id_of(entry.state)


def _position_of(entry: tuple[str, int]) -> int:
    return entry[1]
