"""The cases shipped in ``eventsourcing.tests`` on DynamoDB Local: uuid and text."""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

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

from eventcore.stores.dynamodb import DynamoDBFactory
from eventcore.stores.dynamodb.recorders.aggregates import DynamoDBAggregateRecorder
from eventcore.stores.dynamodb.recorders.applications import DynamoDBApplicationRecorder
from eventcore.stores.dynamodb.recorders.trackings import (
    DynamoDBProcessRecorder,
    DynamoDBTrackingRecorder,
)
from tests.contract.eventsourcing_cases.views_written_for_dynamodb import Counters
from tests.dynamodb import DynamoDBPlace

MODULE = "eventcore.stores.dynamodb"
FACTORY = "eventcore.stores.dynamodb.recorders.factory:DynamoDBFactory"

pytestmark = pytest.mark.dynamodb


class TrackingSubclass(DynamoDBTrackingRecorder):
    """Named by topic in the factory cases."""


def environment(place: DynamoDBPlace, **more: str) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": MODULE,
        "DYNAMODB_TABLE": place.table,
        "DYNAMODB_ENDPOINT_URL": place.url,
        "AWS_REGION": place.region,
        **more,
    }


class OnServer:
    """Each test in a new table, ids are uuids."""

    originator_id_type: Literal["uuid", "text"] = "uuid"

    @pytest.fixture(autouse=True)
    def _datastore(self, dynamodb, monkeypatch):
        self.env_of_test = environment(dynamodb, ORIGINATOR_ID_TYPE=self.originator_id_type)
        for key, value in self.env_of_test.items():
            monkeypatch.setenv(key, value)
        with DynamoDBFactory(Environment("", self.env_of_test)) as factory:
            self.datastore = factory.datastore
            yield
        factory.close()

    def new_originator_id(self):
        return uuid4() if self.originator_id_type == "uuid" else f"order-{uuid4()}"

    def opened(self, recorder_class: Any) -> Any:
        return recorder_class(self.datastore)


class TestAggregateRecorderOnServer(OnServer, AggregateRecorderTestCase):
    def create_recorder(self):
        return self.opened(DynamoDBAggregateRecorder)


class TestAggregateRecorderOnServerText(TestAggregateRecorderOnServer):
    originator_id_type = "text"


class TestApplicationRecorderOnServer(OnServer, ApplicationRecorderTestCase):
    def create_recorder(self):
        return self.opened(DynamoDBApplicationRecorder)

    def test_insert_subscribe(self):
        self.optional_test_insert_subscribe()


class TestApplicationRecorderOnServerText(TestApplicationRecorderOnServer):
    originator_id_type = "text"


class TestApplicationRecorderOfProcess(TestApplicationRecorderOnServer):
    def create_recorder(self):
        return self.opened(DynamoDBProcessRecorder)


class TestApplicationRecorderOfProcessText(TestApplicationRecorderOfProcess):
    originator_id_type = "text"


class TestTrackingRecorderOnServer(OnServer, TrackingRecorderTestCase):
    def create_recorder(self):
        return self.opened(DynamoDBTrackingRecorder)


class TestTrackingRecorderOnServerText(TestTrackingRecorderOnServer):
    originator_id_type = "text"


class TestProcessRecorderOnServer(OnServer, ProcessRecorderTestCase):
    def create_recorder(self):
        return self.opened(DynamoDBProcessRecorder)


class TestProcessRecorderOnServerText(TestProcessRecorderOnServer):
    originator_id_type = "text"


class TestNonInterleavingOnServer(OnServer, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self):
        return self.opened(DynamoDBApplicationRecorder)


class TestNonInterleavingOnServerText(TestNonInterleavingOnServer):
    originator_id_type = "text"


class TestFactory(OnServer, InfrastructureFactoryTestCase[DynamoDBFactory]):
    def setUp(self):
        self.env = Environment("TestCase", self.env_of_test)
        super().setUp()

    def expected_factory_class(self):
        return DynamoDBFactory

    def expected_aggregate_recorder_class(self):
        return DynamoDBAggregateRecorder

    def expected_application_recorder_class(self):
        return DynamoDBApplicationRecorder

    def expected_tracking_recorder_class(self):
        return DynamoDBTrackingRecorder

    def tracking_recorder_subclass(self):
        return TrackingSubclass

    def expected_process_recorder_class(self):
        return DynamoDBProcessRecorder


class TestFactoryText(TestFactory):
    originator_id_type = "text"


class TestExampleApplicationOnServer(OnServer, ExampleApplicationTestCase):
    expected_factory_topic = FACTORY


class TestApplicationOnServer(OnServer, ApplicationTestCase):
    expected_factory_topic = FACTORY

    # Asserts on a run without the setting, and so on the base library's own default.
    def test_resolve_persistence_topics(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("PERSISTENCE_MODULE")
            super().test_resolve_persistence_topics()

    # It looks for the warning of a deprecated name.
    @pytest.mark.filterwarnings("always:'log' is deprecated:DeprecationWarning")
    def test_application_log(self):
        super().test_application_log()


class TestCountersViewOnServer(OnServer, EventCountersViewTestCase):
    def construct_event_counters_view(self):
        self.factory = DynamoDBFactory(Environment("counting", self.env_of_test))
        return self.factory.tracking_recorder(Counters)


class TestCountersProjectionOnServer(OnServer, AggregateEventCountersProjectionTestCase):
    view_class = Counters


class TestEventSourcedProjectionOnServer(OnServer, EventSourcedProjectionTestCase):
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
