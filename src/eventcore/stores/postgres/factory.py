"""The factory that ``eventsourcing`` finds in ``eventcore.stores.postgres``."""

from __future__ import annotations

from typing import Any

from eventsourcing import postgres as base

from eventcore.stores.postgres.datastore import PostgresDatastore
from eventcore.stores.postgres.persistence import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresProcessRecorder,
    PostgresTrackingRecorder,
)


class PostgresFactory(base.PostgresFactory):
    """Builds recorders from the environment names of ``eventsourcing.postgres``, all of them.

    ``POSTGRES_ENABLE_DB_FUNCTIONS`` is taken and does nothing: the inserts here are one statement
    anyway, and that function loses events.

    Args:
        env: As the base library hands it over.
    """

    aggregate_recorder_class = PostgresAggregateRecorder
    application_recorder_class = PostgresApplicationRecorder
    tracking_recorder_class = PostgresTrackingRecorder
    process_recorder_class = PostgresProcessRecorder

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        # Not opened yet: nothing is lost with it.
        self.datastore: PostgresDatastore = PostgresDatastore.like(self.datastore)
