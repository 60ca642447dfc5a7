"""Schemas of the event types, the committed lock, and which changes would break the log."""

import json
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import Field

from eventcore.errors import ConfigurationError
from eventcore.events import (
    CurrencyCode,
    DomainEvent,
    EventMetadata,
    EventRegistry,
    Id,
    Money,
    PayloadModel,
    Text,
    catalogue,
)
from eventcore.events.fields import JsonObject, JsonValue
from eventcore.events.schema_compatibility import SchemaChange, check_schemas
from eventcore.events.schemas import (
    builtin_lock,
    export_schemas,
    read_lock,
    reader_schema,
    schema_lock,
    select,
    write_lock,
    writer_schema,
)
from tests.unit.events.declaring import declare
from tests.unit.events.wire_lines import PAYLOADS

BUILT_IN = [
    cls
    for cls in (getattr(catalogue, name) for name in catalogue.__all__)
    if issubclass(cls, DomainEvent) and cls.__event__.type
]


def changes(before: EventRegistry, now: EventRegistry) -> list[SchemaChange]:
    lock = read_lock(write_lock(schema_lock(before)))
    return check_schemas(lock, now)


# --- the schemas themselves ---------------------------------------------------------------------


def test_the_committed_lock_is_that_of_the_built_in_types() -> None:
    assert builtin_lock() == schema_lock(BUILT_IN), "write it anew with: eventcore schema lock"
    assert check_schemas(builtin_lock(), BUILT_IN) == []


def test_the_text_of_a_lock_does_not_depend_on_the_order_of_declaration() -> None:
    assert write_lock(schema_lock(BUILT_IN)) == write_lock(schema_lock(reversed(BUILT_IN)))
    assert read_lock(write_lock(schema_lock(BUILT_IN))) == schema_lock(BUILT_IN)


def test_every_exported_schema_is_a_schema() -> None:
    exported = export_schemas(BUILT_IN)

    assert exported["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(exported["events"]) == {cls.__event__.type for cls in BUILT_IN}
    for event in exported["events"].values():
        for part in ("writer", "reader", "metadata"):
            Draft202012Validator.check_schema(event.get(part, {}))
    registered = exported["events"]["user.registered"]
    assert (registered["version"], registered["category"]) == (1, "user")
    assert (registered["key"], registered["group"]) == ("userId", "user")
    assert registered["description"] == "A user came to be. First event of the stream."
    assert set(registered["metadata"]["properties"]) == {"ipAddress", "userAgent", "referrer"}


@pytest.mark.parametrize("event_type", sorted(PAYLOADS))
def test_what_is_written_is_valid_for_writer_and_reader(event_type: str) -> None:
    (event_class,) = [cls for cls in BUILT_IN if cls.__event__.type == event_type]
    written = json.loads(
        event_class.model_validate_json(json.dumps(PAYLOADS[event_type])).to_json()
    )

    writer = Draft202012Validator(writer_schema(event_class))
    reader = Draft202012Validator(reader_schema(event_class))

    writer.validate(written)
    reader.validate(written)
    assert not writer.is_valid({**written, "other": 1})
    assert reader.is_valid({**written, "other": 1})


def test_a_writer_is_closed_without_null_and_in_wire_spelling() -> None:
    registry = declare({"paid_amount": Money, "note": (Text | None, None), "tag": (Id | int, "x")})
    (event_class,) = registry

    schema = writer_schema(event_class)

    assert schema["additionalProperties"] is False
    assert schema["required"] == ["thingId", "paidAmount"]
    assert schema["properties"]["note"]["type"] == "string"
    assert len(schema["properties"]["tag"]["anyOf"]) == 2
    assert "default" not in json.dumps(schema)


def test_types_are_selected_by_the_package_that_declares_them() -> None:
    registry = EventRegistry(extends=declare({}))
    for cls in BUILT_IN:
        registry.register(cls)

    assert [cls.__event__.type for cls in select(registry, declare.__module__)] == ["thing.made"]
    assert set(select(registry, "eventcore.events")) == set(BUILT_IN)


def test_the_lock_keeps_the_schemas_of_older_versions() -> None:
    first = schema_lock(declare({"a": str}))
    second = schema_lock(declare({"b": str}, version=2), previous=first)

    versions = second["types"]["thing.made"]["versions"]
    assert list(versions) == ["1", "2"]
    assert versions["1"] == first["types"]["thing.made"]["versions"]["1"]


# --- what a change of a class means --------------------------------------------------------------


class Line(PayloadModel):
    price: Money
    count: int


class WiderLine(PayloadModel):
    price: Money
    count: float
    note: str | None = None


class NarrowerLine(PayloadModel):
    price: Money
    count: Annotated[int, Field(ge=0)]


class Tree(PayloadModel):
    name: str
    below: tuple["Tree", ...] = ()


class RenamedTree(PayloadModel):
    title: str
    below: tuple["RenamedTree", ...] = ()


class Card(PayloadModel):
    kind: Literal["card"]
    number: str


class Cash(PayloadModel):
    kind: Literal["cash"]


class Coins(PayloadModel):
    kind: Literal["cash"]
    weight: int


Payment = Annotated[Card | Cash, Field(discriminator="kind")]
HeavyPayment = Annotated[Card | Coins, Field(discriminator="kind")]
OPTIONAL = (str | None, None)
SAFE = [
    ("nothing", {"a": str}, {"a": str}, set()),
    ("an optional field more", {}, {"a": OPTIONAL}, {"field-added"}),
    ("a field with a default more", {}, {"a": (int, 1)}, {"field-added"}),
    ("a field less", {"a": str}, {}, {"field-removed"}),
    ("required becomes optional", {"a": str}, {"a": OPTIONAL}, {"widened"}),
    (
        "an optional field renamed",
        {"a": OPTIONAL},
        {"b": OPTIONAL},
        {"field-added", "field-removed"},
    ),
    ("int to float", {"a": int}, {"a": float}, {"widened"}),
    ("longer text", {"a": Id}, {"a": Annotated[str, Field(max_length=500)]}, {"widened"}),
    ("one more choice", {"a": Literal["x"]}, {"a": Literal["x", "y"]}, {"widened"}),
    ("choices to text", {"a": Literal["x", "y"]}, {"a": str}, {"widened"}),
    ("choices that fit", {"a": Literal["x", "y"]}, {"a": Id}, {"widened"}),
    ("one type to two", {"a": int}, {"a": int | str}, {"widened"}),
    (
        "a wider range",
        {"a": Annotated[int, Field(gt=0, le=5)]},
        {"a": Annotated[int, Field(ge=0)]},
        {"widened"},
    ),
    ("a typed to a free object", {"a": Line}, {"a": JsonObject}, {"widened"}),
    ("a list of something to free JSON", {"a": tuple[Line, ...]}, {"a": JsonValue}, {"widened"}),
    ("a wider line", {"a": tuple[Line, ...]}, {"a": tuple[WiderLine, ...]}, {"widened"}),
    ("one kind to several", {"a": Card}, {"a": Payment}, {"widened"}),
    ("several kinds", {"a": Payment}, {"a": Payment}, set()),
    ("kinds that are told apart", {"a": Card | Cash}, {"a": Payment}, {"widened"}),
    ("a choice among two types", {"a": Literal["x"]}, {"a": Literal["x"] | int}, {"widened"}),
    ("a currency", {"a": CurrencyCode}, {"a": CurrencyCode}, set()),
    ("a type inside itself", {"a": Tree}, {"a": Tree}, set()),
    ("whole amounts", {"a": Annotated[int, Field(gt=-5, lt=5)]}, {"a": Money}, {"widened"}),
    ("fixed items", {"a": tuple[int, int]}, {"a": tuple[float, ...]}, {"widened"}),
    ("a field inside", {"a": dict[str, Line]}, {"a": dict[str, WiderLine]}, {"widened"}),
]
BREAKING = [
    ("a required field more", {}, {"a": str}, "a", "required-field-added"),
    ("optional becomes required", {"a": OPTIONAL}, {"a": str}, "a", "field-required"),
    ("a required field renamed", {"a": str}, {"b": str}, "b", "required-field-added"),
    ("float to int", {"a": float}, {"a": int}, "a", "type-narrowed"),
    ("text to number", {"a": str}, {"a": float}, "a", "type-narrowed"),
    ("number to text", {"a": float}, {"a": str}, "a", "type-narrowed"),
    ("text to uuid", {"a": str}, {"a": UUID}, "a", "format-narrowed"),
    (
        "shorter text",
        {"a": Id},
        {"a": Annotated[str, Field(max_length=64)]},
        "a",
        "maxLength-narrowed",
    ),
    (
        "no empty text",
        {"a": str},
        {"a": Annotated[str, Field(min_length=1)]},
        "a",
        "minLength-narrowed",
    ),
    (
        "another pattern",
        {"a": Annotated[str, Field(pattern="^a")]},
        {"a": Annotated[str, Field(pattern="^b")]},
        "a",
        "pattern-narrowed",
    ),
    ("one choice less", {"a": Literal["x", "y"]}, {"a": Literal["x"]}, "a", "value-refused"),
    (
        "a choice that does not fit",
        {"a": Literal["x", "12"]},
        {"a": Annotated[str, Field(pattern="^[a-z]$")]},
        "a",
        "value-refused",
    ),
    ("text to choices", {"a": str}, {"a": Literal["x"]}, "a", "enum-narrowed"),
    ("true is not 1", {"a": Literal[True]}, {"a": Literal[1]}, "a", "value-refused"),
    ("two types to one", {"a": int | str}, {"a": int}, "a", "type-narrowed"),
    ("a smaller range", {"a": int}, {"a": Annotated[int, Field(ge=0)]}, "a", "minimum-narrowed"),
    (
        "an open bound",
        {"a": Annotated[int, Field(le=5)]},
        {"a": Annotated[int, Field(lt=5)]},
        "a",
        "maximum-narrowed",
    ),
    ("steps", {"a": int}, {"a": Annotated[int, Field(multiple_of=2)]}, "a", "multipleOf-narrowed"),
    ("any number to an amount", {"a": float}, {"a": Money}, "a", "multipleOf-narrowed"),
    ("a free to a typed object", {"a": JsonObject}, {"a": Line}, "a.price", "required-field-added"),
    ("free JSON to an object", {"a": JsonValue}, {"a": JsonObject}, "a", "type-narrowed"),
    (
        "a narrower line",
        {"a": tuple[Line, ...]},
        {"a": tuple[NarrowerLine, ...]},
        "a[].count",
        "minimum-narrowed",
    ),
    ("a value of a map", {"a": dict[str, float]}, {"a": dict[str, int]}, "a{}", "type-narrowed"),
    (
        "a longer list wanted",
        {"a": tuple[int, ...]},
        {"a": Annotated[tuple[int, ...], Field(min_length=1)]},
        "a",
        "minItems-narrowed",
    ),
    (
        "fixed items wanted",
        {"a": tuple[int, ...]},
        {"a": tuple[int, int]},
        "a",
        "minItems-narrowed",
    ),
    ("one kind less", {"a": Payment}, {"a": Card}, "a.number", "required-field-added"),
    (
        "a kind that wants more",
        {"a": Payment},
        {"a": HeavyPayment},
        "a.weight",
        "required-field-added",
    ),
    (
        "choices in another dialect",
        {"a": Literal["x"]},
        {"a": Annotated[str, Field(pattern=r"^\p{L}$")]},
        "a",
        "value-refused",
    ),
    (
        "a choice refused by both",
        {"a": Literal["x"]},
        {"a": Literal["y"] | int},
        "a",
        "value-refused",
    ),
    ("inside itself", {"a": Tree}, {"a": RenamedTree}, "a.title", "required-field-added"),
]


@pytest.mark.parametrize(
    ("before", "now", "kinds"), [c[1:] for c in SAFE], ids=[c[0] for c in SAFE]
)
def test_a_safe_change_is_named_and_not_called_breaking(
    before: dict[str, Any], now: dict[str, Any], kinds: set[str]
) -> None:
    found = changes(declare(before), declare(now))

    assert {change.kind for change in found} == kinds
    assert not any(change.breaking for change in found)


@pytest.mark.parametrize(
    ("before", "now", "path", "kind"), [c[1:] for c in BREAKING], ids=[c[0] for c in BREAKING]
)
def test_a_breaking_change_is_named_with_its_place(  # noqa: PLR0917 - one column each
    before: dict[str, Any], now: dict[str, Any], path: str, kind: str
) -> None:
    found = changes(declare(before), declare(now))

    assert (path, kind) in {(change.path, change.kind) for change in found}
    assert all(change.breaking for change in found)
    assert all((change.type, change.version) == ("thing.made", 1) for change in found)


def test_a_type_that_is_gone_is_breaking_and_a_new_one_is_not() -> None:
    assert [(c.kind, c.breaking) for c in changes(declare({}), EventRegistry())] == [
        ("type-removed", True)
    ]
    assert [(c.kind, c.breaking) for c in changes(EventRegistry(), declare({}))] == [
        ("type-added", False)
    ]


def test_another_stream_is_breaking() -> None:
    assert [c.kind for c in changes(declare({}), declare({}, category="matter"))] == [
        "category-changed"
    ]
    before = declare({"a": str})
    now = declare({"thing_id": Id}, key="a")
    assert "key-changed" in {c.kind for c in changes(before, now) if c.breaking}


def test_a_raised_version_goes_through_upcasters_and_a_lowered_one_is_breaking() -> None:
    one, two = declare({"a": str}), declare({"b": int}, version=2)

    assert [(c.kind, c.breaking) for c in changes(one, two)] == [("version-raised", False)]
    assert [(c.kind, c.breaking) for c in changes(two, one)] == [("version-lowered", True)]


def test_breaking_changes_come_first() -> None:
    before, now = declare({"a": str}), EventRegistry(extends=declare({"b": str}))
    for cls in BUILT_IN:
        now.register(cls)

    found = changes(before, now)

    assert found[0].breaking
    assert not found[-1].breaking
    assert [c.breaking for c in found] == sorted((c.breaking for c in found), reverse=True)


def test_typed_metadata_are_no_part_of_the_lock() -> None:
    class Notes(EventMetadata):
        note: str

    assert changes(declare({}), declare({}, metadata=Notes)) == []


def test_an_upcast_document_needs_no_schema_of_its_own() -> None:
    lock = schema_lock(declare({"b": int}, version=2), previous=schema_lock(declare({"a": str})))

    assert check_schemas(lock, declare({"b": int}, version=2)) == []


# --- a damaged lock -----------------------------------------------------------------------------


def locked(schema: Any) -> dict[str, Any]:
    entry = {"category": "thing", "key": "thingId", "versions": {"1": schema}}
    return {"format": 1, "types": {"thing.made": entry}}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "1", '{"format":2,"types":{}}', '{"format":1}', "[" * 100_000,
             '{"format":1,"types":[]}'],
)  # fmt: skip
def test_a_text_that_is_no_lock_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="schema lock"):
        read_lock(text)


@pytest.mark.parametrize(
    "entry",
    [None, {}, {"category": "a", "key": "b", "versions": {}},
     {"category": 1, "key": "b", "versions": {"1": {}}},
     {"category": "a", "key": "b", "versions": {"one": {}}},
     {"category": "a", "key": "b", "versions": {"²": {}}}],
)  # fmt: skip
def test_an_entry_that_lacks_something_is_refused(entry: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"'thing\.made' lacks"):
        check_schemas({"format": 1, "types": {"thing.made": entry}}, declare({}))


def nested(levels: int) -> Any:
    schema: Any = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (True, "version 1"),
        ([], "version 1"),
        ({"type": "text"}, "type"),
        ({"type": []}, "type"),
        ({"properties": []}, "properties"),
        ({"properties": {"a": 1}}, "properties/a"),
        ({"anyOf": []}, "anyOf"),
        ({"anyOf": [1]}, "anyOf/0"),
        ({"required": "a"}, "required"),
        ({"minLength": -1}, "minLength"),
        ({"minLength": True}, "minLength"),
        ({"multipleOf": 0}, "multipleOf"),
        ({"pattern": 1}, "pattern"),
        ({"enum": []}, "enum"),
        ({"$ref": "#/$defs/Gone"}, "Gone"),
        ({"$ref": "https://example.com/schema"}, r"\$ref"),
        ({"if": {}}, "if"),
        ({"x": 1}, "x"),
        (nested(100), "too deep"),
        ({"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}, "refers to itself"),
        ({"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"},
         "refers to itself"),
    ],
)  # fmt: skip
def test_a_schema_that_was_not_written_by_the_lock_is_refused_with_its_place(
    schema: Any, place: str
) -> None:
    with pytest.raises(ConfigurationError, match=place):
        check_schemas(locked(schema), declare({}))


def test_the_schemas_of_the_test_suite_as_a_lock_are_compared_or_refused(shared_data: Path) -> None:
    registry = declare(
        {"a": Annotated[int, Field(ge=0)], "b": OPTIONAL, "c": (Decimal | None, None)}
    )
    compared = refused = 0

    with tarfile.open(shared_data / "contracts/json_schema_test_suite.tar.gz") as suite:
        for member in suite:
            if not member.isfile() or "/draft" not in f"/{member.name}" or "remotes" in member.name:
                continue
            if not member.name.endswith(".json"):
                continue
            extracted = suite.extractfile(member)
            assert extracted is not None
            for case in json.load(extracted):
                try:
                    check_schemas(locked(case["schema"]), registry)
                except ConfigurationError:
                    refused += 1
                else:
                    compared += 1

    assert compared > 100
    assert refused > 100
