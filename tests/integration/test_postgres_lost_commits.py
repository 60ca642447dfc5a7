"""The Postgres log after a failover to a server that had not received the newest commits.

Their positions are given out again there: what was found out on the old server counts no more.
"""
# ruff: noqa: PLR0917 - the arguments of a test are its fixtures

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from eventcore.errors import LogRewoundError
from eventcore.stores.log import EVERYTHING, LogFilter, StreamAppend, Subscription
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.snapshots import Snapshot
from eventcore.testing import EventMaker
from tests.integration.postgres_racing import INSERT, TYPE
from tests.integration.postgres_threads import HANG_SECONDS, in_thread
from tests.postgres_cluster import Cluster

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SCHEMA = "shop"
LOST = 100
"""More than a sequence jumps by at a failover, so that positions are given out again."""

Session = psycopg.Connection[Any]


class Pair:
    """A server whose standby receives nothing more, and a log that finds whichever takes writes."""

    def __init__(self, primary: Cluster, standby: Cluster) -> None:
        self.primary = primary
        self.standby = standby
        self.log = PostgresLog(
            f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres",
            schema=SCHEMA,
        )

    def fail_over(self) -> None:
        self.primary.kill()
        self.standby.promote()


@pytest.fixture
def pair(own_postgres: Callable[..., Cluster]) -> Iterator[Pair]:
    """Three events are on both servers; whatever comes now is on the first alone."""
    primary = own_postgres()
    with closing(PostgresLog(primary.url, schema=SCHEMA)) as log:
        log.append([StreamAppend("order-1", 0, EventMaker(series=9).many(3))])
    standby = own_postgres(standby_of=primary)
    with psycopg.connect(standby.url, autocommit=True) as administrator:
        administrator.execute("ALTER SYSTEM SET primary_conninfo = ''")
        administrator.execute("SELECT pg_reload_conf()")
        wait_until(
            lambda: (
                administrator.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone()
                == (0,)
            )
        )
    made = Pair(primary, standby)
    yield made
    made.log.close()


@pytest.fixture
def make() -> EventMaker:
    return EventMaker()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def insert(session: Session, stream: str, make: EventMaker) -> None:
    """A row of a new stream, not committed."""
    event = make()
    session.execute(
        INSERT.format(schema=SCHEMA), (stream, 0, TYPE, [event.event_id], [event.state])
    )


def append(log: PostgresLog, stream: str, make: EventMaker, count: int = 1) -> tuple[int, ...]:
    return log.append([StreamAppend(stream, 0, make.many(count))]).positions


def leave_a_gap(pair: Pair, make: EventMaker) -> None:
    """A position that was rolled back, and events behind it, all on the first server alone."""
    with closing(psycopg.connect(pair.primary.url)) as failing:
        insert(failing, "failed-1", make)
        failing.rollback()
    append(pair.log, "lost-1", make, LOST)


def check_that_a_late_commit_is_read(
    pair: Pair, make: EventMaker, where: LogFilter = EVERYTHING
) -> None:
    """One more position is being written on the new server, below what was final on the old."""
    # The reader's log writes nothing, so that only reading can notice the change.
    with (
        closing(PostgresLog(pair.standby.url, schema=SCHEMA)) as other,
        closing(psycopg.connect(pair.standby.url)) as late,
    ):
        insert(late, "late-1", make)
        (position,) = append(other, "order-2", make)
        assert position < LOST
        with in_thread(lambda: pair.log.read_page(3, 10, where)) as pages:
            time.sleep(0.1)
            late.commit()

    ((events, end),) = pages
    assert ([event.position for event in events], end) == ([position - 1, position], position)


CHOICE = LogFilter(types=frozenset({TYPE}))


@pytest.mark.parametrize("where", [EVERYTHING, CHOICE])
def test_positions_that_are_given_out_again_are_waited_for(pair, make, where):
    leave_a_gap(pair, make)
    assert len(pair.log.read_page(3, 2 * LOST, where).events) == LOST

    pair.fail_over()

    check_that_a_late_commit_is_read(pair, make, where)


def test_also_when_something_else_noticed_that_the_server_was_gone(pair, make):
    leave_a_gap(pair, make)
    assert len(pair.log.read_page(3, 2 * LOST).events) == LOST

    pair.fail_over()
    # On a connection to the new server, after those to the old one were thrown away.
    pair.log.save_snapshot(Snapshot("order-1", 1, "fold", b"{}"))

    check_that_a_late_commit_is_read(pair, make)


def test_also_when_a_reader_was_waiting_on_the_old_server_just_then(pair, make):
    with closing(psycopg.connect(pair.primary.url)) as holder:
        insert(holder, "held-1", make)
        append(pair.log, "lost-1", make, LOST)
        with in_thread(lambda: pair.log.read_page(3, 10)) as pages:
            time.sleep(0.2)
            pair.fail_over()

    ((events, end),) = pages
    assert (events, end) == ([], 3)
    check_that_a_late_commit_is_read(pair, make)


def test_a_prepared_transaction_still_holds_after_a_crash(own_postgres, make):
    cluster = own_postgres()
    log = PostgresLog(cluster.url, schema=SCHEMA)
    with closing(psycopg.connect(cluster.url)) as session:
        insert(session, "prepared-1", make)
        session.execute("PREPARE TRANSACTION 'late'")
    append(log, "order-1", make)
    done = threading.Event()

    def read() -> Any:
        page = log.read_page(0, 10)
        done.set()
        return page

    with in_thread(read) as pages:
        time.sleep(0.1)
        cluster.kill()
        cluster.restart()
        waited = not done.wait(0.5)
        with psycopg.connect(cluster.url, autocommit=True) as other:
            other.execute("COMMIT PREPARED 'late'")
    log.close()

    assert waited
    ((events, end),) = pages
    assert ([event.position for event in events], end) == ([1, 2], 2)


def test_a_subscription_ends_when_what_it_handed_out_was_lost(pair, make):
    with pair.log.subscribe() as subscription:
        append(pair.log, "lost-1", make, LOST)
        handed_out = take(subscription, 3 + LOST)

        pair.fail_over()
        with closing(PostgresLog(pair.standby.url, schema=SCHEMA)) as other:
            positions = append(other, "order-2", EventMaker(series=2), LOST)

            with pytest.raises(LogRewoundError) as caught:
                take(subscription, 1)

    assert caught.value.position == handed_out[-1]
    assert positions[0] <= handed_out[-1]


def test_a_subscription_ends_when_what_it_began_behind_was_lost(pair, make):
    append(pair.log, "lost-1", make, LOST)
    with pair.log.subscribe(pair.log.head()) as subscription:
        page = subscription.next_page(0)
        assert page is not None
        assert page.events == []

        pair.fail_over()
        with closing(PostgresLog(pair.standby.url, schema=SCHEMA)) as other:
            append(other, "order-2", EventMaker(series=2), LOST + 1)

            with pytest.raises(LogRewoundError):
                take(subscription, 1)


def test_a_subscription_ends_when_its_log_is_closed_while_the_server_is_away(pair, make):
    append(pair.log, "order-2", make)
    seen: list[int] = []
    with in_thread(
        lambda: seen.extend(event.position for event in pair.log.subscribe())
    ) as followed:
        wait_until(lambda: len(seen) == 4)
        pair.primary.kill()
        time.sleep(0.5)
        pair.log.close()

    assert (followed, seen) == ([None], [1, 2, 3, 4])


def test_a_subscription_goes_on_when_the_failover_lost_nothing_of_what_it_handed_out(pair, make):
    with pair.log.subscribe() as subscription:
        assert take(subscription, 3) == [1, 2, 3]
        append(pair.log, "lost-1", make, LOST)

        pair.fail_over()
        with closing(PostgresLog(pair.standby.url, schema=SCHEMA)) as other:
            positions = append(other, "order-2", EventMaker(series=2), 2)

            assert take(subscription, 2) == list(positions)


def take(subscription: Subscription, count: int) -> list[int]:
    """So many positions, however many pages they come in."""
    seen: list[int] = []
    deadline = time.monotonic() + HANG_SECONDS
    while len(seen) < count:
        assert time.monotonic() < deadline, f"nothing came after {seen[-3:]}"
        page = subscription.next_page(0.5)
        assert page is not None
        seen += [event.position for event in page.events]
    return seen
