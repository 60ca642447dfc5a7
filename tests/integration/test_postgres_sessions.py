"""The Postgres log and views under settings of a role that nobody would choose for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pytest
from psycopg import sql

from eventcore.app import open_app
from eventcore.commands import RegisterUser
from eventcore.errors import ConcurrencyConflictError, ConfigurationError
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.read_models import ORDERS, USERS, built_in_projections
from eventcore.stores.log import ANY_VERSION, LogFilter, StreamAppend
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.refusals import Refusal
from eventcore.stores.snapshots import Snapshot
from eventcore.testing import EventMaker
from tests.integration.postgres_threads import at_once
from tests.postgres import PostgresSchema, store_url

pytestmark = pytest.mark.postgres

SETTINGS = {
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "escape_string_warning": "off",
    "bytea_output": "escape",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "client_min_messages": "debug5",
    "xmlbinary": "hex",
    "quote_all_identifiers": "on",
    "synchronous_commit": "off",
    "enable_indexscan": "off",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "lc_messages": "C",
}

TRAPS = """
CREATE FUNCTION {evil}.trap() RETURNS void LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'a function of somebody else was called'; END$$;
CREATE FUNCTION {evil}.trap(bigint, bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT 1::bigint';
CREATE AGGREGATE {evil}.max(bigint) (SFUNC = {evil}.trap, STYPE = bigint, INITCOND = '0');
CREATE FUNCTION {evil}.unnest(text[]) RETURNS SETOF text LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ''x''::text';
CREATE FUNCTION {evil}.generate_series(integer, bigint) RETURNS SETOF bigint LANGUAGE sql AS
    'SELECT {evil}.trap(); SELECT 1::bigint';
CREATE FUNCTION {evil}.split_part(text, text, integer) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ''x''::text';
CREATE FUNCTION {evil}.nextval(regclass) RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT 1::bigint';
CREATE FUNCTION {evil}.convert_from(bytea, name) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ''x''::text';
CREATE FUNCTION {evil}.convert_from(bytea, text) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ''x''::text';
CREATE FUNCTION {evil}.strpos(text, text) RETURNS integer LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT 1';
CREATE FUNCTION {evil}.to_char(timestamp, text) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ''x''::text';
CREATE FUNCTION {evil}.array_agg(text) RETURNS text[] LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ARRAY[''x''::text]';
CREATE FUNCTION {evil}.format_type(oid, integer) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ''x''::text';
CREATE FUNCTION {evil}.statement_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT now()';
CREATE FUNCTION {evil}.length(text) RETURNS integer LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT 1';
CREATE FUNCTION {evil}.substr(text, integer, integer) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ''x''::text';
CREATE FUNCTION {evil}.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT now()';
CREATE FUNCTION {evil}."left"(text, integer) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT {evil}.trap(); SELECT ''x''::text';
"""


@pytest.fixture
def role(postgres_schema: PostgresSchema) -> Iterator[Callable[..., str]]:
    """``role(setting="value")``: the URL of a role of its own that has these settings."""
    names: list[str] = []

    def create(**settings: str) -> str:
        name = f"role_{uuid.uuid4().hex[:12]}"
        names.append(name)
        with postgres_schema.connect() as administrator:
            identifier = sql.Identifier(name)
            administrator.execute(sql.SQL("CREATE ROLE {} LOGIN").format(identifier))
            administrator.execute(
                sql.SQL("GRANT ALL ON SCHEMA {} TO {}").format(
                    sql.Identifier(postgres_schema.schema), identifier
                )
            )
            for setting, value in settings.items():
                administrator.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(
                        identifier,
                        sql.Identifier(setting),
                        # A list is no text of its own.
                        sql.SQL(value) if setting == "search_path" else sql.Literal(value),
                    )
                )
        return postgres_schema.url.replace(f"{postgres_schema.user}@", f"{name}@", 1)

    yield create
    with postgres_schema.connect() as administrator:
        for name in names:
            identifier = sql.Identifier(name)
            administrator.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(identifier))
            administrator.execute(sql.SQL("DROP ROLE {}").format(identifier))


def use_everything(url: str, schema: str) -> None:
    """Write and read by every way there is, and look at what comes back."""
    make = EventMaker()
    with closing(PostgresLog(url, schema=schema)) as log:
        one = log.append([StreamAppend("order-1", 0, [make()])])
        several = log.append([StreamAppend("order-1", 1, make.many(2))])
        both = log.append(
            [StreamAppend("user-1", 0, [make()]), StreamAppend("order-1", ANY_VERSION, [make()])]
        )
        results = at_once(
            [partial(log.append, [StreamAppend(f"own-{n}", 0, make.many(2))]) for n in range(12)]
        )
        assert (one.positions, several.positions, both.versions) == ((1,), (2, 3), (1, 4))
        assert [result.versions for result in results] == [(1, 2)] * 12
        assert len(list(log.read())) == log.head() == 29
        assert len(log.read_page(0, 100, LogFilter(categories=frozenset({"order"}))).events) == 4
        assert [event.version for event in log.read_stream("order-1", backwards=True)] == [
            *(4, 3, 2, 1)
        ]
        assert log.stream_versions(["order-1", "none-1"]) == {"order-1": 4, "none-1": 0}
        (first,) = log.read_page(0, 1).events
        assert list(log.locate([str(first.event_id)])) == [str(first.event_id)]
        log.save_snapshot(Snapshot("order-1", 1, "fold", b"{}"))
        assert log.load_snapshot("order-1") == Snapshot("order-1", 1, "fold", b"{}")
        refusal = Refusal(str(first.event_id), "digest", "reason", r"it is \ 'so'")
        log.remember_refusals([refusal])
        assert list(log.all_refusals()) == [refusal]
        assert log.feed_holders() == []
        with log.connections.using() as connection:
            readable = connection.execute(
                f"SELECT data FROM {schema}.eventcore_log_json"
            ).fetchall()
        assert len(readable) == 29


def use_read_models(url: str, schema: str) -> None:
    with open_app(store_url(url, schema)) as app:
        for number in range(3):
            app.execute(
                RegisterUser(
                    user_id=f"u-{number}", email=f"u{number}@example.com", first_name="é\\"
                )
            )
        runner = app.runner()
        runner.run_to_head()
        before = sorted(app.query(USERS))
        assert [row.user_id for row in before] == ["u-0", "u-1", "u-2"]
        assert {row.first_name for row in before} == {"é\\"}
        assert list(app.query(ORDERS, {"status": "paid"})) == []
        runner.expire(before[0].created_at)
        runner.rebuild("users")
        assert sorted(app.query(USERS)) == before
        assert isinstance(app.views, PostgresViews)
        assert len(built_in_projections()) == len(runner.status())


def test_settings_of_a_role_change_nothing(role, postgres_schema):
    url = role(**SETTINGS)

    use_everything(url, postgres_schema.schema)
    use_read_models(url, postgres_schema.schema)


@pytest.mark.parametrize("path", ["{evil}, pg_catalog", "pg_catalog, {evil}", "{evil}"])
def test_functions_of_somebody_else_in_the_path_are_not_called(role, postgres_schema, path):
    evil = f"{postgres_schema.schema}_evil"
    with postgres_schema.connect() as administrator:
        administrator.execute(f"CREATE SCHEMA {evil}")
        try:
            administrator.execute(TRAPS.format(evil=evil))
            administrator.execute(f"GRANT USAGE ON SCHEMA {evil} TO public")
            url = role(search_path=path.format(evil=evil))

            use_everything(url, postgres_schema.schema)
            use_read_models(url, postgres_schema.schema)
        finally:
            administrator.execute("SET client_min_messages = warning")
            administrator.execute(f"DROP SCHEMA {evil} CASCADE")


@pytest.mark.parametrize("suffix", ["'", '"', "{x}", "é", "A.b", " ", "\\", "$$"])
def test_a_schema_may_have_any_name(postgres_schema, suffix):
    schema = f"{postgres_schema.schema}{suffix}"
    identifier = sql.Identifier(schema)
    try:
        with closing(PostgresLog(postgres_schema.url, schema=schema)) as log:
            log.append([StreamAppend("order-1", 0, EventMaker().many(2))])
            log.append([StreamAppend("order-1", 2, EventMaker(series=2).many(1))])
            assert [event.position for event in log.read()] == [1, 2, 3]
            assert log.feed_holders() == []
        use_read_models(postgres_schema.url, schema)
    finally:
        with postgres_schema.connect() as administrator:
            administrator.execute("SET client_min_messages = warning")
            administrator.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(identifier))


def test_a_schema_s_name_has_no_percent_sign(postgres_schema):
    with pytest.raises(ConfigurationError, match="has no %"):
        PostgresLog(postgres_schema.url, schema="a%s")


@pytest.mark.slow
def test_connections_that_the_server_ended_while_idle_are_no_error(own_postgres):
    cluster = own_postgres()
    with open_app(store_url(cluster.url, "shop")) as app:
        app.execute(RegisterUser(user_id="u-1", email="u1@example.com"))
        app.runner().run_to_head()

        cluster.restart()
        app.views.reset(app.projections[0])
        cluster.restart()
        app.log.save_snapshot(Snapshot("user-1", 1, "fold", b"{}"))  # type: ignore[attr-defined]
        cluster.restart()
        app.runner().run_to_head()

        assert [row.user_id for row in app.query(USERS)] == ["u-1"]


def test_a_refusal_leaves_the_connection_as_it_is_for_the_next_append(
    postgres_schema: PostgresSchema,
):
    make = EventMaker()
    several = [StreamAppend(f"order-{number}", 0, [make()]) for number in range(2)]
    with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log:
        log.append([StreamAppend("day-1", 0, [make()]), StreamAppend("day-2", 0, [make()])])
        with pytest.raises(ConcurrencyConflictError):
            log.append_judged([StreamAppend("day-1", 1, [make()])], [], {"day-2": 0})

        assert log.append(several).versions == (1, 1)
        assert [lane.is_idle for lane in log._appending._alone] == [True]
