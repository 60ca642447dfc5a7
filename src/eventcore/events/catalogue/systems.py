"""How the services are doing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eventcore.events.event import DomainEvent, EventMetadata
from eventcore.events.fields import Id, Note, Text


class HealthCheckMetadata(EventMetadata):
    """Which instance was asked."""

    instance_id: Note | None = None
    region: Note | None = None
    availability_zone: Note | None = None


class SystemHealthCheck(
    DomainEvent,
    type="system.health.check",
    category="system",
    key="service_name",
    group="system",
    metadata=HealthCheckMetadata,
):
    """A service was asked how it is. ``response_time`` in milliseconds."""

    service_name: Id
    status: Text
    response_time: Annotated[float, Field(ge=0)]
    error_count: Annotated[int, Field(ge=0, lt=2**63)]
