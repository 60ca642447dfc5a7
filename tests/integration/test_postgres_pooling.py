"""The Postgres log and views through a proxy that gives every transaction another session.

What is lost there: prepared statements, settings of the session, and LISTEN, so that followers in
other processes look twice a second instead of being woken. Nothing else is.
"""
# ruff: noqa: PLR0917 - the arguments of a test are its fixtures

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import Environment
from psycopg.conninfo import conninfo_to_dict
from typing_extensions import override

from eventcore.app import open_app
from eventcore.commands import RegisterUser
from eventcore.errors import LogRewoundError
from eventcore.projections.read_models import USERS
from eventcore.stores.log import ANY_VERSION, EVERYTHING, Log, LogFilter, StreamAppend
from eventcore.stores.postgres import PostgresFactory
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker, LogContract
from tests import backends
from tests.contract.eventsourcing_cases.test_postgres import environment
from tests.integration.postgres_racing import INSERT, TYPE
from tests.integration.postgres_threads import HANG_SECONDS, at_once, in_thread
from tests.pgbouncer import POOL_SIZE, PgBouncer, find_pgbouncer
from tests.postgres import PostgresSchema, PostgresServer, store_url

pytestmark = pytest.mark.postgres

OPTIONS: list[dict[str, Any]] = [{"prepare": False, "notify": False}, {}]
"""As told by the documentation, and as by somebody who did not read it."""


@pytest.fixture(scope="module")
def begin_pooling() -> Iterator[Callable[[str], PgBouncer]]:
    """``begin_pooling(url)``: a PgBouncer in front of a server."""
    if find_pgbouncer() is None:
        backends.require("pgbouncer", "pgbouncer is not installed")
    begun: list[PgBouncer] = []

    def begin(url: str) -> PgBouncer:
        begun.append(PgBouncer(url))
        return begun[-1]

    yield begin
    for one in begun:
        one.stop()


@pytest.fixture(scope="module")
def pooler(begin_pooling: Callable[[str], PgBouncer], postgres_server: PostgresServer) -> PgBouncer:
    return begin_pooling(postgres_server.url)


def open_log(url: str, schema: str, *, prepare: bool = True, notify: bool = True) -> PostgresLog:
    return PostgresLog(PostgresConnections(url, schema=schema, prepare=prepare), notify=notify)


class TestLogThroughPooler(LogContract):
    """The whole contract, each log with connections of its own."""

    options = OPTIONS[0]

    @pytest.fixture(autouse=True)
    def _choose_schema(self, postgres_schema: PostgresSchema, pooler: PgBouncer) -> None:
        self.place, self.url = postgres_schema, pooler.url

    @override
    def open_log(self) -> Log:
        return open_log(self.url, self.place.schema, **self.options)


class TestLogThroughPoolerUnawares(TestLogThroughPooler):
    options = OPTIONS[1]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_follower_in_another_process_sees_what_others_append(pooler, postgres_schema, options):
    log = open_log(pooler.url, postgres_schema.schema, **options)
    other = open_log(pooler.url, postgres_schema.schema, **options)
    make = EventMaker()
    seen: list[int] = []

    with closing(log), closing(other), log.subscribe() as subscription:
        for number in range(3):
            other.append([StreamAppend("order-1", number, [make()])])
            page = subscription.next_page(HANG_SECONDS)
            assert page is not None
            seen += [event.position for event in page.events]

    assert seen == [1, 2, 3]


@pytest.mark.parametrize("options", OPTIONS)
def test_sessions_are_left_as_they_were(pooler, postgres_schema, options):
    make = EventMaker()
    with closing(open_log(pooler.url, postgres_schema.schema, **options)) as log:
        appends = [
            partial(log.append, [StreamAppend(f"order-{n}", ANY_VERSION, make.many(2))])
            for n in range(16)
        ]
        at_once(appends)
        with log.subscribe() as subscription:
            subscription.next_page(1.0)

    found = set()
    with psycopg.connect(pooler.url, autocommit=True, prepare_threshold=None) as stranger:
        for _ in range(4 * POOL_SIZE):
            found.add(
                stranger.execute(
                    "SELECT current_setting('lock_timeout'), current_setting('enable_seqscan'),"
                    " current_setting('plan_cache_mode'), current_setting('synchronous_commit'),"
                    " current_setting('default_transaction_isolation'),"
                    " (SELECT count(*) FROM pg_listening_channels()),"
                    " (SELECT count(*) FROM pg_prepared_statements)"
                ).fetchone()
            )
    assert found == {("0", "on", "auto", "on", "read committed", 0, 0)}


@pytest.mark.parametrize("where", [EVERYTHING, LogFilter(types=frozenset({TYPE}))])
def test_a_gap_is_waited_for(pooler, postgres_schema, where):
    make = EventMaker()
    with (
        closing(open_log(pooler.url, postgres_schema.schema)) as log,
        postgres_schema.connect(autocommit=False) as late,
    ):
        insert(late, postgres_schema.schema, "late-1", make)
        log.append([StreamAppend("order-1", 0, [make()])])
        with in_thread(lambda: log.read_page(0, 10, where)) as pages:
            late.commit()

    ((events, end),) = pages
    assert ([one.position for one in events], end) == ([1, 2], 2)


def test_read_models_are_kept_and_read(pooler, postgres_schema):
    url = store_url(pooler.url, postgres_schema.schema)
    with open_app(url) as app, open_app(url) as other:
        runner = app.runner()
        runner.start()
        for number in range(20):
            other.execute(RegisterUser(user_id=f"u-{number}", email=f"u{number}@example.com"))
        runner.wait_for(app.log.head(), timeout_seconds=HANG_SECONDS)
        runner.stop()
        found = sorted(row.user_id for row in app.query(USERS))
        rebuilt = runner.rebuild("users").position

    assert found == sorted(f"u-{number}" for number in range(20))
    assert rebuilt == 40


@pytest.mark.slow
def test_another_server_behind_the_same_connection_is_noticed(own_postgres, begin_pooling):
    """The proxy keeps its clients: no connection of theirs breaks when a standby takes over."""
    make, schema = EventMaker(), "shop"
    first, second = own_postgres(), own_postgres()
    for cluster in (first, second):
        with closing(open_log(cluster.url, schema)) as log:
            log.append([StreamAppend("order-1", 0, make.many(1))])
    proxy = begin_pooling(first.url)
    reader = open_log(proxy.url, schema)
    with closing(psycopg.connect(first.url)) as failing:
        insert(failing, schema, "failed-1", make)
        failing.rollback()
    with closing(open_log(first.url, schema)) as log:
        log.append([StreamAppend("lost-1", 0, make.many(9))])
    before = reader.read_page(1, 100)
    subscription: Any = reader.subscribe()
    assert len(subscription.next_page(HANG_SECONDS).events) == 10

    proxy.lead_to(second.port)
    with (
        closing(open_log(second.url, schema)) as log,
        closing(psycopg.connect(second.url)) as late,
    ):
        insert(late, schema, "late-1", make)
        log.append([StreamAppend("order-2", 0, [make()])])
        with in_thread(lambda: reader.read_page(1, 100)) as pages:
            late.commit()
        log.append([StreamAppend("order-3", 0, make.many(9))])
        with pytest.raises(LogRewoundError):
            subscription.next_page(HANG_SECONDS)
    reader.close()

    assert [event.position for event in before.events] == list(range(3, 12))
    ((events, end),) = pages
    assert ([event.position for event in events], end) == ([2, 3], 3)


def insert(session: psycopg.Connection[Any], schema: str, stream: str, make: EventMaker) -> None:
    event = make()
    session.execute(
        INSERT.format(schema=schema), (stream, 0, TYPE, [event.event_id], [event.state])
    )


def test_the_recorders_of_eventsourcing_leave_no_lock_behind(pooler, postgres_schema):
    """They want sessions of their own; a lock that outlives an insert would stop all others."""
    port = str(conninfo_to_dict(pooler.url)["port"])
    env = environment(postgres_schema, POSTGRES_PORT=port)
    with PostgresFactory(Environment("shop", env)) as factory:
        recorder: Any = factory.application_recorder()
        id_ = uuid4()
        ids = recorder.insert_events([StoredEvent(id_, n, "topic", b"") for n in (1, 2, 3)])
        is_pooled = recorder.datastore.is_pooled

    assert (ids, is_pooled) == ([1, 2, 3], True)
    with postgres_schema.connect() as session:
        locks = session.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert locks.fetchone() == (0,)
