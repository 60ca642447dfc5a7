"""Envelopes: what surrounds a payload when it is recorded: id, time, and the running context."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from eventcore.errors import ConfigurationError, InvalidEventError
from eventcore.events.context import EMPTY_CONTEXT, EventContext, current_context, enrich
from eventcore.events.event import DomainEvent
from eventcore.events.places import place_of
from eventcore.events.recorded import NewEvent


class Envelopes:
    """Makes new events of payloads.

    Args:
        now: The time, aware.
        new_id: A new id each time.
        defaults: Source, environment and region where the context says nothing.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        defaults: EventContext = EMPTY_CONTEXT,
    ) -> None:
        self._now = now
        self._new_id = new_id
        self._defaults = defaults

    def wrap(
        self,
        payload: DomainEvent,
        *,
        event_id: UUID | None = None,
        causation_id: str | None = None,
    ) -> NewEvent[DomainEvent]:
        """Put the running context around a payload.

        Args:
            payload: The domain event.
            event_id: Its id, else a new one.
            causation_id: What made it happen, where the context does not say.

        Raises:
            ConfigurationError: The context's environment is not the one the application runs in.
            InvalidEventError: The context's metadata do not fit those that the event declares.
        """
        context, defaults = current_context(), self._defaults
        if (
            context.environment is not None
            and defaults.environment is not None
            and context.environment != defaults.environment
        ):
            raise ConfigurationError(
                message=(
                    f"This application runs in {defaults.environment}, the event is of "
                    f"{context.environment}. Open the store of that environment, or set "
                    "EVENTCORE_ENVIRONMENT"
                )
            )
        return enrich(
            NewEvent(
                payload=payload,
                event_id=event_id or self._new_id(),
                timestamp=self._now(),
                source=context.source or defaults.source,
                correlation_id=context.correlation_id,
                causation_id=context.causation_id or causation_id,
                user_id=context.user_id,
                session_id=context.session_id,
                environment=context.environment or defaults.environment,
                region=context.region or defaults.region,
                metadata=_checked_metadata(payload, dict(context.metadata)),
            )
        )


def _checked_metadata(payload: DomainEvent, metadata: dict[str, Any]) -> dict[str, Any]:
    declared = payload.__event__.metadata
    if metadata and declared is not None:
        try:
            declared.model_validate(metadata)
        except ValidationError as error:
            field = place_of(error.errors(include_input=False)[0]["loc"])
            raise InvalidEventError(
                reason="invalid-field",
                message=f"metadata {field} does not fit {payload.__event__.type}",
                field=f"data.metadata.{field}",
            ) from error
    return metadata
