"""CloudEvents 1.0 both ways: the specification's own schema and examples, and what is refused."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft7Validator, FormatChecker  # type: ignore[import-untyped]

from eventcore.errors import InvalidEventError
from eventcore.events import GenericEvent, NewEvent
from eventcore.events.catalogue import OrderPaid
from eventcore.events.cloudevents import from_cloudevent, to_cloudevent
from eventcore.events.limits import STATE_BYTES_MAX

PAID = OrderPaid(order_id="o-1", amount=Decimal("5.10"))
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def new(**facts: Any) -> NewEvent[Any]:
    return NewEvent(payload=PAID, event_id=UUID(int=7), timestamp=NOW, **facts)


def cloudevent(**changes: Any) -> dict[str, Any]:
    whole = {**to_cloudevent(new(source="shop")), **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def refusal(event: Any, **options: Any) -> tuple[str, str | None]:
    with pytest.raises(InvalidEventError) as refused:
        from_cloudevent(event, **options)
    return refused.value.reason, refused.value.field


def test_an_event_is_written_as_a_cloudevent() -> None:
    event = new(source="shop", correlation_id="c", user_id="u", metadata={"n": 1})

    assert to_cloudevent(event) == {
        "specversion": "1.0",
        "id": "00000000-0000-0000-0000-000000000007",
        "source": "shop",
        "type": "order.paid",
        "subject": "order-o-1",
        "time": "2026-11-22T00:00:00.000000Z",
        "datacontenttype": "application/json",
        "schemaversion": "1",
        "correlationid": "c",
        "userid": "u",
        "data": {"payload": {"orderId": "o-1", "amount": "5.10"}, "metadata": {"n": 1}},
    }


@pytest.mark.parametrize(
    "source",
    [
        None, "shop", "/orders?x=1#y", "https://example.com:80/a%20b", "urn:x:y",
        "two words", "a:b c", "1:2", "50%", "urn:eventcore:source:x", "[x]", "//h:port/", "ü", "#",
    ],
)  # fmt: skip
def test_any_source_comes_back_and_is_a_uri_reference_meanwhile(
    source: str | None, shared_data: Path
) -> None:
    schema = json.loads((shared_data / "contracts/cloudevents.schema.json").read_text())
    event = new(source=source)

    written = to_cloudevent(event)

    Draft7Validator(schema, format_checker=FormatChecker()).validate(written)
    assert " " not in written["source"]
    assert written["source"].isascii()
    assert from_cloudevent(written) == event


def test_the_reference_library_reads_what_is_written() -> None:
    event = new(source="shop", correlation_id="c", metadata={"n": 1})
    written = to_cloudevent(event)

    read = _read_by_the_reference_library(written)

    assert read.get_id() == written["id"]
    assert read.get_source() == "shop"
    assert read.get_type() == "order.paid"
    assert read.get_subject() == "order-o-1"
    assert read.get_time() == NOW
    assert read.get_extension("correlationid") == "c"
    assert read.get_data() == written["data"]


def _read_by_the_reference_library(written: dict[str, Any]) -> Any:
    headers = {"content-type": "application/cloudevents+json"}
    message = HTTPMessage(headers=headers, body=json.dumps(written).encode())
    return from_http_event(message, JSONFormat())


def test_the_examples_of_the_specification_are_read_or_clearly_refused(shared_data: Path) -> None:
    lines = (shared_data / "contracts/cloudevents_examples.jsonl").read_text().splitlines()
    outcomes = []

    for text in lines:
        example = json.loads(text)["event"]
        try:
            event = from_cloudevent(example, allow_unknown=True, received_at=NOW)
        except InvalidEventError as refused:
            outcomes.append(refused.field)
            continue
        outcomes.append("read")
        again = to_cloudevent(event)
        for name in ("id", "source", "type", "correlationid", "causationid", "exta"):
            assert again.get(name) == example.get(name)
        assert again["data"]["payload"] == example["data"]

    # Refused are XML, binary data, and data that are no object.
    assert {name: outcomes.count(name) for name in outcomes} == {
        "read": 12, "datacontenttype": 4, "data_base64": 3, "data": 2,
    }  # fmt: skip


def test_an_id_that_is_no_uuid_always_becomes_the_same_uuid_and_comes_back() -> None:
    first = from_cloudevent(cloudevent(id="A-1"))
    other_source = from_cloudevent(cloudevent(id="A-1", source="/other"))

    assert first == from_cloudevent(cloudevent(id="A-1"))
    assert first.event_id.version == 5
    assert first.event_id != other_source.event_id
    assert to_cloudevent(first)["id"] == "A-1"


def test_attributes_without_a_place_are_kept_and_written_back() -> None:
    foreign = {"traceparent": "00-ab", "sampled": True, "priority": -3, "dataschema": "/s"}

    event = from_cloudevent(cloudevent(**foreign))

    assert event.metadata == {"cloudevents": foreign}
    assert to_cloudevent(event) == cloudevent(**foreign)


def test_metadata_that_only_look_like_attributes_stay_metadata() -> None:
    for held in ({"id": "A-1"}, {"time": "x"}, {"UPPER": "x"}, {"x": 1.5}, {}, "text"):
        event = new(metadata={"cloudevents": held})

        written = to_cloudevent(event)

        assert written["data"]["metadata"] == {"cloudevents": held}
        assert from_cloudevent(written) == event


def test_the_subject_of_an_unknown_type_is_kept() -> None:
    raw = {
        "specversion": "1.0", "id": str(UUID(int=1)), "source": "/s", "type": "x.y",
        "subject": "pull/7", "time": "2026-01-01T00:00:00Z", "data": {"a": 1},
    }  # fmt: skip

    event = from_cloudevent(json.dumps(raw).encode(), allow_unknown=True)

    assert isinstance(event.payload, GenericEvent)
    assert event.payload.fields == {"a": 1}
    assert to_cloudevent(event)["subject"] == "pull/7"
    assert from_cloudevent(to_cloudevent(event), allow_unknown=True) == event


@pytest.mark.parametrize(
    ("content", "lifted"),
    [("application/vnd.x+json", True), ("application/json; charset=utf-8", True),
     ("application/json", False), ("text/xml", False)],
)  # fmt: skip
def test_the_content_type_is_kept_unless_it_is_the_usual_one(content: str, lifted: bool) -> None:
    event = new(metadata={"cloudevents": {"datacontenttype": content}})

    written = to_cloudevent(event)

    assert (written["datacontenttype"] == content) is (lifted or content == "application/json")
    assert ("metadata" not in written["data"]) is lifted
    assert from_cloudevent(written) == event


def test_attributes_that_are_null_count_as_absent() -> None:
    assert from_cloudevent(cloudevent(subject=None, userid=None)) == new(source="shop")


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        *[({n: ...}, "missing-field", n) for n in ("specversion", "id", "source", "type", "time")],
        *[({n: ""}, "invalid-field", n) for n in ("specversion", "id", "source", "type")],
        *[({n: 1}, "invalid-field", n) for n in ("id", "source", "type", "time", "userid")],
        ({"data": ...}, "missing-field", "data"),
        ({"data": "text"}, "invalid-field", "data"),
        ({"data": {"orderId": "o-1"}}, "missing-field", "data.payload"),
        ({"data": {"payload": {"orderId": "o-1"}}}, "missing-field", "data.payload.amount"),
        ({"data_base64": "AA=="}, "invalid-field", "data_base64"),
        ({"datacontenttype": "text/xml"}, "invalid-field", "datacontenttype"),
        ({"specversion": "0.3"}, "unknown-version", "specversion"),
        ({"schemaversion": "2"}, "unknown-version", "schemaversion"),
        ({"schemaversion": 2}, "unknown-version", "schemaversion"),
        ({"type": "order.payed"}, "unknown-type", "type"),
        ({"subject": "order-o-2"}, "id-mismatch", "subject"),
        ({"time": "yesterday"}, "invalid-field", "time"),
        ({"Upper": "x"}, "unknown-field", None),
        ({"x_y": "x"}, "unknown-field", None),
        ({"x": 1.5}, "unknown-field", None),
        ({"x": 2**31}, "unknown-field", None),
        ({"x": []}, "unknown-field", None),
        ({"x": datetime(2026, 1, 1, tzinfo=UTC)}, "not-json", None),
        (
            {"x": "1", "data": {"payload": {}, "metadata": {"cloudevents": {}}}},
            "missing-field",
            "data.payload.orderId",
        ),
        (
            {
                "x": "1",
                "data": {
                    "payload": {"orderId": "o-1", "amount": "5.10"},
                    "metadata": {"cloudevents": {}},
                },
            },
            "unknown-field",
            "data.metadata.cloudevents",
        ),
    ],
)
def test_a_broken_cloudevent_is_refused_with_the_code_and_its_own_field(
    changes: dict[str, Any], reason: str, field: str | None
) -> None:
    assert refusal(cloudevent(**changes)) == (reason, field)


def test_bytes_are_checked_like_a_wire_line() -> None:
    written = json.dumps(to_cloudevent(new(source="shop"))).encode()

    assert from_cloudevent(written) == new(source="shop")
    assert refusal(written[:-1]) == ("not-json", None)
    assert refusal(written.replace(b'"id"', b'"id":"x","id"')) == ("not-json", None)
    assert refusal(written.replace(b'"5.10"', b"5.100000000000000000001")) == (
        "invalid-field",
        "data.payload.amount",
    )
    assert refusal(b" " * (STATE_BYTES_MAX + 1)) == ("too-large", None)
