"""The cases shipped in ``eventsourcing.tests`` on SQLite: files and memory, uuid and text."""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from eventsourcing.tests.application import ApplicationTestCase, ExampleApplicationTestCase
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    InfrastructureFactoryTestCase,
    NonInterleavingNotificationIDsBaseCase,
    ProcessRecorderTestCase,
    TrackingRecorderTestCase,
)
from eventsourcing.tests.projection import (
    AggregateEventCountersProjectionTestCase,
    EventCountersViewTestCase,
    EventSourcedProjectionTestCase,
)
from eventsourcing.utils import Environment

from eventcore.stores.sqlite import SQLiteFactory
from eventcore.stores.sqlite.datastore import SQLiteDatastore
from eventcore.stores.sqlite.persistence import (
    SQLiteAggregateRecorder,
    SQLiteApplicationRecorder,
    SQLiteProcessRecorder,
    SQLiteTrackingRecorder,
)
from tests.contract.eventsourcing_cases.views_written_for_sqlite import Counters

MODULE = "eventcore.stores.sqlite"
_numbers = itertools.count(1)


class TrackingSubclass(SQLiteTrackingRecorder):
    """Named by topic in the factory cases."""


class InFile:
    """Each test on a new file, ids are uuids."""

    originator_id_type: Literal["uuid", "text"] = "uuid"
    projection_name = ""

    @pytest.fixture(autouse=True)
    def _datastore(self, tmp_path, monkeypatch):
        self.db_name = self.new_database(tmp_path)
        self.env_of_test = {
            "PERSISTENCE_MODULE": MODULE,
            "SQLITE_DBNAME": self.db_name,
            "ORIGINATOR_ID_TYPE": self.originator_id_type,
        }
        for key, value in self.env_of_test.items():
            monkeypatch.setenv(key, value)
        self.datastore = SQLiteDatastore(
            self.db_name,
            originator_id_type=self.originator_id_type,
            projection_name=self.projection_name,
        )
        yield
        self.datastore.close()

    def new_database(self, tmp_path: Path) -> str:
        return str(tmp_path / "events.db")

    def new_originator_id(self):
        return uuid4() if self.originator_id_type == "uuid" else f"order-{uuid4()}"

    def opened(self, recorder_class: Any) -> Any:
        recorder = recorder_class(self.datastore)
        recorder.create_table()
        return recorder


class InSharedMemory(InFile):
    """Each test on a new database that all connections of the process share."""

    def new_database(self, tmp_path: Path) -> str:
        return f"file:test-{next(_numbers)}?mode=memory&cache=shared"


class InPrivateMemory(InFile):
    """Each test on a database of its datastore's own."""

    def new_database(self, tmp_path: Path) -> str:
        return ":memory:"


class TestAggregateRecorderInFile(InFile, AggregateRecorderTestCase):
    def create_recorder(self):
        return self.opened(SQLiteAggregateRecorder)


class TestAggregateRecorderInFileText(TestAggregateRecorderInFile):
    originator_id_type = "text"


class TestAggregateRecorderInMemory(InSharedMemory, TestAggregateRecorderInFile):
    pass


class TestApplicationRecorderInFile(InFile, ApplicationRecorderTestCase):
    def create_recorder(self):
        return self.opened(SQLiteApplicationRecorder)

    def test_insert_subscribe(self):
        self.optional_test_insert_subscribe()


class TestApplicationRecorderInFileText(TestApplicationRecorderInFile):
    originator_id_type = "text"


class TestApplicationRecorderInMemory(InSharedMemory, TestApplicationRecorderInFile):
    pass


class TestApplicationRecorderInPrivateMemory(InPrivateMemory, TestApplicationRecorderInFile):
    pass


class TestApplicationRecorderOfProcess(TestApplicationRecorderInFile):
    def create_recorder(self):
        return self.opened(SQLiteProcessRecorder)


class TestTrackingRecorderInFile(InFile, TrackingRecorderTestCase):
    def create_recorder(self):
        return self.opened(SQLiteTrackingRecorder)


class TestTrackingRecorderWithProjectionName(TestTrackingRecorderInFile):
    projection_name = "counting"


class TestTrackingRecorderInMemory(InSharedMemory, TestTrackingRecorderInFile):
    pass


class TestProcessRecorderInFile(InFile, ProcessRecorderTestCase):
    def create_recorder(self):
        return self.opened(SQLiteProcessRecorder)


class TestProcessRecorderInFileText(TestProcessRecorderInFile):
    originator_id_type = "text"


class TestProcessRecorderWithProjectionName(TestProcessRecorderInFile):
    projection_name = "counting"


class TestProcessRecorderInMemory(InSharedMemory, TestProcessRecorderInFile):
    pass


class TestNonInterleavingInFile(InFile, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self):
        return self.opened(SQLiteApplicationRecorder)


class TestNonInterleavingInFileText(TestNonInterleavingInFile):
    originator_id_type = "text"


class TestNonInterleavingInMemory(InSharedMemory, TestNonInterleavingInFile):
    pass


class TestFactory(InFile, InfrastructureFactoryTestCase[SQLiteFactory]):
    def setUp(self):
        self.env = Environment("TestCase", self.env_of_test)
        super().setUp()

    def expected_factory_class(self):
        return SQLiteFactory

    def expected_aggregate_recorder_class(self):
        return SQLiteAggregateRecorder

    def expected_application_recorder_class(self):
        return SQLiteApplicationRecorder

    def expected_tracking_recorder_class(self):
        return SQLiteTrackingRecorder

    def tracking_recorder_subclass(self):
        return TrackingSubclass

    def expected_process_recorder_class(self):
        return SQLiteProcessRecorder


class TestExampleApplicationInFile(InFile, ExampleApplicationTestCase):
    expected_factory_topic = "eventcore.stores.sqlite.factory:SQLiteFactory"


class TestExampleApplicationInMemory(InSharedMemory, TestExampleApplicationInFile):
    pass


class TestApplicationInFile(InFile, ApplicationTestCase):
    expected_factory_topic = "eventcore.stores.sqlite.factory:SQLiteFactory"

    # Asserts on a run without the setting, and so on the base library's own default.
    def test_resolve_persistence_topics(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("PERSISTENCE_MODULE")
            super().test_resolve_persistence_topics()

    # It looks for the warning of a deprecated name.
    @pytest.mark.filterwarnings("always:'log' is deprecated:DeprecationWarning")
    def test_application_log(self):
        super().test_application_log()


class TestApplicationInMemory(InSharedMemory, TestApplicationInFile):
    pass


class TestCountersViewInFile(InFile, EventCountersViewTestCase):
    def construct_event_counters_view(self):
        self.factory = SQLiteFactory(Environment("counting", self.env_of_test))
        return self.factory.tracking_recorder(Counters)


class TestCountersViewInMemory(InSharedMemory, TestCountersViewInFile):
    pass


class TestCountersProjectionInFile(InFile, AggregateEventCountersProjectionTestCase):
    view_class = Counters


class TestCountersProjectionInMemory(InSharedMemory, TestCountersProjectionInFile):
    pass


class TestEventSourcedProjectionInFile(InFile, EventSourcedProjectionTestCase):
    # A file has one table of events: in the application's file it would follow itself.
    @pytest.fixture(autouse=True)
    def _database_of_projection(self, _datastore, tmp_path, monkeypatch):
        monkeypatch.setenv("COUNTERS_SQLITE_DBNAME", self.new_database(tmp_path / "projection"))
        (tmp_path / "projection").mkdir()


class TestEventSourcedProjectionInMemory(InSharedMemory, TestEventSourcedProjectionInFile):
    pass


del (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    TrackingRecorderTestCase,
    ProcessRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
    InfrastructureFactoryTestCase,
    ExampleApplicationTestCase,
    ApplicationTestCase,
    EventCountersViewTestCase,
    AggregateEventCountersProjectionTestCase,
    EventSourcedProjectionTestCase,
)
