"""``eventcore doctor --race``: what loses events on a server, and that nothing else changes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eventcore.cli.racing.plans import WRITERS
from eventcore.stores.postgres import reading
from tests.postgres import PostgresServer
from tests.unit.cli.conftest import Answer, Call

pytestmark = pytest.mark.postgres

TEXTBOOK, OURS = "textbook bigserial table", "eventcore's log"
SECONDS = "0.3"
RACES_MAX = 10


@pytest.fixture
def place(folder: object, postgres_database: PostgresServer) -> PostgresServer:
    return postgres_database


def race(call: Call, place: PostgresServer, *arguments: str, url: str = "") -> Answer:
    return call("doctor", "--race", url or place.url, "--seconds", SECONDS, "--json", *arguments)


def race_until(
    met: Callable[[dict[str, dict[str, Any]]], bool],
    call: Call,
    place: PostgresServer,
    *arguments: str,
    codes: tuple[int, ...] = (0, 1),
) -> Answer:
    """Hold races until something was met that speed and chance decide about in so short a one."""
    for _ in range(RACES_MAX):
        answer = race(call, place, *arguments)
        assert answer.code in codes, answer.out
        if met(tables(answer)):
            return answer
    message = f"not met in {RACES_MAX} races"
    raise AssertionError(message)


def tables(answer: Answer) -> dict[str, dict[str, Any]]:
    (record,) = answer.records
    return {table["table"]: table for table in record["tables"]}


def missed(table: dict[str, Any]) -> dict[str, int]:
    return {reader["reader"]: reader["missed"] for reader in table["readers"]}


def scratch_schemas(place: PostgresServer) -> list[str]:
    with place.connect() as connection:
        rows = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'eventcore_race_%'"
        )
        return [name for (name,) in rows.fetchall()]


def test_a_textbook_table_loses_events_and_our_log_does_not(call: Call, place: PostgresServer):
    def is_long_enough(found: dict[str, dict[str, Any]]) -> bool:
        textbook, ours = found.values()
        return (
            all(missed(table)["poller"] > 0 for table in found.values())
            and textbook["committed"] == ours["committed"] > 50
            and min(ours["transactions"].values()) > 0
        )

    answer = race_until(is_long_enough, call, place, codes=(0,))

    assert answer.code == 0, answer.out
    (record,) = answer.records
    assert (record["check"], record["ok"], record["writers"]) == ("race", True, WRITERS)
    assert (record["seconds"], record["withLock"]) == (float(SECONDS), False)
    found = tables(answer)
    assert list(found) == [TEXTBOOK, OURS]
    textbook, ours = found[TEXTBOOK], found[OURS]
    assert missed(textbook)["poller"] > 0
    # The table is no luckier than the other: it is how it is read.
    assert missed(ours)["poller"] > 0
    assert ours["readers"][1] == {
        "reader": "subscription",
        "missed": 0,
        "doubled": 0,
        "disordered": 0,
        "neverCommitted": 0,
    }
    assert textbook["committed"] == ours["committed"] > 50
    assert textbook["transactions"] == ours["transactions"]
    assert min(ours["transactions"].values()) > 0
    assert scratch_schemas(place) == []


def test_a_log_that_passed_over_gaps_would_be_found_out(
    call: Call, place: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reading, "contiguous", lambda _after, positions: len(positions))

    answer = race_until(lambda found: missed(found[OURS])["subscription"] > 0, call, place)

    assert answer.code == 1
    assert answer.records[0]["ok"] is False
    assert missed(tables(answer)[OURS])["subscription"] > 0
    assert "report this" in answer.records[0]["action"]


def test_people_are_told_what_was_lost_and_where_to_read_on(call: Call, place: PostgresServer):
    answer = call("doctor", "--race", "--store", f"{place.url}?schema=shop", "--seconds", SECONDS)

    assert answer.code == 0
    assert f"{TEXTBOOK}: a poller of " in answer.out
    assert f"✓ {OURS}: a subscription saw all " in answer.out
    assert "docs/explanation/the-log.md" in answer.out


EVERYTHING = """
CREATE TYPE shop.state AS ENUM ('new', 'paid');
CREATE DOMAIN shop.email AS text CHECK (value ~ '@');
CREATE TABLE shop.customers (id bigint PRIMARY KEY);
CREATE FUNCTION shop.audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO shop.customers VALUES (NEW.other); RETURN NEW; END $$;
CREATE TABLE shop."Odd % ""x"" {names}" (
    "id %" serial PRIMARY KEY,
    "na{me}" text NOT NULL CHECK (length("na{me}") > 99),
    code char(3) NOT NULL,
    short varchar(2) NOT NULL,
    status text NOT NULL DEFAULT 'new' CHECK (status = 'new'),
    state shop.state NOT NULL,
    email shop.email NOT NULL,
    small smallint NOT NULL,
    whole integer NOT NULL,
    amount numeric(5, 2) NOT NULL CHECK (amount < 0),
    free numeric NOT NULL,
    ratio real NOT NULL,
    flag boolean NOT NULL,
    unique_id uuid NOT NULL UNIQUE,
    made_id uuid NOT NULL DEFAULT gen_random_uuid(),
    at timestamptz NOT NULL DEFAULT now(),
    seen timestamp NOT NULL,
    day date NOT NULL,
    hour time NOT NULL,
    zoned timetz NOT NULL,
    lasting interval NOT NULL,
    ip inet NOT NULL,
    net cidr NOT NULL,
    payload jsonb NOT NULL,
    raw json NOT NULL,
    bytes bytea NOT NULL,
    tags text[] NOT NULL,
    during tstzrange NOT NULL,
    price money NOT NULL,
    bits bit(5) NOT NULL,
    more_bits varbit(7) NOT NULL,
    place point NOT NULL,
    page xml NOT NULL,
    words tsvector NOT NULL,
    other bigserial,
    upper_name text GENERATED ALWAYS AS (upper("na{me}")) STORED,
    customer bigint NOT NULL REFERENCES shop.customers,
    UNIQUE (unique_id, status),
    EXCLUDE USING gist (during WITH &&)
);
CREATE INDEX ON shop."Odd % ""x"" {names}" (lower("na{me}"));
CREATE TRIGGER audited BEFORE INSERT ON shop."Odd % ""x"" {names}"
    FOR EACH ROW EXECUTE FUNCTION shop.audit();
"""
ODD = '"Odd % ""x"" {names}"'


def create(place: PostgresServer, text: str) -> None:
    with place.connect() as connection:
        connection.execute(f"CREATE SCHEMA shop; {text}".encode())


def last_values(place: PostgresServer) -> list[int | None]:
    """Of every sequence in the schema; None where no number was ever taken."""
    with place.connect() as connection:
        rows = connection.execute("SELECT last_value FROM pg_sequences WHERE schemaname = 'shop'")
        return [value for (value,) in rows.fetchall()]


def count(place: PostgresServer, table: str) -> int:
    with place.connect() as connection:
        rows: Any = connection.execute(f"SELECT count(*) FROM shop.{table}").fetchone()
        return int(rows[0])


def test_a_table_of_the_users_is_raced_by_a_copy_and_neither_written_nor_locked(
    call: Call, place: PostgresServer
):
    create(place, EVERYTHING)
    with place.connect(autocommit=False) as other:
        # Nobody may write, or lock more than a SELECT does, until this is over.
        for name in (ODD, "customers"):
            other.execute(f"LOCK TABLE shop.{name} IN EXCLUSIVE MODE")
        answer = race_until(
            lambda found: (
                missed(found["shop.Odd % x {names}"])["poller"] > 0
                and found["shop.Odd % x {names}"]["transactions"]["refused"] > 0
            ),
            *(call, place, "--table", f"shop.{ODD}"),
        )
        other.rollback()

    assert answer.code == 1, answer.err
    assert answer.records[0]["ok"] is False
    table = tables(answer)["shop.Odd % x {names}"]
    assert (table["position"], missed(table)["poller"] > 0) == ("id %", True)
    assert table["transactions"]["refused"] > 0
    left_out, uncopied, trigger = table["remarks"]
    assert [column for column in ("email", "place", "page", "price") if column in left_out] == [
        *("email", "place", "page")
    ]
    assert "trigger audited" in uncopied
    assert "customer_fkey" in uncopied
    assert "amount_check" in uncopied
    assert "--with-lock" in trigger
    assert missed(tables(answer)[OURS])["subscription"] == 0
    assert (count(place, ODD), count(place, "customers")) == (0, 0)
    assert last_values(place) == [None, None]
    assert scratch_schemas(place) == []


def test_a_sequence_that_keeps_numbers_loses_more_and_even_with_a_lock(
    call: Call, place: PostgresServer
):
    create(
        place,
        "CREATE TABLE shop.events (seq int GENERATED ALWAYS AS IDENTITY (INCREMENT 3 CACHE 10)"
        " PRIMARY KEY, stream uuid NOT NULL, version int NOT NULL, UNIQUE (stream, version))",
    )

    answer = race_until(
        lambda found: missed(found["shop.events"])["poller"] > 0,
        *(call, place, "--table", "shop.events", "--with-lock"),
    )

    table = tables(answer)["shop.events"]
    assert answer.code == 1
    assert missed(tables(answer)[TEXTBOOK])["poller"] == 0
    assert missed(table)["poller"] > 0
    assert "CACHE 10" in table["remarks"][0]
    assert "CACHE 1," in answer.records[0]["action"]
    assert last_values(place) == [None]


def test_a_lock_that_writers_wait_for_loses_nothing(call: Call, place: PostgresServer):
    create(place, "CREATE TABLE shop.events (id bigserial)")

    answer = race_until(
        lambda found: (
            found["shop.events"]["transactions"]["rolledBack"] > 0
            and found[OURS]["seconds"] < found[TEXTBOOK]["seconds"]
        ),
        *(call, place, "--table", "shop.events", "--with-lock"),
        codes=(0,),
    )

    found = tables(answer)
    assert (answer.code, answer.records[0]["withLock"]) == (0, True)
    assert missed(found["shop.events"]) == {"poller": 0}
    # Nothing is unique there, so what should violate it is rolled back.
    assert found["shop.events"]["transactions"]["refused"] == 0
    assert found["shop.events"]["transactions"]["rolledBack"] > 0
    # Ours takes the same transactions without a lock, and less time.
    assert found[OURS]["seconds"] < found[TEXTBOOK]["seconds"]


def test_a_time_is_no_better_to_go_by_than_a_number(call: Call, place: PostgresServer):
    create(
        place,
        "CREATE TABLE shop.events (id uuid PRIMARY KEY, created timestamptz DEFAULT now())",
    )

    answer = race_until(
        lambda found: missed(found["shop.events"])["poller"] > 0,
        *(call, place, "--table", "shop.events", "--position", "created"),
    )

    assert answer.code == 1
    assert missed(tables(answer)["shop.events"])["poller"] > 0


def test_no_function_of_the_users_is_called_for_a_default(call: Call, place: PostgresServer):
    create(
        place,
        "CREATE SEQUENCE shop.numbers;"
        "CREATE FUNCTION shop.next_id() RETURNS bigint LANGUAGE sql"
        " AS $$SELECT nextval('shop.numbers')$$;"
        "CREATE TABLE shop.events (id bigint PRIMARY KEY DEFAULT shop.next_id());"
        "CREATE TABLE shop.others (id bigserial, other bigint NOT NULL"
        " DEFAULT shop.next_id(), named bigint DEFAULT nextval('shop.numbers'::text))",
    )

    refused = race(call, place, "--table", "shop.events")
    raced = race(call, place, "--table", "shop.others")

    assert (refused.code, raced.code) == (2, 1)
    assert "next_id(), which may do more than compute" in refused.error["message"]
    assert last_values(place) == [None, None]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shop.nothing", "There is no table"),
        ("no such name", "There is no table no such name"),
        ("a.b.c.d", "There is no table"),
        ("shop.shown", "is not a table that rows are inserted into"),
        ("shop.nested", "No row can be made up for a table like shop.nested: value for domain"),
    ],
)
def test_a_table_that_cannot_be_raced_is_refused_with_the_reason(
    call: Call, place: PostgresServer, name: str, *, reason: str
):
    create(
        place,
        "CREATE VIEW shop.shown AS SELECT 1 AS id;"
        "CREATE DOMAIN shop.debt AS bigint CHECK (value < 0);"
        "CREATE DOMAIN shop.amount AS shop.debt;"
        "CREATE TABLE shop.nested (id bigserial, amount shop.amount NOT NULL)",
    )

    answer = race(call, place, "--table", name)

    assert (answer.code, answer.out) == (2, "")
    assert reason in answer.error["message"]
    assert scratch_schemas(place) == []


def test_a_table_that_somebody_alters_is_not_waited_for_long(call: Call, place: PostgresServer):
    create(place, "CREATE TABLE shop.events (id bigserial)")
    with place.connect(autocommit=False) as other:
        other.execute("LOCK TABLE shop.events")
        answer = race(call, place, "--table", "shop.events")
        other.rollback()

    assert answer.code == 3
    assert "lock timeout" in answer.error["message"]
    assert scratch_schemas(place) == []


@pytest.fixture
def role(place: PostgresServer) -> Iterator[str]:
    """A role that may log in and do nothing else."""
    name = f"{place.dbname}_reader"
    with place.connect() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 's3cret'")
    yield name
    with place.connect() as connection:
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


def test_a_role_without_the_rights_is_told_which(call: Call, place: PostgresServer, *, role: str):
    create(place, "CREATE TABLE shop.events (id bigserial)")
    url = f"postgresql://{role}:s3cret@{place.host}:{place.port}/{place.dbname}"

    unable = race(call, place, url=url)
    with place.connect() as connection:
        connection.execute(f"GRANT CREATE ON DATABASE {place.dbname} TO {role}")
        connection.execute(f"GRANT USAGE ON SCHEMA shop TO {role}")
    blind = race(call, place, "--table", "shop.events", url=url)
    able = race(call, place, url=url)

    assert (unable.code, blind.code, able.code) == (2, 2, 0)
    assert "a role that may CREATE in the database" in unable.error["message"]
    assert "permission denied for table events" in blind.error["message"]
    assert "s3cret" not in unable.err + blind.err + able.out
    assert scratch_schemas(place) == []
