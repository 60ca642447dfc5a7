"""A view as somebody wrote it who knows only ``eventsourcing.postgres``."""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

from typing import Any

from eventsourcing import postgres as base
from eventsourcing.persistence import Tracking
from eventsourcing.tests.projection import EventCountersView
from psycopg.sql import SQL, Identifier


class Counters(base.PostgresTrackingRecorder, EventCountersView):
    """Counts created and other events, in one table."""

    def __init__(self, datastore: base.PostgresDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.table = SQL("{}.{}").format(Identifier(datastore.schema), Identifier("counters"))
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, count bigint)").format(
                self.table
            )
        )

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, name: str) -> int:
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(SQL("SELECT count FROM {} WHERE name = %s").format(self.table), (name,))
            row = cursor.fetchone()
            return row["count"] if row else 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                SQL(
                    "INSERT INTO {} AS kept VALUES (%s, 1) "
                    "ON CONFLICT (name) DO UPDATE SET count = kept.count + 1"
                ).format(self.table),
                (name,),
            )
