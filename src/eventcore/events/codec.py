"""Codec: events to the bytes a store keeps, and back in one pass over them.

The stored form is one compact JSON object. Its first member is the schema version, so that the
common case (the current version) is recognised by comparing a few bytes, without parsing::

    {"v":1,"id":"0190…","at":"2026-11-22T21:34:28.123456Z","data":{…},"ctx":{…},"meta":{…}}
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Protocol, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict, override

from eventcore.errors import InvalidEventError, RegistrationError, UndecodableEventError
from eventcore.events.context import CONTEXT_FIELDS
from eventcore.events.event import DomainEvent, Payload
from eventcore.events.fields import JsonObject, free_json_object
from eventcore.events.personal import PersonalField, personal_fields
from eventcore.events.places import place_of
from eventcore.events.recorded import EncodedEvent, NewEvent, Recorded
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.events.times import to_text

CONTEXT_NAMES: tuple[tuple[str, str], ...] = tuple(
    (name, "source" if name == "source" else wire) for name, wire in CONTEXT_FIELDS
)
"""Attribute names of the context and how they are spelled at rest."""

_CONTEXT_WIRE = tuple(wire for _, wire in CONTEXT_NAMES)
_CONTEXT_FIRST = NewEvent._fields.index(CONTEXT_NAMES[0][0])
_CONTEXT_END = _CONTEXT_FIRST + len(CONTEXT_NAMES)
_NO_CONTEXT = (None,) * len(CONTEXT_NAMES)
assert NewEvent._fields[_CONTEXT_FIRST:_CONTEXT_END] == tuple(name for name, _ in CONTEXT_NAMES)


class FieldTransform(Protocol):
    """Changes the values of tagged fields on their way into and out of the log.

    This is the seam for encryption per person. Both functions get and give JSON values.
    """

    def outgoing(self, *, subject: str | None, field: str, value: Any) -> Any:
        """The value to store. ``subject`` is whose data it is, ``field`` the wire path."""

    def incoming(self, *, subject: str | None, field: str, value: Any) -> Any:
        """The value to hand out for what was stored."""


class GenericEvent(DomainEvent, category="generic", key="type"):
    """An event of a type this program does not know: its payload as JSON values, unchecked.

    Its stream is named after its type, since nothing is known of what it belongs to.

    Attributes:
        type: Its stored name.
        schema_version: The version it was stored with.
        fields: The payload.
    """

    type: str
    schema_version: int
    fields: JsonObject

    @override
    def to_json(self) -> bytes:
        """The payload as it was."""
        return to_json(self.fields)


class _Reader:
    """How one event class is read: the bytes its current version starts with, and its validator."""

    __slots__ = ("personal", "prefix", "validate")

    def __init__(self, event_class: type[DomainEvent]) -> None:
        stored = TypedDict("stored", {"data": event_class})  # type: ignore[valid-type]  # noqa: UP013 - per class
        stored.__pydantic_config__ = ConfigDict(extra="ignore", cache_strings="keys")  # type: ignore[attr-defined]
        self.prefix = b'{"v":%d,' % event_class.__event__.version
        self.validate: Callable[..., Any] = TypeAdapter(stored).validator.validate_json
        self.personal: tuple[PersonalField, ...] = personal_fields(event_class)


class Codec:
    """Turns events into stored bytes and back.

    Args:
        registry: The event types that are known.
        allow_unknown: Read events of unknown types as :class:`GenericEvent` instead of failing.
        transform: Applied to fields tagged :class:`~eventcore.events.fields.Personal`.
    """

    def __init__(
        self,
        registry: EventRegistry = default_registry,
        *,
        allow_unknown: bool = False,
        transform: FieldTransform | None = None,
    ) -> None:
        self.registry = registry
        self.allow_unknown = allow_unknown
        self.transform = transform
        self._readers: dict[str, _Reader] = {}

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        # A codec crosses process boundaries with the events it reads; only the library's own
        # registry can be found again on the other side.
        if self.registry is not default_registry or self.transform is not None:
            msg = (
                "only a codec of the default registry without a transform can be sent to a process"
            )
            raise TypeError(msg)
        return _default_codec, (self.allow_unknown,)

    def encode(self, event: NewEvent[DomainEvent]) -> EncodedEvent:
        """Encode one event.

        Raises:
            RegistrationError: Its class is not registered.
            InvalidEventError: Its metadata are not JSON.
        """
        payload, metadata = event.payload, event.metadata
        if metadata:
            metadata = _checked(metadata)
        if isinstance(payload, GenericEvent):
            return _assemble(
                event, payload.type, payload.schema_version, payload.to_json(), metadata
            )
        declared = payload.__event__
        if self.registry.get(declared.type) is not type(payload):
            raise RegistrationError(
                message=(
                    f"Event class {type(payload).__name__} is not registered "
                    f"(type {declared.type!r})"
                )
            )
        data = payload.to_json()
        if self.transform is not None:
            data, metadata = self._transformed_out(type(payload), data, metadata)
        return _assemble(event, declared.type, declared.version, data, metadata)

    def decode_payload(self, recorded: Recorded[Any]) -> DomainEvent:
        """The payload of a stored event, upcast to the current version.

        Raises:
            UndecodableEventError: See :attr:`Recorded.payload`.
        """
        reader = self._readers.get(recorded.type) or self._reader(recorded)
        if reader is None:
            envelope = self.decode_envelope(recorded)
            return GenericEvent.model_construct(
                type=recorded.type, schema_version=envelope["v"], fields=envelope["data"]
            )
        state = recorded.state
        try:
            if self.transform is None and state.startswith(reader.prefix):
                return cast("DomainEvent", reader.validate(state, extra="ignore")["data"])
            upcast = to_json({"data": self._upcast(recorded, reader)})
            return cast("DomainEvent", reader.validate(upcast, extra="ignore")["data"])
        except ValidationError as error:
            # Without the cause, whose text and parts show the values.
            fields = sorted({place_of(found["loc"]) for found in error.errors(include_input=False)})
            self._refuse(
                recorded, f"its payload does not fit the class at {', '.join(fields)}", None
            )

    def decode_rows(
        self, stream: str, rows: Iterable[tuple[int, int, str, bytes]]
    ) -> list[DomainEvent]:
        """The payloads of one stream's events given as rows: the fast way through all of it.

        Args:
            stream: Its name.
            rows: Position, version, type and state of each.

        Raises:
            UndecodableEventError: See :attr:`Recorded.payload`.
        """
        readers = self._readers if self.transform is None else {}
        payloads: list[DomainEvent] = []
        for position, version, event_type, state in rows:
            reader = readers.get(event_type)
            if reader is not None and state.startswith(reader.prefix):
                try:
                    payloads.append(reader.validate(state, extra="ignore")["data"])
                    continue
                except ValidationError:
                    pass  # read again below, by the way that names what is wrong
            recorded = Recorded[Any](position, stream, version, event_type, state, self)
            payloads.append(self.decode_payload(recorded))
        return payloads

    def decode_envelope(self, recorded: Recorded[Any]) -> dict[str, Any]:
        """The stored JSON object.

        Raises:
            UndecodableEventError: The bytes are not the JSON object that was stored.
        """
        try:
            envelope = from_json(recorded.state, allow_inf_nan=False)
        except ValueError as error:
            self._refuse(recorded, "its stored bytes are not JSON", error)
        if not isinstance(envelope, dict) or not envelope.keys() >= {"v", "id", "at", "data"}:
            self._refuse(recorded, "its stored bytes are not an event", None)
        return cast("dict[str, Any]", envelope)

    def decode_metadata(self, recorded: Recorded[Any]) -> Mapping[str, Any]:
        """The metadata of a stored event."""
        metadata = recorded.envelope.get("meta") or {}
        reader = self._readers.get(recorded.type) or self._reader(recorded)
        if self.transform is None or reader is None:
            return cast("Mapping[str, Any]", metadata)
        envelope = self._transformed_in(reader, recorded.envelope)
        return cast("Mapping[str, Any]", envelope.get("meta") or {})

    def _reader(self, recorded: Recorded[Any]) -> _Reader | None:
        event_class = self.registry.get(recorded.type)
        if event_class is None:
            if self.allow_unknown:
                return None
            self._refuse(recorded, "no class is registered under that name", None)
        reader = self._readers[recorded.type] = _Reader(event_class)
        return reader

    def _upcast(self, recorded: Recorded[Any], reader: _Reader) -> Payload:
        envelope = self.decode_envelope(recorded)
        if self.transform is not None:
            envelope = self._transformed_in(reader, envelope)
        event_class = self.registry.get(recorded.type)
        assert event_class is not None
        declared = event_class.__event__
        data, version = envelope["data"], envelope["v"]
        if not isinstance(version, int) or not 1 <= version <= declared.version:
            self._refuse(
                recorded,
                f"it has schema version {version}, this code knows 1 to {declared.version}",
                None,
            )
        for step in range(version, declared.version):
            try:
                data = declared.upcasts[step](data)
            except Exception as error:  # noqa: BLE001 - the upcaster is the user's: any failure is named
                self._refuse(recorded, f"its upcaster from version {step} failed", error)
        return cast("Payload", data)

    def _transformed_out(
        self, event_class: type[DomainEvent], data: bytes, metadata: Mapping[str, Any]
    ) -> tuple[bytes, Mapping[str, Any]]:
        assert self.transform is not None
        fields = personal_fields(event_class)
        if not fields:
            return data, metadata
        envelope = {"data": from_json(data), "meta": dict(metadata)}
        for field in fields:
            field.apply(envelope, self.transform.outgoing)
        return to_json(envelope["data"]), envelope["meta"]

    def _transformed_in(self, reader: _Reader, envelope: dict[str, Any]) -> dict[str, Any]:
        assert self.transform is not None
        # A copy: the recorded event keeps what is stored.
        envelope = copy.deepcopy(envelope)
        for field in reader.personal:
            field.apply(envelope, self.transform.incoming)
        return envelope

    @staticmethod
    def _refuse(recorded: Recorded[Any], problem: str, cause: Exception | None) -> NoReturn:
        raise UndecodableEventError(
            event_type=recorded.type,
            stream=recorded.stream,
            version=recorded.version,
            position=recorded.position,
            problem=problem,
        ) from cause


def _checked(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return free_json_object(metadata)
    except ValueError:
        problem = "values of JSON only: text, finite numbers, booleans, null, lists and objects"
        raise InvalidEventError(
            reason="invalid-field", message=f"data.metadata: {problem}", field="data.metadata"
        ) from None


def _assemble(  # noqa: PLR0917 - on the hottest path
    event: NewEvent[DomainEvent],
    event_type: str,
    version: int,
    data: bytes,
    metadata: Mapping[str, Any],
) -> EncodedEvent:
    event_id, timestamp = str(event.event_id), to_text(event.timestamp)
    state = f'{{"v":{version},"id":"{event_id}","at":"{timestamp}","data":'.encode() + data
    # The seven facts of the context stand together in a NewEvent, in the order of CONTEXT_FIELDS.
    facts = event[_CONTEXT_FIRST:_CONTEXT_END]
    if facts != _NO_CONTEXT:
        known = zip(_CONTEXT_WIRE, facts, strict=True)
        state += b',"ctx":' + to_json({name: fact for name, fact in known if fact is not None})
    if metadata:
        state += b',"meta":' + to_json(dict(metadata))
    return EncodedEvent(event_id, event_type, timestamp, state + b"}")


def _default_codec(allow_unknown: bool) -> Codec:  # noqa: FBT001 - called by pickle, positionally
    return Codec(allow_unknown=allow_unknown)
