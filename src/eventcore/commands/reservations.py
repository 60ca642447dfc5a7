"""Reservations: what has to be written beside an event so that a value has one holder at a time.

The reservation's stream goes into the same append as the event that claims the value. Whoever loses
the race for it gets a conflict, reloads, and is then refused by the rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from eventcore.aggregates.aggregate import Claim
from eventcore.aggregates.reservations import Reservation
from eventcore.errors import RuleViolationError
from eventcore.events.event import DomainEvent
from eventcore.events.identifiers import event_id_of_reservation
from eventcore.events.limits import ID_LENGTH_MAX
from eventcore.events.recorded import EncodedEvent, NewEvent
from eventcore.stores.log import StreamAppend

DIGEST_BYTES: Final = 24
"""192 bits: two addresses with one digest will not be met."""

KEY_BYTES_MAX: Final = 64
"""A longer key is hashed first (RFC 7693, section 2.1: keys of at most 64 bytes)."""


def reservation_id_of(claim: Claim, key: bytes) -> str:
    """Id of the reservation of a value: ``kind:digest``. The value itself is not stored.

    Args:
        claim: The value.
        key: Secret without which the digest of a guessed value cannot be told; the same for all
            writers of a log, for ever.
    """
    if len(key) > KEY_BYTES_MAX:
        key = hashlib.blake2b(key).digest()
    digest = hashlib.blake2b(claim.value.encode(), key=key, digest_size=DIGEST_BYTES)
    return f"{claim.kind}:{digest.hexdigest()}"


def reservation_appends(  # noqa: PLR0913 - each a keyword, each needed
    cause: NewEvent[DomainEvent],
    *,
    holder: str,
    before: frozenset[Claim],
    after: frozenset[Claim],
    key: bytes,
    load: Callable[[str], Reservation],
    encode: Callable[[NewEvent[DomainEvent]], EncodedEvent],
) -> list[StreamAppend]:
    """What to append together with an event that changes which values an aggregate holds.

    Args:
        cause: The event. Ids of the written events derive from its id, so that a repeated append is
            the same append.
        holder: Stream of the aggregate.
        before: What it held before the event.
        after: What it holds after it.
        key: See :func:`reservation_id_of`.
        load: Gives the reservation with an id, as it is now. It is changed by this call: hand in a
            copy, or drop it if the append fails.
        encode: Turns events into what a store keeps.

    Raises:
        RuleViolationError: Another aggregate holds a value; the code is the claim's. No reservation
            that ``load`` gave has changed.
    """
    if before == after:
        return []
    claimed = [load(reservation_id_of(claim, key)) for claim in _sorted(after - before)]
    for reservation, claim in zip(claimed, _sorted(after - before), strict=True):
        if reservation.holder not in {None, _holder_name(holder)}:
            raise RuleViolationError(
                reason=claim.reason,
                aggregate=holder,
                message=f"another {holder.partition('-')[0]} holds the same {claim.kind}",
            )
    released = [load(reservation_id_of(claim, key)) for claim in _sorted(before - after)]
    for reservation, claim in zip(claimed, _sorted(after - before), strict=True):
        reservation.claim(_holder_name(holder), reason=claim.reason)
    for reservation in released:
        reservation.release(_holder_name(holder))
    return _appends(cause, [*claimed, *released], encode)


def _appends(
    cause: NewEvent[DomainEvent],
    reservations: list[Reservation],
    encode: Callable[[NewEvent[DomainEvent]], EncodedEvent],
) -> list[StreamAppend]:
    appends = []
    ordinal = 0
    for reservation in reservations:
        events = []
        for payload in reservation.pending:
            new: NewEvent[DomainEvent] = cause._replace(
                payload=payload,
                event_id=event_id_of_reservation(cause.event_id, ordinal),
                causation_id=str(cause.event_id),
                metadata={},
            )
            events.append(encode(new))
            ordinal += 1
        if events:
            expected_version = reservation.version - len(events)
            appends.append(StreamAppend(reservation.stream, expected_version, events))
        reservation.pending.clear()
    return appends


def _sorted(claims: frozenset[Claim]) -> list[Claim]:
    # An order of its own, so that a repeated append has the same ids.
    return sorted(claims, key=lambda claim: (claim.kind, claim.value))


def _holder_name(stream: str) -> str:
    if len(stream) <= ID_LENGTH_MAX:
        return stream
    return hashlib.blake2b(stream.encode(), digest_size=DIGEST_BYTES).hexdigest()
