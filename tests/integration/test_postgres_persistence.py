"""The persistence module on Postgres: what the base library's own has traps in, it must not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing import postgres as base
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    InfrastructureFactory,
    IntegrityError,
    Notification,
    StoredEvent,
    Tracking,
)
from eventsourcing.projection import ProjectionRunner
from eventsourcing.tests.projection import AggregateEventCountersProjection
from eventsourcing.utils import Environment
from psycopg import sql

from eventcore.stores.postgres import persistence as ours
from tests.contract.eventsourcing_cases.test_postgres import MODULE, environment
from tests.contract.eventsourcing_cases.views_written_for_postgres import Counters
from tests.dropping_proxy import DroppingProxy
from tests.postgres import PostgresSchema, PostgresServer

BASE = "eventsourcing.postgres"
PATIENCE_SECONDS = 60.0

Build = Callable[..., Any]


@pytest.fixture
def build(postgres_schema: PostgresSchema) -> Iterator[Build]:
    """``build("module", "name", KEY=value)``: a factory that is closed after the test."""
    factories: list[InfrastructureFactory[Any]] = []

    def construct(module: str = MODULE, name: str = "shop", **more: str) -> Any:
        env = environment(postgres_schema, PERSISTENCE_MODULE=module, **more)
        factories.append(InfrastructureFactory.construct(Environment(name, env)))
        return factories[-1]

    yield construct
    for factory in factories:
        factory.close()


def events(count: int = 1, *, state: bytes = b"{}", id_: UUID | None = None) -> list[StoredEvent]:
    originator_id = id_ or uuid4()
    return [StoredEvent(originator_id, version, "topic", state) for version in range(1, count + 1)]


def collected(subscription: Any, count: int) -> list[Notification]:
    """The next so many notifications; fails instead of hanging."""
    found: list[Notification] = []
    alarm = threading.Timer(PATIENCE_SECONDS, subscription.stop)
    alarm.start()
    try:
        for notification in subscription:
            found.append(notification)
            if len(found) == count:
                break
    finally:
        alarm.cancel()
    return found


@pytest.mark.parametrize("functions", ["no", "yes"])
def test_writers_of_both_libraries_lose_nothing_on_one_table(build, functions):
    mine = [build(POSTGRES_ENABLE_DB_FUNCTIONS=functions).application_recorder() for _ in range(5)]
    theirs = [build(BASE).application_recorder() for _ in range(2)]
    written: list[int] = []
    lock = threading.Lock()

    def write(recorder: Any, sizes: tuple[int, ...]) -> None:
        for number in range(60):
            ids = recorder.insert_events(events(sizes[number % len(sizes)]))
            with lock:
                written.extend(ids)

    seen: list[int] = []
    subscription = build().application_recorder().subscribe()

    def follow() -> None:
        seen.extend(notification.id for notification in subscription)

    follower = threading.Thread(target=follow)
    follower.start()
    threads = [
        *(threading.Thread(target=write, args=(recorder, (1, 3, 10))) for recorder in mine),
        *(threading.Thread(target=write, args=(recorder, (1, 4))) for recorder in theirs),
    ]
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


def test_a_position_that_is_still_being_written_is_waited_for(build, postgres_schema):
    recorder = build().application_recorder()
    recorder.insert_events(events())
    subscription = recorder.subscribe()
    with postgres_schema.connect(autocommit=False) as writer:
        insert_by_hand(writer, postgres_schema)
        recorder.insert_events(events())

        before = recorder.select_notifications(1, 10)
        first = collected(subscription, 1)
        writer.commit()

    assert [one.id for one in before] == [1]
    assert [one.id for one in first] == [1]
    assert [one.id for one in collected(subscription, 2)] == [2, 3]
    assert [one.id for one in recorder.select_notifications(1, 10)] == [1, 2, 3]


def test_with_topics_a_position_that_is_still_being_written_is_waited_for(build, postgres_schema):
    recorder = build().application_recorder()
    with postgres_schema.connect(autocommit=False) as writer:
        insert_by_hand(writer, postgres_schema)
        recorder.insert_events(events())
        found: list[Notification] = []
        reader = threading.Thread(
            target=lambda: found.extend(recorder.select_notifications(1, 10, topics=["topic"]))
        )
        reader.start()
        assert found == []
        writer.commit()
        reader.join(PATIENCE_SECONDS)

    assert [one.id for one in found] == [1, 2]


def insert_by_hand(connection: Any, place: PostgresSchema) -> None:
    table = sql.Identifier(place.schema, "shop_events")
    connection.execute(
        sql.SQL(
            "INSERT INTO {} (originator_id, originator_version, topic, state)"
            " VALUES (gen_random_uuid(), 1, 'topic', '')"
        ).format(table)
    )


def test_tables_of_one_schema_do_not_share_a_function(build, postgres_schema):
    one = build(name="one", POSTGRES_ENABLE_DB_FUNCTIONS="yes").application_recorder()
    other = build(name="other", POSTGRES_ENABLE_DB_FUNCTIONS="yes").application_recorder()

    one.insert_events(events())

    assert one.max_notification_id() == 1
    assert other.max_notification_id() is None
    with postgres_schema.connect() as connection:
        functions = connection.execute(
            "SELECT count(*) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
            " WHERE n.nspname = %s",
            (postgres_schema.schema,),
        ).fetchone()
    assert functions == (0,)


def test_what_is_committed_while_a_subscription_starts_is_delivered(build, postgres_schema):
    recorder = build().application_recorder()
    subscription = recorder.subscribe()

    with postgres_schema.connect() as connection:
        insert_by_hand(connection, postgres_schema)  # and nobody says so

    assert [one.id for one in collected(subscription, 1)] == [1]


def test_a_follower_of_the_base_library_hears_of_our_inserts_and_we_of_theirs(build):
    mine, theirs = build().application_recorder(), build(BASE).application_recorder()
    with theirs.subscribe() as their_subscription:
        my_subscription = mine.subscribe()

        mine.insert_events(events())
        theirs.insert_events(events())

        assert [one.id for one in collected(their_subscription, 2)] == [1, 2]
        assert [one.id for one in collected(my_subscription, 2)] == [1, 2]


@pytest.mark.parametrize("count", [1, 3])
def test_an_insert_whose_answer_was_lost_gives_the_positions_it_has(
    build: Build,
    postgres_schema: PostgresSchema,
    dropping_proxy: Callable[[PostgresServer], DroppingProxy],
    *,
    count: int,
):
    proxy = dropping_proxy(postgres_schema)
    port = proxy.url.rpartition(":")[2].partition("/")[0]
    recorder = build(POSTGRES_PORT=port).application_recorder()
    recorder.insert_events(events())
    batch = events(count)

    proxy.drop_answers()
    ids = recorder.insert_events(batch)

    assert proxy.drops == 1
    assert ids == list(range(2, 2 + count))
    assert recorder.max_notification_id() == 1 + count
    with pytest.raises(IntegrityError):
        recorder.insert_events(batch)


def test_a_lost_race_is_a_conflict_and_nothing_is_stored(build):
    recorder = build().application_recorder()
    id_ = uuid4()
    recorder.insert_events(events(2, id_=id_))

    with pytest.raises(IntegrityError):
        recorder.insert_events([StoredEvent(uuid4(), 1, "t", b""), *events(3, id_=id_)])

    assert len(recorder.select_events(id_)) == 2
    assert recorder.max_notification_id() == 2


def test_a_pool_opens_connections_only_when_they_are_needed(build, postgres_schema):
    recorder = build(POSTGRES_POOL_SIZE="20").application_recorder()
    recorder.insert_events(events())

    assert recorder.datastore.pool.get_stats()["pool_size"] <= 2


def test_factories_that_make_their_tables_at_once_do_not_collide(build):
    errors: list[Exception] = []
    begin = threading.Barrier(8, timeout=PATIENCE_SECONDS)

    def make() -> None:
        try:
            factory = build()
            begin.wait()
            factory.process_recorder()
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []


def test_who_waits_for_a_position_is_woken_by_its_commit(build, monkeypatch):
    monkeypatch.setattr(ours, "TRACKING_POLL_SECONDS", PATIENCE_SECONDS)
    recorder = build().tracking_recorder()
    done = threading.Event()

    def wait() -> None:
        recorder.wait("upstream", 5, timeout=PATIENCE_SECONDS)
        done.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    recorder.insert_tracking(Tracking("upstream", 4))
    recorder.insert_tracking(Tracking("upstream", 5))

    assert done.wait(PATIENCE_SECONDS / 2)
    waiter.join()


class Dog(Aggregate):
    """An aggregate as the base library's users write them."""

    @event("Registered")
    def __init__(self) -> None:
        self.tricks: list[str] = []

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        self.tricks.append(trick)


class Kennel(Application[UUID]):
    """An application that knows nothing of us."""

    is_snapshotting_enabled = True

    def register(self) -> UUID:
        dog = Dog()
        self.save(dog)
        return dog.id

    def add_trick(self, id_: UUID, trick: str) -> int:
        dog: Dog = self.repository.get(id_)
        dog.add_trick(trick)
        return self.save(dog)[-1].notification.id


def test_an_application_moves_to_these_recorders_and_back(postgres_schema):
    id_: UUID | None = None
    tricks: list[str] = []
    ids: list[int] = []
    for module in (BASE, MODULE, BASE, MODULE):
        app = Kennel(environment(postgres_schema, PERSISTENCE_MODULE=module))
        id_ = id_ or app.register()
        app.add_trick(id_, module)
        app.take_snapshot(id_)
        dog: Dog = app.repository.get(id_)
        tricks = dog.tricks
        ids = [one.id for one in app.recorder.select_notifications(1, 100)]
        app.close()

    assert tricks == [BASE, MODULE, BASE, MODULE]
    assert ids == [1, 2, 3, 4, 5]


class Counting(AggregateEventCountersProjection):
    """Asks for every event: see the limit in the module's description."""

    name = "counting"
    topics = ()


def test_a_projection_of_the_base_library_runs_on_these_recorders(postgres_schema):
    with ProjectionRunner(
        application_class=Kennel,
        projection_class=Counting,
        view_class=Counters,
        env=environment(postgres_schema),
    ) as runner:
        id_ = runner.app.register()
        last = runner.app.add_trick(id_, "roll over")

        runner.wait(last, timeout=PATIENCE_SECONDS)

        assert runner.projection.view.get_created_event_counter() == 1
        assert runner.projection.view.get_subsequent_event_counter() == 1


def test_the_recorders_are_those_of_the_base_library_too(build):
    factory = build()

    assert isinstance(factory.application_recorder(), base.PostgresApplicationRecorder)
    assert isinstance(factory.process_recorder(), base.PostgresProcessRecorder)
