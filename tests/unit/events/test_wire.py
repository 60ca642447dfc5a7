"""The wire form: what is taken, what is refused and why, and that nothing is altered in between."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from eventcore.errors import InvalidEventError
from eventcore.events import (
    Codec,
    DomainEvent,
    EventRegistry,
    GenericEvent,
    Id,
    Money,
    NewEvent,
    Payload,
    Recorded,
    stream_of,
    upcast,
)
from eventcore.events.catalogue import (
    OrderCreated,
    OrderPaid,
    SessionActivity,
    SystemHealthCheck,
    UserRegistered,
)
from eventcore.events.fields import JSON_DEPTH_MAX, JSON_INT_MAX
from eventcore.events.limits import STATE_BYTES_MAX
from eventcore.events.wire import from_wire, to_wire
from tests.unit.events.wire_lines import PAYLOADS, envelope, line, with_payload

NO_FACTS: list[Any] = ["", None, 1, "x" * 129, "a\nb", "\x00", "\x85", {}]


def refusal(raw: bytes, **options: Any) -> tuple[str, str | None]:
    with pytest.raises(InvalidEventError) as refused:
        from_wire(raw, **options)
    return refused.value.reason, refused.value.field


def test_an_event_is_written_in_the_spelling_and_order_of_the_wire_schema() -> None:
    event = NewEvent(
        payload=OrderPaid(order_id="o-1", amount=Decimal("5.10")),
        event_id=UUID("0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000"),
        timestamp=datetime(2026, 11, 22, 21, 34, 28, 5, tzinfo=UTC),
        source="shop",
        correlation_id="c",
        causation_id="b",
        user_id="u",
        session_id="s",
        environment="test",
        region="eu",
        metadata={"trace": {"x": None}},
    )

    assert to_wire(event) == (
        b'{"eventId":"0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000","eventType":"order.paid",'
        b'"eventSource":"shop","timestamp":"2026-11-22T21:34:28.000005Z","version":"1",'
        b'"data":{"payload":{"orderId":"o-1","amount":"5.10"},"metadata":{"trace":{"x":null}}},'
        b'"correlationId":"c","causationId":"b","userId":"u","sessionId":"s",'
        b'"environment":"test","region":"eu"}'
    )
    assert from_wire(to_wire(event)) == event


def test_what_is_absent_is_left_out() -> None:
    event = NewEvent(
        payload=OrderPaid(order_id="o-1", amount=Decimal(5)),
        event_id=UUID(int=1),
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )

    assert list(json.loads(to_wire(event))) == [
        "eventId", "eventType", "timestamp", "version", "data",
    ]  # fmt: skip
    assert json.loads(to_wire(event))["data"] == {"payload": {"orderId": "o-1", "amount": "5"}}


@pytest.mark.parametrize("event_type", sorted(PAYLOADS))
def test_every_built_in_type_is_read_and_written_back_the_same(event_type: str) -> None:
    raw = line(event_type)

    event = from_wire(raw)

    assert event.payload.__event__.type == event_type
    assert json.loads(to_wire(event)) == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "nothing"),
        (b"\n", "an empty line"),
        (b"null", "null"),
        (b"[]", "an array"),
        (b'"text"', "text"),
        (b"1", "a number"),
        (line()[:-1], "cut off"),
        (line() + b"}", "something behind it"),
        (line() + line(), "two objects"),
        (line().replace(b"o-1", b"o\xff1"), "not UTF-8"),
        (line().replace(b"o-1", b"\xed\xa0\x80"), "a surrogate in UTF-8"),
        (line().replace(b"o-1", b"\\ud800"), "a lone surrogate"),
        (line().replace(b"o-1", b"o\x001"), "a raw control character"),
        (b"\xef\xbb\xbf" + line(), "a byte order mark"),
        (line("session.activity").replace(b"200", b"NaN"), "NaN"),
        (line("session.activity").replace(b"200", b"-Infinity"), "Infinity"),
        (line("session.activity").replace(b"200", b"[" * 300 + b"]" * 300), "nested too deep"),
        (line("session.activity").replace(b"200", b"1" * 5_000), "a number of 5,000 digits"),
        (line("session.activity").replace(b"200", b"0200"), "a leading zero"),
        (line().replace(b'{"payload"', b'{"payload":{},"payload"'), "a key given twice"),
        (line("session.activity").replace(b'"status"', b'"status":1,"status" '), "twice, inside"),
        (
            line("session.activity").replace(b'{"status"', b'{"a":":","a" :1,"status"'),
            "twice, among text that looks like keys",
        ),
    ],
)
def test_what_is_not_one_json_object_is_refused_as_not_json(raw: bytes, why: str) -> None:
    assert refusal(raw) == ("not-json", None), why


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        *[({n: ...}, "missing-field", n) for n in ("eventId", "eventType", "timestamp", "data")],
        ({"data": {}}, "missing-field", "data.payload"),
        ({"data": None}, "invalid-field", "data"),
        ({"data": []}, "invalid-field", "data"),
        ({"data": {"payload": []}}, "invalid-field", "data.payload"),
        ({"data": {"payload": PAYLOADS["order.paid"], "x": 1}}, "unknown-field", "data.x"),
        (
            {"data": {"payload": PAYLOADS["order.paid"], "metadata": None}},
            "invalid-field",
            "data.metadata",
        ),
        (
            {"data": {"payload": PAYLOADS["order.paid"], "metadata": []}},
            "invalid-field",
            "data.metadata",
        ),
        ({"extra": 1}, "unknown-field", "extra"),
        ({"event_source": "x"}, "unknown-field", "event_source"),
        ({"eventId": "x"}, "invalid-field", "eventId"),
        ({"eventId": "{0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000}"}, "invalid-field", "eventId"),
        ({"eventId": "0190aaaabbbb7ccc8dddeeeeffff0000"}, "invalid-field", "eventId"),
        ({"eventId": "0190aaaa-bbbb-7ccc-8ddd-eeeeffff000g"}, "invalid-field", "eventId"),
        ({"eventId": 1}, "invalid-field", "eventId"),
        ({"eventId": None}, "invalid-field", "eventId"),
        ({"eventType": 1}, "invalid-field", "eventType"),
        ({"eventType": ""}, "invalid-field", "eventType"),
        ({"eventType": "x" * 129}, "invalid-field", "eventType"),
        ({"eventType": "order.\npaid"}, "invalid-field", "eventType"),
        ({"eventType": "order.payed"}, "unknown-type", "eventType"),
        ({"eventType": "Order.paid"}, "unknown-type", "eventType"),
        ({"version": 1}, "invalid-field", "version"),
        ({"version": None}, "invalid-field", "version"),
        ({"version": "2"}, "unknown-version", "version"),
        ({"version": "0"}, "unknown-version", "version"),
        ({"version": "1.1"}, "unknown-version", "version"),
        ({"version": ""}, "unknown-version", "version"),
        ({"version": "1.0.0.0"}, "unknown-version", "version"),
        ({"version": "9" * 5_000}, "unknown-version", "version"),
        *[
            ({name: value}, "invalid-field", name)
            for name in (
                "eventSource", "correlationId", "causationId", "userId", "sessionId",
                "environment", "region",
            )
            for value in NO_FACTS
        ],
    ],
)  # fmt: skip
def test_a_broken_envelope_is_refused_with_the_code_and_the_field(
    changes: dict[str, Any], reason: str, field: str
) -> None:
    assert refusal(line(**changes)) == (reason, field)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22", "2026-11-22T21:34:28", "2026-11-22 21:34:28Z", "20261122T213428Z",
        "2026-11-22T21:34Z", "2026-W47-7T21:34:28Z", "2026-11-22t21:34:28z", "now", "",
        "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-22T24:00:00Z",
        "2026-11-22T23:59:60Z", "2026-11-22T21:34:28+24:00", "2026-11-22T21:34:28+0100",
        "2026-11-22T21:34:28.Z", "2026-11-22T21:34:28Z\n", "+12026-11-22T21:34:28Z",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
        "٢٠٢٦-11-22T21:34:28Z",
        1795383268, None, 1.5, True,
    ],
)  # fmt: skip
def test_a_time_that_is_not_iso_8601_with_an_offset_is_refused(text: Any) -> None:
    assert refusal(line(timestamp=text)) == ("invalid-field", "timestamp")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T21:34:28Z", datetime(2026, 11, 22, 21, 34, 28, tzinfo=UTC)),
        ("2026-11-22T21:34:28.5+01:30", datetime(2026, 11, 22, 20, 4, 28, 500_000, tzinfo=UTC)),
        ("2026-11-22T21:34:28-00:00", datetime(2026, 11, 22, 21, 34, 28, tzinfo=UTC)),
        ("2026-11-22T21:34:28.123456789Z", datetime(2026, 11, 22, 21, 34, 28, 123_456, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_utc_to_the_microsecond(text: str, moment: datetime) -> None:
    read = from_wire(line(timestamp=text)).timestamp

    assert read == moment
    assert read.tzinfo is UTC


@pytest.mark.parametrize("version", ["1", "1.0", "1.0.0", ...])
def test_version_one_has_three_spellings_and_may_be_absent(version: Any) -> None:
    assert from_wire(line(version=version)) == from_wire(line())


def test_an_event_id_is_kept_in_lower_case() -> None:
    event = from_wire(line(eventId="0190AAAA-BBBB-7CCC-8DDD-EEEEFFFF0000"))

    assert str(event.event_id) == "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000"
    assert type(event.event_id) is UUID


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (with_payload("order.paid", amount=...), "missing-field", "data.payload.amount"),
        (with_payload("order.paid", color="red"), "unknown-field", "data.payload.color"),
        (with_payload("order.paid", order_id="o"), "unknown-field", "data.payload.order_id"),
        (
            with_payload("order.paid", paymentMethod=None),
            "invalid-field",
            "data.payload.paymentMethod",
        ),
        (
            with_payload("order.paid", paymentMethod=""),
            "invalid-field",
            "data.payload.paymentMethod",
        ),
        (with_payload("order.paid", orderId="a\x00"), "invalid-field", "data.payload.orderId"),
        (with_payload("order.paid", orderId="x" * 129), "invalid-field", "data.payload.orderId"),
        (with_payload("order.paid", orderId=7), "invalid-field", "data.payload.orderId"),
        (with_payload("order.created", currency="XYZ"), "invalid-field", "data.payload.currency"),
        (with_payload("order.created", currency="gbp"), "invalid-field", "data.payload.currency"),
        (with_payload("order.created", items={}), "invalid-field", "data.payload.items"),
        (
            with_payload("order.created", items=[{"productId": "p", "quantity": 1, "price": "x"}]),
            "invalid-field",
            "data.payload.items.0.price",
        ),
        (
            with_payload(
                "order.created", items=[{"productId": "p", "quantity": 1.5, "price": "1"}]
            ),
            "invalid-field",
            "data.payload.items.0.quantity",
        ),
        (
            with_payload("order.created", items=[{"productId": "p", "quantity": 1}]),
            "missing-field",
            "data.payload.items.0.price",
        ),
        (
            with_payload("order.item_removed", quantity=True),
            "invalid-field",
            "data.payload.quantity",
        ),
        (
            with_payload("order.item_removed", quantity="1"),
            "invalid-field",
            "data.payload.quantity",
        ),
        (
            with_payload("order.item_removed", quantity=2**31),
            "invalid-field",
            "data.payload.quantity",
        ),
        (with_payload("ml.model.inference", output=None), "invalid-field", "data.payload.output"),
        (
            with_payload("ml.model.inference", confidence=1.1),
            "invalid-field",
            "data.payload.confidence",
        ),
        (
            with_payload("user.profile_updated", firstName=..., lastName=...),
            "invalid-field",
            "data.payload",
        ),
    ],
)
def test_a_broken_payload_is_refused_with_the_place_in_wire_spelling(
    raw: bytes, reason: str, field: str
) -> None:
    assert refusal(raw) == (reason, field)


@pytest.mark.parametrize(
    ("event_type", "name"), [("user.suspended", "userId"), ("session.ended", "sessionId")]
)
def test_ids_of_envelope_and_payload_must_agree_where_both_are_given(
    event_type: str, name: str
) -> None:
    same = PAYLOADS[event_type][name]

    assert from_wire(line(event_type, **{name: same})).payload
    assert refusal(line(event_type, **{name: "another"})) == ("id-mismatch", name)


def test_an_anonymous_session_takes_the_user_of_the_envelope_as_it_is() -> None:
    raw = line("session.started", userId="u-9", data={"payload": {"sessionId": "s-1"}})

    assert from_wire(raw).user_id == "u-9"


@pytest.mark.parametrize(
    "amount",
    [
        "1e2", "1.", ".5", "+1", "1,5", " 1", "1.23456", "NaN", "Infinity", "", "-", "--1",
        "1" * 16, "\u0661", 1.23456, 1e11, 123456789012.5, 1e300, 10**15, True, None, [],
    ],
)  # fmt: skip
def test_an_amount_that_cannot_be_kept_exactly_is_refused(amount: Any) -> None:
    raw = with_payload("order.paid", amount=amount)

    assert refusal(raw) == ("invalid-field", "data.payload.amount")


@pytest.mark.parametrize(
    "number", [b"0.10000000000000001", b"1.00000000000000000001", b"99999999999.00001"]
)
def test_an_amount_as_a_number_with_more_than_15_digits_is_refused(number: bytes) -> None:
    raw = with_payload("order.paid", amount=0).replace(b'"amount": 0', b'"amount": ' + number)

    assert refusal(raw) == ("invalid-field", "data.payload.amount")


@pytest.mark.parametrize(
    ("amount", "kept"),
    [
        ("5.10", "5.10"),
        (5.1, "5.1"),
        (5, "5"),
        (-0.0001, "-0.0001"),
        (999999999999999, "999999999999999"),
        ("999999999999999.9999", "999999999999999.9999"),
        (99999999999.1234, "99999999999.1234"),
    ],
)
def test_an_amount_is_kept_to_the_last_digit(amount: Any, kept: str) -> None:
    event = from_wire(with_payload("order.paid", amount=amount))

    assert str(event.payload.amount) == kept


@pytest.mark.parametrize(
    "number",
    [
        b"0.123456789012345678901",
        b"1e999",
        b"-1e400",
        b"1" * 400 + b".5",
        b"123456789012345678901.5",
    ],
)
@pytest.mark.parametrize("where", ["data.payload.details.status", "data.metadata.n"])
def test_a_number_in_free_json_that_a_double_cannot_hold_is_refused(
    number: bytes, where: str
) -> None:
    data = {"payload": {**PAYLOADS["session.activity"], "details": {}}, "metadata": {}}
    key = "details" if "details" in where else "metadata"
    raw = line("session.activity", data=data).replace(
        f'"{key}": {{}}'.encode(),
        f'"{key}": {{"{where.rpartition(".")[2]}": '.encode() + number + b"}",
    )

    assert refusal(raw) == ("invalid-field", where)


@pytest.mark.parametrize(
    "number",
    ["9007199254740993", "18446744073709551617", "-" + "9" * 300, "0.30000000000000004", "5e-324"],
)
def test_large_ints_and_long_floats_in_free_json_survive(number: str) -> None:
    raw = line("session.activity").replace(b"200", number.encode())

    event = from_wire(raw)

    assert json.loads(to_wire(event))["data"]["payload"]["details"]["status"] == json.loads(number)
    encoded = Codec().encode(event)
    recorded: Recorded[Any] = Recorded(1, "session-s-1", 1, encoded.type, encoded.state, Codec())
    assert recorded.payload.details == {"status": json.loads(number)}


def test_an_int_where_a_double_is_kept_must_be_one() -> None:
    exact, altered = 2**53, 2**53 + 1

    event = from_wire(with_payload("system.health.check", responseTime=exact))

    assert isinstance(event.payload, SystemHealthCheck)
    assert event.payload.response_time == exact
    assert refusal(with_payload("system.health.check", responseTime=altered)) == (
        "invalid-field",
        "data.payload.responseTime",
    )


def test_text_that_looks_like_keys_and_numbers_is_only_text() -> None:
    text = '":" : "a":1, 12345678901234567890 {"eventType":"order.paid"} NaN'

    event = from_wire(with_payload("session.activity", target=text, details={text: [text]}))

    assert isinstance(event.payload, SessionActivity)
    assert event.payload.target == text
    assert event.payload.details == {text: [text]}


def test_an_event_type_named_inside_the_payload_misleads_nobody() -> None:
    inner = {"eventType": "user.registered", "version": "7"}
    whole = envelope("session.activity")
    whole["data"]["payload"]["details"] = inner
    turned = dict(reversed(whole.items()))  # the payload comes before the type

    event = from_wire(json.dumps(turned).encode())

    assert isinstance(event.payload, SessionActivity)
    assert event.payload.details == inner


def test_an_escaped_event_type_is_read() -> None:
    raw = line().replace(b"order.paid", b"order\\u002epaid")

    assert from_wire(raw) == from_wire(line())


def test_typed_metadata_are_checked_and_all_other_keys_are_kept() -> None:
    payload = PAYLOADS["user.registered"]
    metadata = {"ipAddress": "192.0.2.7", "trace": {"a": [None, 1.5]}, "none": None}

    event = from_wire(line("user.registered", data={"payload": payload, "metadata": metadata}))

    assert isinstance(event.payload, UserRegistered)
    assert event.metadata == metadata
    for broken, reason in (
        ({"ipAddress": 7}, "invalid-field"),
        ({"userAgent": None}, "invalid-field"),
        ({"ip_address": "x"}, "unknown-field"),
    ):
        raw = line("user.registered", data={"payload": payload, "metadata": broken})
        assert refusal(raw) == (reason, f"data.metadata.{next(iter(broken))}")


def test_a_line_over_the_limit_is_refused_before_it_is_parsed() -> None:
    large = line("session.activity")[:-1] + b" " * STATE_BYTES_MAX + b"}"

    assert refusal(large) == ("too-large", None)
    assert refusal(b"{" * (STATE_BYTES_MAX + 1)) == ("too-large", None)


def test_no_refusal_shows_the_value_it_refuses() -> None:
    secret = "ada-lovelace-1815"
    lines = [
        with_payload("user.registered", userId=secret * 10),
        with_payload("user.registered", email=[secret]),
        with_payload("user.registered", firstName=secret + "\x00"),
        line("user.registered", userId=secret),
        line(eventId=secret),
        line(timestamp=secret),
        line(version=secret),
        line(eventType=secret),
        line(userId=secret + "\n"),
        line("session.activity").replace(b"200", secret.encode()),
        (line() + secret.encode()),
    ]

    for raw in lines:
        with pytest.raises(InvalidEventError) as refused:
            from_wire(raw)
        assert secret not in str(refused.value)
        assert secret not in repr(refused.value.facts)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__


def test_the_slow_way_and_the_quick_way_read_the_same_event() -> None:
    raw = line("order.created", userId="u-1")
    # A run of digits in a text sends the line the slow way.
    slow = json.dumps({**json.loads(raw), "eventSource": "1" * 30}).encode()

    assert to_wire(from_wire(slow)) == to_wire(from_wire(raw)).replace(
        b'"timestamp"', b'"eventSource":"' + b"1" * 30 + b'","timestamp"'
    )


# --- versions and unknown types -----------------------------------------------------------------

versioned = EventRegistry()


class PricePut(
    DomainEvent, type="price.put", version=3, category="price", key="price_id", registry=versioned
):
    price_id: Id
    amount: Money
    currency: str

    @staticmethod
    @upcast(from_version=1)
    def _amount_was_called_value(payload: Payload) -> Payload:
        return {"priceId": payload["priceId"], "amount": payload["value"]}

    @staticmethod
    @upcast(from_version=2)
    def _currency_was_always_gbp(payload: Payload) -> Payload:
        return {**payload, "currency": "GBP"}


def price(version: Any, payload: Any) -> bytes:
    return line("price.put", version=version, data={"payload": payload})


@pytest.mark.parametrize(
    ("version", "payload"),
    [
        ("1", {"priceId": "p", "value": "1.50"}),
        (..., {"priceId": "p", "value": "1.50"}),
        ("2.0", {"priceId": "p", "amount": "1.50"}),
        ("3", {"priceId": "p", "amount": "1.50", "currency": "GBP"}),
    ],
)
def test_older_versions_are_upcast_on_the_way_in(version: Any, payload: Any) -> None:
    event = from_wire(price(version, payload), registry=versioned)

    assert event.payload == PricePut(price_id="p", amount=Decimal("1.50"), currency="GBP")
    assert json.loads(to_wire(event))["version"] == "3"


@pytest.mark.parametrize(
    ("version", "payload", "reason", "field"),
    [
        ("4", {}, "unknown-version", "version"),
        ("1", {"priceId": "p"}, "invalid-field", "data.payload"),
        ("2", [], "invalid-field", "data.payload"),
        ("2", {"priceId": "p"}, "missing-field", "data.payload.amount"),
        ("2", {"priceId": "p", "amount": "1", "x": 1}, "unknown-field", "data.payload.x"),
    ],
)
def test_an_older_version_that_its_upcasters_cannot_take_is_refused(  # noqa: PLR0917 - one column each
    version: str, payload: Any, reason: str, field: str
) -> None:
    assert refusal(price(version, payload), registry=versioned) == (reason, field)


def test_an_upcaster_that_gives_something_else_than_json_is_a_refusal() -> None:
    registry = EventRegistry()

    class Odd(
        DomainEvent, type="odd.made", version=2, category="odd", key="odd_id", registry=registry
    ):
        odd_id: Id

        @staticmethod
        @upcast(from_version=1)
        def _broken(payload: Payload) -> Payload:
            return {"oddId": object()}

    raw = line("odd.made", data={"payload": {}})

    assert refusal(raw, registry=registry) == ("invalid-field", "data.payload")


def test_an_unknown_type_is_taken_as_a_generic_event_when_allowed() -> None:
    raw = line(
        "com.example.Thing-made",
        version="2",
        data={"payload": {"a": [1, None, 2**70]}, "metadata": {"b": 1}},
        userId="u",
    )

    event = from_wire(raw, allow_unknown=True)

    assert isinstance(event.payload, GenericEvent)
    assert (event.payload.type, event.payload.schema_version) == ("com.example.Thing-made", 2)
    assert json.loads(to_wire(event)) == json.loads(raw)
    assert stream_of(event.payload) == "generic-com.example.Thing-made"
    codec = Codec(allow_unknown=True)
    encoded = codec.encode(event)
    stored: Recorded[Any] = Recorded(1, "x-1", 1, encoded.type, encoded.state, codec)
    assert stored.to_new() == event
    assert refusal(raw) == ("unknown-type", "eventType")


@pytest.mark.parametrize(
    ("payload", "reason", "field"),
    [
        ([], "invalid-field", "data.payload"),
        (None, "invalid-field", "data.payload"),
        ({"a": 1e999}, "not-json", None),
    ],
)
def test_a_generic_event_is_checked_too(payload: Any, reason: str, field: str | None) -> None:
    assert refusal(line("other.thing", data={"payload": payload}), allow_unknown=True) == (
        reason,
        field,
    )


def test_orders_keep_their_lines_in_order() -> None:
    items = [{"productId": f"p{n}", "quantity": n, "price": str(n)} for n in range(50)]

    event = from_wire(with_payload("order.created", items=items))

    assert isinstance(event.payload, OrderCreated)
    assert [item.product_id for item in event.payload.items] == [f"p{n}" for n in range(50)]


@pytest.mark.parametrize(
    "number", ["1e-400", "1E-400", "-1e-400", "1e-999999999999999999999", "1.2e-323"]
)
@pytest.mark.parametrize(
    ("event_type", "place"),
    [
        ("order.paid", "amount"),
        ("ml.model.inference", "confidence"),
        ("session.activity", "details.x"),
        ("ml.model.version_trained", "metrics.x"),
    ],
)
def test_a_number_so_near_to_zero_that_a_double_loses_it_is_refused(
    event_type: str, place: str, number: str
) -> None:
    field, _, inside = place.partition(".")
    value = {"x": "@"} if inside else "@"
    raw = with_payload(event_type, **{field: value}).replace(b'"@"', number.encode())

    assert refusal(raw) == ("invalid-field", f"data.payload.{place}")


@pytest.mark.parametrize(
    ("text", "kept"), [("0.0", 0.0), ("0e-400", 0.0), ("5e-324", 5e-324), ("1.5e-7", 1.5e-7)]
)
def test_a_small_number_that_a_double_holds_is_taken(text: str, kept: float) -> None:
    raw = with_payload("session.activity", details={"x": "@"}).replace(b'"@"', text.encode())

    assert from_wire(raw).payload.details == {"x": kept}


SECRET = "alice@example.org"


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (with_payload("order.paid", **{SECRET: 1}), "unknown-field", "data.payload.(hidden)"),
        (with_payload("order.paid", **{"a" * 65: 1}), "unknown-field", "data.payload.(hidden)"),
        (with_payload("order.paid", **{"a" * 64: 1}), "unknown-field", f"data.payload.{'a' * 64}"),
        (line("order.paid", **{SECRET: 1}), "unknown-field", "(hidden)"),
        (
            with_payload("ml.model.version_trained", metrics={SECRET: "high"}),
            "invalid-field",
            "data.payload.metrics.(hidden)",
        ),
        (
            with_payload("session.activity", details={SECRET: 2**53 + 0.1}).replace(
                b"9007199254740992.0", b"9007199254740992.123456"
            ),
            "invalid-field",
            "data.payload.details.(hidden)",
        ),
    ],
)
def test_a_key_that_is_no_field_name_is_not_repeated(raw: bytes, reason: str, field: str) -> None:
    with pytest.raises(InvalidEventError) as refused:
        from_wire(raw)

    assert (refused.value.reason, refused.value.field) == (reason, field)
    assert SECRET not in str(refused.value)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("event_type", ["order.paid", "of.another.kind"])
@pytest.mark.parametrize("value", [nested(JSON_DEPTH_MAX), JSON_INT_MAX, {"x": [-JSON_INT_MAX]}])
def test_metadata_that_could_not_be_stored_are_refused(event_type: str, value: Any) -> None:
    data = {"payload": PAYLOADS.get(event_type, {}), "metadata": {"x": value}}

    assert refusal(line(event_type, data=data), allow_unknown=True) == (
        "invalid-field",
        "data.metadata",
    )


@pytest.mark.parametrize("value", [nested(JSON_DEPTH_MAX - 1), JSON_INT_MAX - 1])
def test_the_deepest_metadata_that_are_taken_can_be_stored(value: Any) -> None:
    data = {"payload": PAYLOADS["user.registered"], "metadata": {"x": value}}
    event = from_wire(line("user.registered", data=data))

    encoded = Codec().encode(event)

    stored = Recorded[Any](1, "user-u-1", 1, encoded.type, encoded.state, Codec())
    assert stored.metadata == {"x": value}


@pytest.mark.parametrize(
    ("event_type", "field"),
    [
        ("ml.model.registered", "name"),
        ("ml.model.registered", "modelType"),
        ("ml.model.version_trained", "trainingDataset"),
        ("user.registered", "email"),
        ("user.registered", "firstName"),
        ("session.activity", "action"),
        ("order.shipped", "carrier"),
        ("system.health.check", "status"),
    ],
)
def test_text_in_a_payload_holds_no_nul(event_type: str, field: str) -> None:
    raw = with_payload(event_type, **{field: "a\0b"})

    assert refusal(raw) == ("invalid-field", f"data.payload.{field}")


def test_the_name_of_a_metric_holds_no_nul() -> None:
    raw = with_payload("ml.model.version_trained", metrics={"a\0b": 0.5})

    assert refusal(raw)[0] == "invalid-field"


@pytest.mark.parametrize(
    ("event_type", "field"),
    [
        ("user.registered", "ipAddress"),
        ("user.registered", "userAgent"),
        ("user.registered", "referrer"),
        ("order.created", "paymentMethod"),
        ("ml.model.inference", "endpoint"),
        ("ml.model.inference", "modelType"),
        ("system.health.check", "instanceId"),
        ("system.health.check", "region"),
        ("system.health.check", "availabilityZone"),
        ("integration.webhook.received", "signature"),
    ],
)
def test_text_in_typed_metadata_holds_no_nul(event_type: str, field: str) -> None:
    data = {"payload": PAYLOADS[event_type], "metadata": {field: "a\0b"}}

    assert refusal(line(event_type, data=data)) == ("invalid-field", f"data.metadata.{field}")
