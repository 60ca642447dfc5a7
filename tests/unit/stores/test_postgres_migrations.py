"""Migrations: numbered files, applied once, in order, by whoever comes first."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from eventcore.errors import SchemaMismatchError
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.log import StreamAppend
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.postgres.migrations import (
    Migration,
    all_migrations,
    apply_migrations,
    ensure_schema,
    pending_migrations,
)
from eventcore.testing import EventMaker
from tests.postgres import PostgresSchema

EARLIER = all_migrations()
PRE = Migration(
    "9998_pre_note", "pre", "ALTER TABLE {schema}.eventcore_snapshots ADD COLUMN note text;"
)
POST = Migration(
    "9999_post_unnote", "post", "ALTER TABLE {schema}.eventcore_snapshots DROP COLUMN note;"
)
LATER = [*EARLIER, PRE, POST]


@pytest.fixture
def connections(postgres_schema: PostgresSchema) -> Iterator[PostgresConnections]:
    with closing(PostgresConnections(postgres_schema.url, schema=postgres_schema.schema)) as kept:
        yield kept


def applied(connections: PostgresConnections) -> list[str]:
    with connections.using() as connection:
        statement = f'SELECT name FROM "{connections.schema}".eventcore_migrations ORDER BY name'
        return [row[0] for row in connection.execute(statement.encode()).fetchall()]


def columns_of(connections: PostgresConnections, table: str) -> list[str]:
    with connections.using() as connection:
        cursor = connection.execute(
            b"SELECT column_name FROM information_schema.columns"
            b" WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            (connections.schema, table),
        )
        return [row[0] for row in cursor.fetchall()]


def an_append(number: int) -> list[StreamAppend]:
    id_ = f"00000000-0000-0000-0000-{number:012}"
    return [StreamAppend(f"order-{number}", 0, [EncodedEvent(id_, "order.paid", "", b"{}")])]


def test_the_files_are_numbered_without_gaps_and_say_when_they_are_applied():
    names = [one.name for one in all_migrations()]

    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    assert {one.phase for one in all_migrations()} <= {"pre", "post"}


def test_an_empty_schema_gets_every_migration_once(connections):
    ensure_schema(connections, create=True)
    ensure_schema(connections, create=True)

    assert applied(connections) == [one.name for one in all_migrations()]
    assert pending_migrations(connections) == []
    assert apply_migrations(connections) == []


def test_many_that_start_at_once_do_not_collide(postgres_schema):
    errors: list[Exception] = []
    begin = threading.Barrier(8, timeout=60)

    def open_it() -> None:
        try:
            with closing(
                PostgresConnections(postgres_schema.url, schema=postgres_schema.schema)
            ) as mine:
                begin.wait()
                ensure_schema(mine, create=True)
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []


def test_nothing_is_created_where_it_is_not_wanted(connections):
    with pytest.raises(SchemaMismatchError, match="not been created"):
        ensure_schema(connections, create=False)

    assert columns_of(connections, "eventcore_log") == []


def test_a_table_of_somebody_else_is_left_alone(connections, postgres_schema):
    with postgres_schema.connect() as connection:
        connection.execute(f"CREATE TABLE {postgres_schema.schema}.eventcore_log (a int)")

    with pytest.raises(SchemaMismatchError, match="columns a integer"):
        ensure_schema(connections, create=True)

    assert columns_of(connections, "eventcore_log") == ["a"]


@pytest.mark.parametrize(
    "how", ["DROP TRIGGER {name} ON {table}", "ALTER TABLE {table} DISABLE TRIGGER {name}"]
)
@pytest.mark.parametrize("name", ["eventcore_log_refuses_change", "eventcore_log_refuses_truncate"])
def test_a_log_that_no_longer_refuses_changes_is_not_opened(
    connections, postgres_schema, *, how, name
):
    ensure_schema(connections, create=True)
    with postgres_schema.connect() as connection:
        connection.execute(how.format(name=name, table=f"{postgres_schema.schema}.eventcore_log"))

    with pytest.raises(SchemaMismatchError, match=name):
        ensure_schema(connections, create=True)


def test_a_log_that_waits_for_a_migration_is_not_changed_by_opening_it(connections):
    ensure_schema(connections, create=True)

    with pytest.raises(SchemaMismatchError, match=r"9998_pre_note.*eventcore db apply"):
        ensure_schema(connections, create=True, migrations=LATER)

    assert "note" not in columns_of(connections, "eventcore_snapshots")


def test_code_of_before_works_between_the_phases_and_code_of_after_before_the_second(
    connections, postgres_schema
):
    with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as old:
        old.append(an_append(1))

        assert apply_migrations(connections, ["pre"], LATER) == [PRE]

        assert old.append(an_append(2)).positions == (2,)
        with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as again:
            assert again.head() == 2
    ensure_schema(connections, create=True, migrations=LATER)
    assert pending_migrations(connections, LATER) == [POST]
    assert apply_migrations(connections, ["post"], LATER) == [POST]
    assert "note" not in columns_of(connections, "eventcore_snapshots")


def test_a_migration_that_fails_leaves_nothing_behind(connections):
    ensure_schema(connections, create=True)
    broken = Migration("9998_pre_broken", "pre", f"{PRE.text} SELECT 1/0;")

    with pytest.raises(Exception, match="division by zero"):
        apply_migrations(connections, migrations=[*EARLIER, broken])

    assert "note" not in columns_of(connections, "eventcore_snapshots")
    assert applied(connections) == [one.name for one in EARLIER]


def test_a_file_that_was_edited_after_it_was_applied_is_noticed(connections):
    ensure_schema(connections, create=True)
    edited = [EARLIER[0]._replace(text=f"{EARLIER[0].text}\n-- another word"), *EARLIER[1:]]

    with pytest.raises(
        SchemaMismatchError, match=f"{EARLIER[0].name} applied with another content"
    ):
        pending_migrations(connections, edited)


@pytest.mark.parametrize("change", ["UPDATE {} SET type = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("replica", [False, True])
def test_the_database_itself_refuses_to_change_events_even_for_their_owner(
    postgres_schema, *, change, replica
):
    with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log:
        log.append(an_append(1))

        with postgres_schema.connect() as connection:
            if replica:
                connection.execute("SET session_replication_role = replica")
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is immutable"):
                connection.execute(change.format(f"{postgres_schema.schema}.eventcore_log"))

        assert log.head() == 1


def test_events_are_readable_as_json_whatever_they_hold(postgres_schema):
    texts = [b"a", b"a\\u0000b", "é{}".encode()]
    with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log:
        for number, text in enumerate(texts, start=1):
            id_ = f"00000000-0000-0000-0000-{number:012}"
            state = b'{"v":1,"id":"x","at":"2026-11-22T21:34:28.123456Z","data":{"t":"%s"}}' % text
            event = EncodedEvent(id_, "order.paid", "", state)
            log.append([StreamAppend(f"order-{number}", 0, [event])])

    with postgres_schema.connect() as connection:
        rows = connection.execute(
            "SELECT stream, occurred_at = '2026-11-22T21:34:28.123456Z', data::text, state::text"
            f" FROM {postgres_schema.schema}.eventcore_log_json ORDER BY position"
        ).fetchall()

    head = '{"v":1,"id":"x","at":"2026-11-22T21:34:28.123456Z","data":'
    assert rows == [
        ("order-1", True, '{"t":"a"}', head + '{"t":"a"}}'),
        ("order-2", True, None, head + '{"t":"a\\u0000b"}}'),
        ("order-3", True, '{"t":"é{}"}', head + '{"t":"é{}"}}'),
    ]


def test_a_sequence_behind_the_events_is_refused_until_it_is_set(postgres_schema):
    url, schema = postgres_schema.url, postgres_schema.schema
    with closing(PostgresLog(url, schema=schema)) as log:
        log.append([StreamAppend("order-1", 0, EventMaker().many(10))])
    with postgres_schema.connect() as owner:
        # As after a restore of the rows alone, or on a server that received them by replication.
        owner.execute(f"ALTER SEQUENCE {schema}.eventcore_log_position RESTART")

        with pytest.raises(SchemaMismatchError) as caught:
            PostgresLog(url, schema=schema)
        statement = re.search(r"SELECT setval\(.*?\);", str(caught.value))
        assert statement is not None
        owner.execute(statement[0].encode())

    assert "up to position 10" in str(caught.value)
    with closing(PostgresLog(url, schema=schema)) as log:
        result = log.append([StreamAppend("order-1", 10, [EventMaker(series=2)()])])
    assert result.positions == (11,)


def test_a_sequence_that_ran_ahead_is_as_it_should_be(postgres_schema):
    url, schema = postgres_schema.url, postgres_schema.schema
    PostgresLog(url, schema=schema).close()
    with postgres_schema.connect() as owner:
        owner.execute(
            f"SELECT nextval('{schema}.eventcore_log_position') FROM generate_series(1, 9)"
        )

    with closing(PostgresLog(url, schema=schema)) as log:
        result = log.append([StreamAppend("order-1", 0, [EventMaker()()])])

    assert result.positions == (10,)
