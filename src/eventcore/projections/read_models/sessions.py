"""user_sessions: when each session began and ended."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from eventcore.events.catalogue import SessionEnded, SessionStarted
from eventcore.events.recorded import Recorded
from eventcore.projections.projection import Projection, on
from eventcore.projections.read_models.keys import by_id
from eventcore.projections.tables import Index, Table


class SessionRow(NamedTuple):
    """One session; ``user_id`` is None for an anonymous one, ``ended_at`` while it lasts."""

    session_id: str
    user_id: str | None
    started_at: datetime
    ended_at: datetime | None


SESSIONS = Table(
    "user_sessions",
    SessionRow,
    key=["session_id"],
    indexes=[Index.on("user_id", "started_at", present=True)],
)


class UserSessions(Projection):
    """Keeps ``user_sessions``. What is done in a session is in ``events``."""

    name = "user_sessions"
    fingerprint = "1"
    tables = (SESSIONS,)
    share_by = "stream"

    @on(SessionStarted, key=by_id)
    def started(self, _row: SessionRow | None, event: Recorded[SessionStarted]) -> SessionRow:
        """Add the session."""
        return SessionRow(event.id, event.payload.user_id, event.timestamp, None)

    @on(SessionEnded, key=by_id)
    def ended(self, row: SessionRow | None, event: Recorded[SessionEnded]) -> SessionRow | None:
        """Note the end."""
        return row and row._replace(ended_at=event.timestamp)
