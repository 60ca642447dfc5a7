"""What other systems told us."""

from __future__ import annotations

from eventcore.events.event import DomainEvent, EventMetadata
from eventcore.events.fields import Id, JsonObject, Note


class WebhookMetadata(EventMetadata):
    """How a call came in. ``processing_time`` in milliseconds."""

    headers: JsonObject | None = None
    signature: Note | None = None
    processing_time: float | None = None


class WebhookReceived(
    DomainEvent,
    type="integration.webhook.received",
    category="webhook",
    key="source",
    group="integration",
    metadata=WebhookMetadata,
):
    """Another system called, with this content."""

    webhook_id: Id
    source: Id
    payload: JsonObject
