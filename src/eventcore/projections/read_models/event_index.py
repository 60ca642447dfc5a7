"""events and user_events: every event, found by its id, type, user, session or correlation.

Copies for looking things up; the log keeps the facts. Internal events are left out, events of
unknown types are not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from eventcore.events.event import DomainEvent
from eventcore.events.recorded import Recorded
from eventcore.projections.columns import TimeText
from eventcore.projections.projection import Projection, appends
from eventcore.projections.read_models.subjects import context_id, subject
from eventcore.projections.tables import Index, Table

EVENTS_TTL_DAYS = 90
USER_EVENTS_TTL_DAYS = 365


class EventRow(NamedTuple):
    """One event; ``version`` and ``position`` are its places in its stream and in the log."""

    event_id: str
    timestamp: TimeText
    event_type: str
    user_id: str | None
    correlation_id: str | None
    session_id: str | None
    stream: str
    version: int
    position: int


EVENTS = Table(
    "events",
    EventRow,
    key=["event_id"],
    indexes=[
        Index.on("event_type", "timestamp"),
        Index.on("user_id", "timestamp", present=True),
        Index.on("correlation_id", "timestamp", present=True),
    ],
    ttl_days=EVENTS_TTL_DAYS,
    ttl_column="timestamp",
)


class Events(Projection):
    """Keeps ``events``."""

    name = "events"
    fingerprint = "1"
    tables = (EVENTS,)
    share_by = "stream"

    @appends(DomainEvent)
    def add(self, event: Recorded[Any]) -> EventRow:
        """Add the event."""
        envelope = event.envelope
        return EventRow(
            envelope["id"],
            envelope["at"],
            event.type,
            subject(envelope, "userId"),
            context_id(envelope, "correlationId"),
            subject(envelope, "sessionId"),
            event.stream,
            event.version,
            event.position,
        )


class UserEventRow(NamedTuple):
    """One event of a user; ``timestamp_event_id`` sorts by time and never collides."""

    user_id: str
    timestamp_event_id: str
    event_type: str
    session_id: str | None
    position: int


USER_EVENTS = Table(
    "user_events",
    UserEventRow,
    key=["user_id", "timestamp#event_id"],
    indexes=[
        Index.on("event_type", "timestamp#event_id"),
        Index.on("session_id", "timestamp#event_id", present=True),
    ],
    ttl_days=USER_EVENTS_TTL_DAYS,
    ttl_column="timestamp#event_id",
    columns={"timestamp_event_id": "timestamp#event_id"},
)


class UserEvents(Projection):
    """Keeps ``user_events``: the events that name a user."""

    name = "user_events"
    fingerprint = "1"
    tables = (USER_EVENTS,)
    share_by = "stream"

    @appends(DomainEvent)
    def add(self, event: Recorded[Any]) -> UserEventRow | None:
        """Add the event, if it names a user."""
        envelope = event.envelope
        user_id = subject(envelope, "userId")
        if user_id is None:
            return None
        return UserEventRow(
            user_id,
            f"{envelope['at']}#{envelope['id']}",
            event.type,
            subject(envelope, "sessionId"),
            event.position,
        )
