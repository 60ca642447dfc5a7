"""Checks every store makes before anything is sent, and the limits that a store states.

The limits of the contract are in :mod:`eventcore.events.limits`. A store whose own are tighter says
so in its attribute ``limits``, and who can choose how much goes into one append asks for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from eventcore.errors import LimitExceededError, StoreError
from eventcore.events.limits import (
    CATEGORY_LENGTH_MAX,
    EVENT_TYPE_LENGTH_MAX,
    EVENTS_PER_APPEND_MAX,
    ID_LENGTH_MAX,
    STATE_BYTES_MAX,
    STREAMS_PER_APPEND_MAX,
)
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.refusals import Refusal

PLACE_MAX: Final = 2**62
"""No log reaches this position or version; larger numbers asked for mean the end."""

# Control characters end lines, arguments and C strings; half a surrogate pair has no UTF-8 form.
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Only the canonical form: the same id spelled in two ways would be stored twice.
_EVENT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """How much a log takes at once; by default what the contract asks of every store.

    Attributes:
        events_per_append_max: Events in one append.
        streams_per_append_max: Streams in one append; where refusals are remembered with it, in the
            same commit, all of these together: its streams, those that must not have moved, and the
            events that were refused.
        state_bytes_max: Bytes of one event as stored.
        append_bytes_max: Bytes of all events of one append that are certain to fit.
    """

    events_per_append_max: int = EVENTS_PER_APPEND_MAX
    streams_per_append_max: int = STREAMS_PER_APPEND_MAX
    state_bytes_max: int = STATE_BYTES_MAX
    append_bytes_max: int = EVENTS_PER_APPEND_MAX * STATE_BYTES_MAX


CONTRACT_LIMITS: Final = LogLimits()


@runtime_checkable
class LimitedLog(Protocol):
    """A log that says what it takes.

    Attributes:
        limits: The same for as long as it is open.
    """

    limits: LogLimits


def limits_of(log: object) -> LogLimits:
    """What a log takes: what it says, or else what the contract asks of every store."""
    return log.limits if isinstance(log, LimitedLog) else CONTRACT_LIMITS


def check_judged(
    appends: Sequence[StreamAppend],
    refusals: Sequence[Refusal],
    unmoved: Mapping[str, int],
    *,
    limits: LogLimits,
) -> None:
    """Check what is written together with refusals against the limits.

    Raises:
        LimitExceededError: Too many streams and refusals.
    """
    streams = {append.stream for append in appends} | unmoved.keys()
    count = len(streams) + len({refusal.event_id for refusal in refusals})
    _at_most("a verdict", count, limits.streams_per_append_max, "streams and refusals")


def check_append(
    store: str, appends: Sequence[StreamAppend], limits: LogLimits = CONTRACT_LIMITS
) -> int:
    """Check an append against the limits; gives the number of its events.

    Raises:
        LimitExceededError: Too many streams or events, or something that is too large or long.
        StoreError: The append is malformed: no events, an event id named twice, a negative version,
            a name that is not ``category-id`` or holds control characters.
    """
    if len(appends) > limits.streams_per_append_max:
        streams = len({append.stream for append in appends})
        _at_most("an append", streams, limits.streams_per_append_max, "streams")
    count = 0
    for append in appends:
        _check_stream(store, append)
        count += len(append.events)
    _at_most("an append", count, limits.events_per_append_max, "events")
    if count > 1:
        _check_distinct(store, appends)
    elif count == 0:
        raise StoreError(store=store, problem="an append without events")
    for append in appends:
        for event in append.events:
            _check_event(store, event, limits.state_bytes_max)
    return count


def is_storable(text: str) -> bool:
    """Whether a stream, type or category could have this name; readers find nothing for others."""
    # Nearly every name is printable; the expression looks only at those that may not be.
    return text.isprintable() or not _UNSTORABLE.search(text)


def check_page(store: str, limit: int) -> None:
    """Refuse a page that could never hold an event: reading on after it would never end.

    Raises:
        StoreError: The limit is below 1.
    """
    if limit < 1:
        raise StoreError(
            store=store, problem=f"a page holds at least 1 event, the limit is {limit}"
        )


def _check_stream(store: str, append: StreamAppend) -> None:
    stream, expected_version, events = append
    if not events:
        raise StoreError(store=store, problem=f"an append to {stream!r} without events")
    if expected_version < ANY_VERSION:
        raise StoreError(store=store, problem=f"expected version {expected_version} is negative")
    category, _, id_ = stream.partition("-")
    if not category or not id_:
        raise StoreError(store=store, problem=f"a stream's name is category-id, not {stream!r}")
    if len(category) > CATEGORY_LENGTH_MAX:
        _at_most("a stream's category", len(category), CATEGORY_LENGTH_MAX, "characters")
    if len(id_) > ID_LENGTH_MAX:
        _at_most("a stream's id", len(id_), ID_LENGTH_MAX, "characters")
    _check_text(store, "the stream name", stream)


def _check_event(store: str, event: EncodedEvent, state_bytes_max: int) -> None:
    if not _EVENT_ID.fullmatch(event.event_id):
        raise StoreError(
            store=store,
            problem=f"event id {event.event_id!r} is no UUID of 36 characters in lower case",
        )
    if not event.type:
        raise StoreError(store=store, problem=f"event {event.event_id} has an empty type")
    if len(event.type) > EVENT_TYPE_LENGTH_MAX:
        _at_most("an event's type", len(event.type), EVENT_TYPE_LENGTH_MAX, "characters")
    _check_text(store, "the event type", event.type)
    if len(event.state) > state_bytes_max:
        _at_most(f"event {event.event_id}", len(event.state), state_bytes_max, "bytes")


def _check_distinct(store: str, appends: Sequence[StreamAppend]) -> None:
    seen: set[str] = set()
    for append in appends:
        for event in append.events:
            if event.event_id in seen:
                raise StoreError(
                    store=store, problem=f"an append names event id {event.event_id} twice"
                )
            seen.add(event.event_id)


def _check_text(store: str, what: str, text: str) -> None:
    if not is_storable(text):
        raise StoreError(
            store=store, problem=f"{what} {text!r} has control characters or half a surrogate pair"
        )


def _at_most(what: str, actual: int, limit: int, unit: str) -> None:  # noqa: PLR0917 - a sentence
    if actual > limit:
        raise LimitExceededError(what=what, actual=actual, limit=limit, unit=unit)
