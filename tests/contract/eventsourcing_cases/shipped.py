"""The cases shipped in ``eventsourcing.tests``, for whichever store a subclass names.

Not collected from here: a module of a store makes its own with :func:`cases_on`, so that each is
run there under a name that says where.
"""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, NamedTuple
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
from eventsourcing.utils import Environment, get_topic


class Kit(NamedTuple):
    """Classes of a persistence module.

    Attributes:
        tracking_subclass: Named by topic in the factory cases.
        counters: A view, written as for the base library's own module.
    """

    factory: Any
    aggregate: Any
    application: Any
    process: Any
    tracking: Any
    tracking_subclass: Any
    counters: Any


class OnStore:
    """Where a test is run: a subclass makes the place, and ``env_of_test``, which names it."""

    kit: ClassVar[Kit]
    originator_id_type: Literal["uuid", "text"] = "uuid"
    env_of_test: dict[str, str]
    datastore: Any

    def new_originator_id(self):
        return uuid4() if self.originator_id_type == "uuid" else f"order-{uuid4()}"

    def opened(self, recorder_class: Any) -> Any:
        recorder = recorder_class(self.datastore)
        recorder.create_table()
        return recorder


class AggregateRecorder(OnStore, AggregateRecorderTestCase):
    def create_recorder(self):
        return self.opened(self.kit.aggregate)


class ApplicationRecorder(OnStore, ApplicationRecorderTestCase):
    def create_recorder(self):
        return self.opened(self.kit.application)

    def test_insert_subscribe(self):
        self.optional_test_insert_subscribe()


class ApplicationRecorderOfProcess(ApplicationRecorder):
    def create_recorder(self):
        return self.opened(self.kit.process)


class TrackingRecorder(OnStore, TrackingRecorderTestCase):
    def create_recorder(self):
        return self.opened(self.kit.tracking)


class ProcessRecorder(OnStore, ProcessRecorderTestCase):
    def create_recorder(self):
        return self.opened(self.kit.process)


class NonInterleaving(OnStore, NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self):
        return self.opened(self.kit.application)


class Factory(OnStore, InfrastructureFactoryTestCase[Any]):
    def setUp(self):
        self.env = Environment("TestCase", self.env_of_test)
        super().setUp()

    def expected_factory_class(self):
        return self.kit.factory

    def expected_aggregate_recorder_class(self):
        return self.kit.aggregate

    def expected_application_recorder_class(self):
        return self.kit.application

    def expected_tracking_recorder_class(self):
        return self.kit.tracking

    def tracking_recorder_subclass(self):
        return self.kit.tracking_subclass

    def expected_process_recorder_class(self):
        return self.kit.process


class ExampleApplication(OnStore, ExampleApplicationTestCase):
    def setUp(self):
        self.expected_factory_topic = get_topic(self.kit.factory)
        super().setUp()


class Application(OnStore, ApplicationTestCase):
    def setUp(self):
        self.expected_factory_topic = get_topic(self.kit.factory)
        super().setUp()

    # Asserts on a run without the setting, and so on the base library's own default.
    def test_resolve_persistence_topics(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("PERSISTENCE_MODULE")
            super().test_resolve_persistence_topics()

    # It looks for the warning of a deprecated name.
    @pytest.mark.filterwarnings("always:'log' is deprecated:DeprecationWarning")
    def test_application_log(self):
        super().test_application_log()


class CountersView(OnStore, EventCountersViewTestCase):
    def construct_event_counters_view(self):
        self.factory = self.kit.factory(Environment("counting", self.env_of_test))
        return self.factory.tracking_recorder(self.kit.counters)


class CountersProjection(OnStore, AggregateEventCountersProjectionTestCase):
    def setUp(self):
        self.view_class = self.kit.counters
        super().setUp()


class EventSourcedProjection(OnStore, EventSourcedProjectionTestCase):
    pass


RECORDERS = (
    AggregateRecorder,
    ApplicationRecorder,
    ApplicationRecorderOfProcess,
    TrackingRecorder,
    ProcessRecorder,
    NonInterleaving,
    Factory,
)
"""Cases in which the type of the ids makes a difference."""

APPLICATIONS = (
    ExampleApplication,
    Application,
    CountersView,
    CountersProjection,
    EventSourcedProjection,
)


def cases_on(
    place: type[OnStore], cases: Iterable[type] = RECORDERS + APPLICATIONS, *, text: bool = False
) -> dict[str, type]:
    """Test classes of a place by name, for a module to take in.

    Args:
        place: Where they run.
        cases: Which.
        text: Whether ids are texts instead of uuids.
    """
    members = {"__module__": place.__module__}
    if text:
        members["originator_id_type"] = "text"
    suffix = f"{place.__name__}{'Text' if text else ''}"
    return {
        name: type(name, (place, case), dict(members))
        for case in cases
        for name in [f"Test{case.__name__}{suffix}"]
    }
