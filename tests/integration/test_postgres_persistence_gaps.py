"""The persistence module's followers pass a gap on the evidence of the writers there were then."""

# ruff: noqa: PLR0917 - the arguments of a test are its fixtures

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from eventsourcing.persistence import InfrastructureFactory, StoredEvent
from eventsourcing.utils import Environment
from psycopg import sql

from tests.contract.eventsourcing_cases.test_postgres import MODULE, environment
from tests.integration.postgres_threads import in_thread
from tests.postgres import PostgresSchema

pytestmark = pytest.mark.postgres

PATIENCE_SECONDS = 20.0
OVERLAP_SECONDS = 0.03

Recorder = Any


PARTITIONED = """
CREATE TABLE {table} (
    originator_id text NOT NULL, originator_version bigint NOT NULL,
    topic text, state bytea, notification_id bigserial,
    PRIMARY KEY (originator_id, originator_version)
) PARTITION BY LIST (originator_id);
CREATE TABLE {partition} PARTITION OF {table} FOR VALUES IN ('order-1');
CREATE TABLE {others} PARTITION OF {table} DEFAULT;
CREATE INDEX ON {table} (notification_id);
"""


@pytest.fixture
def recorder(postgres_schema: PostgresSchema) -> Iterator[Recorder]:
    env = environment(postgres_schema, PERSISTENCE_MODULE=MODULE, ORIGINATOR_ID_TYPE="text")
    factory: Any = InfrastructureFactory.construct(Environment("shop", env))
    yield factory.application_recorder()
    factory.close()


@pytest.fixture
def insert(postgres_schema: PostgresSchema) -> Callable[[Any], None]:
    """``insert(session)``: one event of a stream of its own, not committed."""
    statement = sql.SQL(
        "INSERT INTO {} (originator_id, originator_version, topic, state)"
        " VALUES (gen_random_uuid()::text, 1, 'topic', '')"
    ).format(sql.Identifier(postgres_schema.schema, "shop_events"))

    def insert(session: Any) -> None:
        session.execute(statement)

    return insert


@pytest.fixture
def insert_into(postgres_schema: PostgresSchema) -> Callable[[Any, str], None]:
    """``insert_into(session, table)``: the first event of order-1, not committed."""

    def insert(session: Any, table: str) -> None:
        session.execute(
            sql.SQL(
                "INSERT INTO {} (originator_id, originator_version, topic, state, notification_id)"
                " VALUES ('order-1', 1, 'topic', '', nextval({}))"
            ).format(
                sql.Identifier(postgres_schema.schema, table),
                sql.Literal(f"{postgres_schema.schema}.shop_events_notification_id_seq"),
            )
        )

    return insert


@contextmanager
def overlapping_writers(
    place: PostgresSchema, insert: Callable[[Any], None], *, first: Any
) -> Iterator[None]:
    """At every moment some transaction holds the table: each begins before the last one ends."""
    stop = threading.Event()

    def write(current: Any) -> None:
        while not stop.wait(OVERLAP_SECONDS):
            following = place.connect(autocommit=False)
            insert(following)
            current.commit()
            current.close()
            current = following
        current.rollback()
        current.close()

    insert(first)
    thread = threading.Thread(target=write, args=(first,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("topics", [[], ["topic"]])
def test_writers_that_never_pause_do_not_keep_a_follower_before_a_gap(
    recorder, insert, postgres_schema, topics
):
    with postgres_schema.connect(autocommit=False) as failing:
        insert(failing)
        subscription = recorder.subscribe(topics=topics)
        with overlapping_writers(
            postgres_schema, insert, first=postgres_schema.connect(autocommit=False)
        ):
            failing.rollback()
            recorder.insert_events([StoredEvent("order-1", 1, "topic", b"")])
            alarm = threading.Timer(PATIENCE_SECONDS, subscription.stop)
            alarm.start()
            seen = [notification.id for notification, _ in zip(subscription, range(3))]  # noqa: B905
            alarm.cancel()
            subscription.stop()

    assert len(seen) == 3, "the follower waited for writers that came after the gap"
    assert seen == sorted(seen)
    assert seen[0] == 2


@pytest.mark.parametrize("topics", [[], ["topic"]])
@pytest.mark.parametrize("written_to", ["shop_events", "shop_events_1"])
def test_in_a_table_with_partitions_a_gap_is_waited_for(
    postgres_schema, insert_into, topics, written_to
):
    names = {
        part: sql.Identifier(postgres_schema.schema, name)
        for part, name in (
            ("table", "shop_events"),
            ("partition", "shop_events_1"),
            ("others", "shop_events_others"),
        )
    }
    with postgres_schema.connect() as owner:
        owner.execute(sql.SQL(PARTITIONED).format(**names))
    env = environment(postgres_schema, ORIGINATOR_ID_TYPE="text", CREATE_TABLE="n")
    factory: Any = InfrastructureFactory.construct(Environment("shop", env))
    recorder = factory.application_recorder()

    with postgres_schema.connect(autocommit=False) as late:
        insert_into(late, written_to)
        batch = [StoredEvent("order-2", version, "topic", b"") for version in (1, 2)]
        assert recorder.insert_events(batch) == [2, 3]
        with in_thread(lambda: recorder.select_notifications(1, 10, topics=topics)) as found:
            time.sleep(0.1)
            assert found == []
            late.commit()
    factory.close()

    assert [notification.id for notification in found[0]] == [1, 2, 3]
