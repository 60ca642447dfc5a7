"""Notifications in order, skipping nothing, from a table that nobody locks for writing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from eventsourcing.persistence import Notification, OperationalError
from psycopg import sql

from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.postgres.datastore import translating
from eventcore.stores.postgres.gaps import (
    LOOK_SECONDS_MAX,
    LOOK_SECONDS_MIN,
    Fence,
    GapWatch,
)
from eventcore.stores.postgres.reading import FinalRows, page_statements
from eventcore.stores.statements import load_statements

HELD_TIMEOUT_SECONDS: Final = 30.0
"""How long a page waits for transactions that may still write where it would read on."""

_COLUMNS: Final = ("notification_id", "originator_id", "originator_version", "topic", "state")


class Found(NamedTuple):
    """What one look came to.

    Attributes:
        notifications: Those that are final; there may be none.
        end: Everything up to this position was looked at.
        fence: What holds the reader behind them, to hand in the next time; None if nothing does.
    """

    notifications: list[Notification]
    end: int
    fence: Fence | None


class Notifications:
    """Reads the notifications of one table.

    Args:
        connections: To the primary.
        schema: Where the table is.
        table: Its name.
    """

    def __init__(self, connections: PostgresConnections, schema: str, table: str) -> None:
        self._connections = connections
        name = sql.Identifier(schema, table)
        chosen = load_statements("eventcore.stores.postgres", "sql/persistence.sql")["chosen"]
        statements = page_statements(name, _COLUMNS, chosen)
        self.gaps = GapWatch(connections, statements, name.as_string())
        self._rows = FinalRows(connections.fetch, statements, gaps=self.gaps)

    def look(
        self, after: int, limit: int, topics: Sequence[str] = (), *, fence: Fence | None = None
    ) -> Found:
        """What is final above a position just now.

        Args:
            after: The position.
            limit: Notifications at most.
            topics: Only these; none means all.
            fence: What held the reader when this was asked last: else writers that never pause
                would hold it for ever.
        """
        chosen = [list(topics)] if topics else None
        with translating():
            rows, end, fence = self._rows.look(after, limit, chosen, fence=fence)
        return Found(_made(rows), end, fence)

    def page(
        self, after: int, limit: int, *, stop: int | None = None, topics: Sequence[str] = ()
    ) -> list[Notification]:
        """What is final above a position; waits for who may still write right above it.

        Args:
            after: The position.
            limit: Notifications at most.
            stop: The last position; None: no end.
            topics: Only these; none means all.

        Raises:
            OperationalError: Such a transaction did not end in :data:`HELD_TIMEOUT_SECONDS`.
        """
        deadline = time.monotonic() + HELD_TIMEOUT_SECONDS
        pause_seconds = LOOK_SECONDS_MIN
        found = self.look(after, limit, topics)
        while found.fence is not None and not found.notifications and found.end <= after:
            if time.monotonic() >= deadline:
                who = ", ".join(holder.who for holder in self.gaps.describe())
                message = f"Notifications above {after} wait for a transaction: {who}"
                raise OperationalError(message)
            self._connections.closed.wait(pause_seconds)
            with translating():
                self._connections.check_usable()
            pause_seconds = min(pause_seconds * 2, LOOK_SECONDS_MAX)
            found = self.look(after, limit, topics, fence=found.fence)
        # Read beyond the end and cut off here: a gap right before the end is noticed that way.
        return [one for one in found.notifications if stop is None or one.id <= stop]

    def head(self) -> int | None:
        """The highest position that can be seen; None if there is none."""
        with translating():
            return self._rows.head() or None


def _made(rows: Sequence[tuple[Any, ...]]) -> list[Notification]:
    return [
        Notification(
            originator_id=row[1], originator_version=row[2], topic=row[3], state=row[4], id=row[0]
        )
        for row in rows
    ]
