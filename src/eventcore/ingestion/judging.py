"""Judging events from outside: new or repeated, allowed by the rules or not, and where they go.

The rules are those of the aggregates, by the same code that commands use. State is loaded once a
stream and kept between batches; every append still names the version it builds on, so what is kept
can never hide that another writer was faster.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from eventcore.aggregates.aggregate import Aggregate, aggregate_class_of
from eventcore.aggregates.reservations import Reservation
from eventcore.commands.reservations import reservation_appends
from eventcore.errors import RuleViolationError
from eventcore.events.codec import Codec
from eventcore.events.context import enrich
from eventcore.events.event import DomainEvent, stream_of
from eventcore.events.limits import STATE_BYTES_MAX
from eventcore.events.recorded import EncodedEvent, NewEvent, Recorded
from eventcore.ingestion.dead_letters import DeadLetter
from eventcore.ingestion.lines import Line
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend
from eventcore.stores.refusals import Refusal, RefusalStore

STREAMS_KEPT_MAX: Final = 20_000
"""Aggregates kept between batches, the least recently used dropped first."""

DIGEST_BYTES: Final = 16


class Candidate(NamedTuple):
    """A well-formed event and the line it came from."""

    line: Line
    event: NewEvent[DomainEvent]


class Placed(NamedTuple):
    """An event with its stream, as it will be stored."""

    stream: str
    event: NewEvent[DomainEvent]
    encoded: EncodedEvent


@dataclass(slots=True)
class Verdict:
    """What to do with a batch.

    Attributes:
        appends: To be written in one append, in the order of the lines.
        letters: Refused lines.
        refusals: Those of them that a rule refused, to be remembered.
        accepted: Events in ``appends`` that came from lines.
        duplicate: Lines whose event is stored already.
    """

    appends: list[StreamAppend] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
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
    """What the log knows of a batch before it is judged, and what the batch adds to it."""

    stored: Mapping[str, Recorded[Any]]
    refused: dict[tuple[str, str], Refusal]
    taken: dict[str, Placed] = field(default_factory=dict)


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
        self._kept: OrderedDict[str, Aggregate] = OrderedDict()

    def judge(self, candidates: Sequence[Candidate]) -> Verdict:
        """Decide a batch, in order. Nothing is written; what is kept is as if it were."""
        placed = [self._placed(candidate.event) for candidate in candidates]
        ids = [item.encoded.event_id for item in placed]
        known = _Known(self._log.locate(ids), {})
        if self._refusals is not None and not self._retry_refused:
            known.refused = dict(self._refusals.find_refusals(ids))
        self._load({item.stream for item in placed if item.encoded.event_id not in known.stored})
        verdict = Verdict()
        for candidate, item in zip(candidates, placed, strict=True):
            self._decide(candidate.line, item, known, verdict)
        return verdict

    def write(self, verdict: Verdict) -> None:
        """Remember refusals, then append: a run killed in between refuses the same again."""
        if verdict.refusals and self._refusals is not None:
            self._refusals.remember_refusals(verdict.refusals)
        if verdict.appends:
            self._log.append(verdict.appends)
        while len(self._kept) > STREAMS_KEPT_MAX:
            self._kept.popitem(last=False)

    def forget(self, verdict: Verdict) -> None:
        """Drop what is kept of the streams a failed append touched; they are loaded anew."""
        for append in verdict.appends:
            self._kept.pop(append.stream, None)

    def _placed(self, event: NewEvent[DomainEvent]) -> Placed:
        event = enrich(event)
        return Placed(stream_of(event.payload), event, self._codec.encode(event))

    def _load(self, streams: set[str]) -> None:
        """Bring the aggregates of these streams into memory; all new ones cost one query."""
        wanted = {
            stream: aggregate_class
            for stream in streams
            if stream not in self._kept
            and (aggregate_class := aggregate_class_of(stream.partition("-")[0])) is not None
        }
        if not wanted:
            return
        versions = self._log.stream_versions(list(wanted))
        for stream, aggregate_class in wanted.items():
            aggregate = aggregate_class(id=stream.partition("-")[2])
            if versions[stream]:
                aggregate.fold(event.payload for event in self._log.read_stream(stream))
            self._kept[stream] = aggregate

    def _decide(  # noqa: PLR0917 - what there is to know of one line
        self, line: Line, item: Placed, known: _Known, verdict: Verdict
    ) -> None:
        event_id, size = item.encoded.event_id, len(item.encoded.state)
        if size > STATE_BYTES_MAX:
            # It can grow a little: what the line left out is filled in.
            message = f"{size} bytes as stored, the limit is {STATE_BYTES_MAX}"
            verdict.letters.append(DeadLetter(line, "too-large", message))
            return
        # What was refused once is refused again before anything else is asked: whatever was stored
        # since, a repeated run says the same.
        refusal = known.refused.get((event_id, _digest(item))) if known.refused else None
        if refusal is None:
            repeated = _repeats(item, known)
            if repeated:
                verdict.duplicate += 1
                return
            if repeated is False:
                message = "eventId: an event with this id and another content is stored already"
                verdict.letters.append(DeadLetter(line, "event-id-reused", message))
                return
            refusal = self._apply(item, verdict)
            if refusal is not None and not self._retry_refused:
                known.refused[event_id, refusal.digest] = refusal
        if refusal is None:
            known.taken[event_id] = item
            verdict.accepted += 1
        else:
            verdict.letters.append(DeadLetter(line, refusal.reason, refusal.message))

    def _apply(self, item: Placed, verdict: Verdict) -> Refusal | None:
        """Let the event happen to what is kept, or say why not."""
        aggregate = self._kept.get(item.stream)
        if aggregate is None:
            verdict.append(item.stream, ANY_VERSION, item.encoded)
            return None
        self._kept.move_to_end(item.stream)
        version = aggregate.version
        try:
            if type(aggregate).claims is Aggregate.claims:
                aggregate.record(item.event.payload)
                aggregate.pending.clear()
                verdict.append(item.stream, version, item.encoded)
            else:
                self._apply_with_claims(aggregate, item, verdict)
        except RuleViolationError as error:
            message = error.facts["message"]
            refusal = Refusal(item.encoded.event_id, _digest(item), error.reason, message)
            verdict.refusals.append(refusal)
            return refusal
        return None

    def _apply_with_claims(self, aggregate: Aggregate, item: Placed, verdict: Verdict) -> None:
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
            load=lambda id_: self._reservation(id_, reservations),
            encode=self._codec.encode,
        )
        verdict.append(item.stream, aggregate.version, item.encoded)
        for append in beside:
            for ordinal, event in enumerate(append.events):
                verdict.append(append.stream, append.expected_version + ordinal, event)
        changed.pending.clear()
        self._kept[item.stream] = changed
        for reservation in reservations.values():
            self._kept[reservation.stream] = reservation

    def _reservation(self, id_: str, changed: dict[str, Reservation]) -> Reservation:
        if id_ not in changed:
            stream = Reservation.stream_of(id_)
            self._load({stream})
            kept = self._kept[stream]
            assert isinstance(kept, Reservation)
            changed[id_] = kept.copy()
        return changed[id_]


def _repeats(item: Placed, known: _Known) -> bool | None:
    """True: stored or taken already; False: its id is, with another content; None: new."""
    earlier = known.taken.get(item.encoded.event_id)
    if earlier is not None:
        return earlier.stream == item.stream and earlier.encoded == item.encoded
    stored = known.stored.get(item.encoded.event_id)
    if stored is None:
        return None
    if stored.stream != item.stream or stored.type != item.encoded.type:
        return False
    # Other bytes may say the same: an older schema version, or another writer's order of members.
    return bool(stored.state == item.encoded.state or stored.to_new() == item.event)


def _digest(item: Placed) -> str:
    digest = hashlib.blake2b(item.encoded.state, digest_size=DIGEST_BYTES)
    digest.update(item.encoded.type.encode())
    return digest.hexdigest()
