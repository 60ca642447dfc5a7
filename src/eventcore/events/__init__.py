"""What a fact is: event classes, metadata, bytes, names, and how they change over time."""

from eventcore.events.cloudevents import from_cloudevent, to_cloudevent
from eventcore.events.codec import Codec, FieldTransform, GenericEvent
from eventcore.events.context import EventContext, current_context, event_context
from eventcore.events.event import (
    DomainEvent,
    EventDeclaration,
    EventMetadata,
    Payload,
    PayloadModel,
    stream_of,
    upcast,
)
from eventcore.events.fields import CurrencyCode, Id, JsonObject, JsonValue, Money, Personal, Text
from eventcore.events.recorded import EncodedEvent, NewEvent, Recorded
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.events.wire import from_wire, to_wire

__all__ = [
    "Codec",
    "CurrencyCode",
    "DomainEvent",
    "EncodedEvent",
    "EventContext",
    "EventDeclaration",
    "EventMetadata",
    "EventRegistry",
    "FieldTransform",
    "GenericEvent",
    "Id",
    "JsonObject",
    "JsonValue",
    "Money",
    "NewEvent",
    "Payload",
    "PayloadModel",
    "Personal",
    "Recorded",
    "Text",
    "current_context",
    "default_registry",
    "event_context",
    "from_cloudevent",
    "from_wire",
    "stream_of",
    "to_cloudevent",
    "to_wire",
    "upcast",
]
