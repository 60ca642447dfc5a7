"""The subset of JSON Schema 2020-12 that describes event classes, and a check for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from eventcore.errors import ConfigurationError

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = Mapping[str, Any]
"""One JSON Schema object."""

SCHEMA_DEPTH_MAX: Final = 64
"""Levels of schemas inside schemas; a payload nested deeper than that is a mistake."""

ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "$schema", "$id", "$comment"}
)
"""Keywords that say nothing about which documents are valid."""

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name in _TYPES for name in names)


_VALUES: Final[dict[str, Callable[[Any], bool]]] = {
    "type": _is_type,
    "required": _is_names,
    "enum": lambda value: isinstance(value, list) and bool(value),
    "const": lambda _: True,
    "$ref": lambda value: isinstance(value, str) and value.startswith("#/$defs/"),
    "discriminator": lambda value: isinstance(value, dict),
    "uniqueItems": lambda value: isinstance(value, bool),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    **dict.fromkeys(("pattern", "format"), _is_text),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
        _is_count,
    ),
}
_ONE: Final = ("items", "additionalProperties", "propertyNames")
_LISTS: Final = ("anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "$defs")


def check_form(schema: Any, *, where: str) -> None:
    """Refuse what ``schema lock`` would not have written.

    Raises:
        ConfigurationError: Not a schema, or one with keywords outside the subset.
    """
    if not isinstance(schema, dict):
        _refuse(where, "is not a JSON Schema object")
    _check(schema, where, SCHEMA_DEPTH_MAX)
    definitions = schema.get("$defs", {})
    for place, name in _references(schema, where):
        if name not in definitions:
            _refuse(place, f"refers to {name!r}, which is not in $defs")


def _check(schema: Any, where: str, left: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict) or left == 0:
        _refuse(where, "is not a JSON Schema object" if left else "is nested too deep")
    for keyword, value in schema.items():
        _check_keyword(keyword, value, f"{where}/{keyword}")
    for place, one in subschemas(schema):
        _check(one, f"{where}/{place}", left - 1)


def _check_keyword(keyword: str, value: Any, place: str) -> None:
    if keyword in _VALUES:
        if not _VALUES[keyword](value):
            _refuse(place, "has a value that JSON Schema does not allow there")
    elif keyword in _LISTS:
        if not isinstance(value, list) or not value:
            _refuse(place, "is not a list of schemas")
    elif keyword in _NAMED:
        if not isinstance(value, dict):
            _refuse(place, "is not an object of schemas")
    elif keyword not in ANNOTATIONS and keyword not in _ONE:
        _refuse(place, "is a keyword that event schemas do not use")


def subschemas(schema: Any) -> list[tuple[str, Any]]:
    """The schemas directly inside one, each with its place."""
    if not isinstance(schema, dict):
        return []
    found = [(keyword, schema[keyword]) for keyword in _ONE if keyword in schema]
    for keyword in _LISTS:
        found += [(f"{keyword}/{i}", one) for i, one in enumerate(schema.get(keyword, []))]
    for keyword in _NAMED:
        found += [(f"{keyword}/{name}", one) for name, one in schema.get(keyword, {}).items()]
    return found


def _references(schema: Any, where: str) -> list[tuple[str, str]]:
    found = []
    if isinstance(schema, dict) and "$ref" in schema:
        found.append((where, schema["$ref"].removeprefix("#/$defs/")))
    for place, one in subschemas(schema):
        found += _references(one, f"{where}/{place}")
    return found


def resolve(schema: Any, definitions: Schema) -> dict[str, Any]:
    """A schema without ``$ref`` at its top; booleans as objects.

    Raises:
        ConfigurationError: The references go round in a circle.
    """
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    seen: set[str] = set()
    while "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name in seen:
            _refuse(f"$defs/{name}", "refers to itself and nothing else")
        seen.add(name)
        target = definitions[name]
        if isinstance(target, bool):
            return resolve(target, definitions)
        schema = {**{k: v for k, v in schema.items() if k != "$ref"}, **target}
    return dict(schema)


def _refuse(where: str, problem: str) -> NoReturn:
    raise ConfigurationError(
        message=f"The schema lock cannot be used: {where} {problem}. Restore the committed file"
    )
