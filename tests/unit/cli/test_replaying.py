"""replay, state --as-of and events diff: what was, to people and to programs."""

from pathlib import Path

import pytest

from tests.unit.cli.conftest import ORDER, PAID, Call, write_lines

PAST = "sqlite:///past.db"


@pytest.fixture
def paid(shop: Call, folder: Path) -> Call:
    """A user, his reservation, an order, its payment; the payment is at position 4."""
    write_lines(folder / "paid.jsonl", PAID)
    assert shop("ingest", "paid.jsonl").code == 0
    return shop


def statuses(call: Call, views: str = PAST) -> list[str]:
    rows = call("query", "orders", "--views", views, "--json").records
    return [row["status"] for row in rows]


def test_a_read_model_is_replayed_until_a_position(paid: Call):
    done = paid("replay", "--into", PAST, "--until", "3", "--projection", "orders", "--json")

    assert done.code == 0
    [report] = done.records
    assert report.pop("seconds") >= 0
    assert report == {
        "until": "position 3",
        "position": 3,
        "events": 1,
        "resumed": False,
        "parked": 0,
        "together": ["orders"],
        "apart": [],
        "queried": [],
        "rows": {"orders": 1},
    }
    assert statuses(paid) == ["created"]


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("2024-01-01T10:00:59Z", []),
        ("2024-01-01T10:01:00Z", ["created"]),
        ("2024-01-01T11:02:00+01:00", ["paid"]),
    ],
)
def test_a_replay_until_a_time_says_what_state_says(paid: Call, until: str, expected: list[str]):
    assert paid("replay", "--into", PAST, "--until", until, "--projection", "orders").code == 0
    state = paid("state", "order", "o1", "--as-of", until, "--json")

    assert statuses(paid) == expected
    assert [one["status"] for one in state.records] == expected


def test_without_until_all_there_is_is_replayed(paid: Call):
    told = paid("replay", "--into", PAST)

    assert told.code == 0
    assert "as of the head" in told.out
    assert "orders  1 rows" in told.out
    assert statuses(paid) == ["paid"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--into", PAST, "--until", "9"), "There is no state at position 9 yet"),
        (("--into", PAST, "--until", "yesterday"), "--until 'yesterday' is not a time"),
        (("--into", PAST, "--until", "2024-01-01T10:00:00"), "needs an offset"),
        (("--into", "memory://"), "gone with this command"),
        (("--into", "sqlite:///eventcore.db"), "where the live read models are"),
        (("--into", PAST, "--drop", "--until", "3"), "leave --until"),
        (("--into", PAST, "--projection", "order"), "Did you mean orders?"),
    ],
)
def test_what_cannot_be_replayed_is_told(paid: Call, options: tuple[str, ...], problem: str):
    refused = paid("replay", *options)

    assert refused.code == 2
    assert problem in refused.err


def test_another_place_needs_another_target_or_a_drop(paid: Call):
    paid("replay", "--into", PAST, "--until", "3")

    refused = paid("replay", "--into", PAST, "--until", "4", "--json")
    dropped = paid("replay", "--into", PAST, "--drop", "--projection", "orders", "--json")
    again = paid("replay", "--into", PAST, "--until", "4", "--projection", "orders")

    assert (refused.code, refused.error["type"]) == (2, "ReplayRefusedError")
    assert dropped.records == [{"dropped": ["orders"]}]
    assert again.code == 0
    assert statuses(paid) == ["paid"]
    assert "8 replayed read models dropped" in paid("replay", "--into", PAST, "--drop").out


def test_what_no_number_of_processes_makes_faster_is_told(paid: Call):
    told = paid("replay", "--into", PAST, "--processes", "1")

    assert told.code == 0
    assert "in one process, for their rows may be of several streams: analytics" in told.err
    assert statuses(paid) == ["paid"]


def test_live_rows_are_not_replayed_into(paid: Call, folder: Path):
    assert paid("projections", "run", "--once").code == 0

    refused = paid("replay", "--into", f"sqlite:///{folder}/eventcore.db", "--until", "3")

    assert refused.code == 2
    assert "kept up to date" in refused.err
    assert statuses(paid, "sqlite:///eventcore.db") == ["paid"]


def test_state_looks_back_to_a_position(paid: Call):
    found = paid("state", "order", "o1", "--as-of", "3", "--json")
    before = paid("state", "order", "o1", "--as-of", "2")

    assert found.records[0]["status"] == "created"
    assert before.code == 1
    assert "does not exist" in before.err


def test_diff_shows_which_fields_an_event_changed(paid: Call):
    [found] = paid("events", "diff", "order", "o1", "--json").records

    assert found == {
        "stream": "order-o1",
        "from": 1,
        "to": 2,
        "events": [
            {"version": 2, "type": "order.paid", "timestamp": "2024-01-01T10:02:00.000000Z"}
        ],
        "changes": [
            {"field": "status", "before": "created", "after": "paid"},
            {"field": "paid_amount", "before": "0", "after": "3.00"},
        ],
    }


def test_diff_from_the_beginning_shows_what_there_is(paid: Call):
    told = paid("events", "diff", "order", "o1", "--from", "0", "--to", "1")

    assert told.code == 0
    assert "order.created" in told.out
    assert "total_amount" in told.out


def test_diff_names_places_inside_lists_and_objects(shop: Call, folder: Path):
    added = {
        **ORDER,
        "eventId": "0190f1a0-0000-7000-8000-000000000009",
        "eventType": "order.item_removed",
        "data": {"payload": {"orderId": "o1", "productId": "p", "quantity": 1}},
    }
    write_lines(folder / "more.jsonl", added)
    assert shop("ingest", "more.jsonl").code == 0

    [found] = shop("events", "diff", "order", "o1", "--json").records

    assert {"field": "items.0.quantity", "before": 2, "after": 1} in found["changes"]


@pytest.mark.parametrize(
    ("typed", "code", "problem"),
    [
        ("order nobody", 1, "does not exist"),
        ("order nobody --from 0 --to 1", 1, "does not exist"),
        ("order o1 --to 7", 1, "has 2 versions"),
        ("order o1 --from 2 --to 1", 2, "turn them round"),
        ("ticket 1", 2, "There is no kind 'ticket'"),
    ],
)
def test_what_cannot_be_compared_is_told(paid: Call, typed: str, code: int, *, problem: str):
    refused = paid("events", "diff", *typed.split())

    assert refused.code == code
    assert problem in refused.err
