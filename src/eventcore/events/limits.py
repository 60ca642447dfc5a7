"""Limits every store keeps, stated once and checked before anything is sent."""

from typing import Final

ID_LENGTH_MAX: Final = 128
"""Characters in an aggregate's id (catalogue of built-in events)."""

CATEGORY_LENGTH_MAX: Final = 64
"""Characters in a stream's category, the part before the first hyphen."""

EVENT_TYPE_LENGTH_MAX: Final = 128
"""Characters in a stored event name such as ``order.paid``."""

STATE_BYTES_MAX: Final = 1_048_576
"""Bytes of one event as stored (1 MiB). Larger things belong in object storage, named here."""

EVENTS_PER_APPEND_MAX: Final = 10_000
"""Events in one append. A bound on the memory and lock time that one caller can take."""

STREAMS_PER_APPEND_MAX: Final = 10_000
"""Streams in one append."""

READ_PAGE_EVENTS: Final = 1_000
"""Events fetched at once while iterating: bounds memory, not what can be read."""
