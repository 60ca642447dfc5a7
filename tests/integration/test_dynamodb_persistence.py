"""The persistence module on DynamoDB: what the base library's own has traps in, it must not."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    IntegrityError,
    StoredEvent,
    Tracking,
)
from eventsourcing.projection import ProjectionRunner
from eventsourcing.tests.projection import AggregateEventCountersProjection

from tests.contract.eventsourcing_cases.test_dynamodb import environment
from tests.contract.eventsourcing_cases.views_written_for_dynamodb import Counters
from tests.integration.dynamodb_recorders import (
    PATIENCE_SECONDS,
    Build,
    collected,
    elsewhere,
    events,
    leave_hole,
)

pytestmark = pytest.mark.dynamodb


@pytest.fixture
def build(build_on_dynamodb: Build) -> Build:
    return build_on_dynamodb


# --- order and completeness ----------------------------------------------------------------------


def test_a_follower_of_several_writers_loses_nothing(build, dynamodb):
    written: list[int] = []
    lock = threading.Lock()

    def write(recorder: Any, sizes: tuple[int, ...]) -> None:
        for number in range(20):
            ids = recorder.insert_events(events(sizes[number % len(sizes)]))
            with lock:
                written.extend(ids)

    seen: list[int] = []
    subscription = build(**elsewhere(dynamodb)).application_recorder().subscribe()
    follower = threading.Thread(target=lambda: seen.extend(one.id for one in subscription))
    follower.start()
    writers = [build().application_recorder() for _ in range(4)]
    threads = [threading.Thread(target=write, args=(writer, (1, 3, 10))) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(seen) < len(written) and time.monotonic() < deadline:
        time.sleep(0.01)
    subscription.stop()
    follower.join()

    assert seen == sorted(written)


def test_a_page_is_not_cut_short_where_a_writer_died(build, dynamodb):
    recorder = build().application_recorder()
    recorder.insert_events(events())
    leave_hole(dynamodb)
    recorder.insert_events(events())

    assert [one.id for one in recorder.select_notifications(1, 10)] == [1, 3]


def test_a_subscription_hands_out_what_is_before_a_late_writer_without_waiting(
    build, dynamodb, monkeypatch
):
    recorder = build().application_recorder()
    recorder.insert_events(events())
    leave_hole(dynamodb)
    recorder.insert_events(events())
    pages = []
    select_page = recorder.select_page

    def noting(*args: Any, **kwargs: Any) -> Any:
        page, end = select_page(*args, **kwargs)
        pages.append([one.id for one in page])
        return page, end

    monkeypatch.setattr(recorder, "select_page", noting)

    assert [one.id for one in collected(recorder.subscribe(), 2)] == [1, 3]
    assert pages[0] == [1]
    assert pages[-1] == [3]


def test_applications_in_one_table_do_not_see_each_other(build):
    one, other = build("one"), build("other")
    batch = events(2)

    one.application_recorder().insert_events(batch)
    one.aggregate_recorder("snapshots").insert_events(batch)
    one.tracking_recorder().insert_tracking(Tracking("upstream", 5))

    assert other.application_recorder().max_notification_id() is None
    assert other.application_recorder().select_events(batch[0].originator_id) == []
    assert other.aggregate_recorder("snapshots").select_events(batch[0].originator_id) == []
    assert one.aggregate_recorder("events").select_events(batch[0].originator_id) == []
    assert other.tracking_recorder().max_tracking_id("upstream") is None
    assert other.application_recorder().insert_events(batch) == [1, 2]


# --- versions ------------------------------------------------------------------------------------


def test_a_lost_race_is_a_conflict_and_nothing_is_stored(build):
    recorder = build().application_recorder()
    id_ = uuid4()
    recorder.insert_events(events(2, id_=id_))

    with pytest.raises(IntegrityError, match=f"{id_} version 1"):
        build().application_recorder().insert_events([*events(), *events(3, id_=id_)])

    assert len(recorder.select_events(id_)) == 2
    assert recorder.max_notification_id() == 2


@pytest.mark.parametrize("versions", [[2], [1, 3], [2, 1], [1, 1], [3, 4]])
def test_versions_that_do_not_follow_each_other_are_refused(build, versions):
    recorder = build().application_recorder()
    id_ = uuid4()

    with pytest.raises(IntegrityError):
        recorder.insert_events([StoredEvent(id_, version, "t", b"") for version in versions])

    assert recorder.max_notification_id() is None
    assert recorder.select_events(id_) == []


@pytest.mark.parametrize(
    "inserts", [[[0, 1, 2, 3]], [[0], [1, 2], [3]], [[0, 1], [2, 3]], [[1, 2, 3], [0]]]
)
def test_a_stream_may_begin_at_version_zero(build, inserts):
    recorder = build(ORIGINATOR_ID_TYPE="text").application_recorder()

    for versions in inserts:
        recorder.insert_events(
            [StoredEvent("order-1", version, "t", b"%d" % version) for version in versions]
        )
    reader = build(ORIGINATOR_ID_TYPE="text").application_recorder()

    def found(**bounds: Any) -> list[int]:
        return [one.originator_version for one in reader.select_events("order-1", **bounds)]

    assert found() == [0, 1, 2, 3]
    assert found(desc=True) == [3, 2, 1, 0]
    assert found(gt=0) == [1, 2, 3]
    assert found(lte=0) == [0]
    assert found(limit=2) == [0, 1]
    assert found(gt=1, lte=2, desc=True) == [2]
    assert [one.state for one in reader.select_events("order-1")] == [b"0", b"1", b"2", b"3"]
    order = [version for versions in inserts for version in versions]
    notified = reader.select_notifications(None, 10)
    assert [(one.originator_id, one.originator_version) for one in notified] == [
        ("order-1", version) for version in order
    ]
    for versions in inserts:
        with pytest.raises(IntegrityError):
            build(ORIGINATOR_ID_TYPE="text").application_recorder().insert_events(
                [StoredEvent("order-1", version, "t", b"") for version in versions]
            )


def test_events_of_several_originators_keep_the_order_they_were_given_in(build):
    recorder = build(ORIGINATOR_ID_TYPE="text").application_recorder()
    given = [("b", 1), ("a", 1), ("b", 2), ("c", 0), ("a", 2), ("c", 1)]

    ids = recorder.insert_events([StoredEvent(name, version, "t", b"") for name, version in given])

    notified = recorder.select_notifications(None, 10)
    assert ids == [1, 2, 3, 4, 5, 6]
    assert [(one.originator_id, one.originator_version) for one in notified] == given


# --- applications --------------------------------------------------------------------------------


class Dog(Aggregate):
    """An aggregate as the base library's users write them."""

    @event("Registered")
    def __init__(self) -> None:
        self.tricks: list[str] = []

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        self.tricks.append(trick)


class OldDog(Dog):
    """Its streams begin at version 0."""

    INITIAL_VERSION = 0


class Kennel(Application[UUID]):
    """An application that knows nothing of us."""

    is_snapshotting_enabled = True

    def register(self, kind: type[Dog]) -> UUID:
        dog = kind()
        self.save(dog)
        return dog.id

    def add_trick(self, id_: UUID, trick: str) -> int:
        dog: Dog = self.repository.get(id_)
        dog.add_trick(trick)
        return self.save(dog)[-1].notification.id


@pytest.mark.parametrize("kind", [Dog, OldDog])
def test_an_application_finds_its_aggregates_and_snapshots_again(dynamodb, kind):
    app = Kennel(environment(dynamodb))
    id_ = app.register(kind)
    app.close()
    for trick in ("sit", "roll", "beg"):
        app = Kennel(environment(dynamodb))
        app.add_trick(id_, trick)
        app.take_snapshot(id_)
        app.close()

    app = Kennel(environment(dynamodb))
    dog: Dog = app.repository.get(id_)
    earlier: Dog = app.repository.get(id_, version=kind.INITIAL_VERSION + 1)
    assert app.snapshots is not None
    snapshots = list(app.snapshots.get(id_))
    app.close()

    assert dog.tricks == ["sit", "roll", "beg"]
    assert earlier.tricks == ["sit"]
    assert len(snapshots) == 3


class Counting(AggregateEventCountersProjection):
    """Asks for every event: a runner of the base library records no position for the others."""

    name = "counting"
    topics = ()


class CountingAgain(Counting):
    """Another projection of the same application in the same table."""

    name = "counting_again"


def test_two_projections_in_one_table_have_positions_of_their_own(dynamodb, monkeypatch):
    for name, value in environment(dynamodb).items():
        monkeypatch.setenv(name, value)
    app = Kennel()
    positions: list[int | None] = []

    class Watched(Counters):
        """Looks where it is before anything is processed."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            positions.append(self.max_tracking_id("Kennel"))

    id_ = app.register(Dog)
    for projection in (Counting, CountingAgain):
        last = app.add_trick(id_, "sit")
        with ProjectionRunner(
            application_class=Kennel, projection_class=projection, view_class=Watched
        ) as runner:
            runner.wait(last, timeout=PATIENCE_SECONDS)
            positions.append(runner.projection.view.max_tracking_id("Kennel"))
    app.close()

    assert positions == [None, 2, None, 3]
