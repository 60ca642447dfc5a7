"""The cases shipped in ``eventsourcing.tests`` on a Postgres server: uuid and text."""

from __future__ import annotations

import pytest
from eventsourcing.utils import Environment

from eventcore.stores.postgres import PostgresFactory
from eventcore.stores.postgres.persistence import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresProcessRecorder,
    PostgresTrackingRecorder,
)
from tests.contract.eventsourcing_cases import shipped
from tests.contract.eventsourcing_cases.views_written_for_postgres import Counters
from tests.postgres import PostgresSchema

MODULE = "eventcore.stores.postgres"


class TrackingSubclass(PostgresTrackingRecorder):
    """Named by topic in the factory cases."""


def environment(place: PostgresSchema, **more: str) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": MODULE,
        "POSTGRES_DBNAME": place.dbname,
        "POSTGRES_HOST": place.host,
        "POSTGRES_PORT": str(place.port),
        "POSTGRES_USER": place.user,
        "POSTGRES_PASSWORD": "trusted",
        "POSTGRES_SCHEMA": place.schema,
        **more,
    }


class OnServer(shipped.OnStore):
    """Each test in a new schema."""

    kit = shipped.Kit(
        factory=PostgresFactory,
        aggregate=PostgresAggregateRecorder,
        application=PostgresApplicationRecorder,
        process=PostgresProcessRecorder,
        tracking=PostgresTrackingRecorder,
        tracking_subclass=TrackingSubclass,
        counters=Counters,
    )

    @pytest.fixture(autouse=True)
    def _datastore(self, postgres_schema, monkeypatch):
        self.env_of_test = environment(postgres_schema, ORIGINATOR_ID_TYPE=self.originator_id_type)
        for key, value in self.env_of_test.items():
            monkeypatch.setenv(key, value)
        with PostgresFactory(Environment("", self.env_of_test)) as factory:
            self.datastore = factory.datastore
            yield


globals().update(shipped.cases_on(OnServer))
globals().update(shipped.cases_on(OnServer, shipped.RECORDERS, text=True))
