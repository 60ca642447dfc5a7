"""Statuses: how each projection is, against the head of the log and what holds its feed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from eventcore.errors import StoreError
from eventcore.events.recorded import Recorded
from eventcore.projections.anchors import other_log
from eventcore.projections.generation_records import generations_of
from eventcore.projections.health import Check, Lagging, check_projections
from eventcore.projections.projection import Projection
from eventcore.projections.repairs import Repairs
from eventcore.projections.shares import reached
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.views import Views
from eventcore.stores.holders import FeedWatch, Holder, lasting_holders
from eventcore.stores.log import Log, LogFilter, store_of

HELD_SECONDS_MIN: Final = 1.0
"""Age from which a transaction that holds the feed is worth a word; most take milliseconds."""


class GenerationStatus(NamedTuple):
    """One generation of a projection's rows.

    Attributes:
        generation: Its number; 1 before anything was rebuilt.
        state: ``live``; ``building`` beside it, perhaps by a rebuild that was broken off; ``old``:
            kept to go back to; ``dropping``.
        position: How far it is.
    """

    generation: int
    state: Literal["building", "live", "old", "dropping"]
    position: int


class ProjectionStatus(NamedTuple):
    """How one projection is.

    Attributes:
        projection: Its name.
        position: Its checkpoint; 0 if it was never run.
        head: Position of the newest event of the log.
        lag_events: Positions between the two.
        lag_seconds: Age of the oldest event not yet applied; 0.0 at the head; None if no time was
            given.
        rows: Rows of its tables, together.
        problem: Why its rows cannot have been made from this log; None if they may have been. The
            lag is then all of the log.
        parked: Keys whose events wait since one of them failed: their rows are behind.
        parked_events: How many events wait, counted once for each key.
        held_by: If it is behind: transactions that have kept followers waiting for a second or
            longer, because they may still write below the head.
        generations: Of its rows, by number; only the live one if none is kept beside; none if it
            was never run.
    """

    projection: str
    position: int
    head: int
    lag_events: int
    lag_seconds: float | None
    rows: int
    problem: str | None = None
    held_by: tuple[Holder, ...] = ()
    parked: int = 0
    parked_events: int = 0
    generations: tuple[GenerationStatus, ...] = ()

    @property
    def generation(self) -> int | None:
        """Number of the live one; None if it was never run."""
        live = (one.generation for one in self.generations if one.state == "live")
        return next(live, None)


def statuses_of(
    log: Log,
    views: Views,
    projections: Sequence[Projection],
    *,
    repairs: Repairs,
    now: datetime | None,
) -> list[ProjectionStatus]:
    """How each projection is, see :meth:`eventcore.projections.runner.ProjectionRunner.status`."""
    checkpoints = [reached(views, projection.name) for projection in projections]
    # Later than the checkpoints, which never are beyond it then.
    head = log.head()
    against = _Against(log, views, repairs, head, now)
    found = [
        against.status(projection, checkpoint)
        for projection, checkpoint in zip(projections, checkpoints, strict=True)
    ]
    store = store_of(log)
    if not isinstance(store, FeedWatch) or not any(one.lag_events for one in found):
        return found
    held_by = tuple(lasting_holders(store, HELD_SECONDS_MIN))
    return [one._replace(held_by=held_by) if one.lag_events else one for one in found]


class _Against(NamedTuple):
    """What projections are looked at against: one head, one time."""

    log: Log
    views: Views
    repairs: Repairs
    head: int
    now: datetime | None

    def status(self, projection: Projection, found: Checkpoint | None) -> ProjectionStatus:
        checkpoint = found or _NOWHERE
        position = checkpoint.position
        problem = other_log(self.log, position, checkpoint.anchor)
        applied = 0 if problem else position
        lag_seconds: float | None = 0.0
        if applied < self.head:
            lag_seconds = None
            oldest = self._first_after(applied)
            if self.now is not None and oldest:
                lag_seconds = max(0.0, (self.now - oldest[0].timestamp).total_seconds())
        parked = self.repairs.parked(projection)
        return ProjectionStatus(
            projection=projection.name,
            position=position,
            head=self.head,
            lag_events=max(0, self.head - applied),
            lag_seconds=lag_seconds,
            rows=sum(self.views.count(table) for table in projection.tables),
            problem=problem,
            parked=len(parked),
            parked_events=sum(one.events for one in parked),
            generations=_generations(self.views, projection, found),
        )

    def _first_after(self, position: int) -> list[Recorded[Any]]:
        if not isinstance(store_of(self.log), FeedWatch):
            return self.log.read_page(position, 1, LogFilter()).events
        # A page would be waited for as long as something holds the feed.
        with self.log.subscribe(position) as subscription:
            page = subscription.next_page(0)
        return page.events[:1] if page else []


def _generations(
    views: Views, projection: Projection, live: Checkpoint | None
) -> tuple[GenerationStatus, ...]:
    known = generations_of(views, projection.name)
    found = []
    if live is not None:
        number = next((row.generation for row in known if row.state == "live"), 1)
        found.append(GenerationStatus(number, "live", live.position))
    for row in known:
        if row.state != "live":
            kept = reached(views, row.name)
            position = 0 if kept is None else kept.position
            found.append(GenerationStatus(row.generation, row.state, position))
    return tuple(sorted(found))


def check_statuses(look: Callable[[], Sequence[ProjectionStatus]], lag_seconds_max: float) -> Check:
    """Each projection against the head; databases that cannot be reached are a problem too.

    Args:
        look: Gives the statuses, as of now.
        lag_seconds_max: See :func:`eventcore.projections.health.check_projections`.
    """
    try:
        found = [
            Lagging(one.projection, one.lag_events, one.lag_seconds, one.problem, one.parked)
            for one in look()
        ]
        return check_projections(found, lag_seconds_max)
    except StoreError as error:
        return Check("projections", ok=False, problems=(str(error),))


def measured(found: Sequence[ProjectionStatus]) -> Iterator[tuple[str, str, float]]:
    """Statuses as metrics: the name of one, the projection, the value."""
    for one in found:
        yield "gap.events", one.projection, one.lag_events
        if one.lag_seconds is not None:
            yield "gap.seconds", one.projection, one.lag_seconds
        yield "parked", one.projection, one.parked
        yield "held", one.projection, len(one.held_by)


_NOWHERE: Final = Checkpoint(position=0, version=1, revision=1)
