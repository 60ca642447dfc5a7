"""Declaring event classes: names, versions, upcaster chains, and the tags of personal data."""

from collections.abc import Callable
from decimal import Decimal
from types import new_class
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from eventcore.errors import RegistrationError
from eventcore.events import (
    DomainEvent,
    EventMetadata,
    EventRegistry,
    Id,
    Payload,
    PayloadModel,
    Personal,
    default_registry,
    stream_of,
    upcast,
)
from eventcore.events.catalogue import OrderEvent, OrderPaid, UserRegistered
from eventcore.events.personal import EACH, PersonalField, personal_fields


def declare(registry: EventRegistry, **arguments: Any) -> type[DomainEvent]:
    given = {"type": "thing.made", "category": "thing", "key": "thing_id", **arguments}

    class ThingMade(DomainEvent, registry=registry, **given):
        thing_id: Id

    return ThingMade


def test_a_class_registers_itself_under_its_name() -> None:
    registry = EventRegistry()

    made = declare(registry, group="business")

    assert registry.get("thing.made") is made
    assert "thing.made" in registry
    assert list(registry) == [made]
    assert len(registry) == 1
    assert made.__event__.group == "business"
    assert stream_of(made.model_validate({"thingId": "7"})) == "thing-7"
    assert registry.get("thing.lost") is None


def test_a_name_can_be_registered_once_only() -> None:
    registry = EventRegistry()
    first = declare(registry)

    with pytest.raises(RegistrationError, match=r"'thing\.made' is declared twice"):
        declare(registry)

    registry.register(first)
    assert registry.get("thing.made") is first


def test_a_registry_extends_another_without_changing_it() -> None:
    registry = EventRegistry(extends=default_registry)

    declare(registry)

    assert registry.get("order.paid") is OrderPaid
    assert "thing.made" not in default_registry
    with pytest.raises(RegistrationError, match="declared twice"):
        declare(registry, type="order.paid")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"type": "made"}, "not of the form"),
        ({"type": "Thing.made"}, "not of the form"),
        ({"type": "thing.made\n"}, "not of the form"),
        ({"type": "thing." + "m" * 128}, "not of the form"),
        ({"category": ""}, "not a lower-case word"),
        ({"category": "a-thing"}, "not a lower-case word"),
        ({"category": "t" * 65}, "not a lower-case word"),
        ({"key": "name"}, "not one of its fields"),
        ({"key": ""}, "not one of its fields"),
        ({"version": 0}, "versions count from 1"),
        ({"version": 2}, "no upcaster from version 1"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused_at_import(
    arguments: dict[str, Any], problem: str
) -> None:
    registry = EventRegistry()

    with pytest.raises(RegistrationError, match=problem):
        declare(registry, **arguments)

    assert len(registry) == 0


def step(from_version: int) -> Callable[[Payload], Payload]:
    @upcast(from_version=from_version)
    def same(payload: Payload) -> Payload:
        return payload

    return same


@pytest.mark.parametrize(
    ("version", "steps", "problem"),
    [
        (3, [1], "version 3 has no upcaster from version 2"),
        (3, [2], "version 3 has no upcaster from version 1"),
        (2, [1, 2], "cannot have an upcaster from version 2"),
        (2, [0, 1], "cannot have an upcaster from version 0"),
        (2, [1, 1], "two upcasters from version 1"),
    ],
)
def test_a_gap_or_a_surplus_in_the_chain_is_refused_at_import(
    version: int, steps: list[int], problem: str
) -> None:
    functions = {f"_step_{n}": staticmethod(step(start)) for n, start in enumerate(steps)}
    body = {"__annotations__": {"thing_id": Id}, "__module__": __name__, **functions}

    with pytest.raises(RegistrationError, match=problem):
        new_class(
            "ThingMade",
            (DomainEvent,),
            {
                "type": "thing.made",
                "version": version,
                "category": "thing",
                "key": "thing_id",
                "registry": EventRegistry(),
            },
            lambda to: to.update(body),
        )


def test_a_subclass_inherits_where_it_goes_but_no_name_and_no_upcasters() -> None:
    assert (OrderEvent.__event__.type, OrderEvent.__event__.version) == ("", 0)
    assert OrderPaid.__event__.category == "order"
    assert OrderPaid.__event__.key == "order_id"
    assert OrderPaid.__event__.group == "business"

    class Louder(OrderPaid):
        pass

    assert Louder.__event__.type == ""
    assert Louder.__event__.category == "order"


def test_an_event_cannot_be_changed_and_takes_no_unknown_field() -> None:
    paid = OrderPaid(order_id="o-1", amount=Decimal(1))

    with pytest.raises(ValidationError, match="frozen"):
        paid.order_id = "o-2"  # type: ignore[misc]  # the point
    with pytest.raises(ValidationError, match="Extra inputs"):
        OrderPaid(order_id="o-1", amount=Decimal(1), color="red")  # type: ignore[call-arg]
    assert hash(paid) == hash(OrderPaid(order_id="o-1", amount=Decimal(1)))


def test_personal_fields_are_found_in_options_lists_and_nested_models() -> None:
    class Contact(PayloadModel):
        phone: Annotated[str, Personal()] | None = None
        kind: str

    class Met(EventMetadata):
        place: Annotated[dict[str, Any], Personal()] | None = None

    class PersonMet(DomainEvent, type="person.met", category="person", key="user_id",
                    metadata=Met, registry=EventRegistry()):  # fmt: skip
        user_id: Id
        contacts: tuple[Contact, ...]
        main: Contact | None = None
        by_name: dict[str, Contact]

    fields = personal_fields(PersonMet)

    assert fields == (
        PersonalField(("data", "contacts", EACH, "phone"), "userId"),
        PersonalField(("data", "main", "phone"), "userId"),
        PersonalField(("data", "byName", EACH, "phone"), "userId"),
        PersonalField(("meta", "place"), "userId"),
    )
    envelope = {
        "data": {
            "userId": "u",
            "contacts": [{"phone": "1"}, {"kind": "x"}],
            "byName": {"a": {"phone": "2"}, "b": None},
        },
    }
    seen: list[tuple[Any, ...]] = []

    def change(*, subject: str, field: str, value: Any) -> str:
        seen.append((subject, field))
        return f"<{value}>"

    for field in fields:
        field.apply(envelope, change)

    assert envelope["data"] == {
        "userId": "u",
        "contacts": [{"phone": "<1>"}, {"kind": "x"}],
        "byName": {"a": {"phone": "<2>"}, "b": None},
    }
    assert seen == [("u", "data.contacts.*.phone"), ("u", "data.byName.*.phone")]


def test_the_personal_fields_of_the_catalogue_are_those_it_names() -> None:
    tagged = {
        path[-1] for cls in default_registry for path in (f.path for f in personal_fields(cls))
    }

    assert tagged >= {"email", "firstName", "lastName", "ipAddress", "userAgent", "shippingAddress"}
    assert [field.subject for field in personal_fields(UserRegistered)] == ["userId"] * 5
