"""Engine: applies a page of the log to several projections of one database, in one transaction.

Each event counts once, however often it is delivered: rows and checkpoints are written together,
and an event at or below a projection's checkpoint is never applied again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from eventcore.errors import (
    CheckpointMovedError,
    ConfigurationError,
    EventCoreError,
    ProjectionFailedError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.anchors import Anchor, AnchorLog, anchor_at, anchor_of, check_log
from eventcore.projections.careful import Failure
from eventcore.projections.definitions import check_definition
from eventcore.projections.fold import Folded
from eventcore.projections.kept import Held, Kept, all_shares, joined, kept_of
from eventcore.projections.parking import (
    PARKED_UNITS_MAX,
    Clock,
    ParkingLot,
    UnitRow,
)
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.projections.stopping import failure_of
from eventcore.projections.transactions import Checkpoint, Transaction
from eventcore.projections.units import Unit
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


class _PageFailedError(Exception):
    """``apply_page`` of a projection raised; the transaction is rolled back."""

    def __init__(self, kept: Kept, cause: Exception) -> None:
        self.kept = kept
        self.cause = cause


class _UnparkableError(Exception):
    """There is nowhere to note what failed; nothing is written."""


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
        held: Which shares of a projection to keep if it is split; all of them by default.
        clock: Gives the time, aware: what is parked is noted with it; nothing depends on it.

    Raises:
        ConfigurationError: Two share a name or a table.
        SchemaMismatchError: A table exists with other columns, or is not this projection's.
        DefinitionChangedError: Its rows were made by another definition of it.
    """

    def __init__(  # noqa: PLR0913 - each a keyword with a default
        self,
        views: Views,
        projections: Iterable[Projection],
        registry: EventRegistry = default_registry,
        *,
        log: AnchorLog | None = None,
        held: Held | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.views = views
        self._lot = ParkingLot(views, clock)
        self._unparkable: EventCoreError | None = None
        self._log = log
        self._held = held or all_shares
        self.projections = sorted(projections, key=lambda projection: projection.name)
        check_names(self.projections)
        is_alone = len(self.projections) == 1
        self._plans = [Plan(one, registry, is_alone=is_alone) for one in self.projections]
        self._kept: list[Kept] = []
        self.reload()

    def reload(self) -> None:
        """Read the checkpoints again and drop what is remembered of the rows."""
        failures = {kept.projection.name: kept.failure for kept in self._kept if kept.failure}
        found = [kept_of(self.views, plan, self._held) for plan in self._plans]
        for plan, (whole, _) in zip(self._plans, found, strict=True):
            fingerprint = self.views.fingerprint(plan.projection.name)
            check_definition(plan.projection, whole, fingerprint, database=self.views.name)
        self._kept = [kept for _, groups in found for kept in groups]
        for kept in self._kept:
            kept.failure = failures.get(kept.projection.name)
        self._load_parked()

    def _load_parked(self) -> None:
        """Have what is parked of each projection here, as of its checkpoints."""
        for kept in self._kept:
            if kept.parking is None:
                kept.parking = self._lot.of(kept.projection, units_max=self._units_max)
                kept.fold.block(kept.parking.blocked)

    @property
    def _units_max(self) -> int:
        return PARKED_UNITS_MAX if self._unparkable is None else 0

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
        return min((kept.position for kept in self._running()), default=0)

    @property
    def running(self) -> bool:
        """Whether any projection goes on."""
        return bool(self._running())

    @property
    def failures(self) -> list[ProjectionFailedError]:
        """Of each projection that stopped."""
        found = {kept.projection.name: kept.failure for kept in self._kept if kept.failure}
        return list(found.values())

    @property
    def parked(self) -> dict[str, dict[Unit, UnitRow]]:
        """What is parked of each projection, as this engine knows."""
        found: dict[str, dict[Unit, UnitRow]] = {}
        for kept in self._kept:
            if kept.parking is not None:
                found.setdefault(kept.projection.name, {}).update(kept.parking.units)
        return found

    @property
    def transient(self) -> dict[tuple[str, Unit], UnitRow]:
        """What is parked and may well be done if it is retried, by projection and unit."""
        return {
            (kept.projection.name, unit): row
            for kept in self._kept
            if kept.parking is not None
            for unit, row in kept.parking.transient.items()
        }

    @property
    def checkpoints(self) -> dict[str, Checkpoint]:
        """How far each projection is, as this engine knows; of shares, the lowest it keeps."""
        found: dict[str, Checkpoint] = {}
        for kept in self._kept:
            before = found.get(kept.projection.name)
            if before is None or kept.position < before.position:
                found[kept.projection.name] = kept.checkpoint
        return found

    @property
    def checkpoint_names(self) -> list[str]:
        """Of all that it keeps, in the order in which a page moves them."""
        return [name for kept in self._kept for name in kept.checkpoints]

    def where(self) -> LogFilter:
        """The events that projections which go on have handlers for."""
        types: frozenset[str] = frozenset()
        for kept in self._running():
            of_this = kept.plan.types()
            if of_this is None:
                return LogFilter()
            types |= of_this
        return LogFilter(types=types)

    def _running(self) -> list[Kept]:
        return [kept for kept in self._kept if kept.failure is None]

    def apply(self, page: Page) -> Applied:
        """Apply a page, and note that everything up to its end was looked at.

        The page must reach from at or below :attr:`position` on without leaving out an event that a
        projection has a handler for. Events applied before, also within the page, are passed over.

        Work that fails is parked with all that follows for the rows it would have changed; see
        :mod:`eventcore.projections.parking`. A projection of which nothing can be parked (for it
        takes pages, or too much is parked) keeps what comes before the event at fault and is then
        left out; see :attr:`failures`. The others go on.

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
                except _UnparkableError:
                    self._forget()
            except CheckpointMovedError:
                self.reload()
                return Applied(0, moved=True)
            except BaseException:
                # What was folded is not written: the rows remembered are not those kept.
                self._forget()
                raise

    def _apply(self, events: Sequence[Recorded[Any]], end: int) -> Applied:
        folded = [
            (kept, fresh, Folded([]) if kept.plan.by_page else kept.fold.fold(fresh))
            for kept, fresh in self._fresh(events, end)
        ]
        if any(outcome.parked for _, _, outcome in folded):
            self._prepare_to_park()
        reached = self._reached(folded, events, end)
        if folded:
            self._commit(folded, reached)
        for (kept, _, outcome), place in zip(folded, reached, strict=True):
            kept.move(*place)
            kept.fold.committed(kept.position)
            if kept.parking is not None:
                kept.parking.committed()
            if outcome.failure is not None:
                self._stop(kept, outcome.failure)
        if len(self._kept) > len(self._plans):
            self._kept = joined(self.views, self._kept)
            self._load_parked()
        return Applied(max((len(fresh) for _, fresh, _ in folded), default=0))

    def _fresh(
        self, events: Sequence[Recorded[Any]], end: int
    ) -> list[tuple[Kept, Sequence[Recorded[Any]]]]:
        """What each group has not applied yet; those that keep the same look for it once."""
        found: dict[Any, Sequence[Recorded[Any]]] = {}
        pages = []
        for kept in self._running():
            if kept.position < end:
                same = (kept.position, kept.divides_streams and kept.shares)
                if same not in found:
                    found[same] = kept.own(_above(events, kept.position))
                pages.append((kept, found[same]))
        return pages

    def _commit(
        self,
        folded: Sequence[tuple[Kept, Sequence[Recorded[Any]], Folded]],
        reached: Sequence[tuple[int, Anchor | None]],
    ) -> None:
        with self.views.transaction() as transaction:
            # All checkpoints first: if one moved, nothing else need be tried; and two who
            # write the same rows meet here, before they hold any.
            for (kept, _, _), place in zip(folded, reached, strict=True):
                _advance(transaction, kept, place)
            for kept, fresh, outcome in folded:
                self._write(transaction, kept, outcome, events=fresh)

    def _prepare_to_park(self) -> None:
        try:
            self._lot.ensure()
        except StoreUnavailableError:
            raise  # it is tried again
        except (ConfigurationError, StoreError) as error:
            # Not allowed to make tables. Then a projection stops where its events fail.
            self._unparkable = error
            for kept in self._kept:
                kept.parking = None
            self._load_parked()
            raise _UnparkableError from error

    def _reached(
        self,
        folded: Sequence[tuple[Kept, Any, Folded]],
        events: Sequence[Recorded[Any]],
        end: int,
    ) -> list[tuple[int, Anchor | None]]:
        """Where each goes, and the event it then stands on."""
        reached = [_reached(outcome, end) for _, _, outcome in folded]
        anchors = {position: self._anchor_below(position, events) for position in set(reached)}
        return [(position, anchors[position]) for position in reached]

    def _stop(self, kept: Kept, failure: Failure) -> None:
        """Go no further with a projection: with none of its shares."""
        parked = 0 if kept.parking is None else len(kept.parking.units)
        error = failure_of(kept.projection, failure, unparkable=self._unparkable, parked=parked)
        for one in self._kept:
            if one.projection is kept.projection:
                one.failure = error

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
        kept: Kept,
        outcome: Folded,
        *,
        events: Sequence[Recorded[Any]],
    ) -> None:
        for changes in outcome.changes:
            transaction.write(changes)
        if outcome.parked and kept.parking is not None:
            for changes in kept.parking.changes(outcome.parked):
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
        for event in kept.own(_above(events, kept.position)):
            place = event.position, anchor_of(event)
            try:
                with self.views.transaction() as transaction:
                    _advance(transaction, kept, place)
                    self._write(transaction, kept, Folded([]), events=[event])
            except _PageFailedError as error:
                self._stop(kept, Failure(event, error.cause))
                return
            kept.move(*place)

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


def _advance(transaction: Transaction, kept: Kept, place: tuple[int, Anchor | None]) -> None:
    """Move its checkpoints on; they stand on the old event if no later one is known."""
    position, anchor = place
    for name, before in kept.checkpoints.items():
        transaction.advance(name, before, position, anchor=anchor or before.anchor)


def _reached(outcome: Folded, end: int) -> int:
    return end if outcome.failure is None else outcome.failure.event.position - 1
