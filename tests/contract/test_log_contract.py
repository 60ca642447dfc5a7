"""Every store keeps the log contract: one suite, run against each."""

from pathlib import Path

import pytest
from typing_extensions import override

from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.limits import STATE_BYTES_MAX, STREAMS_PER_APPEND_MAX
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import Log
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import LogContract
from tests.dynamodb import DynamoDBPlace
from tests.model_dynamodb import ModelTables
from tests.postgres import PostgresSchema


class TestMemoryLog(LogContract):
    is_shared = False

    @override
    def open_log(self) -> Log:
        return MemoryLog()


class TestSQLiteLog(LogContract):
    @pytest.fixture(autouse=True)
    def _choose_file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "log.db"

    @override
    def open_log(self) -> Log:
        return SQLiteLog(self.path)


class TestSQLiteLogWithoutFlushes(LogContract):
    """``synchronous=NORMAL`` may lose the last commits with the power; nothing else differs."""

    @pytest.fixture(autouse=True)
    def _choose_file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "log.db"

    @override
    def open_log(self) -> Log:
        return SQLiteLog(self.path, synchronous="NORMAL")


@pytest.mark.postgres
class TestPostgresLog(LogContract):
    @pytest.fixture(autouse=True)
    def _choose_schema(self, postgres_schema: PostgresSchema) -> None:
        self.place = postgres_schema

    @override
    def open_log(self) -> Log:
        return PostgresLog(self.place.url, schema=self.place.schema)


class TestPostgresLogWithoutNotify(TestPostgresLog):
    """``notify=no`` lets followers look by themselves; nothing else differs."""

    @override
    def open_log(self) -> Log:
        return PostgresLog(self.place.url, schema=self.place.schema, notify=False)


class DynamoDBContract(LogContract):
    """What differs on DynamoDB: see :mod:`eventcore.stores.dynamodb.limits` and ``ids``."""

    has_unique_event_ids = False
    state_bytes_max = STATE_BYTES_MAX
    streams_per_append_max = STREAMS_PER_APPEND_MAX


@pytest.mark.dynamodb
class TestDynamoDBLog(DynamoDBContract):
    @pytest.fixture(autouse=True)
    def _choose_table(self, dynamodb: DynamoDBPlace) -> None:
        self.place = dynamodb

    @override
    def open_log(self) -> Log:
        place = self.place
        calls = open_calls(place.table, region=place.region, endpoint_url=place.url)
        return DynamoDBLog(calls, place.table)


class TestDynamoDBLogOnAModel(DynamoDBContract):
    """The model that the simulations run on keeps the same contract as the service."""

    @pytest.fixture(autouse=True)
    def _choose_tables(self) -> None:
        self.tables = ModelTables()

    @override
    def open_log(self) -> Log:
        return DynamoDBLog(DynamoDBCalls(self.tables), "log-table")
