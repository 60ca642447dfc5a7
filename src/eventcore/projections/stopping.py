"""Stopping: what is said of a projection that goes no further."""

from __future__ import annotations

from eventcore.errors import EventCoreError, ProjectionFailedError
from eventcore.projections.careful import Failure
from eventcore.projections.parking import PARKED_UNITS_MAX, told
from eventcore.projections.projection import Projection


def failure_of(
    projection: Projection,
    failure: Failure,
    *,
    unparkable: EventCoreError | None,
    parked: int,
) -> ProjectionFailedError:
    """The error of a projection that could neither apply an event nor park it.

    Args:
        projection: Which.
        failure: The event, and why.
        unparkable: Why nothing can be parked in this database, if so.
        parked: For how many units something is parked.
    """
    event, cause = failure
    kind, message = told(cause)
    error = ProjectionFailedError(
        projection=projection.name,
        position=event.position,
        event_type=event.type,
        stream=event.stream,
        # The cause tells all.
        problem=(message or kind) + _why_not_parked(projection, unparkable, parked),
    )
    error.__cause__ = cause
    return error


def _why_not_parked(projection: Projection, unparkable: EventCoreError | None, parked: int) -> str:
    if projection.takes_pages():
        return ""
    if unparkable is not None:
        return f" (it cannot be parked: {unparkable})"
    if parked >= PARKED_UNITS_MAX:
        return (
            f" ({parked:,} keys are parked already, which is the most: see eventcore projections "
            f"parked {projection.name})"
        )
    return ""
