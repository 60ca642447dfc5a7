"""JSON Schemas of the event types, and the lock that remembers how they were.

Every type has two schemas of its payload, in wire spelling. The *writer* is closed and says what
this program writes. The *reader* is open and says what it can still read: unknown fields are
ignored, since an older program may have written them. Whether a change is safe is a question
between the writer of then and the reader of now (:mod:`eventcore.events.schema_compatibility`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, Final, Literal

from eventcore.errors import ConfigurationError
from eventcore.events.event import DomainEvent
from eventcore.events.registry import EventRegistry
from eventcore.events.schema_forms import ANNOTATIONS, DIALECT, check_form

LOCK_FORMAT: Final = 1
"""Version of the lock file's own layout."""

SchemaLock = dict[str, Any]
"""``{"format": 1, "types": {type: {"category", "key", "versions": {version: writer}}}}``."""


def export_schemas(registry: Iterable[type[DomainEvent]]) -> dict[str, Any]:
    """Every event type with its schemas, for documentation and for programs in other languages.

    Returns:
        ``{"$schema", "events": {type: {"version", "category", "key", "group", "description",
        "writer", "reader", "metadata"}}}``; ``metadata`` only where the type names some.
    """
    events = {cls.__event__.type: _exported(cls) for cls in registry}
    return {"$schema": DIALECT, "events": dict(sorted(events.items()))}


def _exported(event_class: type[DomainEvent]) -> dict[str, Any]:
    declared = event_class.__event__
    exported = {
        "version": declared.version,
        "category": declared.category,
        "key": _wire_key(event_class),
        "group": declared.group,
        "description": (event_class.__doc__ or "").strip().partition("\n\n")[0],
        "writer": writer_schema(event_class),
        "reader": reader_schema(event_class),
    }
    if declared.metadata is not None:
        schema = declared.metadata.model_json_schema(by_alias=True, mode="serialization")
        exported["metadata"] = _without_null(_bare(schema))
    return exported


def writer_schema(event_class: type[DomainEvent]) -> dict[str, Any]:
    """What this program writes as the payload of a type: closed, absent instead of null."""
    return _object(_without_null(_schema(event_class, "serialization")))


def reader_schema(event_class: type[DomainEvent]) -> dict[str, Any]:
    """What this program can read as the payload of a type: open to fields it does not know."""
    return _object(_open(_schema(event_class, "validation")))


def _schema(
    event_class: type[DomainEvent], mode: Literal["serialization", "validation"]
) -> dict[str, Any]:
    return _object(_bare(event_class.model_json_schema(by_alias=True, mode=mode)))


def _object(schema: Any) -> dict[str, Any]:
    assert isinstance(schema, dict)
    return schema


def _bare(schema: Any) -> Any:
    """Without titles and descriptions: words are no part of the contract."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    bare = {}
    for keyword, value in schema.items():
        if keyword in {"properties", "$defs", "patternProperties"}:
            bare[keyword] = {name: _bare(one) for name, one in value.items()}
        elif keyword in {"enum", "const", "required"}:
            bare[keyword] = value
        elif keyword not in ANNOTATIONS:
            bare[keyword] = _bare(value)
    return bare


def _without_null(schema: Any) -> Any:
    """Without the null of optional fields, which is never written."""
    if isinstance(schema, list):
        return [_without_null(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {keyword: _without_null(value) for keyword, value in schema.items()}
    properties = plain.get("properties")
    if isinstance(properties, dict):
        plain["properties"] = {name: _not_null(one) for name, one in properties.items()}
    return plain


def _not_null(schema: Any) -> Any:
    branches = schema.get("anyOf") if isinstance(schema, dict) else None
    if not isinstance(branches, list):
        return schema
    left = [branch for branch in branches if branch != {"type": "null"}]
    others = {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
    return {**others, **left[0]} if len(left) == 1 else {**others, "anyOf": left}


def _open(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_open(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        keyword: _open(value)
        for keyword, value in schema.items()
        if not (keyword == "additionalProperties" and value is False)
    }


def _wire_key(event_class: type[DomainEvent]) -> str:
    key = event_class.__event__.key
    return event_class.model_fields[key].alias or key


def schema_lock(
    registry: Iterable[type[DomainEvent]], previous: Mapping[str, Any] | None = None
) -> SchemaLock:
    """The writer schema of every type as it is now, to be committed and compared with later.

    Args:
        registry: The event types to lock.
        previous: The lock so far; schemas of older versions are taken over from it, since documents
            of those versions stay in the log.

    Raises:
        ConfigurationError: The previous lock is damaged.
    """
    before = check_lock(previous)["types"] if previous is not None else {}
    types = {}
    for cls in registry:
        declared = cls.__event__
        older = {
            version: writer
            for version, writer in before.get(declared.type, {}).get("versions", {}).items()
            if int(version) < declared.version
        }
        types[declared.type] = {
            "category": declared.category,
            "key": _wire_key(cls),
            "versions": {**older, str(declared.version): writer_schema(cls)},
        }
    return {"format": LOCK_FORMAT, "types": types}


def write_lock(lock: Mapping[str, Any]) -> str:
    """The text of a lock file: sorted, so that a change of one field is a change of a few lines."""
    return json.dumps(lock, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_lock(text: str) -> SchemaLock:
    """Read a lock file.

    Raises:
        ConfigurationError: It is not what ``eventcore schema lock`` writes. Restore the committed
            one.
    """
    try:
        lock = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(message=f"The schema lock is not JSON ({error})") from error
    return check_lock(lock)


def builtin_lock() -> SchemaLock:
    """The lock of the built-in types, as shipped with this version."""
    return read_lock(files("eventcore.events").joinpath("schema.lock.json").read_text("utf-8"))


def check_lock(lock: Any) -> SchemaLock:
    """Return the lock if its form is right.

    Raises:
        ConfigurationError: It is not.
    """
    types = lock.get("types") if isinstance(lock, dict) else None
    if (
        not isinstance(lock, dict)
        or lock.get("format") != LOCK_FORMAT
        or not isinstance(types, dict)
    ):
        raise ConfigurationError(
            message=(
                f"The schema lock is not of format {LOCK_FORMAT}; "
                "write it with: eventcore schema lock"
            )
        )
    for name, entry in types.items():
        if not isinstance(entry, dict) or not _is_entry(entry):
            raise ConfigurationError(
                message=(
                    f"The schema lock cannot be used: {name!r} lacks its category, key or versions"
                )
            )
        for version, schema in entry["versions"].items():
            check_form(schema, where=f"{name} version {version}")
    return lock


def _is_entry(entry: dict[str, Any]) -> bool:
    versions = entry.get("versions")
    return (
        isinstance(entry.get("category"), str)
        and isinstance(entry.get("key"), str)
        and isinstance(versions, dict)
        and bool(versions)
        and all(version.isascii() and version.isdigit() for version in versions)
    )


def select(registry: EventRegistry, module: str) -> list[type[DomainEvent]]:
    """The types of a registry that a package declares, e.g. one's own without the built-in ones."""
    return [
        cls
        for cls in registry
        if cls.__module__ == module or cls.__module__.startswith(f"{module}.")
    ]
