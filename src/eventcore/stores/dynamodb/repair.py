"""Repairing a log whose table was restored: its last commits may be there in part.

A restore to a point in time may tear a transaction that was going on (AWS, DynamoDB Developer
Guide, "Amazon DynamoDB Transactions: How it works"), and may bring back an older sequencer. The log
holds every event twice, in a cell and in an item of its stream, so either is made anew from the
other. No event that is there is ever removed.

1. *Close* the log: nobody reserves positions any more, whoever may still be writing.
2. *Mend* it. Everything is put where nothing is, cut into the same items as its writer cut it, and
   holes are closed position by position: a transaction that arrives late is done whole or not.
   An event that a torn trim took from one of its places alone is put back there: it is in the
   archive as well, and leaves with the next trim.
3. *Release* it, on the condition that it is as it was closed. The sequencer only goes up.

A repair that was broken off leaves the log closed, and is repeated.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from eventcore.errors import LogDamagedError, SchemaMismatchError, StoreUnavailableError
from eventcore.stores.dynamodb.calls import ConditionFailedError, DynamoDBCalls, Item
from eventcore.stores.dynamodb.ids import indexed, placed_ids, put_places
from eventcore.stores.dynamodb.layout import (
    FORMAT,
    FORMAT_CLOSED,
    VERSION_ZERO,
    CellEntry,
    CellEvent,
    Keys,
    StreamEvent,
    TrimmedId,
    TrimmedOffset,
    cell,
    cell_entries,
    key,
    number,
    pack_cell,
    pack_stream,
    record_of,
    stream_entries,
    stream_item,
    tombstone,
)
from eventcore.stores.dynamodb.requests import IS_ABSENT, cell_stretches, stream_stretches
from eventcore.stores.dynamodb.surveys import CommitFound, Survey, log_items, survey
from eventcore.stores.dynamodb.tables import ensure_table, read_sequencer
from eventcore.stores.dynamodb.trims import (
    ARCHIVE_UNKNOWN,
    TRIMS_CLOSED,
    read_trims,
    replacement,
)

IDS_BACK_POSITIONS: Final = 10_000
"""How far the index of event ids is made anew: more than was written while a backup is taken."""


@dataclass
class RepairReport:
    """What a repair found and did.

    Attributes:
        cells: Cells made anew from the items of streams.
        stream_items: Items of streams made anew from cells.
        tombstones: Positions that nothing was written at, and that were closed.
        ids: Entries of the index of event ids whose events are lost, and that were removed.
        ids_made: Entries of recent events that were made anew.
        untrimmed: Events that a trim had taken from one of their two places, and that were put back
            there.
        reserved: Last reserved position before and after.
        incomplete: Commits of which events are lost: first position, number of events, and how many
            of them are there. What is there was kept.
        gaps: Streams with a version missing below one that is there. The log stays refused: restore
            the table to another time.
    """

    cells: int = 0
    stream_items: int = 0
    tombstones: int = 0
    ids: int = 0
    ids_made: int = 0
    untrimmed: int = 0
    reserved: tuple[int, int] = (0, 0)
    incomplete: list[tuple[int, int, int]] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


def repair(calls: DynamoDBCalls, keys: Keys) -> RepairReport:
    """Make a restored log whole, and let it be written again. Repeating it is harmless.

    Reads the whole table twice; keeps a few hundred bytes a commit in memory. Logs that are open
    meanwhile are refused, with :class:`~eventcore.errors.LogRestoredError`.

    Raises:
        SchemaMismatchError: There is no such table, or no such log in it. Nothing was changed.
        LogDamagedError: Records overlap: no restore does that, and nothing here can tell which of
            them is right. The log stays closed.
        StoreUnavailableError: The service does not answer, or another repair was faster. Repeat it.
    """
    return _Repair(calls, keys).run()


class _Repair:
    def __init__(self, calls: DynamoDBCalls, keys: Keys) -> None:
        self._calls = calls
        self._keys = keys
        self._report = RepairReport()

    def run(self) -> RepairReport:
        """See :func:`repair`."""
        identity = ensure_table(self._calls, self._keys.table, create=False)
        before = self._close()
        found = survey(self._calls, self._keys)
        self._check_overlaps(found.records)
        for token, commit in found.commits.items():
            if commit.trimmed:
                self._put_back(commit)
            if not commit.is_whole:
                self._mend(token, commit, found)
        after = max(before, found.end)
        self._close_holes(found, after)
        self._report.reserved = (before, after)
        self._report.gaps = self._look_again(found, after)
        if found.indexed or found.id_mark:
            self._index_again(found, after)
        self._lower_id_mark(min(found.id_mark, after))
        if not self._report.gaps:
            self._sign_trims(found.trimmed, identity)
            self._release(before, after, identity)
        return self._report

    def _close(self) -> int:
        """Keep everybody from reserving; gives the last position that was reserved."""
        if not read_sequencer(self._calls, self._keys) and survey(self._calls, self._keys).is_empty:
            raise SchemaMismatchError(
                table=self._keys.table,
                database=self._calls.name,
                found=f"no log {self._keys.prefix}",
                expected="one to repair",
                action="Look at the table and the prefix that the store's URL names",
            )
        try:
            self._update(
                self._keys.sequencer,
                "SET f = :closed",
                "attribute_not_exists(pk) OR f = :format OR f = :closed",
                {":closed": FORMAT_CLOSED, ":format": FORMAT},
            )
        except ConditionFailedError as error:
            raise SchemaMismatchError(
                table=self._keys.table,
                database=self._calls.name,
                found="a log of another format",
                expected=f"one of format {FORMAT}",
                action="Use the version of eventcore that made it",
            ) from error
        # After the sequencer: nobody makes that item any more who has not made it yet.
        with contextlib.suppress(ConditionFailedError):  # it was never trimmed
            closed: dict[str, int | str] = {":closed": TRIMS_CLOSED}
            self._update(self._keys.trims, "SET t = :closed", "attribute_exists(pk)", closed)
        sequencer = read_sequencer(self._calls, self._keys)
        return number(sequencer, "c") if "c" in sequencer else 0

    def _check_overlaps(self, records: dict[int, int]) -> None:
        end = 0
        for first in sorted(records):
            if first <= end:
                raise LogDamagedError(store=self._calls.name, position=first)
            end = first + records[first] - 1

    def _mend(self, token: bytes, commit: CommitFound, found: Survey) -> None:
        """Make the missing half of each event of a commit from the other half."""
        in_cells = self._in_cells(commit)
        in_streams = self._in_streams(commit)
        both = in_cells.keys() & in_streams.keys()
        events = _one_sided(in_cells, in_streams)
        if len(events) + len(both) < commit.count:
            there = len(events) + len(both)
            self._report.incomplete.append((commit.base, commit.count, there))
        origin = (commit.base, commit.count)
        for run in _runs(sorted(events.keys() - in_cells.keys())):
            for start, end in cell_stretches([events[position] for position in run]):
                first, count = run[start], end - start
                body = pack_cell([events[position] for position in run[start:end]])
                self._put(cell(self._keys, first, count, token, origin, body))
                found.add_cell(first, count)
                self._report.cells += 1
        missing: defaultdict[str, list[int]] = defaultdict(list)
        for position in sorted(events.keys() - in_streams.keys()):
            missing[events[position].stream].append(position)
        for stream, positions in missing.items():
            for run in _runs(positions, lambda position: events[position].version):
                of_stream = [
                    StreamEvent(at - commit.base, events[at].type, events[at].state) for at in run
                ]
                for start, end in stream_stretches(of_stream):
                    first = events[run[start]].version
                    body = pack_stream(of_stream[start:end])
                    self._put(stream_item(self._keys, stream, first, token, origin, body))
                    self._report.stream_items += 1

    def _put_back(self, commit: CommitFound) -> None:
        """Give an event that was trimmed from one of its places alone back to that place."""
        in_cells = self._in_cells(commit)
        in_streams = self._in_streams(commit)
        for first in commit.cells:
            item = self._get(self._keys.record(first))
            cells = [
                event
                if isinstance(entry, TrimmedId)
                and isinstance(event := in_streams.get(position), CellEvent)
                else entry
                for position, entry in enumerate(cell_entries(item), start=first)
            ]
            self._replace(item, pack_cell(cells))
        for stream, first in commit.streams:
            item = self._get(key(self._keys.stream(stream), first))
            entries = [
                StreamEvent(entry.offset, there.type, there.state)
                if isinstance(entry, TrimmedOffset)
                and isinstance(there := in_cells.get(commit.base + entry.offset), CellEvent)
                else entry
                for entry in stream_entries(item)
            ]
            self._replace(item, pack_stream(entries))

    def _replace(self, item: Item, body: Item) -> None:
        more = _trimmed_in(item) - _trimmed_in(body)
        if more:
            with contextlib.suppress(ConditionFailedError):  # done already
                self._calls.call("PutItem", replacement(self._keys, item, body))
            self._report.untrimmed += more

    def _in_cells(self, commit: CommitFound) -> dict[int, CellEntry]:
        return {
            position: event
            for first in commit.cells
            for position, event in enumerate(
                cell_entries(self._get(self._keys.record(first))), start=first
            )
        }

    def _in_streams(self, commit: CommitFound) -> dict[int, CellEvent | TrimmedOffset]:
        events: dict[int, CellEvent | TrimmedOffset] = {}
        for stream, first in commit.streams:
            item = self._get(key(self._keys.stream(stream), first))
            name, begins = (stream, first) if first else (stream + VERSION_ZERO, 1)
            for version, event in enumerate(stream_entries(item), start=begins):
                events[commit.base + event.offset] = (
                    event
                    if isinstance(event, TrimmedOffset)
                    else CellEvent(name, version, event.type, event.state)
                )
        return events

    def _close_holes(self, found: Survey, end: int) -> None:
        """See to it that nothing is ever written where nothing is.

        One by one: a late transaction may have its first cell at any of these positions.
        """
        position = 1
        for first in sorted([*found.records, end + 1]):
            while position < first:
                item = self._put(tombstone(self._keys, position, 1))
                if item is None:
                    self._report.tombstones += 1
                    position += 1
                    continue
                record = record_of(item)
                if not record.is_tombstone:
                    found.add_cell(record.first, record.positions)
                position = record.end + 1
            position = max(position, first + found.records.get(first, 0))

    def _look_again(self, found: Survey, end: int) -> list[str]:
        """Streams whose versions do not follow each other; removes ids of lost events."""
        spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        firsts = sorted(found.cells)
        for kind, rest, item in log_items(self._calls, self._keys):
            if kind == "s":
                spans[rest].append((number(item, "sk"), number(item, "n")))
            elif kind == "i" and _is_lost(number(item, "p"), firsts, found, end=end):
                self._remove_id(item)
        broken = []
        for stream, each in spans.items():
            following = min(1, min(each)[0])
            for first, count in sorted(each):
                if first != following:
                    broken.append(stream)
                    break
                following = first + count
        return sorted(broken)

    def _remove_id(self, item: Item) -> None:
        """Else an append of that event would be taken for a repeat of one that is lost."""
        with contextlib.suppress(ConditionFailedError):
            self._calls.call(
                "DeleteItem",
                {
                    "TableName": self._keys.table,
                    "Key": {"pk": item["pk"], "sk": item["sk"]},
                    "ConditionExpression": "p = :p",
                    "ExpressionAttributeValues": {":p": item["p"]},
                },
            )
            self._report.ids += 1

    def _index_again(self, found: Survey, end: int) -> None:
        """Put the entries of the index that a restore tore off their events.

        An append that names no version is known again by the entry of its first event alone.
        """
        places: dict[str, int] = {}
        for first, count in sorted(found.cells.items()):
            if first + count > end - IDS_BACK_POSITIONS:
                record = record_of(self._get(self._keys.record(first)))
                places.update((id_, place) for id_, place in placed_ids(record) if place <= end)
        present = indexed(self._calls, self._keys, places)
        absent = {id_: place for id_, place in places.items() if id_ not in present}
        put_places(self._calls, self._keys, absent)
        self._report.ids_made = len(absent)

    def _lower_id_mark(self, id_mark: int) -> None:
        mark = max(0, id_mark - IDS_BACK_POSITIONS)
        with contextlib.suppress(ConditionFailedError):  # it is that low, or there is none
            self._update(self._keys.id_mark, "SET c = :mark", "c > :mark", {":mark": mark})

    def _sign_trims(self, until: int, identity: str) -> None:
        """Let the log be trimmed again, and say how far it was: the item may have gone back."""
        there = read_trims(self._calls, self._keys)
        if not (there or until):
            return
        signed = {
            ":until": max(until, number(there, "c") if there else 0),
            ":archive": there["a"]["S"] if there else ARCHIVE_UNKNOWN,
            ":identity": identity,
            ":closed": TRIMS_CLOSED,
        }
        with contextlib.suppress(ConditionFailedError):  # done already
            self._update(
                self._keys.trims,
                "SET c = :until, a = :archive, t = :identity",
                "attribute_not_exists(pk) OR t = :closed",
                signed,
            )

    def _release(self, before: int, after: int, identity: str) -> None:
        released = {":format": FORMAT, ":closed": FORMAT_CLOSED, ":before": before, ":after": after}
        try:
            self._update(
                self._keys.sequencer,
                "SET c = :after, f = :format, t = :identity",
                "f = :closed AND attribute_not_exists(c) OR f = :closed AND c = :before",
                {**released, ":identity": identity},
            )
        except ConditionFailedError as error:
            # The answer to this very update may have been lost.
            there = read_sequencer(self._calls, self._keys)
            expected = {"c": {"N": str(after)}, "f": {"N": str(FORMAT)}, "t": {"S": identity}}
            if {name: there.get(name) for name in expected} != expected:
                problem = "another repair changed the log meanwhile; repeat it"
                raise StoreUnavailableError(store=self._calls.name, problem=problem) from error

    def _update(  # noqa: PLR0917 - the parts of an update
        self, key_: Item, update: str, condition: str, values: Mapping[str, int | str]
    ) -> None:
        self._calls.call(
            "UpdateItem",
            {
                "TableName": self._keys.table,
                "Key": key_,
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": {
                    name: {"N": str(value)} if isinstance(value, int) else {"S": value}
                    for name, value in values.items()
                },
            },
        )

    def _put(self, item: Item) -> Item | None:
        """Put an item where nothing is; gives what was there instead, None if it was put."""
        try:
            self._calls.call(
                "PutItem",
                {
                    "TableName": self._keys.table,
                    "Item": item,
                    "ConditionExpression": IS_ABSENT,
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
            )
        except ConditionFailedError as error:
            return error.item
        return None

    def _get(self, key: Item) -> Item:
        answer = self._calls.call(
            "GetItem", {"TableName": self._keys.table, "Key": key, "ConsistentRead": True}
        )
        item: Item = answer["Item"]
        return item


def _one_sided(
    in_cells: Mapping[int, CellEntry], in_streams: Mapping[int, CellEvent | TrimmedOffset]
) -> dict[int, CellEvent]:
    """Events of which one half is there.

    A trimmed one is not made anew from one half: it would
    have been appended, archived and trimmed within the moment that a restore tears.
    """
    return {
        position: event
        for position, event in (*in_streams.items(), *in_cells.items())
        if isinstance(event, CellEvent) and (position in in_cells) != (position in in_streams)
    }


def _trimmed_in(body: Item) -> int:
    return number(body, "x") if "x" in body else 0


def _is_lost(position: int, firsts: Sequence[int], found: Survey, *, end: int) -> bool:
    """Whether there is no event at a position; ``firsts`` are those of the cells, in order."""
    if position > end:
        return False  # another repair was faster, and its log is written again
    place = bisect_right(firsts, position) - 1
    return place < 0 or firsts[place] + found.cells[firsts[place]] <= position


def _runs(
    positions: Sequence[int], place: Callable[[int], int] = lambda position: position
) -> Iterator[list[int]]:
    """Stretches whose places follow each other."""
    run: list[int] = []
    for position in positions:
        if run and place(position) != place(run[-1]) + 1:
            yield run
            run = []
        run.append(position)
    if run:
        yield run
