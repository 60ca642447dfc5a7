"""Where an event id is: an index that follows the log, kept by whoever looks ids up.

An item for each id in the transaction of every commit would double its price and halve what fits.
So the index is a view of the log. A mark says up to where it is complete; what is behind the mark
is read from the log itself, and once that is long enough, put into the index. Whoever never looks
up an id never pays for it. Anybody may do that work, also at the same time: what they put is the
same. Only an append that names no version puts the id of its first event itself, in its own
transaction: nothing else would tell its repeat.

============================================ ====================================================
an append that                               is recognised when it is repeated by
============================================ ====================================================
names the version of one of its streams      reading that stream there; costs nothing unless the
                                             stream moved
takes every stream as it is                  the item of its first event's id
============================================ ====================================================

An id that is stored already, with another content or place, is refused if this process stored it
lately, or if the append takes a stream as it is and the index knows the id. Such an append looks at
no more than :data:`LOOK_PAGES_MAX` pages of the log that the index does not hold yet: it takes no
longer on a long log that nobody ever looked an id up in.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from eventcore.errors import StoreError
from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded, event_id_of
from eventcore.stores.dynamodb.calls import ConditionFailedError, DynamoDBCalls
from eventcore.stores.dynamodb.chain import Chain
from eventcore.stores.dynamodb.layout import Keys, Record, TrimmedId, cell_entries, number
from eventcore.stores.dynamodb.limits import BATCH_GET_MAX, BATCH_WRITE_MAX
from eventcore.stores.dynamodb.trims import refuse

TAIL_EVENTS_MAX: Final = 1_024
"""Events behind the mark that are read anew by each process that begins to look ids up; more of
them are put into the index first."""

LOOK_PAGES_MAX: Final = 2
"""Pages of the log, 128 positions at most in each, that an append reads to bring the index further.
More events than that between two appends are taken in by later ones, or by whoever looks up an id.
"""

RECENT_IDS_MAX: Final = 100_000
"""Ids that a process remembers having written or read."""

EVENT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Canonical text of an event's id."""


class Trimmed(NamedTuple):
    """What is left of an event that was trimmed.

    Attributes:
        position: Where it was.
        event_id: Canonical text.
    """

    position: int
    event_id: str


class EventIds:
    """Finds events of one log by their ids. May be used from any thread.

    Args:
        calls: To the service.
        keys: Of the log.
        chain: Reads the log.
        codec: Reads the events that are handed out.
    """

    def __init__(  # noqa: PLR0917 - the parts of a log
        self, calls: DynamoDBCalls, keys: Keys, chain: Chain, codec: Codec
    ) -> None:
        self._calls = calls
        self._keys = keys
        self._chain = chain
        self._codec = codec
        self._recent_lock = threading.Lock()
        self._recent: OrderedDict[str, int] = OrderedDict()
        self._index_lock = threading.Lock()
        self._mark: int | None = None
        self._tail: dict[str, int] = {}
        self._next = 1

    def remember(self, placed: Iterable[tuple[str, int]]) -> None:
        """Keep in mind ids that this process stored, and their positions."""
        with self._recent_lock:
            self._recent.update(placed)
            while len(self._recent) > RECENT_IDS_MAX:
                self._recent.popitem(last=False)

    def remembered(self, event_ids: Iterable[str]) -> list[str]:
        """Those of the ids that this process stored lately."""
        with self._recent_lock:
            return [id_ for id_ in event_ids if id_ in self._recent]

    def forget(self) -> None:
        """Forget everything: it was another log."""
        with self._recent_lock:
            self._recent.clear()
        with self._index_lock:
            self._mark = None
            self._tail = {}

    def locate(self, event_ids: Sequence[str]) -> dict[str, Recorded[Any]]:
        """Those of the ids that are stored, with their events.

        Raises:
            TrimmedHistoryError: One of them was trimmed. All that tell of ids raise it.
        """
        return self._events_of(event_ids, pages_max=None)

    def look(self, event_ids: Sequence[str]) -> dict[str, Recorded[Any]]:
        """Likewise those that the index knows of; reads and waits little, however long the log."""
        return self._events_of(event_ids, pages_max=LOOK_PAGES_MAX)

    def stored_from(self, event_ids: Sequence[str]) -> dict[str, Recorded[Any]] | None:
        """Likewise if they are the events of one append of which the first has an item.

        None: see :meth:`whole_at`.

        Raises:
            StoreError: The first of them is where the item says, and damaged.
        """
        first = indexed(self._calls, self._keys, event_ids[:1]).get(event_ids[0])
        if first is None:
            return {}
        found = self.whole_at(range(first, first + len(event_ids)), event_ids)
        if found is None:
            return None
        if event_ids[0] not in found:
            self._check_readable(first, event_ids[0])
            return {}
        return {id_: found[id_] for id_ in event_ids if id_ in found}

    def trimmed(self, event_ids: Sequence[str]) -> dict[str, int]:
        """Those of the ids whose events were trimmed, with their positions."""
        wanted = {id_ for id_ in event_ids if EVENT_ID.fullmatch(id_)}
        places = self._places(wanted, None)
        return {
            found.event_id: found.position
            for found in self._found_at(places.values())
            if isinstance(found, Trimmed) and found.event_id in wanted
        }

    def _events_of(
        self, event_ids: Sequence[str], pages_max: int | None
    ) -> dict[str, Recorded[Any]]:
        # Nothing else is ever stored as an id, and not every text can be part of a key.
        wanted = {id_ for id_ in event_ids if EVENT_ID.fullmatch(id_)}
        found = self.at(self._places(wanted, pages_max).values(), wanted)
        return {id_: found[id_] for id_ in event_ids if id_ in found}

    def recall(self, event_ids: Sequence[str]) -> dict[str, Recorded[Any]]:
        """Likewise those that this process stored lately, without the index."""
        with self._recent_lock:
            places = {id_: self._recent[id_] for id_ in event_ids if id_ in self._recent}
        return self.at(places.values(), places)

    def at(self, positions: Iterable[int], wanted: Collection[str]) -> dict[str, Recorded[Any]]:
        """The events at these positions, by their ids; of damaged ones nobody knows the id.

        Raises:
            TrimmedHistoryError: One that is wanted was there, and was trimmed.
        """
        events: dict[str, Recorded[Any]] = {}
        for found in self._found_at(positions):
            if isinstance(found, Trimmed):
                if found.event_id in wanted:
                    refuse(self._calls, self._keys, f"event {found.event_id}")
            elif (event_id := known_id(found.state)) is not None:
                events[event_id] = found
        return events

    def id_at(self, position: int) -> str | None:
        """Id of the event that is, or was, at a position; None: none is, yet, or it is damaged."""
        for found in self._found_at([position]):
            return found.event_id if isinstance(found, Trimmed) else known_id(found.state)
        return None

    def _check_readable(self, position: int, event_id: str) -> None:
        """Refuse a repeat of an event that nobody can read, whatever it is repeated with."""
        for found in self._found_at([position]):
            if not isinstance(found, Trimmed) and known_id(found.state) is None:
                problem = f"event {event_id} at position {position} is damaged"
                raise StoreError(store=self._calls.name, problem=problem)

    def whole_at(
        self, positions: range, wanted: Collection[str]
    ) -> dict[str, Recorded[Any]] | None:
        """Likewise where an item says that one append is; None: not all of it can be seen yet.

        Reads see the items of one transaction appear one by one (AWS, DynamoDB Developer Guide,
        "Amazon DynamoDB Transactions: How it works": "Read-committed isolation").
        """
        found = self.at(positions, wanted)
        if len(found) == len(positions):
            return found
        position = positions.start
        while position in positions:
            record = self._chain.record_at(position)
            if record is None and self._chain.reserved() >= position:
                return None
            position = positions.stop if record is None else record.end + 1
        return self.at(positions, wanted)

    def _places(self, wanted: set[str], pages_max: int | None) -> dict[str, int]:
        with self._recent_lock:
            places = {id_: self._recent[id_] for id_ in wanted if id_ in self._recent}
        missing = [id_ for id_ in wanted if id_ not in places]
        if missing:
            # Who may not take long does not wait either for somebody who does.
            if self._index_lock.acquire(blocking=pages_max is None):
                try:
                    self._catch_up(pages_max)
                finally:
                    self._index_lock.release()
            tail = self._tail
            places.update({id_: tail[id_] for id_ in missing if id_ in tail})
            # Behind the mark as it is now, or in the tail as it was: nothing is in neither.
            unknown = [id_ for id_ in missing if id_ not in places]
            places.update(indexed(self._calls, self._keys, unknown))
        return places

    def _catch_up(self, pages_max: int | None) -> None:
        """Read what was added to the log; put what is too much to remember into the index."""
        if self._mark is None:
            self._restart(self._stored_mark())
        for _ in itertools.count() if pages_max is None else range(pages_max):
            records = self._chain.records_from(self._next, waits=pages_max is None)
            if not records:
                return
            for record in records:
                self._tail.update(placed_ids(record))
            self._next = records[-1].end + 1
            if len(self._tail) > TAIL_EVENTS_MAX:
                self._index_tail()

    def _restart(self, mark: int) -> None:
        self._mark = mark
        self._tail = {}
        self._next = self._chain.start_for(mark)

    def _index_tail(self) -> None:
        mark = self._stored_mark()
        if self._mark is None or mark < self._mark:
            # A repair set it back: what is between has to be put again.
            self._restart(mark)
            return
        if mark != self._mark:
            # Somebody else did it meanwhile.
            self._mark = mark
            self._tail = {id_: place for id_, place in self._tail.items() if place > mark}
            self._next = max(self._next, self._chain.start_for(mark))
            return
        self._put(self._tail)
        end = self._next - 1
        try:
            self._move_mark(mark, end)
        except ConditionFailedError:
            return  # somebody else was faster: seen at the next turn
        self._mark = end
        self._tail = {}

    def _stored_mark(self) -> int:
        answer = self._calls.call(
            "GetItem",
            {"TableName": self._keys.table, "Key": self._keys.id_mark, "ConsistentRead": True},
        )
        return number(answer["Item"], "c") if answer.get("Item") else 0

    def _move_mark(self, before: int, after: int) -> None:
        self._calls.call(
            "UpdateItem",
            {
                "TableName": self._keys.table,
                "Key": self._keys.id_mark,
                "UpdateExpression": "SET c = :after",
                "ConditionExpression": "attribute_not_exists(pk) OR c = :before",
                "ExpressionAttributeValues": {
                    ":before": {"N": str(before)},
                    ":after": {"N": str(after)},
                },
            },
        )

    def _found_at(self, positions: Iterable[int]) -> Iterator[Recorded[Any] | Trimmed]:
        record: Record | None = None
        events: Sequence[Recorded[Any] | Trimmed] = []
        for position in sorted(positions):
            if record is None or not record.first <= position <= record.end:
                record = self._chain.record_at(position)
                events = [] if record is None else recorded_events(record, self._codec)
            if record is not None and events:
                yield events[position - record.first]

    def _put(self, places: Mapping[str, int]) -> None:
        put_places(self._calls, self._keys, places)


def indexed(calls: DynamoDBCalls, keys: Keys, event_ids: Iterable[str]) -> dict[str, int]:
    """Those of the ids that the index holds, and the positions it gives."""
    prefix = len(keys.event_id("")["pk"]["S"])
    places: dict[str, int] = {}
    for batch in _batches(event_ids, BATCH_GET_MAX):
        request = {
            keys.table: {"Keys": [keys.event_id(id_) for id_ in batch], "ConsistentRead": True}
        }
        for answer in calls.finish("BatchGetItem", request, undone="UnprocessedKeys"):
            for item in answer["Responses"][keys.table]:
                places[item["pk"]["S"][prefix:]] = number(item, "p")
    return places


def put_places(calls: DynamoDBCalls, keys: Keys, places: Mapping[str, int]) -> None:
    """Put places into the index. Whoever else does puts the same."""
    for batch in _batches(places.items(), BATCH_WRITE_MAX):
        puts = [
            {"PutRequest": {"Item": {**keys.event_id(id_), "p": {"N": str(place)}}}}
            for id_, place in batch
        ]
        calls.finish("BatchWriteItem", {keys.table: puts}, undone="UnprocessedItems")


def recorded_events(record: Record, codec: Codec) -> list[Recorded[Any] | Trimmed]:
    """The events of a cell, or what is left of them; a tombstone has none."""
    if record.is_tombstone:
        return []
    return [
        Trimmed(position, entry.event_id)
        if isinstance(entry, TrimmedId)
        else Recorded(position, *entry, codec)
        for position, entry in enumerate(cell_entries(record.body), start=record.first)
    ]


def known_id(state: bytes) -> str | None:
    """The event id inside a stored state; None if it has none, or a text that is no id."""
    event_id = event_id_of(state)
    # Nothing else is ever looked for, and not every text can be part of a key.
    return event_id if event_id is not None and EVENT_ID.fullmatch(event_id) else None


def placed_ids(record: Record) -> Iterator[tuple[str, int]]:
    """The ids of the events that are, or were, in a cell, and their positions.

    A damaged event has none, and is passed over: the ids of all others are found without it.
    """
    if record.is_tombstone:
        return
    for position, entry in enumerate(cell_entries(record.body), start=record.first):
        event_id = entry.event_id if isinstance(entry, TrimmedId) else known_id(entry.state)
        if event_id is not None:
            yield event_id, position


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
