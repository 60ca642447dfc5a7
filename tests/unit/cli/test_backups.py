"""backup verify: what a backup is worth, found out by restoring it."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.dynamodb import DynamoDBPlace
from tests.postgres import PostgresSchema
from tests.postgres_cluster import find_programs
from tests.unit.cli.conftest import ORDER, PAID, USER, Call, write_lines
from tests.unit.cli.test_sealing import as_administrator


@pytest.fixture
def backup(shop: Call, folder: Path) -> Call:
    """A shop with read models and seals, its backup in backup.db, and one event more since."""
    shop("projections", "run", "--once")
    shop("seal", "--to", "seals.jsonl")
    with (
        closing(sqlite3.connect(folder / "eventcore.db")) as connection,
        closing(sqlite3.connect(folder / "backup.db")) as target,
    ):
        connection.backup(target)
    write_lines(folder / "more.jsonl", PAID)
    shop("ingest", "more.jsonl")
    shop("seal", "--to", "seals.jsonl")
    return shop


def test_a_backup_of_a_file_is_verified_compared_and_replayed_and_left_as_it_is(
    backup: Call, folder: Path
):
    before = (folder / "backup.db").read_bytes()

    answer = backup("backup", "verify", "backup.db", "--seals", "seals.jsonl", "--json")

    log, live, models = answer.records
    assert answer.code == 0
    assert (log["events"], log["sealed"], log["finding"]) == (3, 3, None)
    assert (live["events"], live["head"], live["live_head"]) == (3, 3, 4)
    assert (len(models["projections"]), models["absent"]) == (8, [])
    assert (folder / "backup.db").read_bytes() == before
    assert sorted(path.name for path in folder.glob("backup*")) == ["backup.db"]


def test_a_backup_of_a_file_is_told_about_to_a_person(backup: Call):
    answer = backup("backup", "verify", "backup.db", "--seals", "seals.jsonl")

    assert "3 events are as in the live log, up to position 3" in answer.out
    assert "read models are what the log makes" in answer.out
    assert "the live log goes on to position 4" in answer.err


def test_a_backup_that_was_changed_is_found_by_seals_or_by_the_live_log(backup: Call, folder: Path):
    as_administrator(
        folder / "backup.db",
        "UPDATE eventcore_log SET state ="
        " CAST(replace(CAST(state AS TEXT), '3.00', '1.00') AS BLOB) WHERE position = 3",
    )

    by_seals = backup("backup", "verify", "backup.db", "--seals", "seals.jsonl", "--json")
    by_live = backup("backup", "verify", "backup.db", "--json")

    assert (by_seals.code, by_seals.error["type"]) == (1, "LogAltered")
    assert (by_live.code, by_live.error["type"]) == (1, "BackupDiffers")
    assert "position 3 (order.created of order-o1, version 1)" in by_live.error["message"]


def test_a_row_that_was_changed_in_a_backup_is_named(backup: Call, folder: Path):
    with closing(sqlite3.connect(folder / "backup.db")) as connection:
        connection.execute("UPDATE users SET email = 'mallory@example.com'")
        connection.commit()

    answer = backup("backup", "verify", "backup.db", "--json")

    assert (answer.code, answer.error["type"]) == (1, "ReadModelsAltered")
    assert "users (user_id u1): its column email" in answer.error["message"]
    assert "mallory" not in answer.out + answer.err


def test_a_backup_of_another_log_is_not_of_this_one(backup: Call, folder: Path):
    write_lines(folder / "other.jsonl", USER | {"eventId": PAID["eventId"]})
    backup("ingest", "other.jsonl", "--store", "sqlite:///other.db")

    assert backup("backup", "verify", "other.db").code == 1
    assert backup("backup", "verify", "other.db", "--alone").code == 0


def test_read_models_that_are_not_in_a_backup_are_replayed_all_the_same(shop: Call, folder: Path):
    shutil.copy(folder / "eventcore.db", folder / "backup.db")

    answer = shop("backup", "verify", "backup.db", "--json")

    *_, models = answer.records
    assert answer.code == 0
    assert (models["projections"], len(models["absent"])) == ([], 8)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.db"], 2, "missing.db: No such file"),
        (["shop.jsonl"], 2, "--scratch postgresql://host/NAME"),
        (["shop.jsonl", "--scratch", "sqlite:///x.db"], 2, "a database of a Postgres server"),
    ],
)
def test_what_is_no_backup_says_what_is_needed(
    shop: Call, arguments: list[str], *, code: int, words: str
):
    answer = shop("backup", "verify", *arguments)

    assert answer.code == code
    assert words in answer.err


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server's own client programs come first."""
    found = find_programs()
    assert found is not None
    monkeypatch.setenv("PATH", f"{found}{os.pathsep}{os.environ['PATH']}")
    return found


@pytest.fixture
def on_postgres(call: Call, folder: Path, postgres_schema: PostgresSchema) -> Call:
    """A shop on Postgres, with read models."""
    write_lines(folder / "shop.jsonl", USER, ORDER)
    store = ("--store", postgres_schema.store_url)
    assert call("ingest", "shop.jsonl", *store).code == 0
    assert call("projections", "run", "--once", *store).code == 0
    return call


def databases(place: PostgresSchema) -> set[str]:
    """Those of this test: others come and go on the same server meanwhile."""
    with place.connect() as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    return {row[0] for row in rows if place.schema in row[0]}


@pytest.mark.postgres
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_dump_is_restored_into_a_database_of_its_own_and_that_is_dropped(
    on_postgres: Call, folder: Path, postgres_schema: PostgresSchema, *, programs: Path, form: str
):
    place = postgres_schema
    options = [f"--format={form}", f"--schema={place.schema}", "--file=dump"]
    command = [str(programs / "pg_dump"), *options, f"--dbname={place.url}"]
    subprocess.run(command, check=True, cwd=folder)
    name = f"{place.schema}_scratch"
    scratch = urlsplit(place.store_url)._replace(path=f"/{name}").geturl()
    before = databases(place)

    answer = on_postgres(
        "backup", "verify", "dump", "--scratch", scratch, "--store", place.store_url, "--json"
    )
    again = on_postgres(
        "backup", "verify", "dump", "--scratch", place.store_url, "--store", place.store_url
    )

    log, live, models = answer.records
    assert answer.code == 0
    assert (log["events"], live["events"], len(models["projections"])) == (3, 3, 8)
    assert databases(place) == before
    assert again.code == 2
    assert "is there already" in again.err


@pytest.mark.postgres
def test_a_dump_that_is_damaged_is_said_to_be_and_leaves_nothing_behind(
    on_postgres: Call, folder: Path, postgres_schema: PostgresSchema, *, programs: Path
):
    place = postgres_schema
    (folder / "dump").write_bytes(b"PGDMP and no more")
    scratch = urlsplit(place.store_url)._replace(path=f"/{place.schema}_scratch").geturl()
    before = databases(place)

    answer = on_postgres("backup", "verify", "dump", "--scratch", scratch, "--alone")

    assert answer.code == 2
    assert "pg_restore cannot restore it" in answer.err
    assert databases(place) == before


@pytest.mark.dynamodb
def test_a_table_that_was_restored_is_verified_where_it_is(
    call: Call, folder: Path, dynamodb: DynamoDBPlace
):
    write_lines(folder / "shop.jsonl", USER, ORDER)
    store = ("--store", dynamodb.store_url)
    assert call("ingest", "shop.jsonl", *store).code == 0
    client = dynamodb.client()
    items = client.scan(TableName=dynamodb.table)["Items"]
    restored = dynamodb.url_of(f"{dynamodb.prefix}restored")
    assert call("db", "apply", "--store", restored).code == 0
    for item in items:
        client.put_item(TableName=f"{dynamodb.prefix}restored", Item=item)

    refused = call("backup", "verify", restored, *store)
    assert call("db", "repair", "--store", restored).code == 0
    answer = call("backup", "verify", restored, *store, "--json")

    log, live, models = answer.records
    assert (refused.code, answer.code) == (3, 0)
    assert (log["events"], live["events"]) == (3, 3)
    assert len(models["projections"]) + len(models["absent"]) == 8
