"""eventcore archive, and every other command on a log that was trimmed."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventcore.aggregates import Order
from eventcore.app import open_app
from tests.dynamodb import DynamoDBPlace
from tests.s3 import S3Place
from tests.unit.cli.conftest import ORDER, PAID, USER, Call, write_lines

SHIPPED = {
    "eventId": "0190f1a0-0000-7000-8000-000000000005",
    "eventType": "order.shipped",
    "timestamp": "2024-01-02T10:00:00Z",
    "version": "1",
    "data": {"payload": {"orderId": "o1"}},
}


@pytest.fixture
def shop(call: Call, folder: Path):
    write_lines(folder / "in.jsonl", USER, ORDER, PAID, SHIPPED)
    call("ingest", "in.jsonl")
    call("projections", "run", "--once")
    return folder


def save_snapshots(folder: Path, *orders: str) -> None:
    """As an application does that wants what is before to leave the log."""
    with open_app(f"sqlite:///{folder / 'eventcore.db'}") as app:
        for order in orders:
            assert app.save_snapshot(Order, order) == app.get(Order, order).version


def test_a_log_is_archived_and_a_second_run_adds_nothing(call: Call, shop):
    [first] = call("archive", "--to", "lake", "--json").records
    [second] = call("archive", "--to", "lake", "--json", "--verify").records

    assert first["events"] == first["until"] == 5
    assert first["state_bytes"] > 0
    assert (second["events"], second["until"], second["verified"]) == (0, 5, 5)
    assert (
        json.loads((shop / "lake/raw/events/_manifests/0000000001.json").read_text())["shards"] == 4
    )


def test_too_few_new_events_wait_for_a_later_run(call: Call, shop):
    [few] = call("archive", "--to", "lake", "--min-events", "6", "--json").records
    [enough] = call("archive", "--to", "lake", "--min-events", "5", "--json").records

    assert (few["events"], few["until"], enough["events"]) == (0, 0, 5)


def test_for_people_it_says_what_it_did(call: Call, shop):
    answer = call("archive", "--to", "lake", "--verify", "--then-trim", "--older-than", "1d")

    assert answer.code == 0
    assert "5 events archived" in answer.out
    assert "5 events are as their manifests say" in answer.out
    told = answer.out.replace("\n", " ")
    assert "0 events left the log; kept: 2 behind, 2 newest, 1 no-snapshot" in told
    assert "--save-states saves one" in told


def test_after_trimming_commands_need_the_archive_and_then_say_what_they_said(call: Call, shop):
    save_snapshots(shop, "o1")
    before = {
        "state": call("state", "order", "o1", "--json").records,
        "early": call("state", "order", "o1", "--version", "1", "--json").records,
        "read": call("events", "read", "--json").records,
        "query": call("query", "orders", "--json").records,
    }

    [report] = call(
        "archive", "--to", "lake", "--then-trim", "--older-than", "1h", "--json"
    ).records

    assert report["trimmed"] == 2
    with closing(sqlite3.connect(shop / "eventcore.db")) as file:
        stored = file.execute("SELECT count(*) FROM eventcore_log").fetchone()[0]
    assert stored == 3
    refused = call("events", "read", "--json")
    assert refused.code == 3
    assert "--archive" in refused.err
    archive = ("--archive", "lake")
    assert call("state", "order", "o1", "--json", *archive).records == before["state"]
    assert (
        call("state", "order", "o1", "--version", "1", "--json", *archive).records
        == before["early"]
    )
    assert call("events", "read", "--json", *archive).records == before["read"]
    assert call("query", "orders", "--json").records == before["query"]
    found = call("doctor", *archive)
    assert found.code == 0, found.out
    assert call("db", "check").code == 0
    assert call("projections", "rebuild", "orders", *archive).code == 0
    assert call("query", "orders", "--json").records == before["query"]


@pytest.mark.dynamodb
def test_on_dynamodb_likewise_and_the_log_is_whole_afterwards(
    call: Call, folder: Path, dynamodb: DynamoDBPlace
):
    store = ("--store", dynamodb.store_url)
    call(*store, "db", "apply")
    write_lines(folder / "in.jsonl", USER, ORDER, PAID, SHIPPED)
    call(*store, "ingest", "in.jsonl")
    call(*store, "projections", "run", "--once")
    call(*store, "seal", "--to", "seals")
    before = call(*store, "events", "read", "--json").records
    rows = call(*store, "query", "orders", "--json").records

    trim = ("archive", "--to", "lake", "--then-trim", "--older-than", "0s", "--save-states")
    [report] = call(*store, *trim, "--json").records
    [again] = call(*store, *trim, "--json").records

    assert (report["trimmed"], again["trimmed"]) == (2, 0)
    refused = call(*store, "events", "read", "--json")
    assert refused.code == 3
    assert "--archive" in refused.err
    archive = ("--archive", "lake")
    assert call(*store, "events", "read", "--json", *archive).records == before
    assert call(*store, "verify", "--seals", "seals", "--views", *archive).code == 0
    assert call(*store, "db", "check").code == 0
    assert call(*store, "doctor", *archive).code == 0
    assert call(*store, "projections", "rebuild", "orders", *archive).code == 0
    assert call(*store, "query", "orders", "--json").records == rows
    [known] = call(*store, "ingest", "in.jsonl", "--json", *archive).records
    assert (known["accepted"], known["duplicate"]) == (0, 4)
    assert call("copy", dynamodb.store_url, "sqlite:///copy.db", *archive).code == 0
    assert call("events", "read", "--json", "--store", "sqlite:///copy.db").records == before


def test_the_states_that_a_trim_needs_are_saved_by_it_on_request(call: Call, shop):
    before = call("events", "read", "--json").records
    trim = ("archive", "--to", "lake", "--then-trim", "--older-than", "0s", "--json")
    [kept] = call(*trim).records

    [trimmed] = call(*trim, "--save-states").records

    assert (kept["trimmed"], trimmed["trimmed"]) == (0, 2)
    assert "no-snapshot" in kept["kept"]
    assert "no-snapshot" not in trimmed["kept"]
    assert call("events", "read", "--json", "--archive", "lake").records == before


def test_the_archive_may_come_from_the_environment(call: Call, shop, monkeypatch):
    save_snapshots(shop, "o1")
    monkeypatch.setenv("EVENTCORE_ARCHIVE", str(shop / "lake"))

    [report] = call("archive", "--then-trim", "--older-than", "0s", "--json").records

    assert report["trimmed"] == 2
    assert len(call("events", "read", "--json").records) == 5
    write_lines(shop / "again.jsonl", USER, ORDER, PAID, SHIPPED)
    [again] = call("ingest", "again.jsonl", "--json").records
    assert (again["accepted"], again["duplicate"]) == (0, 4)


def test_a_copy_of_a_trimmed_log_is_whole(call: Call, shop):
    save_snapshots(shop, "o1")
    before = call("events", "read", "--json").records
    call("archive", "--to", "lake", "--then-trim", "--older-than", "0s")

    answer = call("copy", "sqlite:///eventcore.db", "sqlite:///copy.db", "--archive", "lake")

    assert answer.code == 0
    assert call("events", "read", "--json", "--store", "sqlite:///copy.db").records == before


def test_an_archive_may_be_in_a_bucket(call: Call, shop, s3: S3Place):
    save_snapshots(shop, "o1")
    before = call("events", "read", "--json").records

    answer = call("archive", "--to", s3.url(), "--then-trim", "--older-than", "0s", "--json")

    assert answer.records[0]["trimmed"] == 2
    assert call("events", "read", "--json", "--archive", s3.url()).records == before


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["archive"], "--to FOLDER"),
        (["archive", "--to", "lake", "--then-trim"], "belong together"),
        (["archive", "--to", "lake", "--older-than", "90d"], "belong together"),
        (["archive", "--to", "lake", "--save-states"], "is for --then-trim"),
        (["archive", "--to", "lake", "--then-trim", "--older-than", "soon"], "no age such as"),
        (["archive", "--to", "lake", "--then-trim", "--older-than", "999999d"], "before year 1"),
        (["archive", "--to", "ftp://x/y"], "begins with 'ftp'"),
        (["archive", "--to", "lake", "--shards", "999"], "1 to 256 shards"),
        (["events", "read", "--archive"], "s3://bucket/lake"),
    ],
)
def test_what_cannot_be_done_is_said(  # noqa: PLR0917 - fixtures
    call: Call, shop, arguments, problem
):
    answer = call(*arguments)

    assert answer.code == 2
    assert problem in answer.err


def test_a_store_that_is_not_there_is_not_made(call: Call, shop):
    answer = call("archive", "--to", "lake", "--store", "sqlite:///typo.db")

    assert answer.code == 3
    assert not (shop / "typo.db").exists()
