"""Digests: of an event, of a stream and of a whole log, the same in whichever store it lies.

The digest of an event is SHA-256 of everything stored of it but its position: stream, version,
type, and the bytes of its state, in which its id, times, payload and metadata are. Names are framed
by their lengths, so no two different events are framed alike. The digest of a log, or of a stream,
is folded from those of its events in order: ``fold(digest so far, digest of the event)``. Positions
are left out because stores number differently; the order is what the fold is about.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final, NamedTuple, Self

from eventcore.events.recorded import Recorded

DIGEST_BYTES: Final = 32

EMPTY: Final = bytes(DIGEST_BYTES)
"""The digest of no events."""


def event_digest(event: Recorded[Any]) -> bytes:
    """The digest of one event, 32 bytes."""
    return row_digest(event.stream, event.version, event.type, event.state)


def row_digest(stream: str, version: int, type_: str, state: bytes) -> bytes:  # noqa: PLR0917 - a row
    """The same from the columns of a row."""
    names = f"{len(stream)}:{stream}{version}:{len(type_)}:{type_}"
    # A name that was damaged may hold half a surrogate pair.
    return sha256(names.encode("utf-8", "surrogatepass") + state).digest()


def fold(before: bytes, digest: bytes) -> bytes:
    """The digest of what came before and one event behind it."""
    return sha256(before + digest).digest()


class LogDigest(NamedTuple):
    """The digest of a log, or of a stream, up to an event.

    Attributes:
        events: How many events.
        value: 32 bytes.
    """

    events: int = 0
    value: bytes = EMPTY

    def then(self, digests: Iterable[bytes]) -> Self:
        """With more events, given by their digests."""
        events, value = self
        for digest in digests:
            value = sha256(value + digest).digest()
            events += 1
        return type(self)(events, value)

    def hex(self) -> str:
        """As it is written, 64 characters."""
        return self.value.hex()


def digest_of(events: Iterable[Recorded[Any]]) -> LogDigest:
    """The digest of a log or a stream, from its events in order.

    ``digest_of(log.read())`` of a log and of a copy of it in another store are equal.
    """
    return LogDigest().then(map(event_digest, events))
