"""Events around their storage: about to be stored, encoded, and read back with their places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar, cast
from uuid import UUID

import orjson
from typing_extensions import override

from eventcore.events.event import DomainEvent
from eventcore.events.times import TIMESTAMP_LENGTH, from_text

E = TypeVar("E", bound=DomainEvent)
E_co = TypeVar("E_co", bound=DomainEvent, covariant=True)


NO_METADATA: Final[Mapping[str, Any]] = {}

# {"v":1,"id":"<36 characters>","at":"<27 characters>" with a schema version of one digit.
_TIME_MARK: Final = slice(49, 57)
_TIME: Final = slice(57, 57 + TIMESTAMP_LENGTH)
_HEAD_BYTES: Final = _TIME.stop

# As the codec writes it: found without parsing a state that may be a megabyte.
_ID_FIRST: Final = re.compile(rb'\{"v":\d+,"id":"([0-9a-f-]{36})"')


class NewEvent(NamedTuple, Generic[E_co]):
    """An event with its metadata, before it has a place in a log.

    A named tuple, because an import makes millions: made in a third of a dataclass's time.

    Attributes:
        payload: The domain event.
        event_id: Any UUID; generated ones are version 7.
        timestamp: When it happened, aware; written as UTC with microseconds.
        source, correlation_id, causation_id, user_id, session_id, environment, region: See
            :class:`~eventcore.events.context.EventContext`. Absent is None, never empty.
        metadata: Further facts, JSON values under their wire names.
    """

    payload: E_co
    event_id: UUID
    timestamp: datetime
    source: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    environment: str | None = None
    region: str | None = None
    metadata: Mapping[str, Any] = NO_METADATA


class EncodedEvent(NamedTuple):
    """An event as a store keeps it.

    Attributes:
        event_id: Canonical text form of the id, 36 characters.
        type: Stored name.
        timestamp: Fixed-width UTC text (:func:`eventcore.events.times.to_text`).
        state: Compact JSON with everything except type, stream, version and position. It holds
            ``event_id`` and ``timestamp`` too, so that a log can be copied between stores byte by
            byte.
    """

    event_id: str
    type: str
    timestamp: str
    state: bytes


class RecordedReader(Protocol):
    """Reads what a recorded event was stored as; :class:`eventcore.events.codec.Codec` is one."""

    def decode_payload(self, recorded: Recorded[Any]) -> DomainEvent:
        """The payload, of the current schema version."""

    def decode_envelope(self, recorded: Recorded[Any]) -> dict[str, Any]:
        """The stored JSON object."""

    def decode_metadata(self, recorded: Recorded[Any]) -> Mapping[str, Any]:
        """The metadata, as they were before storing."""


class Recorded(Generic[E]):
    """An event read from a log, with its metadata and places.

    Decoded on demand: a reader that only looks at places and types pays for nothing else, and the
    payload is validated in one pass over the stored bytes when it is first asked for.

    Attributes:
        position: Place in the whole log, an int that grows in the order readers can see.
        stream: Name of its stream, ``category-id``.
        version: Place in its stream, from 1.
        type: Stored name.
        state: The stored bytes.
    """

    __slots__ = (
        "_codec",
        "_envelope",
        "_payload",
        "position",
        "state",
        "stream",
        "type",
        "version",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - built from a row, in column order, on the hottest path
        self,
        position: int,
        stream: str,
        version: int,
        type: str,  # noqa: A002 - the column's name
        state: bytes,
        codec: RecordedReader,
    ) -> None:
        self.position = position
        self.stream = stream
        self.version = version
        self.type = type
        self.state = state
        self._codec = codec
        self._payload: E | None = None
        self._envelope: dict[str, Any] | None = None

    @property
    def payload(self) -> E:
        """The domain event, of the current schema version.

        Raises:
            UndecodableEventError: The type is unknown, an upcaster failed, or the bytes are
                damaged.
        """
        payload = self._payload
        if payload is None:
            payload = self._payload = cast("E", self._codec.decode_payload(self))
        return payload

    @property
    def envelope(self) -> dict[str, Any]:
        """The stored JSON object as it is (``v``, ``id``, ``at``, ``data``, ``ctx``, ``meta``)."""
        envelope = self._envelope
        if envelope is None:
            envelope = self._envelope = self._codec.decode_envelope(self)
        return envelope

    def forget(self) -> None:
        """Drop what was decoded; asked for again, it is decoded again.

        For whoever goes through many events and is done with each: what is dropped at once is
        memory that the next one uses while it is still in the processor's cache.
        """
        self._payload = self._envelope = None

    @property
    def category(self) -> str:
        """First part of the stream's name."""
        return self.stream.partition("-")[0]

    @property
    def id(self) -> str:
        """Id of the aggregate: the stream's name without its category."""
        return self.stream.partition("-")[2]

    @property
    def event_id(self) -> UUID:
        """Identity of the event."""
        return UUID(self.envelope["id"])

    @property
    def schema_version(self) -> int:
        """Shape of the payload as it was stored."""
        return cast("int", self.envelope["v"])

    @property
    def timestamp_text(self) -> str:
        """When it happened, as fixed-width UTC text."""
        if self._envelope is None:
            # Where the codec writes it, right behind the id: read models ask for nothing more
            # often.
            head = self.state[:_HEAD_BYTES]
            if head[_TIME_MARK] == b'","at":"':
                return head[_TIME].decode("ascii")
        return cast("str", self.envelope["at"])

    @property
    def timestamp(self) -> datetime:
        """When it happened, aware UTC."""
        return from_text(self.timestamp_text)

    @property
    def source(self) -> str | None:
        """Name of the producer."""
        return self._context("source")

    @property
    def correlation_id(self) -> str | None:
        """Groups everything one request or case set off."""
        return self._context("correlationId")

    @property
    def causation_id(self) -> str | None:
        """What made this event happen."""
        return self._context("causationId")

    @property
    def user_id(self) -> str | None:
        """Who acted."""
        return self._context("userId")

    @property
    def session_id(self) -> str | None:
        """In which session."""
        return self._context("sessionId")

    @property
    def environment(self) -> str | None:
        """Environment it was recorded in."""
        return self._context("environment")

    @property
    def region(self) -> str | None:
        """Region it was recorded in."""
        return self._context("region")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Transport facts, JSON values under their wire names."""
        return self._codec.decode_metadata(self)

    def _context(self, name: str) -> str | None:
        context = self.envelope.get("ctx")
        return context.get(name) if context else None

    def to_new(self) -> NewEvent[E]:
        """The same event without its places, e.g. to write it elsewhere."""
        return NewEvent(
            payload=self.payload,
            event_id=self.event_id,
            timestamp=self.timestamp,
            source=self.source,
            correlation_id=self.correlation_id,
            causation_id=self.causation_id,
            user_id=self.user_id,
            session_id=self.session_id,
            environment=self.environment,
            region=self.region,
            metadata=self.metadata,
        )

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recorded):
            return NotImplemented
        return self._identity() == other._identity()

    @override
    def __hash__(self) -> int:
        return hash((self.position, self.stream, self.version))

    def _identity(self) -> tuple[int, str, int, str, bytes]:
        return (self.position, self.stream, self.version, self.type, self.state)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return Recorded, (*self._identity(), self._codec)

    @override
    def __repr__(self) -> str:
        return f"<{self.type} {self.stream}@{self.version} position={self.position}>"


def event_id_of(state: bytes) -> str | None:
    """The event id inside a stored state; None if it has none."""
    if match := _ID_FIRST.match(state):
        return match[1].decode()
    try:
        envelope = orjson.loads(state)
    except orjson.JSONDecodeError:
        return None
    event_id = envelope.get("id") if isinstance(envelope, dict) else None
    return event_id if isinstance(event_id, str) else None
