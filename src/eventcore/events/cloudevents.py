"""CloudEvents 1.0 in structured JSON: the form in which event brokers exchange events.

==================  ==========================================================================
``id``              event id; an id that is no UUID becomes one derived from source and id
``source``          source; text that is no URI reference travels inside a URN
``type``            stored name of the event
``subject``         name of the stream
``time``            when it happened
``schemaversion``   schema version of the payload (extension attribute)
``correlationid``…  the context, in lower case (extension attributes)
``data``            ``{"payload": {…}, "metadata": {…}}``
==================  ==========================================================================

Attributes that have no place of their own are kept in the metadata under ``cloudevents`` and
written back from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NoReturn
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID, uuid5

from pydantic_core import from_json

from eventcore.errors import InvalidEventError
from eventcore.events.codec import GenericEvent
from eventcore.events.context import CONTEXT_FIELDS
from eventcore.events.event import stream_of
from eventcore.events.fields import free_json_object
from eventcore.events.limits import STATE_BYTES_MAX
from eventcore.events.recorded import NewEvent, Recorded
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.events.times import to_text
from eventcore.events.wire import from_tree, type_and_version
from eventcore.events.wire_reading import parse_object, refuse

FOREIGN_ATTRIBUTES: Final = "cloudevents"
"""Key of the metadata that holds attributes of other producers."""

ID_NAMESPACE: Final = UUID("0d6c2f0a-5a52-5c39-8d64-1f6b7a3f9c21")
"""Namespace of event ids made of the source and the id of a CloudEvent."""

_SOURCE_URN = "urn:eventcore:source:"
_JSON_CONTENT = re.compile(r"application/(json|[\w.+-]+\+json)(\s*;.*)?", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ATTRIBUTE = re.compile(r"[a-z0-9]+")
# RFC 3986 without its rarer forms (brackets): those travel in the URN as well.
_CHARACTER = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})"
_URI_REFERENCE = re.compile(
    rf"(?:[A-Za-z][A-Za-z0-9+.-]*:(?:{_CHARACTER}|[/:?])+"
    rf"|{_CHARACTER}*(?:[/?](?:{_CHARACTER}|[/:?])*)?)(?:\#(?:{_CHARACTER}|[/:?])*)?"
)

_WIRE_NAMES = {
    "id": "eventId",
    "source": "eventSource",
    "type": "eventType",
    "time": "timestamp",
    "schemaversion": "version",
    **{wire.lower(): wire for _, wire in CONTEXT_FIELDS[1:]},
}
_NAMES = {wire: name for name, wire in _WIRE_NAMES.items()}
_OWN = frozenset({*_WIRE_NAMES, "specversion", "subject", "data"})
_INTEGER_MAX = 2**31 - 1  # CloudEvents 1.0.2, "Type System": Integer is signed 32 bit


def to_cloudevent(event: NewEvent[Any] | Recorded[Any]) -> dict[str, Any]:
    """Write an event as a CloudEvent: a dict of JSON values, for the structured content mode.

    Raises:
        UndecodableEventError: A recorded event that this program cannot read.
    """
    payload, metadata = event.payload, dict(event.metadata)
    event_type, version = type_and_version(payload)
    foreign = _liftable(event, metadata.get(FOREIGN_ATTRIBUTES))
    if foreign:
        del metadata[FOREIGN_ATTRIBUTES]
    context = {
        wire.lower(): value
        for name, wire in CONTEXT_FIELDS[1:]
        if (value := getattr(event, name)) is not None
    }
    data = {"payload": from_json(payload.to_json())}
    if metadata:
        data["metadata"] = metadata
    return {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": _source_out(event.source),
        "type": event_type,
        "subject": stream_of(payload),
        "time": to_text(event.timestamp),
        "datacontenttype": "application/json",
        "schemaversion": str(version),
        **context,
        **foreign,
        "data": data,
    }


def from_cloudevent(
    event: Mapping[str, Any] | bytes,
    *,
    registry: EventRegistry = default_registry,
    allow_unknown: bool = False,
    received_at: datetime | None = None,
) -> NewEvent[Any]:
    """Read a CloudEvent of the structured content mode.

    An event of a type that is known must carry ``{"payload", "metadata"}`` as its data; of an
    unknown one, any JSON object. Null attributes count as absent, as the specification has it.

    Args:
        event: The CloudEvent, parsed or as JSON in UTF-8.
        registry: The event types that are known.
        allow_unknown: Take events of unknown types as :class:`GenericEvent` instead of refusing
            them.
        received_at: Stands in for ``time``, which CloudEvents leaves optional; without it,
            ``time`` is needed.

    Raises:
        InvalidEventError: With the reasons of :func:`eventcore.events.wire.from_wire`; ``field``
            in the spelling of CloudEvents.
    """
    tree, exact = _parsed(event)
    foreign: dict[str, Any] = {}
    if received_at is not None:
        tree.setdefault("time", to_text(received_at))
    wire = _wire_of(tree, registry, foreign)
    try:
        read = from_tree(
            wire,
            {"data": _data_of(exact.get("data"), wire["eventType"], registry)},
            registry=registry,
            allow_unknown=allow_unknown,
        )
    except InvalidEventError as error:
        _refuse_in_own_spelling(error)
    return _with_foreign(read, foreign)


def _parsed(event: Mapping[str, Any] | bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    if isinstance(event, bytes):
        if len(event) > STATE_BYTES_MAX:
            refuse("too-large", f"{len(event)} bytes, the limit is {STATE_BYTES_MAX}")
        tree, exact = parse_object(event)
    else:
        try:
            tree = exact = free_json_object(event)
        except ValueError:
            refuse("not-json", "holds values that are not JSON")
    present = {name: value for name, value in tree.items() if value is not None}
    return present, exact


def _wire_of(
    event: dict[str, Any], registry: EventRegistry, foreign: dict[str, Any]
) -> dict[str, Any]:
    """The wire form of a CloudEvent; what has no place in it is put into ``foreign``."""
    _check_required(event)
    wire = {wire: event[name] for name, wire in _WIRE_NAMES.items() if name in event}
    if type(wire.get("version")) is int:
        wire["version"] = str(wire["version"])
    if not _UUID.fullmatch(event["id"]):
        foreign["id"] = event["id"]
        wire["eventId"] = str(_derived_id(event["source"], event["id"]))
    if (source := _source_in(event["source"])) is None:
        del wire["eventSource"]
    else:
        wire["eventSource"] = source
    if "data" in event:
        wire["data"] = _data_of(event["data"], event["type"], registry)
    foreign.update({name: value for name, value in event.items() if name not in _OWN})
    if foreign.get("datacontenttype") == "application/json":
        del foreign["datacontenttype"]
    if "subject" in event:
        foreign["subject"] = event["subject"]
    return wire


def _check_required(event: dict[str, Any]) -> None:
    for name in ("specversion", "id", "source", "type"):
        if name not in event:
            refuse("missing-field", "required", name)
        if not isinstance(event[name], str) or not event[name]:
            refuse("invalid-field", "text that is not empty", name)
    if event["specversion"] != "1.0":
        refuse("unknown-version", "this program knows 1.0", "specversion")
    _check_attributes(event)


def _check_attributes(event: dict[str, Any]) -> None:
    if "data_base64" in event:
        refuse("invalid-field", "binary data is no event payload", "data_base64")
    for name, value in event.items():
        if name != "data" and not _is_attribute(name, value):
            # The name may hold anything: it is not repeated.
            refuse("unknown-field", "an attribute whose name or value CloudEvents does not allow")
    content = event.get("datacontenttype", "application/json")
    if not isinstance(content, str) or not _JSON_CONTENT.fullmatch(content):
        refuse("invalid-field", "only JSON data can be read", "datacontenttype")


def _is_attribute(name: str, value: Any) -> bool:
    if not _ATTRIBUTE.fullmatch(name):
        return False
    if isinstance(value, int):
        return isinstance(value, bool) or -_INTEGER_MAX - 1 <= value <= _INTEGER_MAX
    return isinstance(value, str)


def _data_of(data: Any, event_type: str, registry: EventRegistry) -> Any:
    if event_type not in registry and isinstance(data, dict):
        ours = "payload" in data and data.keys() <= {"payload", "metadata"}
        return data if ours else {"payload": data}
    return data


def _derived_id(source: str, event_id: str) -> UUID:
    # Source and id together name a CloudEvent; a source holds no line break.
    return uuid5(ID_NAMESPACE, f"{source}\n{event_id}")


def _source_out(source: str | None) -> str:
    if source is None:
        return _SOURCE_URN
    if _URI_REFERENCE.fullmatch(source) and not source.startswith(_SOURCE_URN):
        try:
            _ = urlsplit(source).port  # the one part that the pattern leaves open
        except ValueError:
            pass
        else:
            return source
    return _SOURCE_URN + quote(source, safe="")


def _source_in(source: str) -> str | None:
    if source.startswith(_SOURCE_URN):
        return unquote(source.removeprefix(_SOURCE_URN)) or None
    return source


def _liftable(event: NewEvent[Any] | Recorded[Any], foreign: Any) -> dict[str, Any]:
    """The foreign attributes of the metadata, if they are what reading would have put there."""
    if not isinstance(foreign, dict) or not foreign:
        return {}
    for name, value in foreign.items():
        if name == "id":
            fits = (
                isinstance(value, str)
                and not _UUID.fullmatch(value)
                and bool(value)
                and _derived_id(_source_out(event.source), value) == event.event_id
            )
        elif name == "subject":
            fits = isinstance(event.payload, GenericEvent) and isinstance(value, str)
            fits = fits and value != stream_of(event.payload)
        elif name == "datacontenttype":
            fits = isinstance(value, str) and bool(_JSON_CONTENT.fullmatch(value))
            fits = fits and value != "application/json"
        else:
            fits = name not in _OWN and _is_attribute(name, value)
        if not fits:
            return {}
    return foreign


def _with_foreign(event: NewEvent[Any], foreign: dict[str, Any]) -> NewEvent[Any]:
    subject, stream = foreign.get("subject"), stream_of(event.payload)
    if subject is not None and subject != stream and not isinstance(event.payload, GenericEvent):
        refuse("id-mismatch", "differs from the stream that the payload belongs to", "subject")
    if subject == stream:
        del foreign["subject"]
    if not foreign:
        return event
    if FOREIGN_ATTRIBUTES in event.metadata:
        refuse("unknown-field", "kept for attributes", f"data.metadata.{FOREIGN_ATTRIBUTES}")
    return event._replace(metadata={**event.metadata, FOREIGN_ATTRIBUTES: foreign})


def _refuse_in_own_spelling(error: InvalidEventError) -> NoReturn:
    name = _NAMES.get(error.field or "", error.field)
    message = error.facts["message"].removeprefix(f"{error.field}: ")
    refuse(error.reason, message, name)
