"""The log on our Postgres recorders, and on those of ``eventsourcing``, keeps the contract too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from eventsourcing import persistence
from eventsourcing.utils import Environment
from typing_extensions import override

from eventcore.stores.log import Log
from eventcore.stores.recorders import RecorderLog
from eventcore.testing import LogContract
from tests.contract.eventsourcing_cases.test_postgres import environment
from tests.postgres import PostgresSchema


class TestOnOurPostgresModule(LogContract):
    """Each log has a recorder and connections of its own, as those of several processes have."""

    has_unique_event_ids = False
    module = "eventcore.stores.postgres"

    @pytest.fixture(autouse=True)
    def _choose_schema(self, postgres_schema: PostgresSchema) -> Iterator[None]:
        self.env = environment(
            postgres_schema, ORIGINATOR_ID_TYPE="text", PERSISTENCE_MODULE=self.module
        )
        self.factories: list[persistence.InfrastructureFactory[Any]] = []
        yield
        for made in self.factories:
            made.close()

    @override
    def open_log(self) -> Log:
        made = persistence.InfrastructureFactory.construct(Environment("shop", self.env))
        self.factories.append(made)
        return RecorderLog(made.application_recorder())


class TestOnBasePostgresModule(TestOnOurPostgresModule):
    module = "eventsourcing.postgres"
