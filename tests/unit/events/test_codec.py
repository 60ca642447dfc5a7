"""Stored bytes: their form, the field-transform seam, upcasting, and what cannot be read."""

import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest

from eventcore.errors import (
    ConcurrencyConflictError,
    InvalidEventError,
    RegistrationError,
    RuleViolationError,
    UndecodableEventError,
)
from eventcore.events import (
    Codec,
    DomainEvent,
    EventMetadata,
    EventRegistry,
    GenericEvent,
    Id,
    NewEvent,
    Payload,
    Personal,
    Recorded,
    stream_of,
    upcast,
)
from eventcore.events.catalogue import (
    OrderCreated,
    OrderItem,
    OrderPaid,
    SessionStarted,
    UserRegistered,
)
from eventcore.events.context import enrich

PAID = OrderPaid(order_id="o-1", amount=Decimal("5.10"))


def new(payload: DomainEvent = PAID, **facts: Any) -> NewEvent[Any]:
    return NewEvent(
        payload=payload,
        event_id=UUID("0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000"),
        timestamp=facts.pop("timestamp", datetime(2026, 11, 22, 21, 34, 28, 5, tzinfo=UTC)),
        **facts,
    )


def stored(event: NewEvent[Any], codec: Codec | None = None) -> Recorded[Any]:
    codec = codec or Codec()
    encoded = codec.encode(event)
    return Recorded(9, stream_of(event.payload), 3, encoded.type, encoded.state, codec)


def from_state(state: bytes, event_type: str = "order.paid", codec: Codec | None = None) -> Any:
    return Recorded(9, "order-o-1", 3, event_type, state, codec or Codec())


def test_the_stored_form_holds_everything_but_type_and_places() -> None:
    event = new(source="shop", user_id="u", metadata={"a": {"b": None}})

    encoded = Codec().encode(event)

    assert encoded == (
        "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000",
        "order.paid",
        "2026-11-22T21:34:28.000005Z",
        b'{"v":1,"id":"0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000","at":"2026-11-22T21:34:28.000005Z",'
        b'"data":{"orderId":"o-1","amount":"5.10"},"ctx":{"source":"shop","userId":"u"},'
        b'"meta":{"a":{"b":null}}}',
    )


def test_a_recorded_event_gives_back_every_part() -> None:
    event = new(source="shop", correlation_id="c", causation_id="b", user_id="u", session_id="s",
                environment="test", region="eu", metadata={"a": 1})  # fmt: skip

    recorded = stored(event)

    assert (recorded.position, recorded.stream, recorded.version) == (9, "order-o-1", 3)
    assert (recorded.type, recorded.category, recorded.id) == ("order.paid", "order", "o-1")
    assert (recorded.schema_version, recorded.timestamp_text) == (1, "2026-11-22T21:34:28.000005Z")
    assert recorded.to_new() == event
    assert repr(recorded) == "<order.paid order-o-1@3 position=9>"


def test_a_time_with_an_offset_is_stored_as_utc() -> None:
    event = new(timestamp=datetime(2026, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5.5))))

    assert stored(event).timestamp_text == "2026-01-01T00:00:00.000000Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        Codec().encode(new(timestamp=datetime(2026, 1, 1)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"x", {1: 2}, "\ud800", object()])
def test_metadata_that_are_not_json_are_refused_before_anything_is_stored(value: Any) -> None:
    with pytest.raises(InvalidEventError) as refused:
        Codec().encode(new(metadata={"a": [value]}))

    assert (refused.value.reason, refused.value.field) == ("invalid-field", "data.metadata")


def test_metadata_nested_too_deep_to_be_read_again_are_refused() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]

    with pytest.raises(InvalidEventError):
        Codec().encode(new(metadata={"a": deep}))
    assert stored(new(metadata={"a": deep[0]})).metadata == {"a": deep[0]}


def test_a_class_that_is_not_registered_cannot_be_stored() -> None:
    class OrderPraised(DomainEvent, category="order", key="order_id"):
        order_id: Id

    registry = EventRegistry()

    class Elsewhere(DomainEvent, type="order.seen", category="order", key="order_id",
                    registry=registry):  # fmt: skip
        order_id: Id

    for event_class in (OrderPraised, Elsewhere):
        with pytest.raises(RegistrationError, match=f"{event_class.__name__} is not registered"):
            Codec().encode(new(event_class(order_id="o-1")))
    assert Codec(registry).encode(new(Elsewhere(order_id="o-1"))).type == "order.seen"


def test_fields_that_old_programs_wrote_are_ignored_when_reading_at_every_level() -> None:
    state = (
        b'{"v":1,"id":"0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000","at":"2026-11-22T21:34:28.000005Z",'
        b'"x":1,"data":{"orderId":"o","gone":1,"items":[{"productId":"p","quantity":1,'
        b'"price":"1","gone":{}}],"totalAmount":"1","currency":"HRK"}}'
    )

    payload = from_state(state, "order.created").payload

    item = OrderItem(product_id="p", quantity=1, price=Decimal(1))
    assert isinstance(payload, OrderCreated)
    assert payload.items == (item,)
    # Withdrawn since it was written, and still readable.
    assert payload.currency == "HRK"


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (b"", "stored bytes are not JSON"),
        (b"[]", "not an event"),
        (b'{"v":1}', "not an event"),
        (b'{"v":"1","id":"","at":"","data":{}}', "schema version 1"),
        (b'{"v":2,"id":"","at":"","data":{}}', "schema version 2, this code knows 1 to 1"),
        (b'{"v":0,"id":"","at":"","data":{}}', "schema version 0"),
        (
            b'{"v":1,"id":"","at":"","data":{"orderId":"o"}}',
            "does not fit the class at data.amount",
        ),
        (b'{"v":1,"id":"","at":"","data":', "does not fit the class"),
    ],
)
def test_damaged_bytes_are_named_with_their_place(state: bytes, problem: str) -> None:
    with pytest.raises(UndecodableEventError) as refused:
        _ = from_state(state).payload

    assert problem in str(refused.value)
    assert "order.paid (version 3 of order-o-1, position 9)" in str(refused.value)


def test_an_unknown_type_is_refused_or_read_as_a_generic_event() -> None:
    state = (
        b'{"v":7,"id":"0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000","at":"2026-11-22T21:34:28.000005Z",'
        b'"data":{"a":[null]}}'
    )
    open_codec = Codec(allow_unknown=True)

    with pytest.raises(UndecodableEventError, match="no class is registered"):
        _ = from_state(state, "other.thing").payload
    generic = from_state(state, "other.thing", open_codec)

    assert generic.payload == GenericEvent(
        type="other.thing", schema_version=7, fields={"a": [None]}
    )
    assert generic.metadata == {}
    assert open_codec.encode(generic.to_new()).state == state


def test_rows_of_a_stream_are_read_like_single_events() -> None:
    codec = Codec(chained)
    rows = [
        (1, 1, "name.put", b'{"v":1,"id":"i","at":"t","data":{"id":"n","full":"A B"}}'),
        (
            2,
            2,
            "name.put",
            b'{"v":3,"id":"i","at":"t","data":{"nameId":"n","first":"C","last":"D"}}',
        ),
        (3, 3, "name.put", b'{"v":3,"id":"i","at":"t","data":{"nameId":"n"}}'),
    ]

    read = list(codec.decode_rows("name-n", rows[:2]))

    first, second = {"first": "A", "last": "B"}, {"first": "C", "last": "D"}
    assert read == [NamePut(name_id="n", **first), NamePut(name_id="n", **second)]
    with pytest.raises(UndecodableEventError, match=r"version 3 of name-n, position 3"):
        list(codec.decode_rows("name-n", rows))


def test_user_and_session_are_filled_in_from_the_payload_where_they_are_not_given() -> None:
    started = SessionStarted(session_id="s", user_id="u")

    filled = enrich(new(started))

    assert (filled.user_id, filled.session_id) == ("u", "s")
    assert enrich(filled) is filled
    assert enrich(new(started, user_id="other")).user_id == "other"
    assert enrich(new(SessionStarted(session_id="s"))).user_id is None
    assert enrich(new()) == new()


# --- upcasting ----------------------------------------------------------------------------------

chained = EventRegistry()


class NamePut(DomainEvent, type="name.put", version=3, category="name", key="name_id",
              registry=chained):  # fmt: skip
    name_id: Id
    first: str
    last: str

    @staticmethod
    @upcast(from_version=1)
    def _id_was_called_id(payload: Payload) -> Payload:
        return {"nameId": payload["id"], "full": payload["full"]}

    @staticmethod
    @upcast(from_version=2)
    def _names_were_one(payload: Payload) -> Payload:
        first, _, last = payload["full"].partition(" ")
        return {"nameId": payload["nameId"], "first": first, "last": last}


@pytest.mark.parametrize(
    "data",
    [
        b'{"v":1,"id":"i","at":"t","data":{"id":"n","full":"Ada King"}}',
        b'{"v":2,"id":"i","at":"t","data":{"nameId":"n","full":"Ada King"}}',
        b'{"v":3,"id":"i","at":"t","data":{"nameId":"n","first":"Ada","last":"King"}}',
        b'{ "v": 3, "data": {"last":"King","first":"Ada","nameId":"n"}, "id":"i","at":"t"}',
    ],
)
def test_every_version_is_read_as_the_current_one(data: bytes) -> None:
    payload = from_state(data, "name.put", Codec(chained)).payload

    assert payload == NamePut(name_id="n", first="Ada", last="King")


def test_an_upcaster_that_fails_is_named() -> None:
    recorded = from_state(b'{"v":1,"id":"i","at":"t","data":{}}', "name.put", Codec(chained))

    with pytest.raises(UndecodableEventError, match="upcaster from version 1 failed"):
        _ = recorded.payload


# --- field transforms ---------------------------------------------------------------------------


class Reverse:
    """A reversible toy that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str]] = []

    def outgoing(self, *, subject: str | None, field: str, value: Any) -> Any:
        self.asked.append((subject, field))
        return {"reversed": value[::-1]}

    def incoming(self, *, subject: str | None, field: str, value: Any) -> Any:
        self.asked.append((subject, field))
        return value["reversed"][::-1]


def test_personal_values_are_stored_transformed_and_read_back_clear() -> None:
    transform = Reverse()
    codec = Codec(transform=transform)
    registered = UserRegistered(user_id="u-1", email="ada@example.com", first_name="Ada")
    event = new(registered, metadata={"ipAddress": "192.0.2.7", "other": "kept"})

    recorded = stored(event, codec)

    assert recorded.envelope["data"] == {
        "userId": "u-1",
        "email": {"reversed": "moc.elpmaxe@ada"},
        "firstName": {"reversed": "adA"},
    }
    assert recorded.envelope["meta"] == {"ipAddress": {"reversed": "7.2.0.291"}, "other": "kept"}
    assert recorded.to_new() == event
    asked = [("u-1", "data.email"), ("u-1", "data.firstName"), ("u-1", "meta.ipAddress")]
    assert transform.asked[:3] == asked
    assert event.metadata == {"ipAddress": "192.0.2.7", "other": "kept"}


def test_types_without_personal_fields_pass_a_transform_untouched() -> None:
    transform = Reverse()

    recorded = stored(new(metadata={"ipAddress": "192.0.2.7"}), Codec(transform=transform))

    assert recorded.payload == PAID
    assert recorded.metadata == {"ipAddress": "192.0.2.7"}
    assert transform.asked == []


def test_a_transform_meets_old_versions_before_their_upcasters() -> None:
    registry = EventRegistry()

    class Seen(EventMetadata):
        place: Annotated[str, Personal(subject="who")] | None = None

    class PersonSeen(DomainEvent, type="person.seen", version=2, category="person", key="who",
                     metadata=Seen, registry=registry):  # fmt: skip
        who: Id
        name: Annotated[str, Personal(subject="who")]

        @staticmethod
        @upcast(from_version=1)
        def _name_was_lower(payload: Payload) -> Payload:
            return {**payload, "name": payload["name"].upper()}

    state = (
        b'{"v":1,"id":"i","at":"t","data":{"who":"w","name":{"reversed":"ada"}},'
        b'"meta":{"place":{"reversed":"xy"}}}'
    )
    recorded = from_state(state, "person.seen", Codec(registry, transform=Reverse()))

    assert recorded.payload == PersonSeen(who="w", name="ADA")
    assert recorded.metadata == {"place": "yx"}
    assert recorded.envelope["meta"] == {"place": {"reversed": "xy"}}


def test_personal_values_are_not_shown_by_representations_and_errors() -> None:
    registered = UserRegistered(user_id="u-1", email="ada@example.com", first_name="Ada")

    assert repr(registered) == "UserRegistered(user_id='u-1')"
    assert "ada@" not in repr(new(registered))
    assert "ada@" not in repr(stored(new(registered)))
    broken = b'{"v":1,"id":"i","at":"t","data":{"userId":"u","email":["ada@example.com"]}}'
    with pytest.raises(UndecodableEventError) as refused:
        _ = from_state(broken, "user.registered").payload
    assert "ada@" not in str(refused.value)
    assert "ada@" not in str(refused.value.__cause__)


# --- across processes ---------------------------------------------------------------------------


def test_a_recorded_event_survives_pickling() -> None:
    recorded = stored(new(user_id="u"))

    copy = pickle.loads(pickle.dumps(recorded))

    assert copy == recorded
    assert hash(copy) == hash(recorded)
    assert copy.to_new() == recorded.to_new()
    assert recorded != "something else"


@pytest.mark.parametrize("codec", [Codec(EventRegistry()), Codec(transform=Reverse())])
def test_a_codec_that_another_process_could_not_find_again_says_so(codec: Codec) -> None:
    with pytest.raises(TypeError, match="only a codec of the default registry"):
        pickle.dumps(codec)


@pytest.mark.parametrize(
    "error",
    [
        InvalidEventError(reason="not-json", message="cut off"),
        RuleViolationError(reason="order-paid", aggregate="order-1", message="paid", extra=1),
        ConcurrencyConflictError(stream="order-1", actual_version=2, expected_version=1),
    ],
)
def test_an_error_survives_pickling_with_its_facts(error: Any) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.facts == error.facts


def test_an_error_has_no_attribute_that_is_no_fact() -> None:
    error = InvalidEventError(reason="not-json", message="cut off")

    assert error.field is None
    with pytest.raises(AttributeError, match="position"):
        _ = error.position


def test_metadata_are_a_mapping_of_any_kind() -> None:
    class Frozen(dict[str, Any]):
        pass

    given: Mapping[str, Any] = Frozen(a=1)

    assert stored(new(metadata=given)).metadata == {"a": 1}
