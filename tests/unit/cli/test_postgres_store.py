"""The command line on a Postgres store: planned, made, checked, used and looked after."""

import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from eventcore.app import open_app
from eventcore.cli import postgres_schemas
from eventcore.cli.importing import projections_with
from eventcore.projections.shares import shares_of
from eventcore.projections.worker_tables import all_workers
from eventcore.projections.workers import WorkerOptions
from eventcore.stores.postgres import migrations
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.postgres.migrations import Migration, all_migrations
from tests.postgres import PostgresSchema
from tests.unit.cli.conftest import ORDER, PAID, USER, Answer, Call, write_lines

TABLES = [
    *("eventcore_log", "eventcore_migrations", "eventcore_refusals", "eventcore_snapshots"),
    *("eventcore_parked", "eventcore_parked_units", "eventcore_skipped", "eventcore_generations"),
    *("eventcore_workers", "eventcore_shares"),
    *("analytics", "analytics_active_users", "eventcore_checkpoints", "events", "ml_models"),
    *("order_items", "orders", "user_events", "user_sessions", "users"),
]


@pytest.fixture
def place(
    folder: Path, postgres_schema: PostgresSchema, monkeypatch: pytest.MonkeyPatch
) -> PostgresSchema:
    monkeypatch.setenv("EVENTCORE_STORE", postgres_schema.store_url)
    return postgres_schema


def test_the_plan_is_what_a_dba_can_run_by_hand(call: Call, place: PostgresSchema, folder: Path):
    planned = call("db", "plan")

    with place.connect() as connection:
        connection.execute(planned.out.encode())

    assert call("db", "check", "--json") == Answer(0, "", "")
    assert call("db", "plan", "--json").records == []
    assert call("db", "apply", "--json") == Answer(0, "", "")
    # The tables count as made for their projections.
    write_lines(folder / "lines.jsonl", USER)
    call("ingest", "lines.jsonl")
    store = ("--store", f"{place.store_url}&create=no")
    assert call("projections", "run", "--once", *store).code == 0
    assert [one["user_id"] for one in call("query", "users", "--json", *store).records] == ["u1"]


def test_the_plan_of_a_phase_is_what_that_phase_applies(
    call: Call, place: PostgresSchema, monkeypatch: pytest.MonkeyPatch
):
    call("db", "apply")
    table = "{schema}.eventcore_snapshots"
    later = (
        *all_migrations(),
        Migration("9998_pre_note", "pre", f"ALTER TABLE {table} ADD COLUMN note text;"),
        Migration("9999_post_unnote", "post", f"ALTER TABLE {table} DROP COLUMN note;"),
    )
    for module in (migrations, postgres_schemas):
        monkeypatch.setattr(module, "all_migrations", lambda: later)

    def planned(*phase: str) -> list[str]:
        return [one["name"] for one in call("db", "plan", *phase, "--json").records]

    assert planned() == planned("--phase", "all") == ["9998_pre_note", "9999_post_unnote"]
    for phase, name in (("pre", "9998_pre_note"), ("post", "9999_post_unnote")):
        assert planned("--phase", phase) == [name]
        applied = call("db", "apply", "--phase", phase, "--json")
        assert applied.records == [{"created": name}]
        assert planned("--phase", phase) == []
    assert call("db", "plan", "--phase", "after").code == 2


def test_what_is_missing_is_created_once(call: Call, place: PostgresSchema):
    before = call("db", "check", "--json")
    created = call("db", "apply", "--json")
    after = call("db", "check", "--json")

    assert (before.code, created.code, after.code) == (1, 0, 0)
    assert {one["problem"] for one in before.records} == {"missing"}
    assert {one["name"] for one in before.records} >= set(TABLES)
    assert "0001_pre_log" in [one["created"] for one in created.records]
    with place.connect() as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s", (place.schema,)
        ).fetchall()
    assert sorted(row[0] for row in found) == sorted(TABLES)


def test_what_was_changed_by_others_is_found(call: Call, place: PostgresSchema):
    call("db", "apply")
    with place.connect() as connection:
        connection.execute(f"DROP INDEX {place.schema}.eventcore_log_by_event_id")
        connection.execute(f"ALTER TABLE {place.schema}.users ALTER COLUMN email TYPE varchar(9)")
        connection.execute(f"CREATE TABLE {place.schema}.of_others (a int)")

    found = call("db", "check", "--json")
    planned = call("db", "plan", "--json")
    mended = call("db", "apply", "--json")

    assert (found.code, mended.code) == (1, 1)
    assert [(one["name"], one["problem"]) for one in found.records] == [
        ("users.email", "different"),
        ("eventcore_log_by_event_id", "missing"),
    ]
    assert [one["name"] for one in planned.records] == ["eventcore_log_by_event_id"]
    assert mended.records[0] == {"created": "eventcore_log_by_event_id"}
    assert call("db", "plan", "--json").records == []


def test_a_shop_is_kept_on_postgres_like_anywhere(call: Call, place: PostgresSchema, folder: Path):
    write_lines(folder / "lines.jsonl", USER, ORDER, PAID)

    ingested = call("ingest", "lines.jsonl", "--json")
    again = call("ingest", "lines.jsonl", "--json")
    ran = call("projections", "run", "--once", "--json")
    orders = call("query", "orders", "--json")
    status = call("projections", "status", "--json")
    state = call("state", "order", "o1", "--json")

    assert ingested.records[-1]["accepted"] == 3
    assert (again.records[-1]["accepted"], again.records[-1]["duplicate"]) == (0, 3)
    assert ran.code == 0
    assert [(one["order_id"], one["status"], one["total_amount"]) for one in orders.records] == [
        ("o1", "paid", "3")
    ]
    assert {(one["position"], one["lagEvents"]) for one in status.records} == {
        (4, 0)
    }  # and a reservation
    assert state.records[0]["version"] == 2
    assert call("doctor", "--json").code == 0


def test_what_holds_the_feed_is_named_by_doctor_and_status(call: Call, place: PostgresSchema):
    call("db", "apply")
    with (
        closing(PostgresLog(place.url, schema=place.schema)) as log,
        place.connect(autocommit=False, application_name="forgotten") as stranger,
    ):
        stranger.execute(
            f"INSERT INTO {place.schema}.eventcore_log (stream, version, type, event_id, state)"
            " VALUES ('order-1', 1, 'order.paid', gen_random_uuid(), '{}')"
        )
        stranger.execute("SELECT pg_sleep(1.1)")
        pid = stranger.info.backend_pid
        assert [holder.pid for holder in log.feed_holders()] == [pid]

        found = call("doctor", "--json")

        stranger.rollback()

    held = [one for one in found.records if one["check"] == "held feed"]
    assert [one["ok"] for one in held] == [False]
    assert f"pid {pid}" in held[0]["detail"]
    assert "idle in transaction" in held[0]["detail"]
    assert "forgotten" in held[0]["detail"]
    assert f"pg_terminate_backend({pid})" in held[0]["action"]
    assert found.code == 1


NOT_LOOKED_AT = "not looked at: tables are missing"


def tables_of(place: PostgresSchema) -> list[str]:
    with place.connect() as connection:
        found = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", (place.schema,)
        ).fetchall()
    return [row[0] for row in found]


def test_the_doctor_makes_no_tables_and_says_what_it_could_not_look_at(
    call: Call, place: PostgresSchema
):
    found = call("doctor", "--json")

    assert found.code == 1
    assert tables_of(place) == []
    later = [one for one in found.records if one["check"] in {"read models", "feed"}]
    assert [(one["check"], one["ok"], one["detail"], one["action"]) for one in later] == [
        ("read models", False, NOT_LOOKED_AT, "eventcore db apply"),
        ("feed", False, NOT_LOOKED_AT, "eventcore db apply"),
    ]


def test_the_doctor_makes_no_read_models_and_looks_at_the_feed_of_a_log_without(
    call: Call, place: PostgresSchema, folder: Path
):
    assert call("ingest", str(write_lines(folder / "lines.jsonl", USER))).code == 0
    before = tables_of(place)

    found = call("doctor", "--json")

    assert found.code == 1
    assert tables_of(place) == before
    later = {one["check"]: (one["ok"], one["detail"]) for one in found.records}
    assert later["read models"] == (False, NOT_LOOKED_AT)
    assert later["held feed"][0] is True
    assert later["feed"][0] is True


def test_a_password_is_never_printed(call: Call, place: PostgresSchema):
    url = f"postgresql://nobody:s3cret@{place.host}:{place.port}/missing"

    answers = [
        call(*words, "--store", url) for words in (["doctor"], ["db", "check"], ["events", "read"])
    ]

    assert all(answer.code for answer in answers)
    assert all("s3cret" not in answer.out + answer.err for answer in answers)


@pytest.fixture
def role(place: PostgresSchema):
    name = f"{place.schema}_app"
    with place.connect() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'app'")
    yield name
    with place.connect() as connection:
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


def test_a_role_of_the_application_can_add_and_read_events_and_do_nothing_else_to_them(
    call: Call, place: PostgresSchema, *, role: str, folder: Path
):
    call("db", "apply")
    granted = call("db", "grant", role, "--read-models")
    own = f"postgresql://{role}:app@{place.host}:{place.port}/{place.dbname}"
    store = f"{own}?schema={place.schema}&create=no"
    write_lines(folder / "lines.jsonl", USER)

    assert granted.code == 0
    assert call("ingest", "lines.jsonl", "--store", store, "--json").records[-1]["accepted"] == 1
    assert call("projections", "run", "--once", "--store", store).code == 0
    assert [
        one["user_id"] for one in call("query", "users", "--store", store, "--json").records
    ] == ["u1"]
    assert call("doctor", "--store", store, "--json").code == 0
    table = f"{place.schema}.eventcore_log"
    with psycopg.connect(own, autocommit=True) as connection:
        for forbidden in (
            f"UPDATE {table} SET type = 'x'",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            f"SELECT setval('{table}_position', 1)",
            f"CREATE TABLE {place.schema}.mine (a int)",
            f"DELETE FROM {place.schema}.eventcore_snapshots",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
    assert len(call("events", "read", "--json").records) == 2


def test_a_plan_gives_nobody_a_table_of_somebody_else(call: Call, place: PostgresSchema):
    with place.connect() as connection:
        connection.execute(f"CREATE TABLE {place.schema}.users (user_id text, password text)")

    planned = call("db", "plan", "--json").records

    names = [one["name"] for one in planned]
    assert ("note of orders" in names, "note of users" in names) == (True, False)
    with place.connect() as connection:
        for one in planned:
            connection.execute(one["sql"].encode())
    applied = call("db", "apply", "--json")
    assert (applied.code, applied.error["type"]) == (2, "SchemaMismatchError")
    assert "was not made for projection users" in applied.error["message"]


FRAIL = """
from pathlib import Path
from typing import NamedTuple

from eventcore.events.catalogue import UserRegistered
from eventcore.projections import Projection, Table, on


class FrailRow(NamedTuple):
    user_id: str
    email: str


class Frail(Projection):
    name = "{name}"
    tables = (Table("{name}", FrailRow, key=("user_id",)),)

    @on(UserRegistered, key=lambda event: event.id)
    def _add(self, row, event):
        if not Path("mended").exists():
            raise KeyError(event.id)
        return FrailRow(event.id, event.payload.email)


PROJECTIONS = [Frail()]
"""


@pytest.fixture
def frail(
    call: Call, place: PostgresSchema, *, role: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, ...]:
    """Options of a role that may make no tables, where a read model of one's own is kept."""
    name = f"frail_{place.schema[-8:]}"
    (folder / f"{name}.py").write_text(FRAIL.format(name=name))
    monkeypatch.setenv("EVENTCORE_IMPORT", name)
    assert call("db", "apply").code == 0
    assert call("db", "grant", role, "--read-models").code == 0
    write_lines(folder / "lines.jsonl", USER)
    own = f"postgresql://{role}:app@{place.host}:{place.port}/{place.dbname}"
    store = ("--store", f"{own}?schema={place.schema}&create=no")
    assert call("ingest", "lines.jsonl", *store).code == 0
    return name, *store


def test_who_may_make_no_tables_parks_what_fails_and_retries_it(
    call: Call, frail: tuple[str, ...], folder: Path
):
    name, *store = frail

    ran = call("projections", "run", "--once", "--json", *store)
    skipped = call("projections", "skip", name, "--key", "u1", "--reason", "a test", *store)
    write_lines(folder / "more.jsonl", OTHER)
    call("ingest", "more.jsonl", *store)
    again = call("projections", "run", "--once", "--json", *store)
    (folder / "mended").touch()
    [retried] = call("projections", "retry", name, "--json", *store).records

    assert (ran.code, ran.records[0]["parked"]) == (0, 1)
    assert skipped.code == 0
    assert (again.code, again.records[0]["parked"]) == (0, 1)
    assert (retried["events"], retried["parked"]) == (1, 0)
    assert [one["user_id"] for one in call("query", name, "--json", *store).records] == ["u2"]


OTHER = USER | {
    "eventId": "0190f1a0-0000-7000-8000-000000000009",
    "data": {"payload": {"userId": "u2", "email": "grace@example.com"}},
}


def test_who_may_make_no_tables_runs_process_managers(
    call: Call, frail: tuple[str, ...], folder: Path, *, role: str
):
    name, *store = frail
    with (folder / f"{name}.py").open("a") as module:
        module.write("from eventcore.processes import PaymentNotReceived\n")
        module.write("PROCESSES = [PaymentNotReceived()]\n")
    sys.modules.pop(name)
    call("db", "apply")
    call("db", "grant", role, "--read-models")
    write_lines(folder / "order.jsonl", ORDER)
    call("ingest", "order.jsonl", *store)

    ran = call("processes", "run", "--once", "--json", *store)

    assert (ran.code, ran.records[0]["commands"]) == (0, 1)
    [order] = call("state", "order", "o1", "--json", *store).records
    assert order["status"] == "cancelled"


def test_who_may_make_no_tables_shares_the_work_and_leaves_rebuilds_to_the_owner(
    call: Call, frail: tuple[str, ...], folder: Path
):
    name, *store = frail
    (folder / "mended").touch()
    with open_app(store[1], projections=projections_with([name])) as app:
        stop = threading.Event()
        worker = WorkerOptions(now=app.now)
        working = threading.Thread(
            target=app.runner([name, "users"]).follow, args=(stop,), kwargs={"worker": worker}
        )
        working.start()
        app.wait_for(app.log.head(), [name, "users"], timeout_seconds=60)
        assert len(all_workers(app.views)) == 1
        stop.set()
        working.join()
        assert shares_of(app.views, name) == 16

    refused = call("projections", "rebuild", name, "--json", *store)
    live = call("query", name, "--json", *store).records
    rebuilt = call("projections", "rebuild", name, "--json")
    write_lines(folder / "more.jsonl", OTHER)
    call("ingest", "more.jsonl", *store)
    ran = call("projections", "run", "--once", *store)

    assert call("db", "check").code == 0
    assert (refused.code, refused.error["type"]) == (2, "ConfigurationError")
    assert "may not make or drop tables" in refused.error["message"]
    assert [one["user_id"] for one in live] == ["u1"]
    assert (rebuilt.code, ran.code) == (0, 0)
    rows = call("query", name, "--json", *store).records
    assert [one["user_id"] for one in rows] == ["u1", "u2"]
    [status] = [
        one
        for one in call("projections", "status", "--json", *store).records
        if one["projection"] == name
    ]
    assert (status["generation"], status["lagEvents"]) == (2, 0)
    assert [(one["generation"], one["state"]) for one in status["generations"]] == [
        (1, "old"),
        (2, "live"),
    ]


def test_psql_runs_the_plan(call: Call, place: PostgresSchema, folder: Path):
    (folder / "plan.sql").write_text(call("db", "plan").out)
    command = ["psql", "-v", "ON_ERROR_STOP=1", "-q", "-f", "plan.sql", place.url]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("NOT TESTED: psql is absent")

    assert call("db", "check").code == 0


def test_what_holds_the_feed_is_found_also_where_its_age_is_not_shown(
    call: Call, place: PostgresSchema, *, role: str, folder: Path
):
    call("db", "apply")
    call("db", "grant", role, "--read-models")
    own = f"postgresql://{role}:app@{place.host}:{place.port}/{place.dbname}"
    store = ("--store", f"{own}?schema={place.schema}&create=no", "--json")
    write_lines(folder / "lines.jsonl", USER)

    def held() -> list[dict[str, object]]:
        found = call("doctor", *store).records
        return [one for one in found if one["check"] == "held feed"]

    with place.connect(autocommit=False, application_name="forgotten") as stranger:
        stranger.execute(
            f"INSERT INTO {place.schema}.eventcore_log (stream, version, type, event_id, state)"
            " VALUES ('order-1', 1, 'order.paid', gen_random_uuid(), '{}')"
        )
        pid = stranger.info.backend_pid
        [found] = held()
        call("ingest", "lines.jsonl", *store)
        status = call("projections", "status", *store)
        printed = call("projections", "status", *store[:2])
        stranger.rollback()
    [after] = held()

    assert found["ok"] is False
    assert f"pid {pid}" in str(found["detail"])
    assert "GRANT pg_read_all_stats" in str(found["action"])
    for one in status.records:
        [holder] = one["heldBy"]
        assert (holder["pid"], holder["age_seconds"]) == (pid, None)
    assert f"pid {pid}" in printed.err
    assert "pg_read_all_stats" in printed.err
    assert after["ok"] is True
