"""Wherever a log is cut, archived and trimmed, the two together behave like the log alone."""

import shutil
import tempfile
import uuid
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from typing_extensions import override

from eventcore.lake.archiving import Archiver, SegmentLimits
from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.integrity import SelfChecking
from eventcore.stores.log import Log
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.sqlite.log import SQLiteLog
from tests.archived import Up, trim_until
from tests.model_dynamodb import ModelTables
from tests.postgres import PostgresServer
from tests.property.stores.test_log_model import LogMachine


class ArchivedMachine(LogMachine):
    """Any history, archived and trimmed up to any position at any moment."""

    def open_store(self, folder: Path) -> Log:
        return MemoryLog()

    @initialize(prefers=st.booleans())
    @override
    def start(self, prefers):
        self.folder = Path(tempfile.mkdtemp())
        self.prefers = prefers
        super().start()

    @override
    def open(self) -> Log:
        store = self.open_store(self.folder)
        archive = open_archive(str(self.folder / "lake"))
        self.archived = ArchivedLog(archive, store, prefer_archive=self.prefers)
        return self.archived

    @rule(until=st.integers(0, 60), events_max=st.integers(1, 9))
    def archive_up_to(self, until, events_max):
        archiver = Archiver(self.archived.archive, limits=SegmentLimits(events_max=events_max))
        archiver.run(Up(self.archived.store, max(until, self.archived.archive.until)))

    @rule(until=st.integers(0, 60))
    def trim_up_to(self, until):
        trim_until(self.archived, min(until, self.archived.archive.until))

    @rule()
    def the_archive_holds_what_the_log_held(self):
        archive = self.archived.archive
        found = [
            (event.stream, event.version, event.state)
            for event in archive.read(codec=self.archived.codec)
        ]
        assert found == [
            (stream, version, event.state)
            for stream, version, event in self.model.rows[: archive.until]
        ]
        assert archive.verify() == archive.until

    @override
    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


class ArchivedSQLiteMachine(ArchivedMachine):
    @override
    def open_store(self, folder: Path) -> Log:
        return SQLiteLog(folder / "log.db", synchronous="NORMAL")

    @rule()
    def close_and_open_again(self):
        self.subscription.close()
        self.log.close()
        self.log = self.open()
        self.subscription = self.log.subscribe(len(self.followed))


class OnlyWhatFits(ArchivedMachine):
    """Elsewhere a refused or repeated append takes positions: then they are not the model's."""

    @override
    def _append(self, appends):
        if self.model.append(appends)[0] == "stored":
            self.log.append(appends)


class ArchivedDynamoDBMachine(OnlyWhatFits):
    tables: ModelTables

    @override
    def open_store(self, folder: Path) -> Log:
        self.tables = getattr(self, "tables", ModelTables())
        return DynamoDBLog(DynamoDBCalls(self.tables), "log-table")

    @rule()
    def close_and_open_again(self):
        self.subscription.close()
        self.log.close()
        self.log = self.open()
        self.subscription = self.log.subscribe(len(self.followed))

    @rule()
    def both_halves_of_every_event_agree(self):
        store = self.archived.store
        assert isinstance(store, SelfChecking)
        assert list(store.problems(store.head())) == []


TestArchivedMachine = ArchivedMachine.TestCase
TestArchivedSQLiteMachine = ArchivedSQLiteMachine.TestCase
TestArchivedDynamoDBMachine = ArchivedDynamoDBMachine.TestCase
TestArchivedMachine.settings = settings(max_examples=40, stateful_step_count=40)
TestArchivedSQLiteMachine.settings = settings(max_examples=30, stateful_step_count=40)
TestArchivedDynamoDBMachine.settings = settings(max_examples=15, stateful_step_count=30)


@pytest.mark.postgres
def test_on_postgres_likewise(postgres_server: PostgresServer):
    class ArchivedPostgresMachine(OnlyWhatFits):
        @override
        def open_store(self, folder: Path) -> Log:
            self.schema = f"test_{uuid.uuid4().hex[:16]}"
            return PostgresLog(postgres_server.url, schema=self.schema)

        @override
        def teardown(self) -> None:
            super().teardown()
            if hasattr(self, "schema"):
                with postgres_server.connect() as connection:
                    connection.execute("SET client_min_messages = warning")
                    connection.execute(f"DROP SCHEMA {self.schema} CASCADE".encode())

    run_state_machine_as_test(
        ArchivedPostgresMachine, settings=settings(max_examples=8, stateful_step_count=25)
    )
