"""events, state and query: what is in the store, to people and to programs."""

import json
from pathlib import Path

import pytest

from eventcore.app import open_app
from eventcore.cli.output import cell, json_text, printable
from eventcore.commands import StartSession, TrackActivity
from tests.unit.cli.conftest import ORDER, PAID, USER, Call, write_lines


def test_events_are_json_lines_in_the_order_of_the_log(shop: Call):
    user, reservation, order = shop("events", "read", "--json").records

    assert user == {
        "position": 1,
        "stream": "user-u1",
        "version": 1,
        "type": "user.registered",
        "schemaVersion": 1,
        "eventId": USER["eventId"],
        "timestamp": "2024-01-01T10:00:00.000000Z",
        "correlationId": "case-1",
        "userId": "u1",
        "payload": {"userId": "u1", "email": "ada@example.com"},
        "metadata": {},
    }
    assert reservation["type"] == "reservation.claimed"
    assert (order["position"], order["stream"]) == (3, "order-o1")


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        ([], [1, 2, 3]),
        (["--after", "1"], [2, 3]),
        (["--limit", "1"], [1]),
        (["--type", "order.created"], [3]),
        (["--type", "order.created", "--type", "user.registered"], [1, 3]),
        (["--category", "user"], [1]),
        (["--stream", "order-o1"], [3]),
        (["--stream", "order-o1", "--after", "3"], []),
        (["--stream", "order-o1", "--type", "order.paid"], []),
    ],
)
def test_events_can_be_chosen(shop: Call, options: list[str], positions: list[int]):
    found = shop("events", "read", "--json", *options).records

    assert [event["position"] for event in found] == positions


def test_an_event_is_found_by_its_id_in_any_spelling(shop: Call):
    [event] = shop("events", "show", str(ORDER["eventId"]).upper(), "--json").records

    assert event["payload"]["totalAmount"] == "3.00"
    assert json.loads(shop("events", "show", str(ORDER["eventId"])).out) == event


def test_a_trace_shows_what_caused_what(shop: Call):
    events = shop("events", "trace", "case-1", "--json").records
    tree = shop("events", "trace", "case-1").out.splitlines()

    assert [event["type"] for event in events] == [
        "user.registered",
        "reservation.claimed",
        "order.created",
    ]
    assert tree[0] == "case-1"
    assert "user.registered" in tree[1]
    assert tree[-1].startswith("    └── ")  # below the event that caused it
    assert "order.created" in tree[-1]


def test_an_aggregate_is_shown_as_it_is_and_was(shop: Call, folder: Path):
    write_lines(folder / "more.jsonl", PAID)
    shop("ingest", "more.jsonl")

    [now] = shop("state", "order", "o1", "--json").records
    [first] = shop("state", "order", "o1", "--json", "--version", "1").records
    [then] = shop("state", "order", "o1", "--json", "--as-of", "2024-01-01T10:01:30+00:00").records

    assert (now["stream"], now["version"], now["status"]) == ("order-o1", 2, "paid")
    assert now["total_amount"] == "3.00"
    assert now["items"] == [{"number": 1, "product_id": "p", "quantity": 2, "price": "1.50"}]
    assert now["paid_amount"] == "3.00"
    assert (first["version"], first["status"]) == (1, "created")
    assert then == first


def test_a_read_model_is_printed_as_it_stands_until_fresh_is_asked_for(shop: Call):
    assert shop("query", "orders", "--json").records == []
    assert shop("query", "orders", "--json", "--fresh").records == [
        {
            "order_id": "o1",
            "user_id": "u1",
            "total_amount": "3",
            "currency": "GBP",
            "status": "created",
            "created_at": "2024-01-01T10:01:00.000000Z",
        }
    ]
    assert len(shop("query", "orders", "--json").records) == 1


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ([], 1),
        (["--where", "total_amount=3.00"], 1),
        (["--where", "status=created", "--where", "user_id=u1"], 1),
        (["--where", "status=created", "--where", "user_id=u2"], 0),
        (["--where", "created_at=2024-01-01T11:01:00+01:00"], 1),
    ],
)
def test_rows_are_chosen_by_values_as_a_person_types_them(
    shop: Call, conditions: list[str], count: int
):
    shop("projections", "run", "--once")

    assert len(shop("query", "orders", "--json", *conditions).records) == count


def test_a_table_for_people_stops_after_fifty_rows_and_says_so(call: Call, folder: Path):
    with open_app("sqlite:///eventcore.db") as app:
        app.execute(StartSession(session_id="s"))
        for number in range(50):
            app.execute(TrackActivity(session_id="s", action=f"a{number}"))

    shown = call("events", "read")

    assert shown.out.count("session.activity") == 49
    assert "the first 50; --limit N shows more" in shown.out
    assert len(call("events", "read", "--json").records) == 51
    assert call("events", "read", "--limit", "51").out.count("session.activity") == 50


def test_integers_of_any_size_are_printed_as_they_are(call: Call):
    large = [10**30, -(2**63) - 1]
    with open_app("sqlite:///eventcore.db") as app:
        app.execute(StartSession(session_id="s"))
        app.execute(TrackActivity(session_id="s", action="a", details={"n": large}))

    _, event = call("events", "read", "--json").records
    [shown] = call("events", "show", event["eventId"], "--json").records

    assert event["payload"]["details"] == {"n": large}
    assert shown == event
    assert json.loads(call("events", "show", event["eventId"]).out) == event


def test_a_message_may_name_what_is_no_text():
    assert json_text({"message": "no \udcff", "\udcff": 1}) == '{"message":"no ?","?":1}'


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_limit_may_be_larger_than_any_number_of_rows(shop: Call, form: list[str]):
    shop("projections", "run", "--once")
    limit = ("--limit", "9" * 23)

    for command in (["events", "read"], ["query", "events"]):
        assert shop(*command, *form, *limit).out == shop(*command, *form).out != ""


def test_an_empty_table_says_so(call: Call):
    assert "nothing" in call("events", "read").out


def test_nothing_from_the_data_reaches_a_terminal_as_a_control(call: Call, folder: Path):
    with open_app("sqlite:///eventcore.db") as app:
        app.execute(StartSession(session_id="s"))
        app.execute(TrackActivity(session_id="s", action="a\x9bm[red]b\u202e", target="t"))
    stored = call("events", "read", "--json").records[1]

    assert stored["payload"]["action"] == "a\x9bm[red]b\u202e"
    for arguments in (["events", "read"], ["events", "show", stored["eventId"]]):
        for form in ([], ["--json"]):
            assert "\x9b" not in call(*arguments, *form).out


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_control_characters_are_replaced_in_tables_and_escaped_in_json(code: int):
    text = f"a{chr(code)}b"

    assert printable(text) == "a\N{REPLACEMENT CHARACTER}b"
    assert cell({"k": text}).isprintable()
    assert json_text([text]).isprintable()
    assert json.loads(json_text([text])) == [text]


def test_markup_in_the_data_is_text():
    assert cell("[bold]x[/bold]") == r"\[bold]x\[/bold]"
