"""A missing position holds a follower of the Postgres log just as long as somebody may fill it."""
# ruff: noqa: PLR0917 - the arguments of a test are its fixtures

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.stores.log import EVERYTHING, LogFilter, StreamAppend, Subscription
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.integration.postgres_racing import INSERT, TYPE
from tests.postgres import PostgresSchema

pytestmark = pytest.mark.postgres

MOMENT_SECONDS = 0.05
"""How long a follower is given that must not see anything, because it may not."""

HANG_SECONDS = 30.0
WIDE = 12_000
APPLICATION = "stranger"

Session = psycopg.Connection[Any]
OpenSession = Callable[..., Session]


@pytest.fixture
def log(postgres_schema: PostgresSchema) -> Iterator[PostgresLog]:
    log = PostgresLog(postgres_schema.url, schema=postgres_schema.schema)
    yield log
    log.close()


@pytest.fixture
def make() -> EventMaker:
    return EventMaker(series=1)


@pytest.fixture
def open_session(postgres_schema: PostgresSchema, log: PostgresLog) -> Iterator[OpenSession]:
    """``open_session()``: a session in which transactions begin by themselves."""
    sessions: list[Session] = []

    def begin(**parameters: Any) -> Session:
        settings: dict[str, Any] = {"application_name": APPLICATION, **parameters}
        sessions.append(postgres_schema.connect(autocommit=False, **settings))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()


@pytest.fixture
def insert(postgres_schema: PostgresSchema) -> Callable[..., None]:
    """``insert(session, count)``: rows of a stream that is the session's own."""
    statement = INSERT.format(schema=postgres_schema.schema)
    makers: dict[Session, EventMaker] = {}
    versions: dict[Session, int] = {}

    def insert(session: Session, count: int = 1) -> None:
        make = makers.setdefault(session, EventMaker(series=100 + len(makers)))
        version = versions.get(session, 0)
        events = make.many(count)
        ids, states = [one.event_id for one in events], [one.state for one in events]
        session.execute(statement, (f"raw-{id(session)}", version, TYPE, ids, states))
        versions[session] = version + count

    return insert


def append(log: PostgresLog, make: EventMaker, count: int = 1) -> None:
    version = log.stream_version("own-1")
    log.append([StreamAppend("own-1", version, make.many(count))])


def take(subscription: Subscription, count: int) -> list[int]:
    """So many positions, however many pages they come in."""
    seen: list[int] = []
    while len(seen) < count:
        page = subscription.next_page(HANG_SECONDS)
        assert page is not None
        assert page.events, f"nothing came after {seen[-3:]}"
        seen += [event.position for event in page.events]
    return seen


def is_held(subscription: Subscription) -> bool:
    page = subscription.next_page(MOMENT_SECONDS)
    assert page is not None
    return not page.events


@contextmanager
def following(log: PostgresLog, where: LogFilter = EVERYTHING) -> Iterator[Subscription]:
    with log.subscribe(where=where) as subscription:
        yield subscription


EDGES = [1, 2, READ_PAGE_EVENTS - 1, READ_PAGE_EVENTS, READ_PAGE_EVENTS + 1]


@pytest.mark.parametrize("gap", EDGES)
def test_what_is_committed_late_is_seen_in_its_place(log, make, open_session, insert, gap):
    if gap > 1:
        append(log, make, gap - 1)
    late = open_session()
    insert(late)
    append(log, make, 5)

    with following(log) as subscription:
        before = take(subscription, gap - 1)
        assert is_held(subscription)
        late.commit()
        after = take(subscription, 6)

    assert before == list(range(1, gap))
    assert after == list(range(gap, gap + 6))


@pytest.mark.parametrize("gap", EDGES)
def test_what_is_rolled_back_late_holds_until_then_and_is_passed_over(
    log, make, open_session, insert, gap
):
    if gap > 1:
        append(log, make, gap - 1)
    late = open_session()
    insert(late)
    append(log, make, 5)

    with following(log) as subscription:
        before = take(subscription, gap - 1)
        assert is_held(subscription)
        late.rollback()
        after = take(subscription, 5)

    assert before == list(range(1, gap))
    assert after == list(range(gap + 1, gap + 6))


@pytest.mark.parametrize("ending", ["commit", "rollback"])
@pytest.mark.parametrize("gap", EDGES)
def test_a_filter_hides_no_gap(log, make, open_session, insert, gap, ending):
    if gap > 1:
        append(log, make, gap - 1)
    late = open_session()
    insert(late)
    append(log, make, 5)

    with following(log, LogFilter(categories=frozenset({"own", "raw"}))) as subscription:
        page = subscription.next_page(MOMENT_SECONDS)
        assert page is not None
        assert page.end < gap
        getattr(late, ending)()
        before = [event.position for event in page.events]
        expected = [*range(1, gap + ending.count("commit")), *range(gap + 1, gap + 6)]
        assert [*before, *take(subscription, len(expected) - len(before))] == expected


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_gap_wider_than_any_page_is_waited_for(log, make, open_session, insert, ending):
    append(log, make)
    late = open_session()
    insert(late, WIDE)
    append(log, make)

    with following(log) as subscription:
        assert take(subscription, 1) == [1]
        assert is_held(subscription)
        getattr(late, ending)()
        missing = list(range(2, WIDE + 2)) if ending == "commit" else []
        assert take(subscription, len(missing) + 1) == [*missing, WIDE + 2]


def test_transactions_that_end_in_the_opposite_order_are_seen_in_the_log_s(
    log, make, open_session, insert
):
    sessions = [open_session() for _ in range(8)]
    for session in sessions:
        insert(session, 3)
    append(log, make)
    seen: list[int] = []

    with following(log) as subscription:
        for number, session in reversed(list(enumerate(sessions))):
            assert is_held(subscription)
            if number % 2:
                session.rollback()
            else:
                session.commit()
        seen = take(subscription, 4 * 3 + 1)

    kept = [3 * number + place for number in range(0, 8, 2) for place in (1, 2, 3)]
    assert seen == [*kept, 25]


def test_the_first_of_two_gaps_holds_what_is_between_them_and_the_second_what_is_behind(
    log, make, open_session, insert
):
    first, second = open_session(), open_session()
    insert(first)
    append(log, make)
    insert(second)
    append(log, make)

    with following(log) as subscription:
        assert is_held(subscription)
        first.commit()
        assert take(subscription, 2) == [1, 2]
        assert is_held(subscription)
        second.rollback()
        assert take(subscription, 1) == [4]


def test_a_part_of_a_transaction_that_was_taken_back_is_passed_over(
    log, make, open_session, insert
):
    session = open_session()
    insert(session)
    session.execute("SAVEPOINT before")
    insert(session, 2)
    session.execute("ROLLBACK TO SAVEPOINT before")
    append(log, make)
    session.commit()

    with following(log) as subscription:
        assert take(subscription, 2) == [1, 4]


STRANGERS: Sequence[str] = (
    "SELECT count(*) FROM {schema}.eventcore_log",
    "CREATE TABLE {schema}.strange (number integer)",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT pg_current_xact_id()",
    "SELECT pg_advisory_xact_lock(1)",
    "LOCK TABLE {schema}.eventcore_log IN ROW SHARE MODE",
)


@pytest.mark.parametrize("statement", STRANGERS)
def test_a_transaction_that_wrote_nothing_to_the_log_holds_nobody(
    log, make, open_session, insert, postgres_schema, statement
):
    stranger, failing = open_session(), open_session()
    stranger.execute(statement.format(schema=postgres_schema.schema))
    insert(failing)
    append(log, make)

    with following(log) as subscription:
        assert is_held(subscription)
        failing.rollback()
        assert log.feed_holders() == []
        assert take(subscription, 1) == [2]


def test_writers_of_another_log_hold_nobody(log, make, open_session, insert, postgres_schema):
    other = open_session()
    other.execute(f"CREATE TABLE {postgres_schema.schema}.other (number integer)")
    other.execute(f"INSERT INTO {postgres_schema.schema}.other VALUES (1)")
    failing = open_session()
    insert(failing)
    failing.rollback()
    append(log, make)

    with following(log) as subscription:
        assert take(subscription, 1) == [2]


def test_an_idle_writer_holds_only_what_is_above_a_gap_and_is_named(
    log, make, open_session, insert, postgres_schema
):
    lock = f"LOCK TABLE {postgres_schema.schema}.eventcore_log IN ROW EXCLUSIVE MODE"
    stranger, failing = open_session(), open_session()
    stranger.execute(lock)
    append(log, make, 3)

    with following(log) as subscription:
        assert take(subscription, 3) == [1, 2, 3]
        (holder,) = log.feed_holders()
        insert(failing)
        failing.rollback()
        append(log, make)
        assert is_held(subscription)  # it may have taken position 4, for all anybody can know
        stranger.rollback()
        assert take(subscription, 1) == [5]

    assert holder.pid == stranger.info.backend_pid
    assert (holder.state, holder.application) == ("idle in transaction", APPLICATION)
    assert holder.query == lock
    assert holder.age_seconds is not None
    assert holder.age_seconds >= 0
    assert log.feed_holders() == []


def test_a_session_that_goes_on_to_its_next_transaction_is_not_waited_for(
    log, make, open_session, insert
):
    session = open_session()
    insert(session)
    append(log, make)

    with following(log) as subscription:
        assert is_held(subscription)
        session.rollback()
        insert(session)  # position 3, in a transaction that stays
        append(log, make)
        assert take(subscription, 1) == [2]
        assert is_held(subscription)
        session.rollback()
        assert take(subscription, 1) == [4]


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_a_prepared_transaction_holds_without_a_session_and_is_named(
    log, make, open_session, insert, postgres_schema, ending
):
    session = open_session()
    (allowed,) = session.execute("SHOW max_prepared_transactions").fetchone()
    if allowed == "0":
        pytest.skip("NOT TESTED: this server has max_prepared_transactions = 0")
    name = postgres_schema.schema
    insert(session)
    session.execute(f"PREPARE TRANSACTION '{name}'")
    session.close()
    append(log, make)

    with following(log) as subscription, postgres_schema.connect() as other:
        try:
            assert is_held(subscription)
            (holder,) = log.feed_holders()
        finally:
            other.execute(f"{ending} PREPARED '{name}'")
        seen = take(subscription, 2 if ending == "COMMIT" else 1)

    assert seen == ([1, 2] if ending == "COMMIT" else [2])
    assert (holder.pid, holder.query) == (None, name)
    assert holder.age_seconds is not None


def test_a_page_read_behind_a_gap_waits_until_it_is_filled(log, make, open_session, insert):
    late = open_session()
    insert(late)
    append(log, make)
    pages: list[Any] = []
    reader = threading.Thread(target=lambda: pages.append(log.read_page(0, 10)), daemon=True)

    reader.start()
    reader.join(MOMENT_SECONDS)
    waited = reader.is_alive()
    late.commit()
    reader.join(HANG_SECONDS)

    assert waited
    ((events, end),) = pages
    assert ([event.position for event in events], end) == ([1, 2], 2)
