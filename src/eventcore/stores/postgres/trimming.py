"""Trimming a log in Postgres: in one transaction the door opens, what is noted leaves, it closes.

The role needs to own the log's table. Writers wait for as long as a transaction takes, a few
thousand rows; readers do not. What was never trimmed has no table, trigger or check of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg import sql

from eventcore.errors import TrimRefusedError
from eventcore.events.recorded import Recorded
from eventcore.stores.limits import is_storable
from eventcore.stores.postgres.connections import Connection, PostgresConnections
from eventcore.stores.postgres.gaps import Fetch
from eventcore.stores.statements import load_statements
from eventcore.stores.trimming import TrimRecord, check_trim, refuse_trimmed

TRIMMED_AT_ONCE: Final = 2_000
"""Events that leave in one transaction: while it goes on, no writer can."""

_UUID_LENGTH: Final = 36


class PostgresTrims:
    """What was trimmed from a log, and the door for more.

    Args:
        connections: To the primary.
        fetch: Reads the rows of a statement; :meth:`PostgresConnections.fetch` by default.
    """

    def __init__(self, connections: PostgresConnections, fetch: Fetch | None = None) -> None:
        self._connections = connections
        self._fetch: Fetch = fetch or connections.fetch
        schema = sql.Identifier(connections.schema)
        log = sql.Identifier(connections.schema, "eventcore_log").as_string()
        self._table = sql.Identifier(connections.schema, "eventcore_log_trims").as_string()
        self._sql = {
            # The text is that of a packaged file, not of a user.
            name: sql.SQL(text).format(schema=schema, log=sql.Literal(log)).as_bytes()
            for name, text in load_statements(
                "eventcore.stores.postgres", "sql/trimming.sql"
            ).items()
        }

    def record(self) -> TrimRecord | None:
        """How far the log was trimmed, if ever."""
        if not self._fetch(self._sql["select_tables"], (self._table,))[0][0]:
            return None
        rows = self._fetch(self._sql["select_trims"])
        return TrimRecord(*rows[0]) if rows else None

    def positions(self, event_ids: Sequence[str]) -> Mapping[str, int]:
        """Those of the ids whose events were removed."""
        if not self._fetch(self._sql["select_tables"], (self._table,))[0][0]:
            return {}
        known = [id_ for id_ in event_ids if len(id_) == _UUID_LENGTH and is_storable(id_)]
        return dict(self._fetch(self._sql["select_trimmed"], (known,)))

    def check_page(self, after: int) -> None:
        """Check that nothing above a position was trimmed. Asked after a page was read there.

        Raises:
            TrimmedHistoryError: Something may have been.
        """
        record = self.record()
        if record is not None and after < record.until:
            self.refuse(record, f"what is above position {after}")

    def check_ids(self, event_ids: Sequence[str]) -> None:
        """Check that no event of these ids was trimmed.

        Raises:
            TrimmedHistoryError: One was.
        """
        for event_id in self.positions(event_ids):
            self.refuse(self.record(), f"event {event_id}")

    def refuse(self, record: TrimRecord | None, what: str) -> None:
        """See :func:`eventcore.stores.trimming.refuse_trimmed`."""
        refuse_trimmed(self._connections.name, record, what)

    def trim(self, events: Sequence[Recorded[Any]], archive: str) -> int:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim`."""
        check_trim(self._connections.name, events)
        with self._connections.transaction() as connection:
            connection.execute(self._sql["limit_wait"])
            connection.execute(self._sql["lock_log"])
            exists = connection.execute(self._sql["select_tables"], (self._table,)).fetchone()
            if exists == (False,):
                connection.execute(self._sql["create_door"], prepare=False)
            left = self._left(connection, events)
            if not left:
                return 0
            connection.execute(self._sql["open_door"])
            for start in range(0, len(left), TRIMMED_AT_ONCE):
                self._remove(connection, left[start : start + TRIMMED_AT_ONCE])
            self._check_streams(connection, [event for _, event in left])
            connection.execute(self._sql["close_door"])
            connection.execute(self._sql["upsert_trims"], (left[-1][1].position, archive))
        return len(left)

    def _left(
        self, connection: Connection, events: Sequence[Recorded[Any]]
    ) -> list[tuple[str, Recorded[Any]]]:
        named = [(str(event.event_id), event) for event in events]
        ids = [id_ for id_, _ in named]
        rows: list[tuple[str, int]] = connection.execute(
            self._sql["select_trimmed"], (ids,)
        ).fetchall()
        gone = dict(rows)
        return [(id_, event) for id_, event in named if id_ not in gone]

    def _remove(self, connection: Connection, left: Sequence[tuple[str, Recorded[Any]]]) -> None:
        ids = [id_ for id_, _ in left]
        places = [event.position for _, event in left]
        connection.execute(self._sql["insert_trimmed"], (ids, places))
        columns = (
            places,
            [event.stream for _, event in left],
            [event.version for _, event in left],
            [event.type for _, event in left],
            ids,
            [event.state for _, event in left],
        )
        deleted = connection.execute(self._sql["delete_events"], columns).rowcount
        if deleted != len(left):
            problem = (
                f"{len(left) - deleted} of the events are others than in the archive, or absent"
            )
            raise TrimRefusedError(store=self._connections.name, problem=problem)

    def _check_streams(self, connection: Connection, events: Sequence[Recorded[Any]]) -> None:
        newest = {event.stream: event.version for event in events}
        row = connection.execute(
            self._sql["select_broken"], (list(newest), list(newest.values()))
        ).fetchone()
        if row is not None:
            problem = f"the newest event of {row[0]} would leave, or an older one would stay"
            raise TrimRefusedError(store=self._connections.name, problem=problem)
