"""Session: one visit, from its start to its end; nothing happens in it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eventcore.aggregates.aggregate import Aggregate, applies, guards
from eventcore.events.catalogue.sessions import (
    SessionActivity,
    SessionEnded,
    SessionEvent,
    SessionStarted,
)


class SessionStatus(StrEnum):
    """Where a session stands."""

    STARTED = "started"
    ENDED = "ended"


@dataclass(kw_only=True)
class Session(Aggregate, category="session", begins_with=SessionStarted):
    """A session.

    Attributes:
        status: None before its start.
        user_id: Whose it is; None for an anonymous one.
        activities: How many activities there were. They themselves are in the log: kept here, they
            would grow for ever.
    """

    status: SessionStatus | None = None
    user_id: str | None = None
    activities: int = 0

    @guards(SessionEvent)
    def _nothing_follows_the_end(self, _event: SessionEvent) -> None:
        if self.status is SessionStatus.ENDED:
            self.refuse("session-ended", "the session has ended")

    @applies(SessionStarted)
    def _started(self, event: SessionStarted) -> None:
        self.status = SessionStatus.STARTED
        self.user_id = event.user_id

    @applies(SessionActivity)
    def _activity(self, _event: SessionActivity) -> None:
        self.activities += 1

    @applies(SessionEnded)
    def _ended(self, _event: SessionEnded) -> None:
        self.status = SessionStatus.ENDED

    def start(self, *, user_id: str | None = None) -> None:
        """Begin the session, of a user or of somebody unknown.

        Raises:
            RuleViolationError: ``already-exists``.
        """
        self.record(SessionStarted(session_id=self.id, user_id=user_id))

    def track(
        self, *, action: str, target: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        """Note that something was done.

        Raises:
            RuleViolationError: ``not-found``, ``session-ended``.
        """
        self.record(
            SessionActivity(session_id=self.id, action=action, target=target, details=details)
        )

    def end(self, *, reason: str | None = None) -> None:
        """End the session.

        Raises:
            RuleViolationError: ``not-found``, ``session-ended``.
        """
        self.record(SessionEnded(session_id=self.id, reason=reason))
