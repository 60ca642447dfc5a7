"""Retrying: does what was parked, in order, on the rows as they are now; or decides that it is not.

The events are read and decoded anew, so that code which was mended meanwhile applies to them. Each
page of them is one transaction: rows, notes, and the projection's checkpoints, which stay in place
and are revised. Whoever keeps the projection notices, drops what it remembers and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from eventcore.errors import (
    CheckpointMovedError,
    ConfigurationError,
    StoreUnavailableError,
    ViewsOfAnotherLogError,
)
from eventcore.projections.anchors import anchor_of
from eventcore.projections.applying import Event
from eventcore.projections.careful import Blocked, fold_carefully, wants_of
from eventcore.projections.kept import all_shares, kept_of
from eventcore.projections.parking import (
    PARKED_UNITS_MAX,
    SKIPPED,
    UNITS,
    WORK,
    ParkingLot,
    SkippedRow,
    WorkRow,
    noted_as,
    unit_name,
)
from eventcore.projections.pieces import Piece, Pieces
from eventcore.projections.plan import Plan
from eventcore.projections.remembered import Remembered
from eventcore.projections.retry_notes import Notes
from eventcore.projections.transactions import Checkpoint, Transaction
from eventcore.projections.units import Unit, unit_of_text, unit_text
from eventcore.projections.views import Views
from eventcore.stores.log import Log, LogFilter

RETRIED_AT_ONCE: Final = 500
"""Events of one key in one transaction."""

ATTEMPTS_MAX: Final = 100
"""Of a page while a runner keeps moving the projection: an attempt takes milliseconds, and each
further one tries half as much."""

CLEARED_AT_ONCE: Final = 2_000
"""Notes that one transaction deletes."""

READ_AHEAD: Final = 64
"""Events read at once where parked ones lie close together."""


class Retried(NamedTuple):
    """What a retry came to.

    Attributes:
        events: Events that were applied, to all that waited for them.
        skipped: Events that were passed over.
        parked: Keys for which something is parked still.
    """

    events: int
    skipped: int
    parked: int


class Skip(NamedTuple):
    """A decision that the first event parked for a unit is not applied to it."""

    unit: Unit
    reason: str
    by: str | None


class RowsChangedError(Exception):
    """The handlers touch other rows than when the event was parked, and a part of it was done.

    Which part cannot be told any more: rebuild the projection.
    """


class Retry:
    """Retries parked work of one projection.

    Args:
        lot: Where it is noted.
        plan: The projection's handlers.
        log: Where the events are.
    """

    def __init__(self, lot: ParkingLot, plan: Plan, log: Log) -> None:
        self._lot = lot
        self._views = lot.views
        self._plan = plan
        self._log = log
        self._name = noted_as(lot.views, plan.projection.name)

    def run(self, units: Iterable[Unit] | None = None, skip: Skip | None = None) -> Retried:
        """Do what is parked, as far as it can be done.

        Args:
            units: For these, and for those that wait for the same events; None: for all.
            skip: A decision about the first event of one of them.

        Raises:
            ConfigurationError: Nothing is parked for one of them.
            StoreUnavailableError: A runner was faster every time; try again.
            ViewsOfAnotherLogError: The log has another event where one was parked.
        """
        wanted = self._wanted(units)
        if skip is not None and skip.unit not in wanted:
            wanted = self._wanted([skip.unit])
        failed: set[Unit] = set()
        events = skipped = 0
        while wanted:
            page = self._page(wanted[0], failed, skip)
            events += page.events
            skipped += page.skipped
            failed |= page.failed
            if page.decided:
                skip = None
            left = {unit_of_text(row.text) for row in self._lot.units(self._name)} - failed
            wanted = [unit for unit in wanted if unit in left]
        return Retried(events, skipped, len(self._lot.units(self._name)))

    def _wanted(self, units: Iterable[Unit] | None) -> list[Unit]:
        parked = {unit_of_text(row.text): row for row in self._lot.units(self._name)}
        if units is None:
            return sorted(parked, key=lambda unit: parked[unit].position)
        wanted = list(units)
        for unit in wanted:
            if unit not in parked:
                raise ConfigurationError(
                    message=f"Projection {self._plan.projection.name} has nothing parked for "
                    f"{unit_text(unit)}"
                )
        return wanted

    def _page(self, unit: Unit, failed: set[Unit], skip: Skip | None) -> _Done:
        size = RETRIED_AT_ONCE
        for _ in range(ATTEMPTS_MAX):
            page = _Page(self._lot, self._plan, self._log, size=size, failed=failed, skip=skip)
            try:
                return page.run(unit)
            except CheckpointMovedError:
                size = max(1, size // 2)
        problem = f"projection {self._plan.projection.name} kept moving while it was to be retried"
        raise StoreUnavailableError(store=self._views.name, problem=problem)


def standing_of(views: Views, plan: Plan) -> dict[str, Checkpoint]:
    """The checkpoints that move with a projection's rows, in the order in which pages move them."""
    _, groups = kept_of(views, plan, all_shares)
    return dict(sorted((name, one) for kept in groups for name, one in kept.checkpoints.items()))


def revise(transaction: Transaction, standing: Mapping[str, Checkpoint]) -> None:
    """Fence everybody who remembers rows as of these checkpoints."""
    for name, before in standing.items():
        transaction.advance(name, before, before.position, anchor=before.anchor, revise=True)


def clear_parked(lot: ParkingLot, plan: Plan) -> None:
    """Drop what is parked of a projection whose rows were set to the start; skips stay.

    If somebody has begun to make them again meanwhile, what is left stays: then its events are all
    parked behind it, and retrying it makes the same rows.
    """
    name = noted_as(lot.views, plan.projection.name)
    while units := lot.units(name)[:CLEARED_AT_ONCE]:
        standing = standing_of(lot.views, plan)
        if any(one.position for one in standing.values()):
            return
        work = [row for unit in units[:1] for row in lot.work(name, unit.unit, CLEARED_AT_ONCE)]
        try:
            with lot.views.transaction() as transaction:
                revise(transaction, standing)
                transaction.delete(WORK, list(map(WORK.key_of, work)))
                if len(work) < CLEARED_AT_ONCE:
                    transaction.delete(UNITS, [UNITS.key_of(units[0])])
        except CheckpointMovedError:
            continue


class _Done(NamedTuple):
    events: int
    skipped: int
    failed: set[Unit]
    decided: bool


class _Page:
    """One transaction of a retry."""

    def __init__(  # noqa: PLR0913 - what it is told, each once
        self,
        lot: ParkingLot,
        plan: Plan,
        log: Log,
        *,
        size: int,
        failed: set[Unit],
        skip: Skip | None,
    ) -> None:
        self._lot = lot
        self._views = lot.views
        self._plan = plan
        self._log = log
        self._size = size
        self._failed = failed
        self._skip = skip
        self._work: dict[tuple[int, Unit], WorkRow] = {}
        self._counts: dict[Unit, int | None] = {}
        self._tables = {
            name: Remembered(table, grouped=name in plan.grouped, complete=False)
            for name, table in plan.tables.items()
        }
        self._pieces = Pieces(plan, self._tables)

    def run(self, unit: Unit) -> _Done:
        # The checkpoints first: what is read after them is refused if they moved meanwhile.
        standing = standing_of(self._views, self._plan)
        self._parking = parking = self._lot.of(self._plan.projection)
        if unit not in parking.units:
            return _Done(0, 0, set(), decided=False)
        closure = self._gather(unit)
        skipped = [(unit_of_text(row.text), row.position) for row in self._lot.skipped(self._name)]
        events = self._events(sorted({position for position, _ in self._work}))
        taken = [(event, *self._pieces_of(event)) for event in events]
        decided = self._decide(taken)
        blocked = Blocked(
            (set(parking.units) - closure) | self._failed,
            [*skipped, *decided],
            units_max=PARKED_UNITS_MAX,
        )
        failure = fold_carefully(self._loaded(taken), blocked)
        if failure is not None:
            taken = [one for one in taken if one[0].position < failure.event.position]
        notes = Notes(
            parking,
            self._work,
            positions=[event.position for event, _, _ in taken],
            counts=self._counts,
        )
        notes.take(blocked.parked)
        with self._views.transaction() as transaction:
            revise(transaction, standing)
            for remembered in self._tables.values():
                changes = remembered.changes()
                if changes is not None:
                    transaction.write(changes)
            notes.write(transaction)
            if decided:
                transaction.upsert(SKIPPED, self._skipped_rows(decided))
        again = {unit for work in blocked.parked for unit in work.units}
        if failure is not None:
            again |= closure
        undone = {work.event.position for work in blocked.parked}
        passed_over = {position for _, position in decided} - undone
        return _Done(
            len(taken) - len(undone) - len(passed_over),
            len(passed_over),
            again,
            decided=bool(decided),
        )

    @property
    def _name(self) -> str:
        return noted_as(self._views, self._plan.projection.name)

    def _gather(self, unit: Unit) -> set[Unit]:
        """Have the first work parked for a unit here, and all that hangs together with it."""
        closure, waiting = {unit}, [unit]
        horizon: int | None = None
        while waiting:
            of_unit = waiting.pop()
            rows = self._lot.work(self._name, unit_name(of_unit), self._size)
            self._counts[of_unit] = len(rows) if len(rows) < self._size else None
            if len(rows) == self._size:
                last = rows[-1].position
                horizon = last if horizon is None else min(horizon, last)
            for row in rows:
                self._work[row.position, of_unit] = row
                others = {unit_of_text(text) for text in row.units} - closure - self._failed
                others &= self._parking.units.keys()
                closure |= others
                waiting += others
        if horizon is not None:
            self._work = {at: row for at, row in self._work.items() if at[0] <= horizon}
        self._add_failed()
        return closure

    def _add_failed(self) -> None:
        """Notes of the same events for units that failed already: they change with these."""
        missing = {
            (position, other)
            for (position, _), row in self._work.items()
            for text in row.units
            if (other := unit_of_text(text)) in self._failed
        }
        # The one that has all names may itself be among them.
        while missing:
            keys = [(self._name, unit_name(other), position) for position, other in missing]
            names = {unit_name(other): other for _, other in missing}
            rows = self._views.load_rows(WORK, keys)
            self._work.update({(row.position, names[row.unit]): row for row in rows})
            missing = {
                (row.position, other)
                for row in rows
                for text in row.units
                if (other := unit_of_text(text)) in self._failed
                and (row.position, other) not in self._work
            }

    def _events(self, positions: Sequence[int]) -> list[Event]:
        """The events at these positions, as the log has them now."""
        found: dict[int, Event] = {}
        wanted = set(positions)
        for position in positions:
            if position not in found:
                page = self._log.read_page(position - 1, READ_AHEAD, LogFilter())
                found.update((one.position, one) for one in page.events if one.position in wanted)
            self._check_event(position, found.get(position))
        return [found[position] for position in positions]

    def _check_event(self, position: int, event: Event | None) -> None:
        noted = next(row for (at, _), row in self._work.items() if at == position)
        if event is None or anchor_of(event).event != noted.event_id:
            raise ViewsOfAnotherLogError(
                projection=self._plan.projection.name,
                database=self._views.name,
                position=position,
                problem=f"the event at position {position} is another",
            )

    def _pieces_of(self, event: Event) -> tuple[list[Piece], int]:
        """What of an event is not done, and how many pieces it has if that is all of it."""
        pieces = self._pieces.of(event)
        rows = {unit: row for (at, unit), row in self._work.items() if at == event.position}
        if all(row.whole for row in rows.values()):
            return pieces, len(pieces)
        left = [piece for piece in pieces if not rows.keys().isdisjoint(piece.units)]
        touched = {unit for piece in left for unit in piece.units}
        cause = next((piece.cause for piece in pieces if piece.cause is not None), None)
        if cause is None and rows.keys() <= touched:
            return left, -1
        unknown = cause or RowsChangedError()
        return [Piece(event, tuple(rows), (), unknown)], -1

    def _decide(
        self, taken: Sequence[tuple[Event, Sequence[Piece], int]]
    ) -> list[tuple[Unit, int]]:
        """The units and the position that the decision is about."""
        if self._skip is None:
            return []
        unit = self._skip.unit
        position = min((at for at, of_unit in self._work if of_unit == unit), default=None)
        if position is None:
            return []  # a later page has it: first comes what hangs together with it
        pieces = next(pieces for event, pieces, _ in taken if event.position == position)
        units = next((piece.units for piece in pieces if unit in piece.units), None)
        if units is None:
            units = tuple(of_unit for at, of_unit in self._work if at == position)
        return [(one, position) for one in units]

    def _skipped_rows(self, decided: Sequence[tuple[Unit, int]]) -> list[SkippedRow]:
        assert self._skip is not None
        rows = []
        for unit, position in decided:
            row = self._work.get((position, unit)) or self._work[position, self._skip.unit]
            rows.append(
                SkippedRow(
                    self._name,
                    unit_name(unit),
                    position,
                    unit_text(unit),
                    row.event_id,
                    row.event_type,
                    row.stream,
                    row.version,
                    row.attempts,
                    row.error,
                    row.message,
                    self._skip.reason,
                    self._skip.by,
                    self._parking.now(),
                )
            )
        return rows

    def _loaded(
        self, taken: Sequence[tuple[Event, list[Piece], int]]
    ) -> Sequence[tuple[Event, list[Piece], int]]:
        for _, pieces, _ in taken:
            for remembered, key in wants_of(pieces):
                remembered.wanted.append(key)
        for remembered in self._tables.values():
            remembered.load(self._views)
        return taken
