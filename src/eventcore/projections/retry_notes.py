"""Notes of what is parked, as a retry changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eventcore.projections.careful import ParkedWork
from eventcore.projections.parking import UNITS, WORK, Parking, UnitRow, WorkRow, by_event
from eventcore.projections.transactions import Transaction
from eventcore.projections.units import Unit


class Notes:
    """How the notes change with a page.

    Args:
        parking: What is parked.
        work: The notes that are looked at, by position and unit.
        positions: The events that were tried.
        counts: The units whose first work that was, and how many events are parked for each; None
            if that was not seen to the end.
    """

    def __init__(
        self,
        parking: Parking,
        work: Mapping[tuple[int, Unit], WorkRow],
        *,
        positions: Sequence[int],
        counts: Mapping[Unit, int | None],
    ) -> None:
        self._parking = parking
        self._counts = counts
        self._tried = set(positions)
        self._before = {at: row for at, row in work.items() if at[0] in self._tried}
        self._after: dict[tuple[int, Unit], WorkRow] = {}
        self._causes: dict[Unit, Exception | None] = {}
        self._firsts: dict[Unit, WorkRow] = {}

    def take(self, parked: Sequence[ParkedWork]) -> None:
        """Note what could not be done this time either."""
        now = self._parking.now()
        for units in by_event(parked):
            for unit, work in units.items():
                row = self._parking.work_row(work, list(units), unit, now=now)
                before = self._before.get((row.position, unit))
                if before is not None:
                    row = _tried_again(before, row)
                self._after[row.position, unit] = row
                if unit not in self._firsts:
                    self._firsts[unit], self._causes[unit] = row, work.cause

    def write(self, transaction: Transaction) -> None:
        """Write what changes."""
        done = [row for at, row in self._before.items() if at not in self._after]
        changed = [row for at, row in self._after.items() if self._before.get(at) != row]
        transaction.delete(WORK, list(map(WORK.key_of, done)))
        transaction.upsert(WORK, changed)
        units = {unit for _, unit in (*self._before, *self._after)} | self._counts.keys()
        rows = {unit: self._unit_row(unit) for unit in units}
        gone = [unit for unit, row in rows.items() if row is None]
        transaction.delete(UNITS, [UNITS.key_of(self._parking.units[unit]) for unit in gone])
        transaction.upsert(UNITS, [row for row in rows.values() if row is not None])

    def _unit_row(self, unit: Unit) -> UnitRow | None:
        known = self._parking.units.get(unit)
        before = sum(of_unit == unit for _, of_unit in self._before)
        after = sum(of_unit == unit for _, of_unit in self._after)
        counted = self._counts.get(unit)
        if counted is None:
            counted = known.events if known else 0
        events = counted - before + after
        if events <= 0:
            return None
        first = self._firsts.get(unit)
        if known is not None and unit not in self._counts:
            behind = first is None or first.position > known.position
            if behind:  # what it fails with comes before
                return known._replace(events=events)
        if first is not None:
            row = self._parking.unit_row(unit, first, events=events, cause=self._causes[unit])
            return row if known is None else _still(known, row)
        assert known is not None
        # Those that were looked at are done; further ones wait for the next page.
        return known._replace(
            position=max(
                (at for at, of_unit in self._before if of_unit == unit), default=known.position
            ),
            events=events,
            attempts=0,
            error=None,
            message=None,
            transient=False,
        )


def _tried_again(before: WorkRow, now: WorkRow) -> WorkRow:
    if now.error is None:  # it waits behind another, and says what it said
        return before._replace(units=now.units, whole=now.whole)
    return now._replace(at=before.at, attempts=before.attempts + 1)


def _still(before: UnitRow, now: UnitRow) -> UnitRow:
    """A unit that is parked still; the time since when is that of its first event then."""
    same = now.position == before.position and now.error == before.error
    return now._replace(transient=before.transient) if same else now
