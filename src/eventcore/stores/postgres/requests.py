"""What one caller wants appended, in the form the statements take, and what became of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from eventcore.errors import ConcurrencyConflictError
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.log import ANY_VERSION, AppendResult, StreamAppend
from eventcore.stores.postgres.arrays import bigint, bigints, byteas, texts
from eventcore.stores.postgres.lanes import Answer, Lane, Parameters


class Head(NamedTuple):
    """A stream and the version it has to be at; None: whatever it is at."""

    stream: str
    wanted: int | None


class Request:
    """One append on its way. Made by one thread; those that share its statement fill in the rest.

    Attributes:
        heads: The streams, each once.
        events: In the order given: index of its stream in ``heads``, place behind that stream's
            version, the event.
        state_bytes: Of all events.
        turn: Released when it is this caller's turn: its answer is there, or a lane is.
        errand: The statement whose answer this caller is to fetch, for everybody in it.
        following: Who is woken by this caller, once it was woken itself.
        is_abandoned: Its caller was interrupted and fetches nothing.
        is_answered: What became of it is known, and its caller about to be woken.
        result: Where the events are; None if a stream had moved.
        error: Why the statement failed as a whole.
    """

    __slots__ = (
        "errand",
        "error",
        "events",
        "following",
        "heads",
        "is_abandoned",
        "is_answered",
        "result",
        "state_bytes",
        "turn",
    )

    def __init__(self, store: str, appends: Sequence[StreamAppend]) -> None:
        self.turn: threading.Lock | None = None
        self.errand: Batch | None = None
        self.following: Request | None = None
        self.is_abandoned = False
        self.is_answered = False
        self.result: AppendResult | None = None
        self.error: BaseException | None = None
        if len(appends) == 1:
            ((stream, wanted, events),) = appends
            self.heads = [Head(stream, None if wanted == ANY_VERSION else wanted)]
            self.events = [(0, step, event) for step, event in enumerate(events, start=1)]
        else:
            self.heads, self.events = _merged(store, appends)
        self.state_bytes = sum([len(event.state) for _, _, event in self.events])


class Batch(NamedTuple):
    """The callers that share a statement, and the lane it is on."""

    lane: Lane
    requests: Sequence[Request]

    def send(self) -> None:
        """See :meth:`Lane.send`."""
        self.lane.send(*statement_for(self.requests))

    def receive(self) -> None:
        """See :meth:`Lane.receive`; gives each its part of the answer."""
        distribute(self.requests, self.lane.receive())


def _merged(
    store: str, appends: Sequence[StreamAppend]
) -> tuple[list[Head], list[tuple[int, int, EncodedEvent]]]:
    """One head a stream, also where a stream is named again to go on where it was left."""
    places: dict[str, int] = {}
    wanted: list[int | None] = []
    steps: list[int] = []
    rows: list[tuple[int, int, EncodedEvent]] = []
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
            rows.append((place, steps[place], event))
    return [Head(stream, wanted[place]) for stream, place in places.items()], rows


def statement_for(batch: Sequence[Request]) -> tuple[str, Parameters]:
    """Name and parameters of the statement that writes these requests.

    Several requests have one stream each, and no two the same one unless all of those take it as
    it is.
    """
    if len(batch) > 1:
        return "append_streams_each", _shared_parameters(batch)
    request = batch[0]
    if len(request.heads) > 1:
        return "append_streams_all", _parameters(request.heads, request.events)
    ((stream, wanted),) = request.heads
    if len(request.events) == 1:
        ((_, _, event),) = request.events
        return "append_event", (
            stream.encode(),
            bigint(wanted),
            event.type.encode(),
            event.event_id.encode(),
            event.state,
        )
    events = [event for _, _, event in request.events]
    return "append_stream", (
        stream.encode(),
        bigint(wanted),
        texts([event.type for event in events]),
        texts([event.event_id for event in events]),
        byteas([event.state for event in events]),
    )


def _shared_parameters(batch: Sequence[Request]) -> Parameters:
    heads: list[Head] = []
    rows: list[tuple[int, int, EncodedEvent]] = []
    written: dict[str, int] = {}
    for place, request in enumerate(batch):
        head = request.heads[0]
        heads.append(head)
        before = 0
        if head.wanted is None:
            # All of them find the stream as it was before the statement.
            before = written.get(head.stream, 0)
            written[head.stream] = before + len(request.events)
        rows += [(place, before + step, event) for _, step, event in request.events]
    return _parameters(heads, rows)


def _parameters(heads: Sequence[Head], rows: Sequence[tuple[int, int, EncodedEvent]]) -> Parameters:
    return (
        texts([head.stream for head in heads]),
        bigints([head.wanted for head in heads]),
        bigints([place + 1 for place, _, _ in rows]),
        bigints([step for _, step, _ in rows]),
        texts([event.type for _, _, event in rows]),
        texts([event.event_id for _, _, event in rows]),
        byteas([event.state for _, _, event in rows]),
    )


def distribute(batch: Sequence[Request], answer: Answer) -> None:
    """Give each request what was written for it; those whose stream had moved get nothing."""
    is_whole = len(answer) == sum([len(request.events) for request in batch])
    start = 0
    for request in batch:
        end = start + len(request.events)
        if not is_whole:
            first = bytes.fromhex(request.events[0][2].event_id.replace("-", ""))
            if start >= len(answer) or (len(batch) > 1 and answer[start][2] != first):
                continue
        written = answer[start:end]
        request.result = AppendResult(
            tuple([row[0] for row in written]), tuple([row[1] for row in written]), repeated=False
        )
        start = end
