"""Limits of the service, of this log, and what they come to."""

from __future__ import annotations

from typing import Final

from eventcore.errors import LimitExceededError
from eventcore.stores.limits import LogLimits

TRANSACTION_ITEMS_MAX: Final = 100
"""Actions in a transaction (AWS, DynamoDB API Reference, "TransactWriteItems")."""

TRANSACTION_BYTES_MAX: Final = 4_000_000
"""Bytes of the items of a transaction: 4 MB, which we read as the smaller of what it may mean (AWS,
DynamoDB Developer Guide, "Quotas": "Transactional operations")."""

ITEM_BYTES_MAX: Final = 409_600
"""Bytes of an item, its attributes' names included: 400 KB (AWS, DynamoDB Developer Guide,
"Quotas": "Item size")."""

BATCH_GET_MAX: Final = 100
"""Keys in a ``BatchGetItem`` (AWS, DynamoDB API Reference)."""

BATCH_WRITE_MAX: Final = 25
"""Requests in a ``BatchWriteItem`` (AWS, DynamoDB API Reference)."""

STATE_BYTES_MAX: Final = 400_000
"""Bytes of one event: what an item holds beside the longest stream name, type and our own."""

BODY_BYTES_MAX: Final = ITEM_BYTES_MAX - 4_096
"""Bytes of packed events in one item; the rest is for the key and the other attributes. A key's
text has at most 2,048 bytes (AWS, "Quotas": "Partition key length")."""

SEGMENT_POSITIONS: Final = 128
"""Positions of the log that share a partition key. The tail of the log moves on to a new key so
often that none of them stays hot, and one query reads so many commits at once."""

CELL_EVENTS_MAX: Final = SEGMENT_POSITIONS
"""Events in one cell of the log: then the record that covers a position begins in its segment or
in the one before."""

STREAM_ITEM_EVENTS_MAX: Final = 1_000
"""Events in one item of a stream: bounds what reading its newest version fetches."""

STREAMS_PER_APPEND_MAX: Final = TRANSACTION_ITEMS_MAX - 2
"""Streams in one append: an item each, beside one cell and the item of an event id."""

APPEND_BYTES_MAX: Final = 1_800_000
"""Bytes of events that fit into a transaction whatever they are: each is in it twice."""

GROUP_BYTES_MAX: Final = 250_000
"""Bytes of events that callers who share a transaction may bring along: one cell holds them."""


LIMITS: Final = LogLimits(
    streams_per_append_max=STREAMS_PER_APPEND_MAX,
    state_bytes_max=STATE_BYTES_MAX,
    append_bytes_max=APPEND_BYTES_MAX,
)
"""What a log states to those who choose how much they append at once."""


def at_most(what: str, actual: int, *, limit: int, unit: str) -> None:
    """Refuse what is larger than a limit.

    Raises:
        LimitExceededError: It is.
    """
    if actual > limit:
        raise LimitExceededError(what=what, actual=actual, limit=limit, unit=unit)
