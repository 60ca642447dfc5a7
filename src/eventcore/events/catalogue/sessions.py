"""What happens in a session."""

from __future__ import annotations

from eventcore.events.event import DomainEvent
from eventcore.events.fields import Id, JsonObject, Text


class SessionEvent(DomainEvent, category="session", key="session_id", group="user"):
    """Base of what happens in a session."""

    session_id: Id


class SessionStarted(SessionEvent, type="session.started"):
    """Somebody, perhaps anonymous, began to use the system. First event of the stream."""

    user_id: Id | None = None


class SessionActivity(SessionEvent, type="session.activity"):
    """Something was done in the session."""

    action: Text
    target: Text | None = None
    details: JsonObject | None = None


class SessionEnded(SessionEvent, type="session.ended"):
    """The session is over; nothing follows."""

    reason: Text | None = None
