"""What surrounds an event: who, in which request, because of what. Carried along as code runs.

::

    with event_context(correlation_id="req-42", user_id="u-1"):
        app.execute(PayOrder(...))      # every event recorded in here carries both
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from eventcore.errors import InvalidEventError
from eventcore.events.event import DomainEvent
from eventcore.events.recorded import NewEvent

CONTEXT_FIELDS: Final = (
    ("source", "eventSource"),
    ("correlation_id", "correlationId"),
    ("causation_id", "causationId"),
    ("user_id", "userId"),
    ("session_id", "sessionId"),
    ("environment", "environment"),
    ("region", "region"),
)
"""Attributes of the context and how the wire spells them."""

E = TypeVar("E", bound=DomainEvent)

_FACT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContext:
    """Facts about how an event came to be; every one of them optional, never an empty string.

    Attributes:
        source: Name of the producer.
        correlation_id: Groups everything that one request or case set off.
        causation_id: Id of the event or command that made this one happen.
        user_id: Who acted.
        session_id: In which session.
        environment: e.g. ``production``.
        region: e.g. ``eu-west-1``.
        metadata: Transport facts that no fold uses (ip address, user agent, …), wire spelling.
    """

    source: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    environment: str | None = None
    region: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the wire form could not carry.

        Raises:
            InvalidEventError: A fact is not text of 1 to 128 characters without control characters.
        """
        for name, wire_name in CONTEXT_FIELDS:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and _FACT.fullmatch(value)):
                raise InvalidEventError(
                    reason="invalid-field",
                    message=f"{wire_name}: text of 1 to 128 characters, none a control character",
                    field=wire_name,
                )


EMPTY_CONTEXT = EventContext()
_current: ContextVar[EventContext] = ContextVar("eventcore_event_context", default=EMPTY_CONTEXT)


def current_context() -> EventContext:
    """The context that events recorded now will carry."""
    return _current.get()


@contextmanager
def event_context(
    *, metadata: Mapping[str, Any] | None = None, **facts: str | None
) -> Iterator[EventContext]:
    """Add facts to the context for a ``with`` block; inner blocks win over outer ones."""
    outer = _current.get()
    merged = {**outer.metadata, **(metadata or {})}
    inner = replace(outer, metadata=merged, **facts)
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)


def enrich(event: NewEvent[E]) -> NewEvent[E]:
    """Fill in the user and the session of an event from its payload, where they are not given.

    The same for commands and imports, so that a log reads the same however its events came in.
    """
    payload = event.payload
    user_id, session_id = event.user_id, event.session_id
    # Asking a model for an attribute it does not have is slow: its fields are asked instead.
    fields = type(payload).__pydantic_fields__
    if user_id is None and "user_id" in fields:
        user_id = payload.user_id  # type: ignore[attr-defined]  # it has that field
    if session_id is None and "session_id" in fields:
        session_id = payload.session_id  # type: ignore[attr-defined]  # likewise
    if user_id is event.user_id and session_id is event.session_id:
        return event
    return event._replace(user_id=user_id, session_id=session_id)
