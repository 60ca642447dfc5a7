"""Parking: what failed is set aside with all that follows for it, so that everything else goes on.

What is parked is noted in tables of the library's own, in the transaction that moves the projection
past it. The notes say which event (by its position: the log keeps it), for which unit and why; they
hold nothing of its content. Retrying reads and decodes the event anew.

========================== ====================================================================
table                      one row for
========================== ====================================================================
``eventcore_parked_units`` each unit for which something is parked: since when, how many, why
``eventcore_parked``       each event and unit: work that is not done
``eventcore_skipped``      each event and unit of which somebody decided that it is never done
========================== ====================================================================

A projection's parked work belongs to its rows: it changes only together with its checkpoints, like
they do. Who remembers it is safe for the same reason as who remembers rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from eventcore.errors import EventCoreError, StoreUnavailableError
from eventcore.projections.anchors import anchor_of
from eventcore.projections.careful import Blocked, ParkedWork
from eventcore.projections.projection import Projection
from eventcore.projections.tables import Table
from eventcore.projections.transactions import TableChanges, Transaction
from eventcore.projections.units import Unit, unit_of_text, unit_text
from eventcore.projections.views import Views

PARKED_UNITS_MAX: Final = 10_000
"""Units of one projection that may be parked: beyond that not an event but the code is wrong, and
the projection stops instead. All of them are remembered by whoever keeps it."""

UNIT_NAME_MAX: Final = 200
"""Characters of a unit's name in keys; longer ones end in a digest. Databases bound their keys."""

TRANSIENT_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, StoreUnavailableError)
"""What may well go by itself, ``TimeoutError`` included."""

Clock = Callable[[], datetime]
"""Gives the time, aware."""


class UnitRow(NamedTuple):
    """A unit for which something is parked.

    Attributes:
        projection: Whose.
        unit: Its name in keys.
        text: All of it, as :func:`~eventcore.projections.units.unit_text` writes it.
        position: Of the first event parked for it, or below.
        event_type: Of that event.
        events: How many are parked for it.
        since: When the first was; None if who parked it was not told the time.
        attempts: How often the first was tried.
        error: Class of what it last failed with; None if it waits for the work on another unit.
        message: What that said, if it is known to hold no personal value.
        transient: Whether that may go by itself.
    """

    projection: str
    unit: str
    text: str
    position: int
    event_type: str
    events: int
    since: datetime | None
    attempts: int
    error: str | None
    message: str | None
    transient: bool


class WorkRow(NamedTuple):
    """An event that is parked for a unit.

    Attributes:
        projection, unit: As in :class:`UnitRow`.
        position: Of the event.
        event_id, event_type, stream, version: What the log says of it.
        units: Texts of units for which the same event is parked: of all, or of one that has all.
        whole: Nothing of the event was done by this projection.
        at: When it was parked; None if that was not told.
        attempts: How often it was tried: 0 if it waits behind another.
        error, message: As in :class:`UnitRow`.
    """

    projection: str
    unit: str
    position: int
    event_id: str
    event_type: str
    stream: str
    version: int
    units: list[Any]
    whole: bool
    at: datetime | None
    attempts: int
    error: str | None
    message: str | None


class SkippedRow(NamedTuple):
    """An event that is never applied to a unit, because somebody said so.

    Attributes:
        projection, unit, text: As in :class:`UnitRow`.
        position, event_id, event_type, stream, version, attempts, error, message: As in
            :class:`WorkRow`.
        reason: Why it is passed over.
        by: Who said so; None if that was not told.
        at: When; None if that was not told.
    """

    projection: str
    unit: str
    position: int
    text: str
    event_id: str
    event_type: str
    stream: str
    version: int
    attempts: int
    error: str | None
    message: str | None
    reason: str
    by: str | None
    at: datetime | None


UNITS: Final = Table(
    "eventcore_parked_units", UnitRow, key=["projection", "unit"], internal=True
)  # fmt: skip
WORK: Final = Table(
    "eventcore_parked",
    WorkRow,
    key=["projection", "unit", "position"],
    group=["projection", "unit"],
    internal=True,
)
SKIPPED: Final = Table(
    "eventcore_skipped", SkippedRow, key=["projection", "unit", "position"], internal=True
)


class ParkingTables(Projection):
    """Keeps the tables; no event ever changes them."""

    name = "eventcore_parking"
    tables = (UNITS, WORK, SKIPPED)


def unit_name(unit: Unit) -> str:
    """A unit's name in keys."""
    text = unit_text(unit)
    if len(text) <= UNIT_NAME_MAX:
        return text
    return f"{text[:UNIT_NAME_MAX]}#{blake2b(text.encode(), digest_size=16).hexdigest()}"


def noted_as(views: Views, projection: str) -> str:
    """The name under which a projection's parked work is noted: a generation has one of its own."""
    noted: Callable[[str], str] | None = getattr(views, "noted_as", None)
    return projection if noted is None else noted(projection)


def told(error: Exception) -> tuple[str, str | None]:
    """What may be said of an error: its class, and its message if that is one of ours."""
    # Other messages may hold a personal value; ours never do.
    message = str(error) if isinstance(error, EventCoreError) else None
    return type(error).__name__, message


def is_transient(projection: Projection, error: Exception) -> bool:
    """Whether an error may well go by itself."""
    return isinstance(error, (*TRANSIENT_ERRORS, *projection.transient_errors))


def by_event(parked: Iterable[ParkedWork]) -> Iterator[dict[Unit, ParkedWork]]:
    """Of each event, the units it is parked for, with the work on each; what failed goes first."""
    events: dict[int, dict[Unit, ParkedWork]] = {}
    for work in parked:
        units = events.setdefault(work.event.position, {})
        for unit in work.units:
            if unit not in units or units[unit].cause is None:
                units[unit] = work
    yield from events.values()


class Parking:
    """What is parked of one projection, as its keeper remembers it.

    Args:
        projection: Which.
        name: Under which its work is noted.
        clock: Gives the time, if known.
        units: What is parked.
        skipped: Units and positions that are passed over.
        units_max: For how many units something may be parked.

    Attributes:
        units: The rows of units for which something is parked.
        blocked: What a fold needs to know of it.
        transient: Those of the units whose first work failed in a way that may go by itself.
    """

    def __init__(  # noqa: PLR0913 - what it begins with, each a keyword
        self,
        projection: Projection,
        name: str,
        clock: Clock | None,
        *,
        units: Iterable[UnitRow] = (),
        skipped: Iterable[tuple[Unit, int]] = (),
        units_max: int = PARKED_UNITS_MAX,
    ) -> None:
        self._projection = projection
        self._name = name
        self._clock = clock
        self.units = {unit_of_text(row.text): row for row in units}
        self.blocked = Blocked(self.units, skipped, units_max=units_max)
        self.transient = {unit: row for unit, row in self.units.items() if row.transient}
        self._next: dict[Unit, UnitRow] = {}

    def now(self) -> datetime | None:
        """The time, if known."""
        return None if self._clock is None else self._clock()

    def changes(self, parked: Sequence[ParkedWork]) -> list[TableChanges]:
        """What notes further work as parked; :meth:`committed` once that is kept."""
        self._next = {}
        work: list[WorkRow] = []
        now = self.now()
        for units in by_event(parked):
            for unit, of_unit in units.items():
                before = self._next.get(unit) or self.units.get(unit)
                row = self.work_row(of_unit, list(units), unit, now=now)
                work.append(row)
                self._next[unit] = (
                    before._replace(events=before.events + 1)
                    if before is not None
                    else self.unit_row(unit, row, events=1, cause=of_unit.cause)
                )
        return [
            TableChanges(UNITS, UNITS.encode(list(self._next.values())), ()),
            TableChanges(WORK, WORK.encode(work), ()),
        ]

    def committed(self) -> None:
        """What was noted last is kept now."""
        self.units.update(self._next)
        self.transient.update((unit, row) for unit, row in self._next.items() if row.transient)
        self._next = {}

    def work_row(
        self, work: ParkedWork, units: Sequence[Unit], unit: Unit, *, now: datetime | None
    ) -> WorkRow:
        """Notes an event as parked for one of its units."""
        event, cause = work.event, work.cause
        error, message = told(cause) if cause is not None else (None, None)
        return WorkRow(
            self._name,
            unit_name(unit),
            event.position,
            anchor_of(event).event,
            event.type,
            event.stream,
            event.version,
            # One has them all: a thousand rows with a thousand names each would be a million.
            list(map(unit_text, units if unit == units[0] else units[:1])),
            work.whole,
            now,
            attempts=0 if cause is None else 1,
            error=error,
            message=message,
        )

    def unit_row(
        self, unit: Unit, first: WorkRow, *, events: int, cause: Exception | None
    ) -> UnitRow:
        """Notes a unit as parked, from the first event that is parked for it."""
        return UnitRow(
            self._name,
            unit_name(unit),
            unit_text(unit),
            first.position,
            first.event_type,
            events,
            first.at,
            first.attempts,
            first.error,
            first.message,
            transient=cause is not None and is_transient(self._projection, cause),
        )


class ParkingLot:
    """Reads and makes the notes of what is parked in one database.

    Args:
        views: The database.
        clock: Gives the time, if known.
    """

    def __init__(self, views: Views, clock: Clock | None) -> None:
        self.views = views
        self.clock = clock
        self._is_there = False

    def ensure(self) -> None:
        """Make the tables if they are absent.

        Raises:
            ConfigurationError: They are, and these views are to create nothing.
        """
        if not self._is_there:
            self.views.ensure(ParkingTables())
            self._is_there = True

    def is_there(self) -> bool:
        """Whether anything was ever parked."""
        if not self._is_there:
            self._is_there = self.views.checkpoint(ParkingTables.name) is not None
        return self._is_there

    def of(self, projection: Projection, *, units_max: int = PARKED_UNITS_MAX) -> Parking:
        """What is parked of a projection, for so many units at most."""
        name = noted_as(self.views, projection.name)
        return Parking(
            projection,
            name,
            self.clock,
            units=self.units(name),
            skipped=[(unit_of_text(row.text), row.position) for row in self.skipped(name)],
            units_max=units_max,
        )

    def units(self, name: str) -> list[UnitRow]:
        """The units for which something is parked."""
        return list(self.views.query(UNITS, {"projection": name})) if self.is_there() else []

    def work(self, name: str, unit: str, limit: int | None = None) -> list[WorkRow]:
        """The first events that are parked for a unit, in order."""
        if not self.is_there():
            return []
        return list(self.views.query(WORK, {"projection": name, "unit": unit}, limit))

    def skipped(self, name: str) -> list[SkippedRow]:
        """What was ever decided to be passed over."""
        return list(self.views.query(SKIPPED, {"projection": name})) if self.is_there() else []

    def rename(self, transaction: Transaction, before: str, after: str) -> None:
        """Note under another name what is parked, as its rows take another name.

        In the transaction that does so. Nothing may be parked under the new name.
        """
        for row in self.units(before):
            work = self.work(before, row.unit)
            transaction.delete(WORK, list(map(WORK.key_of, work)))
            transaction.upsert(WORK, [one._replace(projection=after) for one in work])
            transaction.delete(UNITS, [UNITS.key_of(row)])
            transaction.upsert(UNITS, [row._replace(projection=after)])

    def copy_skips(self, of: str, to: str) -> int:
        """Let another generation pass over the same events; gives how many notes there are."""
        rows = [row._replace(projection=to) for row in self.skipped(of)]
        if rows:
            with self.views.transaction() as transaction:
                transaction.upsert(SKIPPED, rows)
        return len(rows)
