"""The verdict "compatible" against the truth: does the new class read what the old one wrote?"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from eventcore.events import (
    Codec,
    CurrencyCode,
    EventRegistry,
    Id,
    Money,
    NewEvent,
    PayloadModel,
    Recorded,
    Text,
)
from eventcore.events.fields import JsonObject, JsonValue
from eventcore.events.schema_compatibility import check_schemas
from eventcore.events.schemas import schema_lock
from tests.property.events.strategies import (
    amounts,
    currencies,
    events_of,
    ids,
    json_objects,
    json_values,
    texts,
)
from tests.unit.events.declaring import declare


class Small(PayloadModel):
    price: Money
    count: int | None = None


class Large(PayloadModel):
    price: Money
    count: float | None = None
    note: str | None = None


class Strict(PayloadModel):
    price: Money
    count: Annotated[int, Field(ge=0, lt=2**31)]


whole = st.integers(-(2**63), 2**63 - 1)
real = st.floats(allow_nan=False, allow_infinity=False)
PALETTE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    (Id, ids),
    (Text, texts),
    (Annotated[str, Field(max_length=2)], st.text("ab", max_size=2)),
    (Annotated[str, Field(min_length=1, max_length=3)], st.text("ab", min_size=1, max_size=3)),
    (Annotated[str, Field(pattern="^[xy]$")], st.sampled_from("xy")),
    (int, whole),
    (Annotated[int, Field(ge=0)], st.integers(0, 2**63)),
    (Annotated[int, Field(gt=0, lt=100)], st.integers(1, 99)),
    (float, real),
    (Annotated[float, Field(ge=0, le=100)], st.floats(0, 100)),
    (bool, st.booleans()),
    (Money, amounts),
    (CurrencyCode, currencies),
    (Literal["x", "y"], st.sampled_from("xy")),
    (Literal["x"], st.just("x")),
    (int | str, whole | st.text("ab", max_size=3)),
    (JsonObject, json_objects),
    (JsonValue, json_values.filter(lambda value: value is not None)),
    (tuple[int, ...], st.lists(whole, max_size=2).map(tuple)),
    (tuple[float, ...], st.lists(real, max_size=2).map(tuple)),
    (tuple[int, int], st.tuples(whole, whole)),
    (dict[str, int], st.dictionaries(ids, whole, max_size=2)),
    (dict[str, float], st.dictionaries(ids, real, max_size=2)),
    (Small, st.builds(Small, price=amounts, count=st.none() | whole)),
    (Large, st.builds(Large, price=amounts, count=st.none() | real)),
    (Strict, st.builds(Strict, price=amounts, count=st.integers(0, 2**31 - 1))),
    (tuple[Small, ...], st.lists(st.builds(Small, price=amounts), max_size=2).map(tuple)),
    (tuple[Large, ...], st.lists(st.builds(Large, price=amounts), max_size=2).map(tuple)),
]
MANNERS = ["required", "optional"]
shapes = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.tuples(st.integers(0, len(PALETTE) - 1), st.sampled_from(MANNERS)),
    max_size=2,
)


def declared(shape: dict[str, tuple[int, str]]) -> EventRegistry:
    fields: dict[str, Any] = {}
    for name, (index, manner) in shape.items():
        annotation = PALETTE[index][0]
        fields[name] = annotation if manner == "required" else (annotation | None, None)
    return declare(fields)


@settings(max_examples=300)
@given(shapes, shapes, st.data())
def test_what_is_called_compatible_can_always_be_read(
    before: dict[str, tuple[int, str]], now: dict[str, tuple[int, str]], data: st.DataObject
) -> None:
    # Most pairs differ in one place only, as real changes do.
    kept = data.draw(st.sampled_from([{}, before]))
    old, new = declared(before), declared({**kept, **now})
    verdict = check_schemas(schema_lock(old), new)
    if any(change.breaking for change in verdict):
        note("breaking")
        return
    note("compatible")
    (old_class,), (new_class,) = old, new
    values = {
        name: data.draw(
            PALETTE[index][1] if manner == "required" else st.none() | PALETTE[index][1]
        )
        for name, (index, manner) in before.items()
    }
    event = NewEvent(
        payload=old_class.model_validate({"thing_id": "1", **values}),
        event_id=UUID(int=1),
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )

    encoded = Codec(old).encode(event)
    recorded: Recorded[Any] = Recorded(1, "thing-1", 1, encoded.type, encoded.state, Codec(new))

    assert type(recorded.payload) is new_class


@given(st.integers(0, len(PALETTE) - 1), st.sampled_from(MANNERS))
def test_a_class_that_did_not_change_is_never_called_changed(index: int, manner: str) -> None:
    shape = {"a": (index, manner)}

    assert check_schemas(schema_lock(declared(shape)), declared(shape)) == []


@given(st.data())
def test_every_event_of_a_class_is_read_by_itself(data: st.DataObject) -> None:
    (event_class,) = declare({"amount": Money, "note": (Text | None, None)})

    written = data.draw(events_of(event_class))

    assert event_class.model_validate_json(written.to_json()) == written
