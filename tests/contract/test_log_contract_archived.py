"""An archive and its log keep the log contract together, wherever they meet, as any store does."""

from pathlib import Path

import pytest
from typing_extensions import override

from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.opening import open_log
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.limits import STATE_BYTES_MAX, STREAMS_PER_APPEND_MAX
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import Log
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import LogContract
from tests.archived import TidiedLog
from tests.dynamodb import DynamoDBPlace
from tests.model_dynamodb import ModelTables
from tests.postgres import PostgresSchema


class ArchivedContract(LogContract):
    @pytest.fixture(autouse=True)
    def _choose_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def archived(self, log: Log, folder: str) -> Log:
        return TidiedLog(folder, log)


class OnMemory(ArchivedContract):
    is_shared = False
    number = 0

    @override
    def open_log(self) -> Log:
        self.number += 1
        return self.archived(MemoryLog(), str(self.folder / f"archive-{self.number}"))


class OnSQLite(ArchivedContract):
    @override
    def open_log(self) -> Log:
        log = SQLiteLog(self.folder / "log.db", synchronous="NORMAL")
        return self.archived(log, str(self.folder / "archive"))


@pytest.mark.postgres
class OnPostgres(ArchivedContract):
    @pytest.fixture(autouse=True)
    def _choose_schema(self, postgres_schema: PostgresSchema) -> None:
        self.place = postgres_schema

    @override
    def open_log(self) -> Log:
        log = PostgresLog(self.place.url, schema=self.place.schema)
        return self.archived(log, str(self.folder / "archive"))


class OnDynamoDB(ArchivedContract):
    """On a model of the tables; see also :class:`DynamoDBContract`."""

    has_unique_event_ids = False
    state_bytes_max = STATE_BYTES_MAX
    streams_per_append_max = STREAMS_PER_APPEND_MAX

    @pytest.fixture(autouse=True)
    def _choose_tables(self) -> None:
        self.tables = ModelTables()

    @override
    def open_log(self) -> Log:
        log = DynamoDBLog(DynamoDBCalls(self.tables), "log-table")
        return self.archived(log, str(self.folder / "archive"))


@pytest.mark.dynamodb
class OnDynamoDBLocal(OnDynamoDB):
    """On the tables themselves."""

    @pytest.fixture(autouse=True)
    def _choose_place(self, dynamodb: DynamoDBPlace) -> None:
        self.place = dynamodb

    @override
    def open_log(self) -> Log:
        return self.archived(open_log(self.place.store_url), str(self.folder / "archive"))


class WithEmptyArchive(ArchivedContract):
    @override
    def archived(self, log: Log, folder: str) -> Log:
        return ArchivedLog(open_archive(folder), log)


class WithACutInTheMiddle(ArchivedContract):
    @override
    def archived(self, log: Log, folder: str) -> Log:
        return TidiedLog(folder, log, archive_until=lambda head: head // 2)


class WithEverythingArchivedAndNothingTrimmed(ArchivedContract):
    @override
    def archived(self, log: Log, folder: str) -> Log:
        return TidiedLog(folder, log, trims=False)


class TestMemoryWithEmptyArchive(WithEmptyArchive, OnMemory):
    pass


class TestMemoryWithACutInTheMiddle(WithACutInTheMiddle, OnMemory):
    pass


class TestMemoryWithEverythingArchivedAndNothingTrimmed(
    WithEverythingArchivedAndNothingTrimmed, OnMemory
):
    pass


class TestMemoryWithEverythingTrimmed(OnMemory):
    pass


class TestSQLiteWithEmptyArchive(WithEmptyArchive, OnSQLite):
    pass


class TestSQLiteWithACutInTheMiddle(WithACutInTheMiddle, OnSQLite):
    pass


class TestSQLiteWithEverythingArchivedAndNothingTrimmed(
    WithEverythingArchivedAndNothingTrimmed, OnSQLite
):
    pass


class TestSQLiteWithEverythingTrimmed(OnSQLite):
    pass


class TestPostgresWithACutInTheMiddle(WithACutInTheMiddle, OnPostgres):
    pass


class TestPostgresWithEverythingTrimmed(OnPostgres):
    pass


class TestDynamoDBWithEverythingArchivedAndNothingTrimmed(
    WithEverythingArchivedAndNothingTrimmed, OnDynamoDB
):
    pass


class TestDynamoDBWithACutInTheMiddle(WithACutInTheMiddle, OnDynamoDB):
    pass


class TestDynamoDBWithEverythingTrimmed(OnDynamoDB):
    pass


class TestDynamoDBLocalWithEverythingTrimmed(OnDynamoDBLocal):
    pass
