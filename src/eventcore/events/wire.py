"""The wire form: the one JSON object in which events come from and go to other systems.

::

    {"eventId","eventType","eventSource","timestamp","version","data":{"payload":{…},"metadata":{…}},
     "correlationId","causationId","userId","sessionId","environment","region"}

What is absent is left out, never null and never ``""``. ``version`` is the schema version of the
payload as text. Reading is one compiled pass over the bytes; whatever that pass refuses or cannot
vouch for is looked at again, slowly, to say exactly what is wrong with it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from eventcore.events.codec import GenericEvent
from eventcore.events.context import CONTEXT_FIELDS
from eventcore.events.event import DomainEvent, Payload
from eventcore.events.fields import JSON_DEPTH_MAX, currency_problem, free_json_object
from eventcore.events.limits import EVENT_TYPE_LENGTH_MAX, STATE_BYTES_MAX
from eventcore.events.places import shown_name
from eventcore.events.recorded import NewEvent, Recorded
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.events.times import to_text
from eventcore.events.wire_reading import (
    Suspect,
    WireReader,
    check_nulls,
    check_numbers,
    count_data_keys,
    generic_validator,
    parse_object,
    read_generic,
    refuse,
    refuse_invalid,
    wire_reader,
)

_EVENT_TYPE = re.compile(rb'"eventType"\s*:\s*"([a-z0-9_.]+)"')
_VERSION = re.compile(r"([1-9][0-9]{0,8})(\.0){0,2}")
_GENERIC_TYPE = re.compile(r"[^\x00-\x20\x7f-\x9f]+")
_WHITESPACE = b" \t\r\n"
# Digits and points become "0", quotes and colons stay: enough to see long numbers and to count
# keys; "e-" stays for numbers near zero.
_MARKS = bytes(
    0x30
    if chr(code) in "0123456789."
    else code
    if chr(code) in '":e-'
    else ord("e")
    if chr(code) == "E"
    else 0x5F
    for code in range(256)
)
# A number that a double may have turned into zero. The first is found fast, in ids as well.
_MAYBE_TINY = b"0e-0"
_TINY = re.compile(rb"[:\[,]\s*-?[0-9][0-9.]*[eE]-")


def to_wire(event: NewEvent[Any] | Recorded[Any]) -> bytes:
    """Write an event for another system: one JSON object, no line break.

    The payload is of the current schema version, also when an older one was stored. Places in the
    log (stream, version, position) are no part of the wire form.

    Raises:
        UndecodableEventError: A recorded event that this program cannot read.
    """
    payload = event.payload
    event_type, version = type_and_version(payload)
    head = {"eventId": str(event.event_id), "eventType": event_type}
    if event.source is not None:
        head["eventSource"] = event.source
    head["timestamp"] = to_text(event.timestamp)
    head["version"] = str(version)
    tail = {
        wire: value
        for name, wire in CONTEXT_FIELDS[1:]
        if (value := getattr(event, name)) is not None
    }
    parts = [to_json(head)[:-1], b',"data":{"payload":', payload.to_json()]
    if metadata := event.metadata:
        parts += [b',"metadata":', to_json(dict(metadata))]
    parts.append(b"}")
    if tail:
        parts += [b",", to_json(tail)[1:-1]]
    parts.append(b"}")
    return b"".join(parts)


def type_and_version(payload: DomainEvent) -> tuple[str, int]:
    """Stored name and schema version of a payload."""
    if isinstance(payload, GenericEvent):
        return payload.type, payload.schema_version
    return payload.__event__.type, payload.__event__.version


def from_wire(
    line: bytes, *, registry: EventRegistry = default_registry, allow_unknown: bool = False
) -> NewEvent[Any]:
    """Read an event that another system wrote.

    Older schema versions are upcast; an absent ``version`` means 1. Times are kept to the
    microsecond, finer digits are cut off. A null stands for nothing but itself inside free objects.

    Args:
        line: One JSON object in UTF-8; white space around it is allowed.
        registry: The event types that are known.
        allow_unknown: Take events of unknown types as :class:`GenericEvent` instead of refusing
            them.

    Raises:
        InvalidEventError: With one of the reasons ``too-large``, ``not-json``, ``missing-field``,
            ``invalid-field``, ``unknown-field``, ``unknown-type``, ``unknown-version``,
            ``id-mismatch``.
    """
    if len(line) > STATE_BYTES_MAX:
        refuse("too-large", f"{len(line)} bytes, the limit is {STATE_BYTES_MAX}")
    # A guess, checked by the validator: the name may also have stood inside the payload.
    guess = _EVENT_TYPE.search(line)
    event_class = registry.get(guess[1].decode()) if guess else None
    if event_class is not None:
        reader = wire_reader(event_class)
        try:
            wire = reader.validate(line, by_alias=True, by_name=False)
            if _vouched(line, wire, reader):
                return _storable(_build(wire, reader), line)
        except (ValidationError, Suspect):
            pass  # the slow path finds out what it is
    return _from_line(line, registry, allow_unknown)


def _vouched(line: bytes, wire: dict[str, Any], reader: WireReader) -> bool:
    """Whether the compiled pass has seen all there is: no key twice, no number that lost digits."""
    marks = line.translate(_MARKS, _WHITESPACE)
    if _MAYBE_TINY in marks and _TINY.search(line):
        return False
    # Every key ends in `":`; strings may hold more of them, which only costs a second look.
    return reader.long_number not in marks and marks.count(b'":') == len(wire) + count_data_keys(
        wire["data"]
    )


def _build(wire: dict[str, Any], reader: WireReader | None) -> NewEvent[Any]:
    get, data = wire.get, wire["data"]
    payload, metadata = data["payload"], data.get("metadata")
    if isinstance(metadata, BaseModel):
        metadata = metadata.__pydantic_serializer__.to_python(
            metadata, mode="json", by_alias=True, exclude_unset=True
        )
    if reader is not None:
        _check_agreement(wire, payload, reader)
    return NewEvent(
        payload=payload,
        event_id=wire["eventId"],
        timestamp=_moment(wire["timestamp"]),
        source=get("eventSource"),
        correlation_id=get("correlationId"),
        causation_id=get("causationId"),
        user_id=get("userId"),
        session_id=get("sessionId"),
        environment=get("environment"),
        region=get("region"),
        metadata=metadata or {},
    )


def _check_agreement(wire: dict[str, Any], payload: Any, reader: WireReader) -> None:
    user_id, session_id = wire.get("userId"), wire.get("sessionId")
    if user_id is not None and reader.checks_user and user_id != (payload.user_id or user_id):
        refuse("id-mismatch", "differs from the payload's userId", "userId")
    if (
        session_id is not None
        and reader.checks_session
        and session_id != (payload.session_id or session_id)
    ):
        refuse("id-mismatch", "differs from the payload's sessionId", "sessionId")
    for name, wire_name in reader.currencies:
        code = getattr(payload, name)
        if code is not None and (problem := currency_problem(code)):
            refuse("invalid-field", problem, f"data.payload.{wire_name}")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        refuse("invalid-field", "no such time, or outside the years 1 to 9999 in UTC", "timestamp")


def _from_line(line: bytes, registry: EventRegistry, allow_unknown: bool) -> NewEvent[Any]:  # noqa: FBT001 - passed on
    tree, exact = parse_object(line)
    return from_tree(tree, exact, line, registry=registry, allow_unknown=allow_unknown)


def from_tree(
    tree: dict[str, Any],
    exact: dict[str, Any],
    line: bytes | None = None,
    *,
    registry: EventRegistry,
    allow_unknown: bool,
) -> NewEvent[Any]:
    """Read an event whose JSON is parsed already, saying exactly what is wrong with it.

    Args:
        tree: The wire form as JSON values.
        exact: The same with fractions as decimals.
        line: The bytes it was parsed from, if it came like that.
        registry: The event types that are known.
        allow_unknown: See :func:`from_wire`.

    Raises:
        InvalidEventError: See :func:`from_wire`.
    """
    event_type, version = _event_type(tree), _version(tree)
    for name, value in exact.items():
        check_numbers(value, None, shown_name(name))
    if line is None:
        line = to_json(tree)
    event_class = registry.get(event_type)
    if event_class is None:
        if not allow_unknown:
            refuse("unknown-type", "no such event type is known", "eventType")
        return _generic(line, event_type, version)
    reader = wire_reader(event_class)
    if version > reader.version:
        refuse("unknown-version", f"this program knows 1 to {reader.version}", "version")
    if version < reader.version:
        line = _upcast(tree, event_class, version)
    try:
        wire = reader.validate(line, by_alias=True, by_name=False)
    except ValidationError as error:
        refuse_invalid(error)
    check_nulls(wire["data"]["payload"], "data.payload")
    check_nulls(wire["data"].get("metadata"), "data.metadata")
    event = _build(wire, reader)
    _check_metadata(event)
    # What an upcaster made of a number is its own affair; only the digits are checked then.
    kept = from_json(event.payload.to_json()) if version == reader.version else None
    check_numbers(exact["data"]["payload"], kept, "data.payload")
    check_numbers(
        exact["data"].get("metadata"), from_json(to_json(event.metadata)), "data.metadata"
    )
    return event


def _storable(event: NewEvent[Any], line: bytes) -> NewEvent[Any]:
    """Refuse metadata that the codec would refuse: nested too deep, or with too large an int."""
    # Only so many brackets can nest so deep; an int so long has led to the exact check before.
    if event.metadata and line.count(b"[") + line.count(b"{") > JSON_DEPTH_MAX:
        _check_metadata(event)
    return event


def _check_metadata(event: NewEvent[Any]) -> None:
    try:
        free_json_object(event.metadata)
    except ValueError:
        refuse(
            "invalid-field",
            f"nested deeper than {JSON_DEPTH_MAX} levels, or a number that is too large",
            "data.metadata",
        )


def _event_type(tree: dict[str, Any]) -> str:
    if "eventType" not in tree:
        refuse("missing-field", "required", "eventType")
    event_type = tree["eventType"]
    if (
        not isinstance(event_type, str)
        or len(event_type) > EVENT_TYPE_LENGTH_MAX
        or not _GENERIC_TYPE.fullmatch(event_type)
    ):
        refuse(
            "invalid-field",
            f"text of 1 to {EVENT_TYPE_LENGTH_MAX} characters without spaces or control characters",
            "eventType",
        )
    return event_type


def _version(tree: dict[str, Any]) -> int:
    text = tree.get("version", "1")
    if not isinstance(text, str):
        refuse("invalid-field", 'the schema version as text, e.g. "1"', "version")
    match = _VERSION.fullmatch(text)
    if match is None:
        refuse("unknown-version", 'not of the form "1", "1.0" or "1.0.0"', "version")
    return int(match[1])


def _generic(line: bytes, event_type: str, version: int) -> NewEvent[Any]:
    try:
        wire = generic_validator(event_type, version)(line)
    except ValidationError as error:
        refuse_invalid(error)
    wire["data"]["payload"] = read_generic(event_type, version, wire["data"]["payload"])
    event = _build(wire, None)
    _check_metadata(event)
    return event


def _upcast(tree: dict[str, Any], event_class: type[DomainEvent], version: int) -> bytes:
    declared, data = event_class.__event__, tree.get("data")
    payload = data.get("payload") if isinstance(data, dict) else None
    if not isinstance(payload, dict):
        # Nothing to upcast: the validator says what is missing.
        return to_json({**tree, "version": str(declared.version)})
    for step in range(version, declared.version):
        try:
            payload = declared.upcasts[step](payload)
        except Exception:  # noqa: BLE001 - the upcaster is the user's: any failure is a refusal
            refuse("invalid-field", f"cannot be read as schema version {step}", "data.payload")
    try:
        return to_json(
            {
                **tree,
                "version": str(declared.version),
                "data": {**cast("Payload", data), "payload": payload},
            }
        )
    except PydanticSerializationError:
        refuse("invalid-field", f"cannot be read as schema version {version}", "data.payload")
