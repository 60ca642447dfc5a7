"""Engine: applies a page of the log to several projections of one database, in one transaction.

Each event counts once, however often it is delivered: rows and checkpoints are written together,
and an event at or below a projection's checkpoint is never applied again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from eventcore.errors import (
    CheckpointMovedError,
    ConfigurationError,
    EventCoreError,
    ProjectionFailedError,
)
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.anchors import Anchor, AnchorLog, anchor_at, anchor_of, check_log
from eventcore.projections.fold import Failure, Folded, PageFold
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.projections.transactions import Checkpoint, Transaction
from eventcore.projections.views import Views
from eventcore.stores.log import LogFilter, Page

_position_of = attrgetter("position")


class Applied(NamedTuple):
    """What came of a page.

    Attributes:
        events: Events of it that some projection had not applied before.
        moved: Another runner keeps one of the projections: nothing was written, the checkpoints
            were read again. Go on from :attr:`Engine.position`.
    """

    events: int
    moved: bool = False


@dataclass(slots=True)
class _Kept:
    """One projection as the engine keeps it."""

    projection: Projection
    plan: Plan
    fold: PageFold
    checkpoint: Checkpoint
    failure: ProjectionFailedError | None = None


class _PageFailedError(Exception):
    """``apply_page`` of a projection raised; the transaction is rolled back."""

    def __init__(self, kept: _Kept, cause: Exception) -> None:
        self.kept = kept
        self.cause = cause


class Engine:
    """Keeps projections in one database.

    Not for use by several threads at once; several engines, also in other processes, may keep the
    same projections: whoever is late drops its page and reads on.

    Args:
        views: Where the read models are.
        projections: Which; their names and their tables' names are unique among them.
        registry: Tells which class an event's stored name belongs to.
        log: Where the pages come from, so that it can be told from other logs
            (:meth:`check_log`); without it a checkpoint is only known by events of its pages.

    Raises:
        ConfigurationError: Two share a name or a table.
        SchemaMismatchError: A table exists with other columns, or is not this projection's.
    """

    def __init__(
        self,
        views: Views,
        projections: Iterable[Projection],
        registry: EventRegistry = default_registry,
        *,
        log: AnchorLog | None = None,
    ) -> None:
        self.views = views
        self._log = log
        self.projections = sorted(projections, key=lambda projection: projection.name)
        check_names(self.projections)
        self._kept = [self._keep(projection, registry) for projection in self.projections]
        self._raise_other_versions()

    def _keep(self, projection: Projection, registry: EventRegistry) -> _Kept:
        plan = Plan(projection, registry)
        kept = _Kept(projection, plan, PageFold(plan, self.views), self.views.ensure(projection))
        kept.fold.forget(empty=kept.checkpoint.position == 0)
        return kept

    def _raise_other_versions(self) -> None:
        for kept in self._kept:
            built, wanted = kept.checkpoint.version, kept.projection.version
            if built != wanted:
                raise ConfigurationError(
                    message=f"The rows of projection {kept.projection.name} in {self.views.name} "
                    f"were made by its version {built}, this code is version {wanted}. Rebuild it: "
                    f"eventcore projections rebuild {kept.projection.name}"
                )

    def check_log(self) -> None:
        """Refuse to go on with a log that the rows were not made from. Reads few rows.

        Raises:
            ViewsOfAnotherLogError: Say which projection, and why.
        """
        if self._log is None:
            return
        # Most stand at one place.
        seen: set[tuple[int, Anchor | None]] = set()
        for kept in self._kept:
            position, anchor = place = kept.checkpoint.position, kept.checkpoint.anchor
            if place not in seen:
                seen.add(place)
                check_log(
                    self._log,
                    projection=kept.projection.name,
                    database=self.views.name,
                    position=position,
                    anchor=anchor,
                )

    @property
    def position(self) -> int:
        """The lowest checkpoint of the projections that go on: where to read from."""
        return min((kept.checkpoint.position for kept in self._running()), default=0)

    @property
    def running(self) -> bool:
        """Whether any projection goes on."""
        return bool(self._running())

    @property
    def failures(self) -> list[ProjectionFailedError]:
        """Of each projection that stopped."""
        return [kept.failure for kept in self._kept if kept.failure is not None]

    @property
    def checkpoints(self) -> dict[str, Checkpoint]:
        """How far each projection is, as this engine knows."""
        return {kept.projection.name: kept.checkpoint for kept in self._kept}

    def where(self) -> LogFilter:
        """The events that projections which go on have handlers for."""
        types: frozenset[str] = frozenset()
        for kept in self._running():
            of_this = kept.plan.types()
            if of_this is None:
                return LogFilter()
            types |= of_this
        return LogFilter(types=types)

    def _running(self) -> list[_Kept]:
        return [kept for kept in self._kept if kept.failure is None]

    def apply(self, page: Page) -> Applied:
        """Apply a page, and note that everything up to its end was looked at.

        The page must reach from at or below :attr:`position` on without leaving out an event that a
        projection has a handler for. Events applied before, also within the page, are passed over.

        A projection that fails keeps what comes before the event at fault and is then left out; see
        :attr:`failures`. The others go on.

        Raises:
            StoreError: The database failed; nothing was written, the page may be applied again.
        """
        events = _in_order(page.events)
        while True:
            try:
                try:
                    return self._apply(events, page.end)
                except _PageFailedError as failed:
                    self._find_fault(failed, events)
            except CheckpointMovedError:
                self.reload()
                return Applied(0, moved=True)
            except BaseException:
                # What was folded is not written: the rows remembered are not those kept.
                self._forget()
                raise

    def _apply(self, events: Sequence[Recorded[Any]], end: int) -> Applied:
        pages = [
            (kept, _above(events, kept.checkpoint.position))
            for kept in self._running()
            if kept.checkpoint.position < end
        ]
        folded = [
            (kept, fresh, Folded([]) if kept.plan.by_page else kept.fold.fold(fresh))
            for kept, fresh in pages
        ]
        after = self._checkpoints_after(folded, events, end)
        if folded:
            with self.views.transaction() as transaction:
                for (kept, fresh, outcome), checkpoint in zip(folded, after, strict=True):
                    self._write(transaction, kept, outcome, events=fresh, after=checkpoint)
        for (kept, _, outcome), checkpoint in zip(folded, after, strict=True):
            kept.checkpoint = checkpoint
            kept.fold.committed()
            if outcome.failure is not None:
                kept.failure = _failure(kept.projection, outcome.failure)
        return Applied(max((len(fresh) for _, fresh, _ in folded), default=0))

    def _checkpoints_after(
        self,
        folded: Sequence[tuple[_Kept, Any, Folded]],
        events: Sequence[Recorded[Any]],
        end: int,
    ) -> list[Checkpoint]:
        reached = [_reached(outcome, end) for _, _, outcome in folded]
        anchors = {position: self._anchor_below(position, events) for position in set(reached)}
        return [
            _moved(kept.checkpoint, position, anchors[position])
            for (kept, _, _), position in zip(folded, reached, strict=True)
        ]

    def _anchor_below(self, position: int, events: Sequence[Recorded[Any]]) -> Anchor | None:
        """The last event at or below a position that is known of."""
        count = bisect_right(events, position, key=_position_of)
        last = events[count - 1] if count else None
        if (last is None or last.position < position) and self._log is not None:
            # A filter left it out of the page.
            found = anchor_at(self._log, position)
            if found is not None:
                return found
        return None if last is None else anchor_of(last)

    def _write(
        self,
        transaction: Transaction,
        kept: _Kept,
        outcome: Folded,
        *,
        events: Sequence[Recorded[Any]],
        after: Checkpoint,
    ) -> None:
        # The checkpoint first: if it moved, nothing else need be tried.
        transaction.advance(
            kept.projection.name, kept.checkpoint, after.position, anchor=after.anchor
        )
        for changes in outcome.changes:
            transaction.write(changes)
        if kept.plan.by_page and events:
            try:
                wanted = [event for event in events if kept.plan.steps_for(event.type)]
                kept.projection.apply_page(wanted, transaction)
            except EventCoreError:
                raise
            except Exception as error:
                raise _PageFailedError(kept, error) from error

    def _find_fault(self, failed: _PageFailedError, events: Sequence[Recorded[Any]]) -> None:
        """Apply to one projection event by event, up to the one it fails on."""
        self._forget()
        kept = failed.kept
        for event in _above(events, kept.checkpoint.position):
            after = _moved(kept.checkpoint, event.position, anchor_of(event))
            try:
                with self.views.transaction() as transaction:
                    self._write(transaction, kept, Folded([]), events=[event], after=after)
            except _PageFailedError as error:
                kept.failure = _failure(kept.projection, Failure(event, error.cause))
                return
            kept.checkpoint = after

    def reload(self) -> None:
        """Read the checkpoints again and drop what is remembered of the rows."""
        for kept in self._kept:
            kept.checkpoint = self.views.ensure(kept.projection)
            kept.fold.forget(empty=kept.checkpoint.position == 0)
        self._raise_other_versions()

    def _forget(self) -> None:
        for kept in self._kept:
            kept.fold.forget(empty=False)


def check_names(projections: Sequence[Projection]) -> None:
    """Refuse projections that would write over one another.

    Raises:
        ConfigurationError: Two share a name or a table.
    """
    owners: dict[str, str] = {}
    names: set[str] = set()
    for projection in projections:
        if projection.name in names:
            raise ConfigurationError(message=f"Two projections are named {projection.name}")
        names.add(projection.name)
        for table in projection.tables:
            other = owners.setdefault(table.name, projection.name)
            if other != projection.name:
                raise ConfigurationError(
                    message=f"Projections {other} and {projection.name} both keep a table "
                    f"{table.name}"
                )


def _in_order(events: Sequence[Recorded[Any]]) -> Sequence[Recorded[Any]]:
    """The events without those that come again."""
    positions = list(map(_position_of, events))
    if all(map(int.__lt__, positions, positions[1:])):
        return events
    highest = 0
    fresh = []
    for event in events:
        if event.position > highest:
            fresh.append(event)
            highest = event.position
    return fresh


def _above(events: Sequence[Recorded[Any]], position: int) -> Sequence[Recorded[Any]]:
    if not events or events[0].position > position:
        return events
    return events[bisect_right(events, position, key=_position_of) :]


def _moved(before: Checkpoint, position: int, anchor: Anchor | None) -> Checkpoint:
    """A checkpoint moved on; it stands on the old event if no later one is known."""
    return before._replace(position=position, anchor=anchor or before.anchor)


def _reached(outcome: Folded, end: int) -> int:
    return end if outcome.failure is None else outcome.failure.event.position - 1


def _failure(projection: Projection, failure: Failure) -> ProjectionFailedError:
    event, cause = failure
    error = ProjectionFailedError(
        projection=projection.name,
        position=event.position,
        event_type=event.type,
        stream=event.stream,
        # Other messages may hold a personal value; ours never do. The cause tells all.
        problem=str(cause) if isinstance(cause, EventCoreError) else type(cause).__name__,
    )
    error.__cause__ = cause
    return error
