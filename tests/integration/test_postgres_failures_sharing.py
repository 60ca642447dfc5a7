"""Threads that share a commit of the Postgres log: each keeps its own success or failure."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from eventcore.errors import ConcurrencyConflictError, EventIdReusedError
from eventcore.stores.log import ANY_VERSION, AppendResult, StreamAppend
from eventcore.stores.postgres import appending as appending_module
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.integration.postgres_threads import HANG_SECONDS, at_once
from tests.postgres import PostgresSchema

pytestmark = pytest.mark.postgres

THREADS = 16


@pytest.fixture
def log(postgres_schema: PostgresSchema) -> Iterator[PostgresLog]:
    log = PostgresLog(postgres_schema.url, schema=postgres_schema.schema)
    yield log
    log.close()


def appending(log: PostgresLog, *appends: StreamAppend) -> Callable[[], AppendResult]:
    return lambda: log.append(appends)


def stored(log: PostgresLog) -> dict[int, tuple[str, int, str]]:
    return {one.position: (one.stream, one.version, str(one.event_id)) for one in log.read()}


def check_written(log: PostgresLog, append: StreamAppend, result: AppendResult) -> None:
    """The result says where these very events are, next to each other in their order."""
    assert isinstance(result, AppendResult), result
    assert not result.repeated
    found = stored(log)
    assert [found[position] for position in result.positions] == [
        (append.stream, version, event.event_id)
        for event, version in zip(append.events, result.versions, strict=True)
    ]
    assert list(result.versions) == list(range(result.versions[0], result.versions[-1] + 1))
    assert list(result.positions) == sorted(result.positions)


@pytest.mark.parametrize("events", [1, 3])
def test_half_of_the_threads_build_on_a_version_that_has_passed(log, events):
    make, reached = EventMaker(), 0
    for _ in range(10):
        appends = [
            StreamAppend(
                f"own-{number}", reached if number % 2 == 0 else reached + 7, make.many(events)
            )
            for number in range(THREADS)
        ]

        results = at_once([appending(log, append) for append in appends])

        for number, (append, result) in enumerate(zip(appends, results, strict=True)):
            if number % 2 == 0:
                check_written(log, append, result)
                assert result.versions == tuple(range(reached + 1, reached + events + 1))
            else:
                assert isinstance(result, ConcurrencyConflictError), result
                assert result.stream == f"own-{number}"
                assert (result.expected_version, result.actual_version) == (reached + 7, 0)
        reached += events
    assert len(stored(log)) == 10 * events * THREADS // 2


def test_exactly_one_of_the_threads_that_want_a_version_gets_it(log):
    make = EventMaker()
    for version in range(15):
        appends = [StreamAppend("hot-1", version, [make()]) for _ in range(THREADS)]

        results = at_once([appending(log, append) for append in appends])

        (winner,) = [number for number, one in enumerate(results) if isinstance(one, AppendResult)]
        check_written(log, appends[winner], results[winner])
        for error in results[:winner] + results[winner + 1 :]:
            assert isinstance(error, ConcurrencyConflictError), error
            assert (error.stream, error.expected_version) == ("hot-1", version)
            assert error.actual_version == version + 1
    assert len(stored(log)) == 15


def test_threads_that_take_a_stream_as_it_is_get_versions_in_the_order_of_positions(log):
    make = EventMaker()
    appends = [StreamAppend("day-1", ANY_VERSION, make.many(1 + n % 3)) for n in range(4 * THREADS)]

    results = at_once([appending(log, append) for append in appends])

    for append, result in zip(appends, results, strict=True):
        check_written(log, append, result)
    count = sum(len(append.events) for append in appends)
    assert [version for _, (_, version, _) in sorted(stored(log).items())] == [*range(1, count + 1)]


def test_of_threads_that_append_the_same_events_all_are_told_the_same_places(log):
    events = EventMaker().many(2)

    results = at_once([appending(log, StreamAppend("order-1", 0, events))] * THREADS)

    (written,) = [result for result in results if not result.repeated]
    assert {result[:2] for result in results} == {written[:2]}
    assert len(stored(log)) == 2


def test_one_reused_event_id_fails_its_own_append_only(log):
    make = EventMaker()
    taken = make()
    log.append([StreamAppend("order-1", 0, [taken])])
    for number in range(10):
        appends = [StreamAppend(f"own-{number}-{n}", 0, [make()]) for n in range(THREADS - 1)]
        bad = StreamAppend(f"bad-{number}", 0, [make(), taken])

        *results, error = at_once([appending(log, one) for one in [*appends, bad]])

        assert isinstance(error, EventIdReusedError)
        assert (error.event_id, error.stream) == (taken.event_id, "order-1")
        for append, result in zip(appends, results, strict=True):
            check_written(log, append, result)
        assert log.stream_version(f"bad-{number}") == 0


def test_appends_to_several_streams_meet_appends_to_one(log):
    make = EventMaker()
    for version in range(10):
        both = [
            (StreamAppend("a-1", version, [make()]), StreamAppend("b-1", version, [make()])),
            (StreamAppend("b-1", version, [make()]), StreamAppend("a-1", version, [make()])),
        ]
        alone = [StreamAppend(f"own-{n}", version, [make()]) for n in range(THREADS - 2)]

        first, second, *results = at_once(
            [appending(log, *one) for one in both] + [appending(log, one) for one in alone]
        )

        outcomes = sorted([type(first).__name__, type(second).__name__])
        assert outcomes == ["AppendResult", "ConcurrencyConflictError"]
        for append, result in zip(alone, results, strict=True):
            check_written(log, append, result)
    assert log.stream_versions(["a-1", "b-1"]) == {"a-1": 10, "b-1": 10}


def test_one_thread_that_has_to_wait_does_not_keep_the_others(log, postgres_schema):
    make = EventMaker()
    other = EventMaker(series=1)()
    table = f"{postgres_schema.schema}.eventcore_log"
    with closing(postgres_schema.connect(autocommit=False)) as session:
        session.execute(
            f"INSERT INTO {table} (stream, version, type, event_id, state)"
            " VALUES ('held-1', 1, %s, %s, %s)",
            (other.type, other.event_id, other.state),
        )
        held: list[Any] = []
        waiting = threading.Thread(
            target=lambda: held.extend(
                at_once([appending(log, StreamAppend("held-1", 0, [make()]))])
            )
        )
        waiting.start()
        appends = [StreamAppend(f"own-{number}", 0, [make()]) for number in range(THREADS)]
        results = at_once([appending(log, append) for append in appends])
        # Read by position, not to the end: the feed is held just now.
        versions = log.stream_versions([append.stream for append in appends])
        session.rollback()
    waiting.join(HANG_SECONDS)

    assert set(versions.values()) == {1}
    for append, result in zip(appends, results, strict=True):
        check_written(log, append, result)
    assert [result.versions for result in held] == [(1,)]


def test_threads_share_one_connection_again_once_nobody_has_to_wait(
    log, postgres_schema, monkeypatch
):
    make, held = EventMaker(), EventMaker(series=1)()
    table = f"{postgres_schema.schema}.eventcore_log"
    monkeypatch.setattr(appending_module, "QUEUE_PATIENCE_SECONDS", 0.001)
    with closing(postgres_schema.connect(autocommit=False)) as session:
        session.execute(
            f"INSERT INTO {table} (stream, version, type, event_id, state)"
            " VALUES ('held-1', 1, %s, %s, %s)",
            (held.type, held.event_id, held.state),
        )
        waiting = threading.Thread(
            target=at_once, args=([appending(log, StreamAppend("held-1", 0, [make()]))],)
        )
        waiting.start()
        while len(sessions(postgres_schema)) < 2:
            at_once([appending(log, StreamAppend("own-1", ANY_VERSION, [make()]))])
        session.rollback()
    waiting.join(HANG_SECONDS)
    monkeypatch.setattr(appending_module, "QUEUE_PATIENCE_SECONDS", HANG_SECONDS)

    before = sessions(postgres_schema)
    for _ in range(10):
        appends = [StreamAppend(f"own-{n}", ANY_VERSION, [make()]) for n in range(THREADS)]
        for append, result in zip(
            appends, at_once([appending(log, append) for append in appends]), strict=True
        ):
            check_written(log, append, result)

    used = {pid for pid, began in sessions(postgres_schema).items() if before.get(pid) != began}
    assert len(before) > 1
    assert len(used) == 1


def sessions(place: PostgresSchema) -> dict[int, Any]:
    """Those that last inserted into the log, and when they began to."""
    with closing(place.connect()) as connection:
        rows: list[Any] = connection.execute(
            "SELECT pid, query_start FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND state <> 'idle in transaction' AND strpos(query, %s) > 0"
            " AND strpos(query, 'INSERT INTO') > 0",
            (f'"{place.schema}".eventcore_log',),
        ).fetchall()
    return dict(rows)
