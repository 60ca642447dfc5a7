"""The database itself refuses to change the log, whoever asks and however."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from eventcore.errors import ConfigurationError, SchemaMismatchError, StoreError
from eventcore.projections.postgres import PostgresViews
from eventcore.stores.log import StreamAppend
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.integration.postgres_threads import at_once
from tests.postgres import PostgresSchema

pytestmark = pytest.mark.postgres


@pytest.fixture
def filled(postgres_schema: PostgresSchema) -> Iterator[PostgresSchema]:
    """A schema whose log holds two events, as they still are afterwards."""
    with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log:
        log.append([StreamAppend("order-1", 0, EventMaker().many(2))])
        before = [(one.position, one.stream, one.version, one.state) for one in log.read()]
        yield postgres_schema
        assert [(one.position, one.stream, one.version, one.state) for one in log.read()] == before


CHANGES = {
    "update": "UPDATE {log} SET state = ''",
    "update of one": "UPDATE {log} SET version = 9 WHERE position = 1",
    "update of nothing but itself": "UPDATE {log} SET state = state",
    "delete": "DELETE FROM {log} WHERE position = 1",
    "truncate": "TRUNCATE {log}",
    "truncate cascade": "TRUNCATE {log} CASCADE",
    "truncate restart": "TRUNCATE {log} RESTART IDENTITY CASCADE",
    "truncate of what refers to it": (
        "CREATE TABLE {schema}.parent (id bigint PRIMARY KEY);"
        " INSERT INTO {schema}.parent VALUES (1), (2);"
        " ALTER TABLE {log} ADD FOREIGN KEY (position) REFERENCES {schema}.parent;"
        " TRUNCATE {schema}.parent CASCADE"
    ),
    "delete of what refers to it": (
        "CREATE TABLE {schema}.parent (id bigint PRIMARY KEY);"
        " INSERT INTO {schema}.parent VALUES (1), (2);"
        " ALTER TABLE {log} ADD FOREIGN KEY (position) REFERENCES {schema}.parent"
        " ON DELETE CASCADE;"
        " DELETE FROM {schema}.parent"
    ),
    "upsert": (
        "INSERT INTO {log} (position, stream, version, type, event_id, state)"
        " SELECT position, stream, version, type, event_id, '' FROM {log}"
        " ON CONFLICT (position) DO UPDATE SET state = excluded.state"
    ),
    "merge": (
        "MERGE INTO {log} AS log USING (SELECT 1 AS position) AS one ON one.position = log.position"
        " WHEN MATCHED THEN UPDATE SET state = ''"
    ),
    "merge that deletes": (
        "MERGE INTO {log} AS log USING (SELECT 1 AS position) AS one ON one.position = log.position"
        " WHEN MATCHED THEN DELETE"
    ),
    "as a replica": ("SET LOCAL session_replication_role = replica; UPDATE {log} SET state = ''"),
    "truncate as a replica": ("SET LOCAL session_replication_role = replica; TRUNCATE {log}"),
    "through the view": "DELETE FROM {schema}.eventcore_log_json",
    "from a common table expression": (
        "WITH gone AS (DELETE FROM {log} RETURNING *) SELECT count(*) FROM gone"
    ),
    "a position again": (
        "INSERT INTO {log} (position, stream, version, type, event_id, state)"
        " VALUES (1, 'order-9', 1, 't', gen_random_uuid(), '')"
    ),
    "a position below the first": (
        "INSERT INTO {log} (position, stream, version, type, event_id, state)"
        " VALUES (0, 'order-9', 1, 't', gen_random_uuid(), '')"
    ),
    "a version again": (
        "INSERT INTO {log} (stream, version, type, event_id, state)"
        " VALUES ('order-1', 1, 't', gen_random_uuid(), '')"
    ),
    "copy": "COPY {log} (position, stream, version, type, event_id, state) FROM STDIN",
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_owner_is_refused(filled, change):
    names = {"schema": filled.schema, "log": f"{filled.schema}.eventcore_log"}
    with filled.connect(autocommit=False) as owner:
        if change.startswith("merge") and owner.info.server_version < 15_00_00:
            pytest.skip("NOT TESTED: this server has no MERGE")
        with pytest.raises(psycopg.DatabaseError):  # noqa: PT012 - COPY takes its rows besides
            if change == "copy":
                row = f"1\torder-1\t1\tt\t{uuid.uuid4()}\t\n"
                with owner.cursor().copy(CHANGES[change].format(**names)) as copy:
                    copy.write(row)
            owner.execute(CHANGES[change].format(**names))
        owner.rollback()


RIGHTS = [
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT ON {schema}.eventcore_log TO {role}",
    "GRANT USAGE ON SEQUENCE {schema}.eventcore_log_position TO {role}",
    "GRANT SELECT ON {schema}.eventcore_migrations TO {role}",
]


@pytest.fixture
def writer(filled: PostgresSchema) -> Iterator[str]:
    """The URL of a role that may insert and select."""
    name = f"writer_{uuid.uuid4().hex[:12]}"
    parts = {"schema": sql.Identifier(filled.schema), "role": sql.Identifier(name)}
    with filled.connect() as owner:
        owner.execute(sql.SQL("CREATE ROLE {role} LOGIN").format(**parts))
        for right in RIGHTS:
            owner.execute(sql.SQL(right).format(**parts))
        yield filled.url.replace(f"{filled.user}@", f"{name}@", 1)
        owner.execute(sql.SQL("DROP OWNED BY {role}").format(**parts))
        owner.execute(sql.SQL("DROP ROLE {role}").format(**parts))


def test_a_role_that_may_insert_and_select_can_append_and_follow(writer, postgres_schema):
    make = EventMaker(series=2)
    with closing(PostgresLog(writer, schema=postgres_schema.schema)) as log:
        log.append([StreamAppend("own-1", 0, [make()])])
        log.append([StreamAppend("own-1", 1, make.many(2)), StreamAppend("own-2", 0, [make()])])
        with log.subscribe() as subscription:
            page = subscription.next_page(10.0)
    assert page is not None
    assert [event.position for event in page.events] == [1, 2, 3, 4, 5, 6]
    # The fixture looks whether the log is as it was.
    with postgres_schema.connect() as owner:
        table = f"{postgres_schema.schema}.eventcore_log"
        owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        owner.execute(f"DELETE FROM {table} WHERE position > 2")


ATTEMPTS = [
    "UPDATE {log} SET state = ''",
    "DELETE FROM {log}",
    "TRUNCATE {log}",
    "ALTER TABLE {log} DISABLE TRIGGER ALL",
    "ALTER TABLE {log} DROP COLUMN state",
    "DROP TABLE {log}",
    "DROP SCHEMA {schema} CASCADE",
    "DROP TRIGGER eventcore_log_refuses_change ON {log}",
    "CREATE OR REPLACE FUNCTION {schema}.eventcore_refuse_change() RETURNS trigger"
    " LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
    "CREATE RULE quiet AS ON INSERT TO {log} DO INSTEAD NOTHING",
    "SET session_replication_role = replica",
    "SELECT setval('{schema}.eventcore_log_position', 1)",
    "ALTER SEQUENCE {schema}.eventcore_log_position RESTART",
    "INSERT INTO {log} (position, stream, version, type, event_id, state)"
    " SELECT position, stream, version, type, event_id, '' FROM {log}"
    " ON CONFLICT (position) DO UPDATE SET state = excluded.state",
]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_role_that_may_insert_and_select_can_do_nothing_else(writer, postgres_schema, attempt):
    names = {"schema": postgres_schema.schema, "log": f"{postgres_schema.schema}.eventcore_log"}
    with (
        psycopg.connect(writer, autocommit=True) as session,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        session.execute(attempt.format(**names))


TAMPERING = {
    "disabled": "ALTER TABLE {log} DISABLE TRIGGER eventcore_log_refuses_change",
    "all disabled": "ALTER TABLE {log} DISABLE TRIGGER ALL",
    "for replicas only": "ALTER TABLE {log} ENABLE REPLICA TRIGGER eventcore_log_refuses_change",
    "not for replicas": "ALTER TABLE {log} ENABLE TRIGGER eventcore_log_refuses_change",
    "dropped": "DROP TRIGGER eventcore_log_refuses_truncate ON {log}",
    "does nothing": "CREATE OR REPLACE FUNCTION {schema}.eventcore_refuse_change() RETURNS trigger"
    " LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(new, old); END'",
    "of another kind": "DROP TRIGGER eventcore_log_refuses_change ON {log};"
    " CREATE TRIGGER eventcore_log_refuses_change BEFORE DELETE ON {log}"
    " FOR EACH ROW EXECUTE FUNCTION {schema}.eventcore_refuse_change();"
    " ALTER TABLE {log} ENABLE ALWAYS TRIGGER eventcore_log_refuses_change",
    "under a condition": "DROP TRIGGER eventcore_log_refuses_change ON {log};"
    " CREATE TRIGGER eventcore_log_refuses_change BEFORE UPDATE OR DELETE ON {log}"
    " FOR EACH ROW WHEN (old.version > 5) EXECUTE FUNCTION {schema}.eventcore_refuse_change();"
    " ALTER TABLE {log} ENABLE ALWAYS TRIGGER eventcore_log_refuses_change",
}


@pytest.mark.parametrize("change", TAMPERING)
def test_a_log_whose_protection_was_taken_off_is_not_opened(filled, change):
    names = {"schema": filled.schema, "log": f"{filled.schema}.eventcore_log"}
    with filled.connect() as owner:
        owner.execute(TAMPERING[change].format(**names))

    with pytest.raises(SchemaMismatchError, match="no active trigger eventcore_log_refuses"):
        PostgresLog(filled.url, schema=filled.schema)


def test_an_insert_that_a_rule_swallows_is_not_reported_as_stored(filled):
    with closing(PostgresLog(filled.url, schema=filled.schema)) as log:
        with filled.connect() as owner:
            table = f"{filled.schema}.eventcore_log"
            owner.execute(f"CREATE RULE quiet AS ON INSERT TO {table} DO INSTEAD NOTHING")
        with pytest.raises(ConfigurationError):
            log.append([StreamAppend("order-2", 0, [EventMaker(series=2)()])])


@pytest.fixture
def latin(postgres_schema: PostgresSchema) -> Iterator[str]:
    """The URL of a database that does not know every character."""
    name = f"{postgres_schema.schema}_latin"
    with postgres_schema.connect() as administrator:
        administrator.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        )
        yield f"{postgres_schema.url.rpartition('/')[0]}/{name}"
        administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("open_store", [PostgresLog, PostgresViews])
def test_a_database_that_cannot_hold_every_text_is_refused(latin, open_store):
    with pytest.raises(ConfigurationError, match="keeps text as LATIN1"):
        open_store(latin)


def test_a_caller_whose_event_the_server_refuses_fails_alone(postgres_schema):
    make = EventMaker()
    bad = make()
    table = f"{postgres_schema.schema}.eventcore_log"
    with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log:
        with postgres_schema.connect() as owner:
            owner.execute(
                f"""
                CREATE FUNCTION {table}_check() RETURNS trigger LANGUAGE plpgsql AS
                    $$BEGIN RAISE 'not this one' USING ERRCODE = '22000'; END$$;
                CREATE TRIGGER own BEFORE INSERT ON {table} FOR EACH ROW
                    WHEN (new.event_id = '{bad.event_id}') EXECUTE FUNCTION {table}_check();
                """
            )
        for number in range(5):
            appends: list[Callable[[], Any]] = [
                appending(log, f"own-{number}-{n}", make()) for n in range(12)
            ]
            *results, error = at_once([*appends, appending(log, "bad-1", bad)])

            assert isinstance(error, StoreError)
            assert [result.versions for result in results] == [(1,)] * 12


def appending(log: PostgresLog, stream: str, event: Any) -> Callable[[], Any]:
    return lambda: log.append([StreamAppend(stream, 0, [event])])
