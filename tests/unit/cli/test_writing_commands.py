"""ingest, projections, copy, db, doctor, schema: what changes a store and looks after it."""

import gzip
import io
import json
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from eventcore.projections.runner import ProjectionRunner
from tests.unit.cli.conftest import ORDER, PAID, UNDERPAID, USER, Call, write_lines

LATER_RIGHT = {"orderId": "o1", "amount": "1.50"}


def without_seconds(record: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in record.items() if name != "seconds"}


def tamper(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_an_import_ends_with_its_counts_and_a_second_one_accepts_nothing(call: Call, folder: Path):
    write_lines(folder / "in.jsonl", USER, ORDER, UNDERPAID, "not json")

    [first] = call("ingest", "in.jsonl").records
    [second] = call("ingest", "in.jsonl", "--json").records

    expected = {"read": 4, "accepted": 2, "duplicate": 0, "rejected": 2}
    reasons = {"amount-mismatch": 1, "not-json": 1}
    assert without_seconds(first) == {**expected, "reasons": reasons}
    assert without_seconds(second) == {
        **expected,
        "accepted": 0,
        "duplicate": 2,
        "reasons": reasons,
    }


def test_refusals_fail_an_import_only_if_it_is_strict(call: Call, folder: Path):
    write_lines(folder / "in.jsonl", USER, "not json")

    assert call("ingest", "in.jsonl").code == 0
    assert call("ingest", "in.jsonl", "--strict").code == 1
    assert call("ingest", str(write_lines(folder / "good.jsonl", USER)), "--strict").code == 0


def test_standard_input_is_read_for_a_dash(call: Call, monkeypatch: pytest.MonkeyPatch):
    lines = io.BytesIO(json.dumps(USER).encode() + b"\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(lines)))

    [report] = call("ingest", "-").records

    assert report["accepted"] == 1


def test_an_input_that_breaks_off_keeps_what_came_before_and_fails(call: Call, folder: Path):
    whole = gzip.compress("".join(json.dumps(one) + "\n" for one in (USER, ORDER)).encode())
    (folder / "in.jsonl.gz").write_bytes(whole[:-6])

    answer = call("ingest", "in.jsonl.gz")

    assert answer.code == 2
    assert "breaks off" in answer.err
    assert len(answer.records) == 1


def test_read_models_are_caught_up_once_and_their_status_is_told(shop: Call):
    behind = shop("projections", "status", "--json").records
    [caught_up] = shop("projections", "run", "--once", "--json").records
    [again] = shop("projections", "run", "--once", "--json").records
    after = shop("projections", "status", "--json").records

    assert {one["lagEvents"] for one in behind} == {3}
    assert len(behind) == len(after) == 8
    assert without_seconds(caught_up) == {"events": 3, "position": 3, "head": 3, "parked": 0}
    assert again["events"] == 0
    assert {(one["position"], one["lagEvents"], one["lagSeconds"]) for one in after} == {
        (3, 0, 0.0)
    }
    assert shop("projections", "status").out.count("analytics") == 3


def test_a_rebuild_makes_the_same_rows_from_the_log(shop: Call, folder: Path):
    shop("projections", "run", "--once")
    before = shop("query", "orders", "--json").out
    tamper(folder / "eventcore.db", "UPDATE orders SET total_amount = '999'")
    assert shop("query", "orders", "--json").out != before

    shown = shop("projections", "rebuild", "orders", "--values")
    assert shown.code == 1
    assert "1 rows differ" in shown.err
    assert "total_amount 999 →" in shown.err
    assert shop("query", "orders", "--json").out != before
    [report] = shop("projections", "rebuild", "orders", "--accept-differences", "--json").records

    assert shop("query", "orders", "--json").out == before
    assert (report["projection"], report["rows"]) == ("orders", {"orders": 1})
    assert (report["replaced"], report["generation"]) == (True, 2)
    [table] = report["comparison"]["tables"]
    assert [row["columns"] for row in table["rows"]] == [["total_amount"]]


def test_replaced_rows_come_back_with_a_rollback_until_they_are_dropped(shop: Call):
    shop("projections", "run", "--once")
    shop("projections", "rebuild", "orders")

    [back] = shop("projections", "rollback", "orders", "--json").records
    [dropped] = shop("projections", "drop-old", "orders", "--json").records

    assert (back["generation"], back["sameDefinition"]) == (1, True)
    assert dropped == {"projection": "orders", "dropped": 1}
    assert "no older generation" in shop("projections", "rollback", "orders").err
    assert len(shop("query", "orders", "--json").records) == 1


def test_a_rebuild_in_place_is_still_there(shop: Call):
    shop("projections", "run", "--once")

    [report] = shop("projections", "rebuild", "orders", "--in-place", "--json").records

    assert (report["position"], report["rows"]) == (3, {"orders": 1})
    assert shop("projections", "rollback", "orders").code == 2


def test_rows_past_their_time_go_when_asked_and_come_back_with_a_rebuild(shop: Call):
    shop("projections", "run", "--once")
    before = shop("query", "events", "--json").out

    deleted = shop("projections", "expire", "--json").records[0]["deleted"]

    # All events are of 2024: gone are their index and the users' (90 and 365 days), not the users.
    assert deleted > 0
    assert shop("query", "events", "--json").out == ""
    assert len(shop("query", "users", "--json").records) == 1
    shop("projections", "rebuild", "--all", "--json")
    assert shop("query", "events", "--json").out == before


def test_all_read_models_can_be_rebuilt(shop: Call):
    reports = shop("projections", "rebuild", "--all", "--json").records

    assert [one["projection"] for one in reports] == [
        one["projection"] for one in shop("projections", "status", "--json").records
    ]
    assert len(reports) == 8


def test_following_ends_in_order_when_asked_to_terminate(
    shop: Call, monkeypatch: pytest.MonkeyPatch
):
    follow = ProjectionRunner.follow

    def terminated(self: ProjectionRunner, stop: object = None, **options: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        follow(self, stop, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ProjectionRunner, "follow", terminated)

    assert shop("projections", "run").code == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_copy_has_the_same_ids_bytes_and_order_and_is_resumed(shop: Call, folder: Path):
    [first] = shop("copy", "sqlite:///eventcore.db", "sqlite:///copy.db", "--json").records
    write_lines(folder / "more.jsonl", PAID)
    shop("ingest", "more.jsonl")
    [second] = shop("copy", "sqlite:///eventcore.db", "sqlite:///copy.db", "--json").records

    read = ("events", "read", "--json", "--store")
    digests = [first.pop("digest"), second.pop("digest")]
    assert without_seconds(first) == {"copied": 3, "present": 0, "total": 3, "refusals": 1}
    assert without_seconds(second) == {"copied": 1, "present": 3, "total": 4, "refusals": 1}
    [verified] = shop("verify", "--store", "sqlite:///copy.db", "--json").records
    assert digests[0] != digests[1] == verified["log"]
    assert shop(*read, "sqlite:///copy.db").out == shop(*read, "sqlite:///eventcore.db").out


def test_an_import_into_a_copy_refuses_what_it_did_into_the_original(shop: Call, folder: Path):
    # By its state now the copy would take the payment: it is of what the order costs meanwhile.
    order = json.loads(json.dumps(ORDER))
    order["eventId"], order["eventType"] = PAID["eventId"], "order.item_removed"
    order["data"]["payload"] = {"orderId": "o1", "productId": "p", "quantity": 1}
    write_lines(folder / "removed.jsonl", order)
    write_lines(folder / "again.jsonl", {**UNDERPAID, "data": {"payload": LATER_RIGHT}})
    shop("ingest", "again.jsonl")
    shop("ingest", "removed.jsonl")

    shop("copy", "sqlite:///eventcore.db", "sqlite:///copy.db")

    expected = without_seconds(shop("ingest", "again.jsonl").records[0])
    [copied] = shop("ingest", "again.jsonl", "--store", "sqlite:///copy.db").records
    assert without_seconds(copied) == expected
    assert copied["reasons"] == {"amount-mismatch": 1}
    fresh = shop("ingest", "again.jsonl", "--store", "sqlite:///copy.db", "--retry-refused")
    assert fresh.records[0]["accepted"] == 1


def test_a_log_in_memory_has_nothing_to_copy(call: Call, folder: Path):
    answer = call("copy", "memory://", "sqlite:///copy.db")

    assert answer.code == 2
    assert answer.err.startswith("error  memory:// holds nothing to copy")
    assert list(folder.iterdir()) == []


def test_a_copy_into_a_log_with_other_events_is_refused_and_changes_nothing(
    shop: Call, folder: Path
):
    write_lines(
        folder / "other.jsonl", PAID | {"eventType": "user.registered"} | {"data": USER["data"]}
    )
    shop("ingest", "other.jsonl", "--store", "sqlite:///other.db")
    before = shop("events", "read", "--json", "--store", "sqlite:///other.db").out
    assert before

    answer = shop("copy", "sqlite:///eventcore.db", "sqlite:///other.db", "--json")

    assert answer.code == 1
    assert answer.error["type"] == "LogsDiffer"
    assert shop("events", "read", "--json", "--store", "sqlite:///other.db").out == before


def test_a_copy_into_a_log_that_is_longer_is_refused(shop: Call, folder: Path):
    shop("copy", "sqlite:///eventcore.db", "sqlite:///copy.db")
    write_lines(folder / "more.jsonl", PAID)
    shop("ingest", "more.jsonl", "--store", "sqlite:///copy.db")

    assert shop("copy", "sqlite:///eventcore.db", "sqlite:///copy.db").code == 1


def test_a_plan_prints_the_sql_and_creates_nothing(call: Call, folder: Path):
    planned = call("db", "plan", "--json").records

    assert not (folder / "eventcore.db").exists()
    assert planned[0]["name"] == "eventcore_log"
    assert {"users", "orders", "order_items", "eventcore_checkpoints"} <= {
        one["name"] for one in planned
    }
    script = call("db", "plan").out
    with sqlite3.connect(folder / "by_hand.db") as connection:
        connection.executescript(script)
    connection.close()
    assert call("db", "check", "--store", "sqlite:///by_hand.db").code == 0


def test_applying_creates_what_is_missing_once(call: Call):
    planned = [one["name"] for one in call("db", "plan", "--json").records]

    assert [one["created"] for one in call("db", "apply", "--json").records] == planned
    assert call("db", "apply", "--json").records == []
    assert call("db", "check").code == 0


def test_a_dropped_index_is_found_and_created_again(call: Call, folder: Path):
    call("db", "apply")
    tamper(folder / "eventcore.db", "DROP INDEX users_by_email")

    checked = call("db", "check", "--json")

    assert checked.code == 1
    assert [(one["name"], one["problem"]) for one in checked.records] == [
        ("users_by_email", "missing")
    ]
    assert [one["created"] for one in call("db", "apply", "--json").records] == ["users_by_email"]


def test_the_indexes_of_rows_that_a_rebuild_made_are_as_expected(call: Call, folder: Path):
    call("db", "apply")
    assert call("projections", "rebuild", "users").code == 0

    assert call("db", "check").code == call("doctor").code == 0
    assert call("db", "plan", "--json").records == []
    assert call("projections", "drop-old", "users").code == 0
    assert call("db", "check").code == 0

    tamper(folder / "eventcore.db", "DROP INDEX users__2_by_email")
    [found] = call("db", "check", "--json").records
    assert (found["name"], found["problem"]) == ("users_by_email", "missing")
    assert [one["created"] for one in call("db", "apply", "--json").records] == ["users_by_email"]
    assert call("db", "check").code == 0


def test_an_index_that_only_the_replaced_rows_have_is_missing(call: Call, folder: Path):
    call("db", "apply")
    call("projections", "rebuild", "users")
    tamper(folder / "eventcore.db", "DROP INDEX users__2_by_email")

    assert [(one["name"], one["problem"]) for one in call("db", "check", "--json").records] == [
        ("users_by_email", "missing")
    ]


def test_a_table_of_another_shape_is_named_and_never_changed(call: Call, folder: Path):
    call("db", "apply")
    tamper(folder / "eventcore.db", "DROP TABLE users", "CREATE TABLE users (user_id TEXT)")

    checked = call("db", "check", "--json")

    assert checked.code == 1
    assert ("users", "different") in [(one["name"], one["problem"]) for one in checked.records]
    applied = call("db", "apply", "--json")
    assert applied.code == 2
    assert applied.error["type"] == "SchemaMismatchError"


def test_views_in_a_file_of_their_own_are_looked_after_there(call: Call, folder: Path):
    views = ("--views", "sqlite:///views.db")

    call("db", "apply", *views)
    call("projections", "run", "--once", *views)

    assert call("db", "check", *views).code == 0
    assert call("doctor", *views).code == 0
    assert (folder / "views.db").exists()


def test_the_doctor_finds_nothing_wrong_with_a_store_that_is_kept_up(shop: Call):
    shop("projections", "run", "--once")

    answer = shop("doctor", "--json")

    assert answer.code == 0
    assert [one["check"] for one in answer.records] == [
        "versions",
        "file",
        "integrity",
        "journal",
        "tables",
        "durability",
        "read models",
        "feed",
    ]
    assert all(one["ok"] for one in answer.records)


def findings(answer_records: list[dict[str, object]]) -> dict[object, object]:
    return {one["check"]: one["action"] for one in answer_records if not one["ok"]}


def test_the_doctor_says_what_to_do_about_a_read_model_that_is_behind(shop: Call):
    shop("projections", "run", "--once")
    shop("projections", "status")
    shop("ingest", str(write_lines(Path("more.jsonl"), PAID)))

    answer = shop("doctor", "--json")

    assert answer.code == 1
    assert "projections run --once" in str(findings(answer.records)["read models"])


def test_the_doctor_says_what_to_do_about_a_missing_index(shop: Call, folder: Path):
    shop("projections", "run", "--once")
    tamper(folder / "eventcore.db", "DROP INDEX orders_by_status_created_at")

    answer = shop("doctor", "--json")

    assert answer.code == 1
    assert findings(answer.records) == {"tables": "eventcore db apply"}


def test_the_doctor_finds_a_damaged_file(shop: Call, folder: Path):
    shop("projections", "run", "--once")
    path = folder / "eventcore.db"
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)

    answer = shop("doctor", "--json")

    assert answer.code == 1
    assert {"file", "integrity"} & findings(answer.records).keys()


@pytest.mark.parametrize("store", ["sqlite:///missing.db", "sqlite:///shop.jsonl", "memory://"])
def test_the_doctor_creates_nothing_and_says_what_is_wrong(shop: Call, folder: Path, store: str):
    before = sorted(path.name for path in folder.iterdir())

    answer = shop("doctor", "--json", "--store", store)

    assert answer.code == 1
    assert all(findings(answer.records).values())
    assert sorted(path.name for path in folder.iterdir()) == before


def names_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM sqlite_master ORDER BY 1")]


def test_the_doctor_makes_no_tables_in_a_file_that_has_none(shop: Call, folder: Path):
    tamper(folder / "empty.db", "PRAGMA journal_mode = WAL")

    answer = shop("doctor", "--json", "--store", "sqlite:///empty.db?create=yes")

    assert answer.code == 1
    assert names_in(folder / "empty.db") == []
    assert findings(answer.records) == dict.fromkeys(
        ("tables", "read models", "feed"), "eventcore db apply"
    )


def test_the_doctor_makes_no_read_models_where_there_are_none(shop: Call, folder: Path):
    before = names_in(folder / "eventcore.db")

    answer = shop("doctor", "--json")

    assert names_in(folder / "eventcore.db") == before
    assert findings(answer.records) == dict.fromkeys(
        ("tables", "read models"), "eventcore db apply"
    )
    assert answer.records[-1]["check"] == "feed"
    assert answer.records[-1]["ok"] is True


def test_the_shipped_types_fit_the_shipped_lock(call: Call):
    assert call("schema", "check", "--json").records == []
    assert call("schema", "check").code == 0


def test_a_breaking_change_since_the_lock_is_named_and_fails(call: Call, folder: Path):
    lock = json.loads(call("schema", "lock").out)
    lock["types"]["order.paid"]["versions"]["1"]["properties"]["amount"] = {"type": "boolean"}
    (folder / "lock.json").write_text(json.dumps(lock))

    answer = call("schema", "check", "--lock", "lock.json", "--json")

    assert answer.code == 1
    assert {(one["type"], one["breaking"]) for one in answer.records} == {("order.paid", True)}
    assert "breaking" in call("schema", "check", "--lock", "lock.json").out


def test_a_lock_is_written_to_a_file_and_fits(call: Call, folder: Path):
    assert call("schema", "lock", "lock.json").code == 0
    assert call("schema", "check", "--lock", "lock.json").code == 0


def test_schemas_are_exported_as_one_document(call: Call):
    [document] = call("schema", "export", "--json").records

    assert document == json.loads(call("schema", "export").out)
    assert "order.created" in document["events"]
    assert "reservation.claimed" in document["events"]
