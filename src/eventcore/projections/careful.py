"""Careful folding: piece by piece, each checked as it is done, so that it is known what is wrong.

What fails leaves its rows as they were and is *parked*, and with it all later work on those rows: a
row is at any time what the first so many of its events made of it, never what a selection made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, localcontext
from typing import Any, Final, NamedTuple

from eventcore.projections.applying import Event
from eventcore.projections.pieces import Piece
from eventcore.projections.remembered import Remembered
from eventcore.projections.units import Unit, stream_unit

EXACT: Final = Context(prec=80)
"""How handlers calculate, whatever the calling thread is set to: sums of money are exact."""


class Failure(NamedTuple):
    """The first event of a page that a projection could neither apply nor park, and why."""

    event: Event
    cause: Exception


class ParkedWork(NamedTuple):
    """A piece of an event's work that was not done.

    Attributes:
        event: Whose.
        units: What it would have changed. None of them changes any more until it is done.
        cause: Why it failed; None if it waits behind what is parked for one of the units.
        whole: Nothing else of the event was done either.
    """

    event: Event
    units: tuple[Unit, ...]
    cause: Exception | None
    whole: bool


class TooManyUnitsError(Exception):
    """Work cannot be parked, for it would be for more units than allowed."""


class Blocked:
    """The units whose events wait, the work that is to be passed over, and what a page adds.

    Args:
        units: For which something is parked.
        skipped: Units and positions: of this event nothing is done that touches the unit.
        units_max: For more than so many nothing is parked.

    Attributes:
        units: As given, and those added.
        parked: What was parked since the last page was kept.
    """

    def __init__(
        self,
        units: Iterable[Unit] = (),
        skipped: Iterable[tuple[Unit, int]] = (),
        *,
        units_max: int = 0,
    ) -> None:
        self.units = set(units)
        self.parked: list[ParkedWork] = []
        self._skipped = frozenset(skipped)
        self._units_max = units_max
        self._added: list[Unit] = []

    def __bool__(self) -> bool:
        return bool(self.units or self._skipped)

    def skips(self, piece: Piece) -> bool:
        """Whether this work is to be passed over."""
        if not self._skipped:
            return False
        event = piece.event
        units = (stream_unit(event.stream), *piece.units)
        return any((unit, event.position) in self._skipped for unit in units)

    def holds(self, piece: Piece) -> bool:
        """Whether this work is to wait."""
        units = self.units
        return stream_unit(piece.event.stream) in units or not units.isdisjoint(piece.units)

    def park(self, pieces: Sequence[tuple[Piece, Exception | None]], *, whole: bool) -> None:
        """Park pieces of one event.

        Args:
            pieces: With why they failed.
            whole: Nothing else of the event was done.

        Raises:
            TooManyUnitsError: Nothing is parked.
        """
        added, parked = len(self._added), len(self.parked)
        for piece, cause in pieces:
            units, stream = piece.units, stream_unit(piece.event.stream)
            if stream in self.units:
                units = tuple(dict.fromkeys((stream, *units)))
            fresh = [unit for unit in units if unit not in self.units]
            self.units.update(fresh)
            self._added += fresh
            self.parked.append(ParkedWork(piece.event, units, cause, whole))
        if len(self._added) > added and len(self.units) > self._units_max:
            self._restore_to(added)
            del self.parked[parked:]
            raise TooManyUnitsError

    def restore(self) -> None:
        """Take back what was parked since the last page was kept."""
        self._restore_to(0)
        self.parked.clear()

    def _restore_to(self, mark: int) -> None:
        self.units.difference_update(self._added[mark:])
        del self._added[mark:]

    def committed(self, position: int) -> bool:
        """What was parked is kept now; gives whether anything is to be done otherwise from now on.

        Args:
            position: No event at or below it comes again.
        """
        changed = bool(self.parked)
        self._added.clear()
        self.parked.clear()
        if self._skipped and all(skipped <= position for _, skipped in self._skipped):
            self._skipped = frozenset()
            changed = True
        return changed


def fold_carefully(
    taken: Iterable[tuple[Event, Sequence[Piece], int]], blocked: Blocked
) -> Failure | None:
    """Do the work of events in order, or park it; the rows are loaded already.

    Args:
        taken: Events, the pieces to do, and how many pieces each has altogether.
        blocked: Says what is to wait, and gets what is parked.

    Returns:
        The event whose work could not be parked either. Nothing of it is done, nor of later ones.
    """
    with localcontext(EXACT):
        for event, pieces, total in taken:
            before = _Before(pieces)
            parked: list[tuple[Piece, Exception | None]] = []
            for piece in pieces:
                if blocked.skips(piece):
                    continue
                if blocked.holds(piece):
                    parked.append((piece, None))
                    continue
                cause = piece.cause or _try(piece)
                if cause is not None:
                    parked.append((piece, cause))
            if not parked:
                continue
            try:
                blocked.park(parked, whole=len(parked) == total)
            except TooManyUnitsError as error:
                before.restore()
                causes = [cause for _, cause in parked if cause is not None]
                return Failure(event, causes[0] if causes else error)
    return None


def wants_of(pieces: Iterable[Piece]) -> Iterator[tuple[Remembered, Any]]:
    """The rows that pieces need."""
    return (want for piece in pieces for job in piece.jobs for want in job.wants)


def _try(piece: Piece) -> Exception | None:
    """Do a piece of work; if that fails the rows are as before, and this says why."""
    before = _Before((piece,))
    try:
        for job in piece.jobs:
            job.apply(piece.event, job.key)
        before.check()
    except Exception as error:  # noqa: BLE001 - a handler is anybody's code
        before.restore()
        return error
    return None


class _Before:
    """The rows that pieces may change, as they were."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._rows = [
            (remembered, key, remembered.rows.get(key)) for remembered, key in wants_of(pieces)
        ]
        appends = {
            id(job.appends): job.appends
            for piece in pieces
            for job in piece.jobs
            if job.appends is not None
        }
        self._appended = [(remembered, len(remembered.appended)) for remembered in appends.values()]

    def restore(self) -> None:
        for remembered, key, row in self._rows:
            remembered.rows[key] = row
        for remembered, count in self._appended:
            del remembered.appended[count:]

    def check(self) -> None:
        """Refuse at once what would be refused when the page is written."""
        for remembered, key, _ in self._rows:
            remembered.check(key)
        for remembered, count in self._appended:
            remembered.table.encode(remembered.appended[count:])
