"""Whether old documents can still be read: the writer of then against the reader of now.

Conservative: what cannot be proven safe counts as breaking. Rules in Python validators are in no
schema and therefore not compared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from eventcore.events.event import DomainEvent
from eventcore.events.schema_forms import Schema, resolve
from eventcore.events.schemas import check_lock, reader_schema, writer_schema

_ALL_TYPES: Final = ("string", "number", "boolean", "object", "array", "null")
_LOWER: Final = (("minLength", "string"), ("minItems", "array"), ("minProperties", "object"))
_UPPER: Final = (("maxLength", "string"), ("maxItems", "array"), ("maxProperties", "object"))
_SAME: Final = (
    ("pattern", "string"),
    ("format", "string"),
    ("uniqueItems", "array"),
    ("propertyNames", "object"),
    ("patternProperties", "object"),
)


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One difference between the lock and the code.

    Attributes:
        type: Stored name of the event.
        version: Schema version it is about.
        path: Place in the payload, e.g. ``items[].price``; empty for the type as a whole.
        kind: Stable word for it, e.g. ``field-required``.
        message: What changed, and for a breaking change what to do.
        breaking: Whether events that are stored already could become unreadable.
    """

    type: str
    version: int
    path: str
    kind: str
    message: str
    breaking: bool


@dataclass(frozen=True, slots=True)
class _Finding:
    path: str
    kind: str
    message: str


def check_schemas(
    lock: Mapping[str, Any], registry: Iterable[type[DomainEvent]]
) -> list[SchemaChange]:
    """Every difference between a lock and the event classes of today, breaking ones first.

    Raises:
        ConfigurationError: The lock is damaged.
    """
    locked = check_lock(lock)["types"]
    classes = {cls.__event__.type: cls for cls in registry}
    changes: list[SchemaChange] = []
    for name, entry in locked.items():
        latest = max(map(int, entry["versions"]))
        if name not in classes:
            message = "the type is gone, but its events stay in the log: bring the class back"
            changes.append(SchemaChange(name, latest, "", "type-removed", message, breaking=True))
        else:
            changes += _type_changes(classes[name], entry, latest)
    for name in classes.keys() - locked.keys():
        version = classes[name].__event__.version
        changes.append(SchemaChange(name, version, "", "type-added", "a new type", breaking=False))
    return sorted(changes, key=lambda change: (not change.breaking, change.type, change.path))


def _type_changes(
    event_class: type[DomainEvent], entry: Mapping[str, Any], latest: int
) -> Iterator[SchemaChange]:
    declared = event_class.__event__
    name, version = declared.type, declared.version
    info = event_class.model_fields[declared.key]
    for part, now in (("category", declared.category), ("key", info.alias or declared.key)):
        if entry[part] != now:
            message = f"was {entry[part]!r}, is {now!r}: its events would go to other streams"
            yield SchemaChange(name, version, "", f"{part}-changed", message, breaking=True)
    if version < latest:
        message = f"was {latest}, is {version}: stored events of version {latest} cannot be read"
        yield SchemaChange(name, version, "", "version-lowered", message, breaking=True)
    elif version > latest:
        # That the upcasters from every older version are there was checked when the class was made.
        message = f"was {latest}, is {version}: older events go through the upcasters"
        yield SchemaChange(name, version, "", "version-raised", message, breaking=False)
    else:
        writer = entry["versions"][str(latest)]
        yield from _payload_changes(event_class, writer)


def _payload_changes(event_class: type[DomainEvent], writer: Schema) -> Iterator[SchemaChange]:
    declared = event_class.__event__
    findings = compare(writer, reader_schema(event_class))
    for found in findings:
        advice = "raise the version and add an upcaster"
        message = f"{found.message}: {advice}"
        yield SchemaChange(
            declared.type, declared.version, found.path, found.kind, message, breaking=True
        )
    if findings:
        return
    now = writer_schema(event_class)
    before, after = writer.get("properties", {}), now.get("properties", {})
    for path in sorted(before.keys() ^ after.keys()):
        kind = "field-removed" if path in before else "field-added"
        message = "is ignored in stored events" if path in before else "is absent in stored events"
        yield SchemaChange(declared.type, declared.version, path, kind, message, breaking=False)
    if writer != now and before.keys() == after.keys():
        message = "changed in a way that stored events fit"
        yield SchemaChange(declared.type, declared.version, "", "widened", message, breaking=False)


def compare(writer: Schema, reader: Schema) -> list[_Finding]:
    """Where a document valid under ``writer`` might not be under ``reader``; empty if nowhere."""
    comparison = _Comparison(writer.get("$defs", {}), reader.get("$defs", {}))
    found = comparison.check(writer, reader, "")
    return list(dict.fromkeys(found))


class _Comparison:
    """One comparison, with the definitions of both sides and the pairs that are under way."""

    def __init__(self, writer_definitions: Schema, reader_definitions: Schema) -> None:
        self._writer_definitions = writer_definitions
        self._reader_definitions = reader_definitions
        self._under_way: set[tuple[str, str]] = set()

    def check(self, writer: Any, reader: Any, path: str) -> list[_Finding]:
        if writer == reader and self._writer_definitions == self._reader_definitions:
            return []
        pair = (repr(writer), repr(reader))
        if pair in self._under_way:  # a recursive type: fits if everything else does
            return []
        self._under_way.add(pair)
        try:
            return self._check(
                resolve(writer, self._writer_definitions),
                resolve(reader, self._reader_definitions),
                path,
            )
        finally:
            self._under_way.discard(pair)

    def _check(self, writer: Schema, reader: Schema, path: str) -> list[_Finding]:
        for keyword in ("anyOf", "oneOf"):
            if keyword in writer:
                rest = {name: value for name, value in writer.items() if name != keyword}
                return [
                    found
                    for branch in writer[keyword]
                    for found in self.check(_joined(rest, branch), reader, path)
                ]
        if "const" in writer or "enum" in writer:
            values = [writer["const"]] if "const" in writer else writer["enum"]
            if all(_scalar(value) for value in values):
                return self._check_values(values, reader, path)
        types = writer.get("type", list(_ALL_TYPES))
        if isinstance(types, list) and len(types) > 1:
            return [
                found
                for one in types
                for found in self._check({**writer, "type": one}, reader, path)
            ]
        only = types[0] if isinstance(types, list) else types
        return self._check_one_type(only, {**writer, "type": only}, reader, path)

    def _check_values(self, values: list[Any], reader: Schema, path: str) -> list[_Finding]:
        if all(self._accepts_value(value, reader) for value in values):
            return []
        return [_Finding(path, "value-refused", "a value that was allowed is refused")]

    def _accepts_value(self, value: Any, reader: Any) -> bool:
        """Whether one text, number, boolean or null is valid."""
        reader = resolve(reader, self._reader_definitions)
        for keyword in ("anyOf", "oneOf"):
            if keyword in reader and not any(
                self._accepts_value(value, branch) for branch in reader[keyword]
            ):
                return False
        if "enum" in reader and not any(_equal(value, one) for one in reader["enum"]):
            return False
        if "const" in reader and not _equal(value, reader["const"]):
            return False
        exact = {"type": _type_of(value), **_bounds_of(value)}
        plain = {
            name: rule
            for name, rule in reader.items()
            if name not in {"anyOf", "oneOf", "enum", "const", "pattern"}
        }
        pattern = reader.get("pattern")
        if isinstance(value, str) and pattern is not None and not _matches(pattern, value):
            return False
        return not self._check_one_type(exact["type"], exact, plain, "")

    def _check_one_type(  # noqa: PLR0917 - the type, both sides and the place
        self, kind: str, writer: Schema, reader: Schema, path: str
    ) -> list[_Finding]:
        for keyword in ("anyOf", "oneOf"):
            if keyword in reader:
                found = self._check_branches(writer, reader[keyword], path)
                if found:
                    return found
        allowed = reader.get("type", [kind])
        allowed = allowed if isinstance(allowed, list) else [allowed]
        if kind not in allowed and not (kind == "integer" and "number" in allowed):
            return [_Finding(path, "type-narrowed", f"was {kind}, is now {' or '.join(allowed)}")]
        found = [
            _Finding(path, f"{keyword}-narrowed", f"{keyword} is tighter than before")
            for keyword in _tighter(kind, writer, reader)
        ]
        if ("enum" in reader or "const" in reader) and not _same_values(writer, reader):
            found.append(_Finding(path, "enum-narrowed", "only certain values are accepted now"))
        if kind == "object":
            found += self._check_object(writer, reader, path)
        elif kind == "array":
            found += self._check_array(writer, reader, path)
        return found

    def _check_branches(self, writer: Schema, branches: list[Any], path: str) -> list[_Finding]:
        best: list[_Finding] | None = None
        for branch in branches:
            found = self.check(writer, branch, path)
            if not found:
                return []
            # The branch that fits best names the place best.
            if best is None or len(found) < len(best) or best[0].kind == "type-narrowed":
                best = found
        return best or []

    def _check_array(self, writer: Schema, reader: Schema, path: str) -> list[_Finding]:
        place = f"{path}[]"
        given, wanted = writer.get("prefixItems", []), reader.get("prefixItems", [])
        if len(wanted) > len(given):
            return [_Finding(path, "items-narrowed", "a list of fixed items is expected now")]
        found = [
            finding
            for index, item in enumerate(given)
            for finding in self.check(
                item, wanted[index] if index < len(wanted) else reader.get("items", {}), place
            )
        ]
        rest = writer.get("items", {})
        if rest is False or writer.get("maxItems") == len(given):
            return found
        return found + self.check(rest, reader.get("items", {}), place)

    def _check_object(self, writer: Schema, reader: Schema, path: str) -> list[_Finding]:
        before, now = writer.get("properties", {}), reader.get("properties", {})
        found = [
            _Finding(
                _join(path, name),
                "field-required" if name in before else "required-field-added",
                "was optional, is required now" if name in before else "is new and required",
            )
            for name in reader.get("required", [])
            if name not in writer.get("required", [])
        ]
        others = reader.get("additionalProperties", True)
        for name, schema in before.items():
            found += self.check(schema, now.get(name, others), _join(path, name))
        unnamed = writer.get("additionalProperties", True)
        if unnamed is not False:
            # A free object: any of its keys may be one that the reader looks at now.
            found += self.check(unnamed, others, f"{path}{{}}")
            for name in sorted(now.keys() - before.keys()):
                found += self.check(unnamed, now[name], _join(path, name))
        return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _joined(rest: Schema, branch: Any) -> Any:
    # A document satisfies both; dropping one of two rules on the same keyword only widens the
    # writer.
    return branch if isinstance(branch, bool) else {**rest, **branch}


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int():
            return "integer"
        case _:
            return "number"


def _bounds_of(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"minLength": len(value), "maxLength": len(value)}
    if value is None or isinstance(value, bool):
        return {}
    return {"minimum": value, "maximum": value}


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:  # another dialect of regular expressions: not proven, so not accepted
        return False


def _equal(one: Any, other: Any) -> bool:
    # In JSON Schema true is not 1, while 1.0 is.
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _same_values(writer: Schema, reader: Schema) -> bool:
    return all(
        keyword not in reader or reader[keyword] == writer.get(keyword)
        for keyword in ("enum", "const")
    )


def _tighter(kind: str, writer: Schema, reader: Schema) -> list[str]:
    """Keywords by which the reader allows less than the writer, for values of one type."""
    tighter = [
        keyword
        for keyword, of in _LOWER
        if of == kind and reader.get(keyword, 0) > writer.get(keyword, 0)
    ]
    tighter += [
        keyword
        for keyword, of in _UPPER
        if of == kind and reader.get(keyword, math.inf) < writer.get(keyword, math.inf)
    ]
    tighter += [
        keyword
        for keyword, of in _SAME
        if of == kind
        and reader.get(keyword, False) is not False
        and reader[keyword] != writer.get(keyword)
    ]
    return tighter + (_tighter_number(writer, reader) if kind in {"number", "integer"} else [])


def _tighter_number(writer: Schema, reader: Schema) -> list[str]:
    tighter = []
    low, low_open = _limit(writer, "minimum", "exclusiveMinimum", -math.inf)
    high, high_open = _limit(writer, "maximum", "exclusiveMaximum", math.inf)
    least, least_open = _limit(reader, "minimum", "exclusiveMinimum", -math.inf)
    most, most_open = _limit(reader, "maximum", "exclusiveMaximum", math.inf)
    if low < least or (low == least and least_open and not low_open and least != -math.inf):
        tighter.append("minimum")
    if high > most or (high == most and most_open and not high_open and most != math.inf):
        tighter.append("maximum")
    step = reader.get("multipleOf")
    whole = writer.get("type") == "integer" and step is not None and (1 / step).is_integer()
    if step is not None and step != writer.get("multipleOf") and not whole:
        tighter.append("multipleOf")
    return tighter


def _limit(  # noqa: PLR0917 - two spellings of one bound
    schema: Schema, closed: str, opened: str, none: float
) -> tuple[float, bool]:
    """The effective bound of a schema, and whether it is excluded."""
    inner, outer = schema.get(closed, none), schema.get(opened, none)
    if inner == outer:
        return inner, opened in schema
    further = max(inner, outer) if none < 0 else min(inner, outer)
    return further, further == outer
