"""What one caller wants written, and how it is packed into the items of a transaction."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from eventcore.errors import ConcurrencyConflictError
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.dynamodb.calls import Item
from eventcore.stores.dynamodb.layout import (
    CellEvent,
    Keys,
    StreamEvent,
    cell,
    item_bytes,
    key,
    pack_cell,
    pack_stream,
    stream_item,
)
from eventcore.stores.dynamodb.limits import (
    BODY_BYTES_MAX,
    CELL_EVENTS_MAX,
    STREAM_ITEM_EVENTS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_ITEMS_MAX,
    at_most,
)
from eventcore.stores.log import ANY_VERSION, AppendResult, StreamAppend

_ITEM_BYTES: Final = 128
"""Of a packed event beside its names and state, and of an item beside its key and body, at most."""

IS_ABSENT: Final = "attribute_not_exists(pk)"


class Head(NamedTuple):
    """A stream and the version it has to be at; None: whatever it is at."""

    stream: str
    wanted: int | None


class Row(NamedTuple):
    """An event to be written: of which head, and at which place behind that head's version."""

    head: int
    step: int
    event: EncodedEvent


class Turn:
    """What one thread waits for and another one says, once.

    A bare lock: a :class:`threading.Event` wakes its thread twice, the second time for the lock
    that it takes itself. Set by one thread at a time.
    """

    __slots__ = ("_gate",)

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self, seconds: float = -1) -> None:
        """Wait until it is set, at most so long; below zero: for as long as it takes."""
        self._gate.acquire(timeout=seconds)

    def set(self) -> None:
        """Let the thread go on that waits, or is going to."""
        if self._gate.locked():
            self._gate.release()


class Request:
    """One append on its way. Made by one thread; the one that writes it fills in the rest.

    Attributes:
        heads: The streams, each once; one that may not move either has to be at that version.
        rows: The events, in the order given.
        first_id: Id of its first event if it takes every stream as it is: an item for it, in the
            same transaction, tells a repeat. None: its streams do.
        unmoved: Further streams that have to be at a version, and that version.
        updates: Further actions of the transaction, each of them harmless to repeat.
        state_bytes: Of all events.
        bases: For each head, the version its events build on; set before it is written.
        turn: Set when it was written, or bounced, or is the next to lead.
        result: Where the events are; None: a stream had moved since it was looked at.
        error: Why nothing is known to be written.
        leads: Whether its thread is the one that writes, for all in line.
    """

    __slots__ = (
        "bases",
        "error",
        "first_id",
        "heads",
        "is_done",
        "leads",
        "result",
        "rows",
        "state_bytes",
        "turn",
        "unmoved",
        "updates",
    )

    def __init__(
        self,
        store: str,
        appends: Sequence[StreamAppend],
        *,
        unmoved: Mapping[str, int] | None = None,
        updates: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        heads, self.rows = _merged(store, appends)
        left = dict(unmoved or {})
        # A transaction may name an item once (AWS, DynamoDB API Reference, "TransactWriteItems"):
        # the put of the next version is the check that a stream did not move.
        self.heads = [
            Head(stream, left.pop(stream, None) if wanted is None else wanted)
            for stream, wanted in heads
        ]
        self.unmoved = {
            stream: version
            for stream, version in left.items()
            if stream not in {head.stream for head in self.heads}
        }
        is_named = any(head.wanted is not None for head in self.heads)
        self.first_id = self.rows[0].event.event_id if self.rows and not is_named else None
        self.updates = list(updates)
        self.state_bytes = sum([len(row.event.state) for row in self.rows])
        self.bases: list[int] = []
        self.turn = Turn()
        self.is_done = False
        self.leads = False
        self.result: AppendResult | None = None
        self.error: BaseException | None = None

    @property
    def can_share(self) -> bool:
        """Whether it may be written in one transaction with others."""
        return not (self.unmoved or self.updates) and len(self.rows) <= CELL_EVENTS_MAX

    @property
    def items(self) -> int:
        """How many items it adds to a transaction with one cell; a large one may need more."""
        return len(self.heads) + (self.first_id is not None)

    def result_at(self, first: int) -> AppendResult:
        """Where its events are if the first one is at this position."""
        positions = tuple(range(first, first + len(self.rows)))
        versions = tuple([self.bases[row.head] + row.step for row in self.rows])
        return AppendResult(positions, versions, repeated=False)


@dataclass(frozen=True, slots=True)
class StreamPut:
    """An item of a stream to be: which request and head it belongs to, and what it holds."""

    request: int
    stream: str
    first: int
    body: Item


class Commit:
    """Requests packed for one transaction, wherever in the log it will be.

    Args:
        keys: Of the log.
        requests: With their bases, no stream twice among them.

    Attributes:
        count: Events.
        requests: As given.

    Raises:
        LimitExceededError: They do not fit. With several requests that is a mistake of ours.
    """

    def __init__(self, keys: Keys, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.count = sum([len(request.rows) for request in requests])
        self._keys = keys
        self._cells: list[tuple[int, int, Item]] = []
        self._puts: list[StreamPut] = []
        self._pack_cells()
        self._pack_streams()
        firsts = itertools.accumulate([0, *(len(request.rows) for request in requests)])
        self._ids = [
            (index, request.first_id, offset)
            for index, (request, offset) in enumerate(zip(requests, firsts, strict=False))
            if request.first_id is not None
        ]
        self._checks = [
            (index, stream, version)
            for index, request in enumerate(requests)
            for stream, version in request.unmoved.items()
        ]
        self._updates = [update for request in requests for update in request.updates]
        self._check_size()

    @property
    def cell_count(self) -> int:
        """How many of the first actions are cells."""
        return len(self._cells)

    def actions(self, base: int, token: bytes) -> list[dict[str, Any]]:
        """The actions of the transaction: its cells first, then all others.

        Args:
            base: Position of the first event.
            token: Of the transaction.
        """
        keys, commit = self._keys, (base, self.count)
        puts = [
            cell(keys, base + offset, count, token, commit, body)
            for offset, count, body in self._cells
        ]
        puts += [
            stream_item(keys, put.stream, put.first, token, commit, put.body) for put in self._puts
        ]
        puts += [
            {**keys.event_id(id_), "p": {"N": str(base + offset)}} for _, id_, offset in self._ids
        ]
        actions: list[dict[str, Any]] = [{"Put": self._once(item)} for item in puts]
        for action in actions[: len(self._cells)]:
            action["Put"]["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        actions += [
            {
                "ConditionCheck": {
                    "TableName": keys.table,
                    "Key": key(keys.stream(stream), version + 1),
                    "ConditionExpression": IS_ABSENT,
                }
            }
            for _, stream, version in self._checks
        ]
        return actions + [{"Update": update} for update in self._updates]

    def request_of(self, action: int) -> int:
        """Which of the requests an action, not of a cell, belongs to."""
        owners = [put.request for put in self._puts]
        owners += [index for index, *_ in (*self._ids, *self._checks)]
        index = action - len(self._cells)
        # Only a request that is alone has updates.
        return owners[index] if index < len(owners) else 0

    def _once(self, item: Item) -> dict[str, Any]:
        return {"TableName": self._keys.table, "Item": item, "ConditionExpression": IS_ABSENT}

    def _pack_cells(self) -> None:
        events = [
            CellEvent(
                request.heads[row.head].stream,
                request.bases[row.head] + row.step,
                row.event.type,
                row.event.state,
            )
            for request in self.requests
            for row in request.rows
        ]
        for start, end in cell_stretches(events):
            self._cells.append((start, end - start, pack_cell(events[start:end])))

    def _pack_streams(self) -> None:
        position = 0
        for index, request in enumerate(self.requests):
            mine: list[list[StreamEvent]] = [[] for _ in request.heads]
            for row in request.rows:
                mine[row.head].append(StreamEvent(position, row.event.type, row.event.state))
                position += 1
            for head, base, events in zip(request.heads, request.bases, mine, strict=True):
                for start, end in stream_stretches(events):
                    body = pack_stream(events[start:end])
                    self._puts.append(StreamPut(index, head.stream, base + start + 1, body))

    def _check_size(self) -> None:
        others = len(self._ids) + len(self._checks) + len(self._updates)
        actions = len(self._cells) + len(self._puts) + others
        at_most("a transaction", actions, limit=TRANSACTION_ITEMS_MAX, unit="items")
        size = sum([item_bytes(body) + _ITEM_BYTES for _, _, body in self._cells])
        for put in self._puts:
            size += item_bytes(put.body) + len(put.stream.encode()) + _ITEM_BYTES
        at_most("a transaction", size, limit=TRANSACTION_BYTES_MAX, unit="bytes")


def cell_stretches(events: Sequence[CellEvent]) -> Iterator[tuple[int, int]]:
    """Where events that follow each other are cut into cells: begin and end of each."""
    sizes = [
        len(event.state) + len(event.stream.encode()) + len(event.type.encode()) + _ITEM_BYTES
        for event in events
    ]
    return _stretches(sizes, CELL_EVENTS_MAX)


def stream_stretches(events: Sequence[StreamEvent]) -> Iterator[tuple[int, int]]:
    """Likewise events of one stream, into its items."""
    sizes = [len(event.state) + len(event.type.encode()) + _ITEM_BYTES for event in events]
    return _stretches(sizes, STREAM_ITEM_EVENTS_MAX)


def _stretches(sizes: Sequence[int], count_max: int) -> Iterator[tuple[int, int]]:
    """Cut a row of things so that no stretch is longer or larger than an item may be."""
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == count_max or total + size > BODY_BYTES_MAX):
            yield start, index
            start, total = index, 0
        total += size
    if sizes:
        yield start, len(sizes)


def _merged(store: str, appends: Sequence[StreamAppend]) -> tuple[list[Head], list[Row]]:
    """One head a stream, also where a stream is named again to go on where it was left."""
    places: dict[str, int] = {}
    wanted: list[int | None] = []
    steps: list[int] = []
    rows: list[Row] = []
    for stream, expected_version, events in appends:
        place = places.setdefault(stream, len(places))
        if place == len(steps):
            wanted.append(None)
            steps.append(0)
        if expected_version != ANY_VERSION:
            before = expected_version - steps[place]
            if wanted[place] not in {None, before} or before < 0:
                raise ConcurrencyConflictError(
                    store=store,
                    stream=stream,
                    expected_version=expected_version,
                    actual_version=(wanted[place] or 0) + steps[place],
                )
            wanted[place] = before
        for event in events:
            steps[place] += 1
            rows.append(Row(place, steps[place], event))
    return [Head(stream, wanted[place]) for stream, place in places.items()], rows
