"""Whether the items of a log agree with each other: both copies of each event, and its id's."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eventcore.events.recorded import event_id_of
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item, binary
from eventcore.stores.dynamodb.chain import Chain
from eventcore.stores.dynamodb.layout import (
    Keys,
    cell_events,
    is_packed_alike,
    number,
    pack_cell,
    pack_stream,
    record_of,
    stream_events,
)
from eventcore.stores.dynamodb.surveys import log_items


@dataclass(slots=True)
class _Commit:
    """What the items of one transaction say of it."""

    places: set[tuple[int, int]] = field(default_factory=set)
    in_cells: int = 0
    in_streams: int = 0


class _Items:
    """What a scan found."""

    def __init__(self) -> None:
        self.commits: dict[bytes, _Commit] = {}
        self.ids: dict[str, int] = {}
        self.problems: list[tuple[int, str]] = []

    def add(self, kind: str, rest: str, item: Item) -> None:
        """Take an item; what is no part of the log is passed over."""
        try:
            if kind == "l" and not record_of(item).is_tombstone:
                cells = cell_events(item)
                self._check_packing(item, pack_cell(cells))
                self._add_commit(item, len(cells), is_cell=True)
            elif kind == "s":
                events = stream_events(item)
                self._check_packing(item, pack_stream(events))
                self._add_commit(item, len(events), is_cell=False)
            elif kind == "i":
                self.ids[rest] = number(item, "p")
        except (ValueError, LookupError, TypeError, zlib.error) as error:
            name, place = item["pk"]["S"], item["sk"]["N"]
            self.problems.append((0, f"item {name} {place} cannot be read: {error}"))

    def _check_packing(self, item: Item, anew: Item) -> None:
        if not is_packed_alike(item, anew):
            name, place = item["pk"]["S"], item["sk"]["N"]
            self.problems.append((0, f"item {name} {place} is packed otherwise than it is written"))

    def _add_commit(self, item: Item, count: int, *, is_cell: bool) -> None:
        commit = self.commits.setdefault(binary(item["k"]), _Commit())
        base, total = number(item, "b"), number(item, "m")
        commit.places.add((base, total))
        if is_cell:
            commit.in_cells += count
        else:
            commit.in_streams += count
        name, place = item["pk"]["S"], item["sk"]["N"]
        if number(item, "n") != count:
            self.problems.append(
                (base, f"item {name} {place} holds {count} events and says {number(item, 'n')}")
            )
        if is_cell and not base <= int(place) <= base + total - count:
            self.problems.append((base, f"item {name} {place} is outside of its transaction"))


def problems_of(calls: DynamoDBCalls, keys: Keys, chain: Chain, *, head: int) -> Iterator[str]:
    """See :meth:`eventcore.stores.integrity.SelfChecking.problems`.

    Reads the whole table; keeps some hundred bytes a commit in memory.
    """
    items = _Items()
    for kind, rest, item in log_items(calls, keys):
        items.add(kind, rest, item)
    for base, problem in items.problems:
        if base <= head:
            yield problem
    yield from _of_commits(items.commits, head)
    yield from _of_ids(items.ids, chain, head)


def _of_commits(commits: Mapping[bytes, _Commit], head: int) -> Iterator[str]:
    for commit in commits.values():
        base, count = min(commit.places)
        if base + count - 1 > head:
            continue  # a transaction that was going on
        if len(commit.places) > 1:
            yield f"the items of the transaction at position {base} differ on where it is"
        elif not commit.in_cells == commit.in_streams == count:
            yield (
                f"of {count} events from position {base} on, {commit.in_cells} are in the log and "
                f"{commit.in_streams} in their streams"
            )


def _of_ids(ids: Mapping[str, int], chain: Chain, head: int) -> Iterator[str]:
    for event_id, position in sorted(ids.items(), key=_position):
        record = chain.record_at(position)
        if record is None and head < position <= chain.reserved():
            continue  # a transaction that was going on
        if record is None or record.is_tombstone:
            yield f"the item of id {event_id} names position {position}, where no event is"
            continue
        state = cell_events(record.body)[position - record.first].state
        if event_id_of(state) != event_id:
            yield f"the item of id {event_id} names position {position}, where another event is"


def _position(entry: tuple[str, int]) -> int:
    return entry[1]
