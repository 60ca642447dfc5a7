"""What a table holds of a log, without the events: read whole, before it is repaired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item
from eventcore.stores.dynamodb.layout import (
    Keys,
    TrimmedId,
    TrimmedOffset,
    cell_entries,
    number,
    record_of,
    stream_entries,
)


@dataclass
class CommitFound:
    """What a transaction wrote, as far as it is there.

    Attributes:
        trimmed: Not 0: an event was trimmed from one of its two places alone.
    """

    base: int
    count: int
    cells: list[int] = field(default_factory=list)
    in_cells: int = 0
    streams: list[tuple[str, int]] = field(default_factory=list)
    in_streams: int = 0
    trimmed: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether both halves of all its events are there, if trimmed."""
        return self.in_cells == self.in_streams == self.count

    def note_trimmed(self, position: int) -> None:
        """Take one of the two places that an event was trimmed from: the other one undoes it."""
        self.trimmed ^= int.from_bytes(blake2b(b"%d" % position, digest_size=8).digest())


@dataclass
class Survey:
    """What the table holds, without the events themselves.

    Attributes:
        records: First position to number of positions, of cells and tombstones.
        cells: Likewise, of cells alone.
        indexed: Highest position that an event id's item names.
        trimmed: Highest position whose event was trimmed.
    """

    commits: dict[bytes, CommitFound] = field(default_factory=dict)
    records: dict[int, int] = field(default_factory=dict)
    cells: dict[int, int] = field(default_factory=dict)
    indexed: int = 0
    id_mark: int = 0
    trimmed: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing of a log."""
        return not (self.records or self.commits)

    @property
    def end(self) -> int:
        """Highest position that anything in the table names."""
        ends = [first + count - 1 for first, count in self.records.items()]
        ends += [commit.base + commit.count - 1 for commit in self.commits.values()]
        return max([self.indexed, *ends])

    def add_cell(self, first: int, count: int) -> None:
        """Note a cell that was made anew, or came late."""
        self.records[first] = self.cells[first] = count


def survey(calls: DynamoDBCalls, keys: Keys) -> Survey:
    """Look at every item of a log."""
    found = Survey()
    for kind, rest, item in log_items(calls, keys):
        if kind == "w":
            found.id_mark = number(item, "c")
        elif kind == "i":
            found.indexed = max(found.indexed, number(item, "p"))
        elif kind == "l":
            _note_record(found, item)
        elif kind == "s":
            _note_stream(found, rest, item)
    return found


def log_items(calls: DynamoDBCalls, keys: Keys) -> Iterator[tuple[str, str, Item]]:
    """Every item of a log: its kind, what its key says behind that, and itself."""
    request: dict[str, Any] = {"TableName": keys.table, "ConsistentRead": True}
    while True:
        answer = calls.call("Scan", request)
        for item in answer["Items"]:
            owner, kind, rest = [*item["pk"]["S"].split("#", 2), "", ""][:3]
            if owner == keys.prefix:
                yield kind, rest, item
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _note_record(found: Survey, item: Item) -> None:
    record = record_of(item)
    found.records[record.first] = record.positions
    if not record.is_tombstone:
        commit = _commit_of(found, item)
        commit.cells.append(record.first)
        commit.in_cells += record.positions
        found.cells[record.first] = record.positions
        for place, entry in enumerate(cell_entries(item) if record.is_trimmed else ()):
            if isinstance(entry, TrimmedId):
                commit.note_trimmed(record.first + place)
                found.trimmed = max(found.trimmed, record.first + place)


def _note_stream(found: Survey, stream: str, item: Item) -> None:
    commit = _commit_of(found, item)
    commit.streams.append((stream, number(item, "sk")))
    commit.in_streams += number(item, "n")
    for entry in stream_entries(item) if "x" in item else ():
        if isinstance(entry, TrimmedOffset):
            commit.note_trimmed(commit.base + entry.offset)


def _commit_of(found: Survey, item: Item) -> CommitFound:
    token = record_of(item).token
    assert token is not None
    if token not in found.commits:
        found.commits[token] = CommitFound(number(item, "b"), number(item, "m"))
    return found.commits[token]
