"""The Postgres log when the way to the server fails: nothing lost, nothing twice."""
# ruff: noqa: PLR0917 - the arguments of a test are its fixtures

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from eventcore.errors import ConcurrencyConflictError, StoreClosedError, StoreUnavailableError
from eventcore.stores.log import ANY_VERSION, AppendResult, StreamAppend
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.dropping_proxy import DroppingProxy
from tests.integration.postgres_threads import HANG_SECONDS, in_thread
from tests.postgres import PostgresSchema

pytestmark = pytest.mark.postgres

OpenLog = Callable[..., PostgresLog]


@pytest.fixture
def open_log(postgres_schema: PostgresSchema) -> Iterator[OpenLog]:
    """``open_log(url)``: a log of the test's schema, by that way to the server."""
    logs: list[PostgresLog] = []

    def begin(url: str = postgres_schema.url) -> PostgresLog:
        logs.append(PostgresLog(url, schema=postgres_schema.schema))
        return logs[-1]

    yield begin
    for log in logs:
        log.close()


@pytest.fixture
def proxy(
    postgres_schema: PostgresSchema, dropping_proxy: Callable[..., DroppingProxy]
) -> DroppingProxy:
    return dropping_proxy(postgres_schema)


@pytest.fixture
def make() -> EventMaker:
    return EventMaker()


def places(log: PostgresLog) -> list[tuple[int, str, int, str]]:
    return [(one.position, one.stream, one.version, str(one.event_id)) for one in log.read()]


def one_event(make: EventMaker) -> list[StreamAppend]:
    return [StreamAppend("order-1", 1, [make()])]


def several_events(make: EventMaker) -> list[StreamAppend]:
    return [StreamAppend("order-1", 1, make.many(3))]


def at_any_version(make: EventMaker) -> list[StreamAppend]:
    return [StreamAppend("order-1", ANY_VERSION, make.many(2))]


def one_event_at_any_version(make: EventMaker) -> list[StreamAppend]:
    return [StreamAppend("order-1", ANY_VERSION, [make()])]


def several_streams(make: EventMaker) -> list[StreamAppend]:
    return [
        StreamAppend("user-1", 0, make.many(2)),
        StreamAppend("order-1", ANY_VERSION, [make()]),
        StreamAppend("user-1", 2, [make()]),
    ]


FORMS = [one_event, several_events, one_event_at_any_version, at_any_version, several_streams]


@pytest.mark.parametrize("form", FORMS)
def test_an_append_whose_answer_was_lost_is_found_by_the_log_itself(open_log, proxy, make, form):
    log = open_log(proxy.url)
    log.append([StreamAppend("order-1", 0, [make()])])
    appends = form(make)
    count = sum(len(append.events) for append in appends)

    proxy.drop_answers()
    result = log.append(appends)

    assert proxy.drops == 1
    assert result.repeated
    assert result.positions == tuple(range(2, count + 2))
    events = [(append.stream, event) for append in appends for event in append.events]
    written = zip(result.positions, events, result.versions, strict=True)
    assert places(log)[1:] == [
        (position, stream, version, event.event_id)
        for position, (stream, event), version in written
    ]


@pytest.mark.parametrize("form", FORMS)
def test_an_append_that_failed_without_an_answer_may_be_repeated_by_anybody(
    open_log, proxy, make, form, monkeypatch
):
    other, log = open_log(), open_log(proxy.url)
    log.append([StreamAppend("order-1", 0, [make()])])
    appends = form(make)

    def give_up(self: PostgresConnections, error: Exception, *_: Any, **__: Any) -> float:
        raise error

    proxy.drop_answers()
    with monkeypatch.context() as patched:
        patched.setattr(PostgresConnections, "retry", give_up)
        with pytest.raises(StoreUnavailableError):
            log.append(appends)
    before = places(other)
    other.append([StreamAppend("user-9", 0, [make()])])
    first, second = log.append(appends), other.append(appends)

    assert proxy.drops == 1
    assert first == second
    assert first.repeated
    assert first.positions == tuple(position for position, *_ in before[1:])
    assert places(other)[:-1] == before


def test_an_answer_lost_again_and_again_is_still_one_append(open_log, proxy, make):
    log = open_log(proxy.url)
    append = [StreamAppend("order-1", 0, make.many(2))]

    proxy.drop_answers(3)
    result = log.append(append)

    assert proxy.drops == 3
    assert result == AppendResult((1, 2), (1, 2), repeated=True)
    assert log.head() == 2


def test_a_conflict_behind_a_lost_answer_is_still_a_conflict(open_log, proxy, make):
    log, other = open_log(proxy.url), open_log()
    log.append([StreamAppend("order-1", 0, [make()])])
    other.append([StreamAppend("order-1", 1, [make()])])

    proxy.drop_answers()
    with pytest.raises(ConcurrencyConflictError) as caught:
        log.append([StreamAppend("order-1", 1, [make()])])

    assert proxy.drops == 1
    assert (caught.value.expected_version, caught.value.actual_version) == (1, 2)
    assert log.head() == 2


def test_connections_that_were_cut_while_idle_are_replaced(open_log, proxy, make):
    log = open_log(proxy.url)
    log.append([StreamAppend("order-1", 0, [make()])])
    assert log.head() == 1

    proxy.cut()
    result = log.append([StreamAppend("order-1", 1, [make()])])
    proxy.cut()

    assert result == AppendResult((2,), (2,), repeated=False)
    assert [event.position for event in log.read()] == [1, 2]
    assert log.stream_version("order-1") == 2


def test_a_way_that_is_blocked_for_a_while_delays_and_loses_nothing(open_log, proxy, make):
    log = open_log(proxy.url)
    log.append([StreamAppend("order-1", 0, [make()])])

    proxy.block()
    append = [StreamAppend("order-1", 1, make.many(2))]
    with in_thread(lambda: log.append(append)) as results:
        proxy.unblock()

    assert results == [AppendResult((2, 3), (2, 3), repeated=False)]


def test_a_follower_whose_connections_are_cut_goes_on_where_it_was(open_log, proxy, make):
    log, other = open_log(proxy.url), open_log()
    seen: list[int] = []

    with log.subscribe() as subscription:
        for number in range(10):
            other.append([StreamAppend("order-1", number, [make()])])
            if number % 3 == 1:
                proxy.cut()
            while len(seen) <= number:
                page = subscription.next_page(HANG_SECONDS)
                assert page is not None
                seen += [event.position for event in page.events]

    assert seen == list(range(1, 11))


def test_an_append_that_waits_for_another_s_version_conflicts_when_that_commits(
    open_log, make, postgres_schema
):
    log = open_log()
    mine, theirs = make(), make()
    with closing(postgres_schema.connect(autocommit=False)) as other:
        insert(other, postgres_schema, "order-1", 1, theirs)
        with in_thread(lambda: log.append([StreamAppend("order-1", 0, [mine])])) as results:
            wait_for_a_lock(postgres_schema)
            other.commit()

    (error,) = results
    assert isinstance(error, ConcurrencyConflictError)
    assert (error.stream, error.expected_version, error.actual_version) == ("order-1", 0, 1)


def test_an_append_that_waits_for_another_s_version_succeeds_when_that_is_rolled_back(
    open_log, make, postgres_schema
):
    log = open_log()
    mine, theirs = make(), make()
    with closing(postgres_schema.connect(autocommit=False)) as other:
        insert(other, postgres_schema, "order-1", 1, theirs)
        with in_thread(lambda: log.append([StreamAppend("order-1", 0, [mine])])) as results:
            wait_for_a_lock(postgres_schema)
            other.rollback()

    (result,) = results
    assert (result.versions, result.repeated) == ((1,), False)
    assert [str(event.event_id) for event in log.read()] == [mine.event_id]


def test_an_append_whose_backend_is_terminated_while_it_waits_is_written_once(
    open_log, make, postgres_schema
):
    log = open_log()
    mine, theirs = make(), make()
    with (
        closing(postgres_schema.connect(autocommit=False)) as other,
        closing(postgres_schema.connect()) as administrator,
    ):
        insert(other, postgres_schema, "order-1", 1, theirs)
        with in_thread(lambda: log.append([StreamAppend("order-1", 0, [mine])])) as results:
            pid = wait_for_a_lock(postgres_schema)
            administrator.execute("SELECT pg_terminate_backend(%s)", (pid,))
            other.rollback()

    (result,) = results
    assert (result.versions, result.repeated) == ((1,), False)
    assert [str(event.event_id) for event in log.read()] == [mine.event_id]


def test_an_append_that_the_server_gives_up_writes_nothing_and_may_be_repeated(
    open_log, make, postgres_schema
):
    other_log = open_log()  # makes the tables, which may take longer than the limit
    log = open_log(f"{postgres_schema.url}?options=-c%20statement_timeout%3D2000")
    append = [StreamAppend("order-1", 0, make.many(2)), StreamAppend("user-1", 0, [make()])]
    with closing(postgres_schema.connect(autocommit=False)) as other:
        insert(other, postgres_schema, "user-1", 1, make())
        with pytest.raises(StoreUnavailableError, match="statement timeout"):
            log.append(append)
        other.rollback()

    assert log.stream_version("order-1") == 0
    assert other_log.append(append).versions == (1, 2, 1)


def test_a_closed_log_refuses_and_its_subscription_has_ended(open_log, make):
    log = open_log()
    subscription = log.subscribe()
    with in_thread(lambda: list(subscription)) as followed:
        log.close()

    assert followed == [[]]
    with pytest.raises(StoreClosedError):
        log.append([StreamAppend("order-1", 0, [make()])])
    with pytest.raises(StoreClosedError):
        log.head()


def insert(
    session: psycopg.Connection[Any], place: PostgresSchema, stream: str, version: int, event: Any
) -> None:
    session.execute(
        f"INSERT INTO {place.schema}.eventcore_log (stream, version, type, event_id, state)"
        " VALUES (%s, %s, %s, %s, %s)",
        (stream, version, event.type, event.event_id, event.state),
    )


def wait_for_a_lock(place: PostgresSchema) -> int:
    """Until a backend waits for another one; which."""
    deadline = time.monotonic() + HANG_SECONDS
    with place.connect() as connection:
        while time.monotonic() < deadline:
            row = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND strpos(query, %s) > 0 AND datname = current_database()",
                (place.schema,),
            ).fetchone()
            if row is not None:
                return int(row[0])
            time.sleep(0.005)
    raise AssertionError("nobody waits")
