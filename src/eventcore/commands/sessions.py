"""What may be asked of a session."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from eventcore.aggregates.sessions import Session
from eventcore.commands.command import Command
from eventcore.events.fields import Id, Text


class StartSession(Command, aggregate=Session):
    """Begin a session, of a user or of somebody unknown."""

    session_id: Id
    user_id: Id | None = None

    @override
    def decide(self, session: Session, /) -> None:
        """See :meth:`Session.start`."""
        session.start(user_id=self.user_id)


class TrackActivity(Command, aggregate=Session):
    """Note that something was done in a session."""

    session_id: Id
    action: Text
    target: Text | None = None
    details: dict[str, Any] | None = None

    @override
    def decide(self, session: Session, /) -> None:
        """See :meth:`Session.track`."""
        session.track(action=self.action, target=self.target, details=self.details)


class EndSession(Command, aggregate=Session):
    """End a session."""

    session_id: Id
    reason: Text | None = None

    @override
    def decide(self, session: Session, /) -> None:
        """See :meth:`Session.end`."""
        session.end(reason=self.reason)
