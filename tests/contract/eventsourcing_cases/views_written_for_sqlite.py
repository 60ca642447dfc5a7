"""Views as somebody wrote them who knows only ``eventsourcing.sqlite``."""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

from typing import Any

from eventsourcing import sqlite as base
from eventsourcing.persistence import Tracking
from eventsourcing.tests.projection import AggregateEventCountersProjection, EventCountersView


class Counters(base.SQLiteTrackingRecorder, EventCountersView):
    """Counts created and other events, in one table."""

    table = "event_counters"

    def __init__(self, datastore: base.SQLiteDatastore, **kwargs: Any) -> None:
        super().__init__(datastore, **kwargs)
        self.create_table_statements.append(
            f"CREATE TABLE IF NOT EXISTS {self.table} (name TEXT PRIMARY KEY, count INTEGER)"
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
            cursor.execute(f"SELECT count FROM {self.table} WHERE name = ?", (name,))
            row = cursor.fetchone()
            return row[0] if row else 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                f"INSERT INTO {self.table} VALUES (?, 1) "
                "ON CONFLICT (name) DO UPDATE SET count = count + 1",
                (name,),
            )


class OtherCounters(Counters):
    """The same in a table of its own."""

    table = "other_event_counters"


class Counting(AggregateEventCountersProjection):
    """One projection of an application."""

    name = "counting"
    topics = ()


class CountingElsewhere(AggregateEventCountersProjection):
    """Another projection of the same application."""

    name = "counting_elsewhere"
    topics = ()
