"""Judging events from outside: new or repeated, allowed by the rules or not, and where they go.

The rules are those of the aggregates, by the same code that commands use. State is loaded once a
stream and kept between batches; every append still names the version it builds on, so what is kept
can never hide that another writer was faster.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from eventcore.aggregates.aggregate import Aggregate, aggregate_class_of
from eventcore.aggregates.reservations import Reservation
from eventcore.commands.reservations import reservation_appends
from eventcore.errors import ConcurrencyConflictError, InvalidEventError, RuleViolationError
from eventcore.events.codec import Codec
from eventcore.events.context import enrich
from eventcore.events.event import DomainEvent, stream_of
from eventcore.events.recorded import EncodedEvent, NewEvent, Recorded
from eventcore.ingestion.dead_letters import DeadLetter
from eventcore.ingestion.lines import Line
from eventcore.stores.limits import limits_of
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend
from eventcore.stores.refusals import Refusal, RefusalStore

STREAMS_KEPT_MAX: Final = 20_000
"""Aggregates kept between batches, the least recently used dropped first."""

DIGEST_BYTES: Final = 16


class Candidate(NamedTuple):
    """A well-formed event and the line it came from.

    Attributes:
        line: The line.
        event: What it says.
        problem: Why it is refused unless it is stored already; None: the rules decide.
    """

    line: Line
    event: NewEvent[DomainEvent]
    problem: str | None = None


class Placed(NamedTuple):
    """An event as it will be stored, with its line and its stream."""

    candidate: Candidate
    stream: str
    event: NewEvent[DomainEvent]
    encoded: EncodedEvent


@dataclass(slots=True)
class Verdict:
    """What to do with a batch.

    Attributes:
        appends: To be written in one append, in the order of the lines.
        letters: Refused lines.
        refusals: Those of them to be remembered.
        unmoved: Streams that a refusal was judged by, and their versions in the log: should one of
            them move before the verdict is written, it has to be judged anew.
        accepted: Events in ``appends`` that came from lines.
        duplicate: Lines whose event is stored already.
    """

    appends: list[StreamAppend] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    unmoved: dict[str, int] = field(default_factory=dict)
    accepted: int = 0
    duplicate: int = 0

    def append(self, stream: str, version: int, event: EncodedEvent) -> None:
        """Add an event; neighbours of one stream share an entry."""
        last = self.appends[-1] if self.appends else None
        if last is not None and last.stream == stream:
            last.events.append(event)  # type: ignore[attr-defined]  # made as a list right below
        else:
            self.appends.append(StreamAppend(stream, version, [event]))


@dataclass(slots=True)
class _Known:
    """What the log said when a batch began to be judged, and what the batch adds to it."""

    versions: dict[str, int] = field(default_factory=dict)
    stored: Mapping[str, Recorded[Any]] = field(default_factory=dict)
    refused: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    taken: dict[str, tuple[str, EncodedEvent]] = field(default_factory=dict)


class Judge:
    """Decides batches of candidates against one log.

    Args:
        log: The log.
        codec: Encodes the events.
        reservation_key: See :class:`eventcore.ingestion.pipeline.Ingestion`.
        retry_refused: See there.
    """

    def __init__(
        self, log: Log, codec: Codec, *, reservation_key: bytes, retry_refused: bool
    ) -> None:
        self._log = log
        self._codec = codec
        self._reservation_key = reservation_key
        self._refusals = log if isinstance(log, RefusalStore) else None
        self._retry_refused = retry_refused
        self._state_bytes_max = limits_of(log).state_bytes_max
        self._kept: OrderedDict[str, Aggregate] = OrderedDict()

    def judge(self, candidates: Sequence[Candidate]) -> Verdict:
        """Decide a batch, in order. Nothing is written; what is kept is as if it were."""
        verdict = Verdict()
        placed = [
            item
            for candidate in candidates
            if (item := self._placed(candidate, verdict)) is not None
        ]
        ids = [item.encoded.event_id for item in placed]
        known = _Known()
        # The versions before the events: an event that came in between then shows as a version that
        # moved when the verdict is written, never as one that is not there.
        self._load({item.stream for item in placed}, known)
        known.stored = self._log.locate(ids)
        if self._refusals is not None and not self._retry_refused:
            known.refused = dict(self._refusals.find_refusals(ids))
        for item in placed:
            self._decide(item, known, verdict)
        return verdict

    def write(self, verdict: Verdict) -> None:
        """Append what was accepted and remember what was refused, both or neither.

        Raises:
            ConcurrencyConflictError: A stream moved since it was judged. Nothing was written.
        """
        if self._refusals is not None and (verdict.refusals or verdict.appends):
            self._refusals.append_judged(verdict.appends, verdict.refusals, verdict.unmoved)
        elif verdict.appends and self._log.append(verdict.appends).repeated:
            # Another import of the same lines stored these very events: they are duplicates here.
            first = verdict.appends[0]
            raise ConcurrencyConflictError(
                store="the log",
                stream=first.stream,
                expected_version=first.expected_version,
                actual_version=first.expected_version + len(first.events),
            )
        while len(self._kept) > STREAMS_KEPT_MAX:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Drop all that is kept: a verdict that was not written left its marks on it."""
        self._kept.clear()

    def _placed(self, candidate: Candidate, verdict: Verdict) -> Placed | None:
        event = enrich(candidate.event)
        try:
            encoded = self._codec.encode(event)
        except InvalidEventError as error:
            letter = DeadLetter(candidate.line, error.reason, error.facts["message"])
            verdict.letters.append(letter)
            return None
        if len(encoded.state) > self._state_bytes_max:
            # It can grow a little: what the line left out is filled in.
            message = f"{len(encoded.state)} bytes as stored, the limit is {self._state_bytes_max}"
            verdict.letters.append(DeadLetter(candidate.line, "too-large", message))
            return None
        return Placed(candidate, stream_of(event.payload), event, encoded)

    def _load(self, streams: set[str], known: _Known) -> None:
        """Bring the aggregates of these streams to where the log has them."""
        classes = {
            stream: aggregate_class
            for stream in streams
            if (aggregate_class := aggregate_class_of(stream.partition("-")[0])) is not None
        }
        if not classes:
            return
        versions = self._log.stream_versions(list(classes))
        known.versions.update(versions)
        for stream, aggregate_class in classes.items():
            kept, version = self._kept.get(stream), versions[stream]
            if kept is None or kept.version != version:
                kept = aggregate_class(id=stream.partition("-")[2])
                if version:
                    stored = self._log.read_stream(stream, until=version)
                    kept.fold(event.payload for event in stored)
                self._kept[stream] = kept
            self._kept.move_to_end(stream)

    def _decide(self, item: Placed, known: _Known, verdict: Verdict) -> None:
        repeated = self._repeats(item, known)
        if repeated:
            verdict.duplicate += 1
            return
        event_id = item.encoded.event_id
        # What was refused once is refused again: whatever was stored since, a repeated run says the
        # same.
        refusal = known.refused.get((event_id, _digest(item))) if known.refused else None
        if refusal is None and repeated is False:
            message = "eventId: an event with this id and another content is stored already"
            letter = DeadLetter(item.candidate.line, "event-id-reused", message)
            verdict.letters.append(letter)
            return
        if refusal is None:
            refusal = self._apply(item, known, verdict)
        if refusal is None:
            verdict.accepted += 1
        else:
            letter = DeadLetter(item.candidate.line, refusal.reason, refusal.message)
            verdict.letters.append(letter)

    def _repeats(self, item: Placed, known: _Known) -> bool | None:
        """True: there already; False: its id is, with another content; None: it is new."""
        taken = known.taken.get(item.encoded.event_id)
        if taken is not None:
            stream, encoded = taken
            return (stream, encoded.type) == (item.stream, item.encoded.type) and _is_same(
                encoded.state, item.encoded.state
            )
        stored = known.stored.get(item.encoded.event_id)
        if stored is None:
            return None
        if (stored.stream, stored.type) != (item.stream, item.encoded.type):
            return False
        if _is_same(stored.state, item.encoded.state):
            return True
        # Stored with an older schema version, it says the same once it is upcast.
        current = self._codec.encode(stored.to_new()).state
        return current != stored.state and _is_same(current, item.encoded.state)

    def _apply(self, item: Placed, known: _Known, verdict: Verdict) -> Refusal | None:
        """Let the event happen to what is kept, or say why not."""
        aggregate, problem = self._kept.get(item.stream), item.candidate.problem
        if problem is not None:
            return self._refuse(item, "invalid-field", problem, known, verdict)
        try:
            if aggregate is None:
                verdict.append(item.stream, ANY_VERSION, item.encoded)
            elif type(aggregate).claims is Aggregate.claims:
                version = aggregate.version
                aggregate.record(item.event.payload)
                aggregate.pending.clear()
                verdict.append(item.stream, version, item.encoded)
            else:
                self._apply_with_claims(aggregate, item, known, verdict)
        except RuleViolationError as error:
            # A claim is refused by the stream of whoever holds it.
            if error.aggregate in known.versions:
                verdict.unmoved[error.aggregate] = known.versions[error.aggregate]
            return self._refuse(item, error.reason, error.facts["message"], known, verdict)
        known.taken[item.encoded.event_id] = (item.stream, item.encoded)
        return None

    def _refuse(  # noqa: PLR0917 - what is refused, why, and where to note it
        self, item: Placed, reason: str, message: str, known: _Known, verdict: Verdict
    ) -> Refusal:
        refusal = Refusal(item.encoded.event_id, _digest(item), reason, message)
        verdict.refusals.append(refusal)
        if not self._retry_refused:
            known.refused[refusal.event_id, refusal.digest] = refusal
        if item.stream in known.versions:
            verdict.unmoved[item.stream] = known.versions[item.stream]
        return refusal

    def _apply_with_claims(  # noqa: PLR0917 - as `_apply`
        self, aggregate: Aggregate, item: Placed, known: _Known, verdict: Verdict
    ) -> None:
        """Likewise for one that holds unique values; what changes is changed in copies first."""
        changed = aggregate.copy()
        changed.record(item.event.payload)
        reservations: dict[str, Reservation] = {}
        beside = reservation_appends(
            item.event,
            holder=item.stream,
            before=aggregate.claims(),
            after=changed.claims(),
            key=self._reservation_key,
            load=lambda id_: self._reservation(id_, reservations, known),
            encode=self._codec.encode,
        )
        made = {event.event_id: (a.stream, event) for a in beside for event in a.events}
        if made and (made.keys() & known.taken.keys() or self._log.locate(list(made))):
            # Ids of bookkeeping follow from the event's own: somebody has used one of them.
            changed.refuse("event-id-reused", "an id that follows from its eventId is taken")
        verdict.append(item.stream, aggregate.version, item.encoded)
        for append in beside:
            for ordinal, event in enumerate(append.events):
                verdict.append(append.stream, append.expected_version + ordinal, event)
        known.taken.update(made)
        changed.pending.clear()
        self._kept[item.stream] = changed
        for reservation in reservations.values():
            self._kept[reservation.stream] = reservation

    def _reservation(self, id_: str, changed: dict[str, Reservation], known: _Known) -> Reservation:
        if id_ not in changed:
            stream = Reservation.stream_of(id_)
            if stream not in known.versions:
                self._load({stream}, known)
            kept = self._kept[stream]
            assert isinstance(kept, Reservation)
            changed[id_] = kept.copy()
        return changed[id_]


def _is_same(one: bytes, other: bytes) -> bool:
    """Whether two states say the same, in any order of members; 1 is not true, nor 1.0."""
    return one == other or _canonical(one) == _canonical(other)


def _canonical(state: bytes) -> str:
    return json.dumps(from_json(state), sort_keys=True)


def _digest(item: Placed) -> str:
    digest = hashlib.blake2b(_canonical(item.encoded.state).encode(), digest_size=DIGEST_BYTES)
    digest.update(item.encoded.type.encode())
    return digest.hexdigest()
