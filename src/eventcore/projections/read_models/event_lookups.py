"""Looking events up by what the indexes of ``events`` and ``user_events`` know.

::

    found = EventLookups(app.views)
    found.correlated("checkout-17")   # everything that one request brought about
    found.in_session("s-1")
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from eventcore.events.times import to_text
from eventcore.projections.read_models.event_index import (
    EVENTS,
    USER_EVENTS,
    EventRow,
    UserEventRow,
)
from eventcore.projections.views import Views


class EventLookups:
    """Finds copies of events, oldest first; what has expired is not found, the log keeps it.

    Each look-up is served by a key or an index in its order, on every backend, and reads on as far
    as its rows are asked for.

    Args:
        views: e.g. ``app.views``.
    """

    def __init__(self, views: Views) -> None:
        self._views = views

    def get(self, event_id: str) -> EventRow | None:
        """The event with an id; None if there is none, or not yet."""
        return next(self._views.query(EVENTS, {"event_id": event_id}), None)

    def by_type(
        self, event_type: str, since: datetime | None = None, *, limit: int | None = None
    ) -> Iterator[EventRow]:
        """Events of a type.

        Args:
            event_type: Stored name.
            since: An aware time; only those that happened then or later.
            limit: At most so many, at least 1.
        """
        return self._events("event_type", event_type, since, limit=limit)

    def by_user(
        self, user_id: str, since: datetime | None = None, *, limit: int | None = None
    ) -> Iterator[EventRow]:
        """Events that a user caused, or that name him; the rest as in :meth:`by_type`."""
        return self._events("user_id", user_id, since, limit=limit)

    def correlated(
        self, correlation_id: str, since: datetime | None = None, *, limit: int | None = None
    ) -> Iterator[EventRow]:
        """Events of one correlation; the rest as in :meth:`by_type`."""
        return self._events("correlation_id", correlation_id, since, limit=limit)

    def of_user(
        self, user_id: str, since: datetime | None = None, *, limit: int | None = None
    ) -> Iterator[UserEventRow]:
        """Events that name a user, for as long as ``user_events`` keeps them."""
        return self._of_users("user_id", user_id, since, limit=limit)

    def in_session(
        self, session_id: str, since: datetime | None = None, *, limit: int | None = None
    ) -> Iterator[UserEventRow]:
        """Events of a session, for as long as ``user_events`` keeps them."""
        return self._of_users("session_id", session_id, since, limit=limit)

    def _events(
        self, column: str, value: str, since: datetime | None, *, limit: int | None
    ) -> Iterator[EventRow]:
        first = None if since is None else to_text(since)
        return self._views.query_sorted(
            EVENTS, column, value, by="timestamp", since=first, limit=limit
        )

    def _of_users(
        self, column: str, value: str, since: datetime | None, *, limit: int | None
    ) -> Iterator[UserEventRow]:
        first = None if since is None else to_text(since)
        return self._views.query_sorted(
            USER_EVENTS, column, value, by="timestamp#event_id", since=first, limit=limit
        )
