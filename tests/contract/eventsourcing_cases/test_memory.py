"""The cases shipped in ``eventsourcing.tests``, and what they do not check, on the memory store."""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest
from eventsourcing import popo
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    InfrastructureFactoryError,
    IntegrityError,
    StoredEvent,
    Tracking,
    TrackingRecorder,
    WaitInterruptedError,
)
from eventsourcing.projection import ProjectionRunner
from eventsourcing.tests.projection import AggregateEventCountersProjection, EventCountersView

from eventcore.stores import memory
from eventcore.stores.memory.persistence import (
    MemoryAggregateRecorder,
    MemoryApplicationRecorder,
    MemoryFactory,
    MemoryProcessRecorder,
    MemoryTrackingRecorder,
)
from tests.contract.eventsourcing_cases import shipped

MODULE = "eventcore.stores.memory"


class CountersWrittenForPopo(popo.POPOTrackingRecorder, EventCountersView):
    """A view as somebody wrote it who knows only the base library."""

    def __init__(self) -> None:
        super().__init__()
        self._created = 0
        self._subsequent = 0

    def get_created_event_counter(self) -> int:
        return self._created

    def get_subsequent_event_counter(self) -> int:
        return self._subsequent

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        with self._database_lock:
            self._assert_tracking_uniqueness(tracking)
            self._insert_tracking(tracking)
            self._created += 1

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        with self._database_lock:
            self._assert_tracking_uniqueness(tracking)
            self._insert_tracking(tracking)
            self._subsequent += 1


class MemoryTrackingSubclass(MemoryTrackingRecorder):
    """Named by topic in the factory cases."""


class InMemory(shipped.OnStore):
    """Each recorder is a store of its own."""

    kit = shipped.Kit(
        factory=MemoryFactory,
        aggregate=MemoryAggregateRecorder,
        application=MemoryApplicationRecorder,
        process=MemoryProcessRecorder,
        tracking=MemoryTrackingRecorder,
        tracking_subclass=MemoryTrackingSubclass,
        counters=CountersWrittenForPopo,
    )

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch):
        self.env_of_test = {"PERSISTENCE_MODULE": MODULE}
        monkeypatch.setenv("PERSISTENCE_MODULE", MODULE)

    def opened(self, recorder_class: Any) -> Any:
        return recorder_class()


globals().update(shipped.cases_on(InMemory))
globals().update(shipped.cases_on(InMemory, [shipped.ApplicationRecorder], text=True))


def stored(version: int, topic: str = "counted", originator_id: UUID | str = "counter-1"):
    return StoredEvent(originator_id, version, topic, b"{}")


def test_the_module_holds_exactly_one_factory_class():
    factories = [value for value in vars(memory).values() if isinstance(value, type)]

    assert factories == [MemoryFactory]


def test_a_class_that_is_no_tracking_recorder_is_refused():
    factory = MemoryFactory({})

    with pytest.raises(InfrastructureFactoryError, match="builtins:dict is not a subclass of"):
        factory.tracking_recorder(dict)  # type: ignore[arg-type]  # the very mistake


def test_a_view_written_for_popo_is_woken_not_asleep_when_its_position_is_recorded():
    view = MemoryFactory({}).tracking_recorder(CountersWrittenForPopo)
    assert isinstance(view, CountersWrittenForPopo)
    seen: list[int] = []
    asked = threading.Event()

    def max_tracking_id(_application_name: str) -> int | None:
        asked.set()
        return CountersWrittenForPopo.max_tracking_id(view, "upstream")

    view.max_tracking_id = max_tracking_id  # type: ignore[method-assign,assignment]  # to know it has looked

    def reader() -> None:
        view.wait("upstream", 1, timeout=60)
        seen.append(view.get_created_event_counter())

    thread = threading.Thread(target=reader)
    thread.start()
    assert asked.wait(60)
    view.incr_created_event_counter(Tracking("upstream", 1))
    thread.join(60)

    assert seen == [1]


def test_a_wait_ends_when_its_interrupt_is_set_meanwhile():
    recorder: TrackingRecorder = MemoryTrackingRecorder()
    interrupt = threading.Event()
    threading.Timer(0.05, interrupt.set).start()

    with pytest.raises(WaitInterruptedError):
        recorder.wait("upstream", 1, timeout=60, interrupt=interrupt)


def test_a_subscription_gives_every_event_of_four_writers_in_order():
    recorder = MemoryApplicationRecorder()

    def write(name: str) -> None:
        for version in range(250):
            recorder.insert_events([stored(version, originator_id=name)])

    threads = [threading.Thread(target=write, args=(f"counter-{n}",)) for n in range(4)]
    with recorder.subscribe() as subscription:
        for thread in threads:
            thread.start()
        ids = [next(subscription).id for _ in range(1000)]
    for thread in threads:
        thread.join()

    assert ids == list(range(1, 1001))


def test_a_subscription_blocked_in_another_thread_ends_when_it_is_stopped():
    recorder = MemoryApplicationRecorder()
    subscription = recorder.subscribe()
    ended: list[list[int]] = []
    thread = threading.Thread(target=lambda: ended.append([n.id for n in subscription]))
    thread.start()

    subscription.stop()
    thread.join(60)

    assert ended == [[]]


def test_a_filtered_subscription_goes_on_after_events_it_does_not_want():
    recorder = MemoryApplicationRecorder()
    recorder.insert_events([stored(1, "other"), stored(2, "wanted"), stored(3, "other")])

    with recorder.subscribe(topics=["wanted"]) as subscription:
        first = next(subscription).id
        recorder.insert_events([stored(4, "other"), stored(5, "wanted")])
        second = next(subscription).id

    assert (first, second) == (2, 5)


def test_a_refused_insert_changes_nothing():
    recorder = MemoryApplicationRecorder()
    recorder.insert_events([stored(1)])

    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(2), stored(1)])

    assert [event.originator_version for event in recorder.select_events("counter-1")] == [1]
    assert recorder.max_notification_id() == 1


def test_an_unmodified_application_and_projection_run_on_it():
    with ProjectionRunner(
        application_class=Application[UUID],
        projection_class=AggregateEventCountersProjection,
        view_class=CountersWrittenForPopo,
        env={"PERSISTENCE_MODULE": MODULE},
    ) as runner:
        recordings = runner.app.save(Aggregate())
        runner.wait(recordings[-1].notification.id, timeout=10)

        assert runner.projection.view.get_created_event_counter() == 1
