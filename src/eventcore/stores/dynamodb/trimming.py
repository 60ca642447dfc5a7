"""Trimming a log on DynamoDB: an event leaves both of its places at once, and its id stays.

1. *Look*: each event is compared, byte by byte, with its cell and with its stream's item, and each
   stream is looked at: of what is left only the oldest may go, and never the newest.
2. *Note* how far the log is trimmed, and where what leaves is. That only grows, and comes first: so
   whoever finds an event gone also finds where it is.
3. *Remove*, oldest first, in transactions. Each puts cells and items of streams in place of what
   they are now, on the condition that they are exactly what was looked at. What they cover, and
   everything that writers and readers find their way by, stays as it is.

A transaction removes events from cells and streams alike or does nothing, and each one leaves a log
that was trimmed a little further. So it may be broken off anywhere and repeated. What others do
meanwhile is told by a condition that does not hold: then everything is looked at again.

Why that keeps every promise of the log is in ``docs/explanation/dynamodb-log.md``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, NoReturn

from eventcore.errors import LogRestoredError, StoreError, StoreUnavailableError, TrimRefusedError
from eventcore.events.recorded import Recorded, event_id_of
from eventcore.stores.dynamodb.calls import (
    ConditionFailedError,
    DynamoDBCalls,
    Item,
    Pauses,
    TransactionCanceledError,
)
from eventcore.stores.dynamodb.chain import Chain
from eventcore.stores.dynamodb.ids import EVENT_ID
from eventcore.stores.dynamodb.layout import (
    FORMAT,
    CellEvent,
    Keys,
    Record,
    StreamEvent,
    TrimmedId,
    TrimmedOffset,
    cell_entries,
    item_bytes,
    number,
    pack_cell,
    pack_stream,
    stream_entries,
)
from eventcore.stores.dynamodb.limits import (
    SEGMENT_POSITIONS,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_ITEMS_MAX,
)
from eventcore.stores.dynamodb.requests import IS_ABSENT
from eventcore.stores.dynamodb.streams import StreamReading
from eventcore.stores.dynamodb.trims import read_trims, replaced, replacement
from eventcore.stores.dynamodb.writing import SENDS_MAX, TOKEN_BYTES, Writing, check_passing
from eventcore.stores.trimming import check_trim

ROUNDS_MAX: Final = 20
"""How often a trim looks again because others trimmed the same events meanwhile."""

NOTES_MAX: Final = 20
"""How often it is noted that a log is trimmed for the first time: every append of others touches
the sequencer as well."""

REWRITTEN_ITEMS_MAX: Final = TRANSACTION_ITEMS_MAX - 1
"""Cells and items of streams in one transaction of a trim, beside the check of how far it goes."""

REWRITTEN_BYTES_MAX: Final = TRANSACTION_BYTES_MAX // 2
"""Bytes of them as they were: those are in the conditions, and what takes their place is smaller.
"""


class _ChangedError(Exception):
    """Two halves of an event differ, as while another trim is seen in part."""


@dataclass(slots=True, eq=False)
class _Half:
    """A cell, or an item of a stream, and what it is to hold.

    Attributes:
        item: As it is in the table.
        entries: What it is to hold.
        pack: Packs them.
        size: Bytes of the item as it was first.
    """

    item: Item
    entries: list[Any]
    pack: Callable[[Sequence[Any]], Item]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = item_bytes(self.item)

    @property
    def body(self) -> Item:
        """What it is to hold, packed."""
        return self.pack(self.entries)


class _Leaving(NamedTuple):
    """An event that is to leave, and its place in each of its halves."""

    event: Recorded[Any]
    cell: _Half
    cell_place: int
    stream: _Half
    stream_place: int


class Trimming:
    """Removes archived events from one log. May be used from any thread.

    Args:
        calls: To the service.
        keys: Of the log.
        writing: Knows the table that the log was opened in.
        chain: Reads its cells.
        streams: Reads its streams.
    """

    def __init__(  # noqa: PLR0917 - the parts of a log
        self,
        calls: DynamoDBCalls,
        keys: Keys,
        writing: Writing,
        chain: Chain,
        streams: StreamReading,
    ) -> None:
        self._calls = calls
        self._keys = keys
        self._writing = writing
        self._chain = chain
        self._streams = streams

    def trim(self, events: Sequence[Recorded[Any]], archive: str) -> int:
        """See :meth:`eventcore.stores.dynamodb.log.DynamoDBLog.trim`."""
        check_trim(self._calls.name, events)
        if not events:
            return 0
        self._writing.check_current()
        pauses = Pauses(self._calls.sleep)
        removed: int | None = None
        for _ in range(ROUNDS_MAX):
            try:
                leaving = self._look(events)
            except _ChangedError:
                pauses.pause()
                continue
            except TrimRefusedError as error:
                if removed is not None:
                    problem = f"it was changed while it was trimmed: {error}"
                    raise StoreError(store=self._calls.name, problem=problem) from error
                raise
            removed = len(leaving) if removed is None else removed
            if not leaving:
                return removed
            # While it looked the table may have been restored, and not been repaired yet.
            self._writing.check_current()
            self._note(leaving[-1].event.position, archive)
            if self._remove(leaving):
                return removed
            self._writing.check_current()
            pauses.pause()
        problem = (
            f"its items were other ones at each of {ROUNDS_MAX} looks: others trim it as well, or "
            "the halves of an event differ, which eventcore verify tells"
        )
        raise StoreUnavailableError(store=self._calls.name, problem=problem)

    def among(self, events: Sequence[Recorded[Any]]) -> set[str]:
        """See :meth:`eventcore.stores.trimming.TrimsByPlace.trimmed_among`."""
        found: set[str] = set()
        record: Record | None = None
        entries: list[Any] = []
        for event, covering in self._covering(events):
            if covering is None or not covering.is_trimmed:
                continue
            if covering is not record:
                record, entries = covering, cell_entries(covering.body)
            entry = entries[event.position - covering.first]
            if isinstance(entry, TrimmedId) and entry.event_id == event_id_of(event.state):
                found.add(entry.event_id)
        return found

    def _look(self, events: Sequence[Recorded[Any]]) -> list[_Leaving]:
        """What is to leave, of those that have not left yet.

        Raises:
            TrimRefusedError: One of them must stay.
        """
        left = self._left(events)
        by_stream: defaultdict[str, dict[int, Recorded[Any]]] = defaultdict(dict)
        for event, _, _ in left:
            by_stream[event.stream][event.version] = event

        def read(stream: str) -> dict[int, tuple[_Half, int]]:
            versions = by_stream[stream]
            return self._looked_at(stream, max(min(versions) - 1, 1), max(versions) + 1)

        found = dict(zip(by_stream, self._streams.each(read, by_stream), strict=True))
        for stream, versions in by_stream.items():
            self._check_stream(stream, versions, found[stream])
        return [
            _Leaving(event, cell, place, *found[event.stream][event.version])
            for event, cell, place in left
        ]

    def _left(self, events: Sequence[Recorded[Any]]) -> list[tuple[Recorded[Any], _Half, int]]:
        """Those that are still there, with their cells and places in these."""
        left: list[tuple[Recorded[Any], _Half, int]] = []
        record: Record | None = None
        half: _Half | None = None
        for event, covering in self._covering(events):
            if covering is None or covering.is_tombstone:
                self._refuse(f"no event is at position {event.position}")
            if half is None or covering is not record:
                record, half = (
                    covering,
                    _Half(covering.body, cell_entries(covering.body), pack_cell),
                )
            place = event.position - covering.first
            entry, event_id = half.entries[place], event_id_of(event.state)
            if event_id is None or not EVENT_ID.fullmatch(event_id):
                self._refuse(f"the event at position {event.position} has no id to be known by")
            if entry == TrimmedId(event_id):
                continue
            if entry != CellEvent(event.stream, event.version, event.type, event.state):
                self._refuse_other(event)
            left.append((event, half, place))
        return left

    def _looked_at(self, stream: str, first: int, last: int) -> dict[int, tuple[_Half, int]]:
        """The items of a stream and places in them, by version, that hold these versions."""
        found: dict[int, tuple[_Half, int]] = {}
        for item in self._streams.items(stream, first, last):
            half = _Half(item, stream_entries(item), pack_stream)
            begins = number(item, "sk")
            found.update((begins + place, (half, place)) for place in range(len(half.entries)))
        return found

    def _check_stream(
        self,
        stream: str,
        leaving: Mapping[int, Recorded[Any]],
        found: Mapping[int, tuple[_Half, int]],
    ) -> None:
        if max(leaving) + 1 not in found:
            self._refuse(f"version {max(leaving)} of {stream} is its newest event")
        for version in range(max(min(leaving) - 1, 1), max(leaving) + 1):
            half, place = found.get(version, (None, 0))
            entry = None if half is None else half.entries[place]
            event = leaving.get(version)
            if event is None:
                if not isinstance(entry, TrimmedOffset):
                    self._check_cell(half, entry)
                    self._refuse(f"version {version} of {stream} would stay, and newer ones leave")
                continue
            if half is None or isinstance(entry, TrimmedOffset):
                raise _ChangedError
            offset = event.position - number(half.item, "b")
            if entry != StreamEvent(offset, event.type, event.state):
                self._refuse_other(event)

    def _check_cell(self, half: _Half | None, entry: StreamEvent | None) -> None:
        """Look again if an event that its stream's item still holds is gone from its cell.

        Reads see the items of one transaction appear one by one (AWS, DynamoDB Developer Guide,
        "Amazon DynamoDB Transactions: How it works": "Read-committed isolation").
        """
        if half is None or entry is None:
            return
        position = number(half.item, "b") + entry.offset
        record = self._chain.record_at(position)
        if record is not None and record.is_trimmed:
            there = cell_entries(record.body)[position - record.first]
            if isinstance(there, TrimmedId):
                raise _ChangedError

    def _covering(
        self, events: Sequence[Recorded[Any]]
    ) -> Iterator[tuple[Recorded[Any], Record | None]]:
        """Each event, and what is at its position."""
        for run in _runs(events):
            records = self._chain.records_between(run[0].position, run[-1].position)
            record = next(records, None)
            for event in run:
                while record is not None and record.end < event.position:
                    record = next(records, None)
                covers = record is not None and record.first <= event.position
                yield event, record if covers else None

    def _note(self, until: int, archive: str) -> None:
        """Say how far the log is about to be trimmed, and where what leaves is. It never shrinks.

        Raises:
            LogRestoredError: What is there was noted in another table, or a repair goes on.
        """
        identity = {"S": self._writing.identity}
        for _ in range(ROUNDS_MAX):
            there = read_trims(self._calls, self._keys)
            if there and there["t"] != identity:
                problem = f"table {self._keys.table} is not the one that was trimmed"
                raise LogRestoredError(store=self._calls.name, problem=problem)
            until = max(until, number(there, "c") if there else 0)
            wanted = {"c": {"N": str(until)}, "a": {"S": archive}, "t": identity}
            if wanted.items() <= there.items():
                return
            put: dict[str, Any] = {
                "TableName": self._keys.table,
                "Item": {**self._keys.trims, **wanted},
            }
            if not there:
                if self._note_first(put):
                    return
                continue
            put["ConditionExpression"] = "c = :until AND a = :archive AND t = :identity"
            put["ExpressionAttributeValues"] = {
                ":until": there["c"],
                ":archive": there["a"],
                ":identity": identity,
            }
            try:
                self._calls.call("PutItem", put)
            except ConditionFailedError:
                continue  # by another trim, or by this very one whose answer got lost
            return
        problem = "others trim it as well"
        raise StoreUnavailableError(store=self._calls.name, problem=problem)

    def _note_first(self, put: Mapping[str, Any]) -> bool:
        """Note it in a table that was never trimmed; False: another trim was faster.

        No item tells then whose table it is, so the sequencer has to. A repair closes that before
        it looks whether there is anything to close here.

        Raises:
            LogRestoredError: It is another table, or a repair goes on. Nothing was noted.
        """
        check = {
            "TableName": self._keys.table,
            "Key": self._keys.sequencer,
            "ConditionExpression": "f = :format AND t = :identity",
            "ExpressionAttributeValues": {
                ":format": {"N": str(FORMAT)},
                ":identity": {"S": self._writing.identity},
            },
        }
        refused = self._transact(
            [{"ConditionCheck": check}, {"Put": {**put, "ConditionExpression": IS_ABSENT}}],
            sends_max=NOTES_MAX,
        )
        if 0 in refused:
            self._writing.check_current()
            problem = f"table {self._keys.table} was repaired meanwhile"
            raise LogRestoredError(store=self._calls.name, problem=problem)
        return not refused

    def _remove(self, leaving: Sequence[_Leaving]) -> bool:
        """Remove events, oldest first; False: an item is not what was looked at."""
        until = leaving[-1].event.position
        touched: dict[_Half, None] = {}
        size = 0
        for one in leaving:
            more = [half for half in (one.cell, one.stream) if half not in touched]
            items = len(touched) + len(more)
            if items > REWRITTEN_ITEMS_MAX or size + _size(more) > REWRITTEN_BYTES_MAX:
                if not self._rewrite(list(touched), until):
                    return False
                self._writing.check_current()
                touched, size, more = {}, 0, [one.cell, one.stream]
            touched.update(dict.fromkeys(more))
            size += _size(more)
            offset = one.event.position - number(one.stream.item, "b")
            one.cell.entries[one.cell_place] = TrimmedId(str(event_id_of(one.event.state)))
            one.stream.entries[one.stream_place] = TrimmedOffset(offset)
        return self._rewrite(list(touched), until)

    def _rewrite(self, halves: Sequence[_Half], until: int) -> bool:
        """Put items in place of what they were, all or none; False: one is something else now."""
        puts = [{"Put": replacement(self._keys, half.item, half.body)} for half in halves]
        if self._transact([self._check(until), *puts]):
            # Or an earlier attempt was done after all: seen at the next look.
            return False
        for half in halves:
            half.item = replaced(half.item, half.body)
        return True

    def _transact(
        self, actions: Sequence[Mapping[str, Any]], *, sends_max: int = SENDS_MAX
    ) -> list[int]:
        """Do all of it, or nothing; gives which of the actions have a condition that fails."""
        request = {"TransactItems": actions, "ClientRequestToken": os.urandom(TOKEN_BYTES).hex()}
        pauses = Pauses(self._calls.sleep)
        for attempt in range(sends_max):
            if attempt:
                pauses.pause()
            try:
                self._calls.call("TransactWriteItems", request)
            except TransactionCanceledError as error:
                if failed := error.failed_conditions:
                    return failed
                check_passing(self._calls.name, error)
            except StoreUnavailableError:
                continue
            else:
                return []
        problem = "nobody answered while events were removed; those that were not still are there"
        raise StoreUnavailableError(store=self._calls.name, problem=problem)

    def _check(self, until: int) -> dict[str, Any]:
        """That it was noted how far the log is trimmed, and that no repair has begun since."""
        return {
            "ConditionCheck": {
                "TableName": self._keys.table,
                "Key": self._keys.trims,
                "ConditionExpression": "c >= :until AND t = :identity",
                "ExpressionAttributeValues": {
                    ":until": {"N": str(until)},
                    ":identity": {"S": self._writing.identity},
                },
            }
        }

    def _refuse_other(self, event: Recorded[Any]) -> NoReturn:
        self._refuse(f"the event at position {event.position} is another one than in the archive")

    def _refuse(self, problem: str) -> NoReturn:
        raise TrimRefusedError(store=self._calls.name, problem=problem)


def _size(halves: Sequence[_Half]) -> int:
    return sum(half.size for half in halves)


def _runs(events: Sequence[Recorded[Any]]) -> Iterator[list[Recorded[Any]]]:
    """Stretches of events between which no whole segment of the log would be read for nothing."""
    run: list[Recorded[Any]] = []
    for event in events:
        if run and event.position - run[-1].position > SEGMENT_POSITIONS:
            yield run
            run = []
        run.append(event)
    if run:
        yield run
