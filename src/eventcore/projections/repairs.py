"""Repairs: what is parked is shown, retried or passed over, as a person or a program asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from eventcore.errors import ConfigurationError
from eventcore.events.registry import EventRegistry
from eventcore.projections.columns import StoredValue
from eventcore.projections.parking import Clock, ParkingLot, SkippedRow, UnitRow, noted_as
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.projections.retrying import Retried, Retry, Skip, clear_parked
from eventcore.projections.units import Unit, unit_of_text
from eventcore.projections.views import Views
from eventcore.stores.log import Log


class ParkedKey(NamedTuple):
    """A key of a read model whose events wait.

    Attributes:
        projection: Which read model.
        table: Its table; empty for a stream of which it cannot be told what its events touch.
        key: Stored values of the row's key, or of the group; the name of a stream.
        position: Of the first event that waits, or below.
        event_type: Of that event.
        events: How many wait.
        since: When the first was parked; None if who parked it was not told the time.
        attempts: How often the first was tried.
        error: Class of what it last failed with; None if it waits for the work on another key.
        message: What that said, if it is known to hold no personal value.
        transient: Whether that may go by itself: runners retry it.
    """

    projection: str
    table: str
    key: tuple[StoredValue, ...]
    position: int
    event_type: str
    events: int
    since: datetime | None
    attempts: int
    error: str | None
    message: str | None
    transient: bool

    @property
    def unit(self) -> Unit:
        """What it is called inside."""
        return Unit(self.table, self.key)

    @property
    def key_text(self) -> str:
        """The key as a person types it: the bare value, or a JSON list of several."""
        return key_text(self.key)


class SkippedEvent(NamedTuple):
    """An event that is not applied to a key, because somebody said so.

    Attributes:
        projection, table, key: As in :class:`ParkedKey`.
        position, event_id, event_type, stream, version: Which event.
        attempts, error, message: How often it was tried, and what it failed with.
        reason, by, at: Why, who said so and when, if that was told.
    """

    projection: str
    table: str
    key: tuple[StoredValue, ...]
    position: int
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

    @property
    def key_text(self) -> str:
        """The key as a person types it: the bare value, or a JSON list of several."""
        return key_text(self.key)


def key_text(key: Sequence[StoredValue]) -> str:
    """A key as a person types it: the bare value, or a JSON list of several."""
    return str(key[0]) if len(key) == 1 else orjson.dumps(list(key)).decode()


class Repairs:
    """Looks after what is parked in one database.

    Args:
        log: Where the events are.
        views: The database.
        registry: Tells which class an event's stored name belongs to.
        clock: Gives the time, if known.
    """

    def __init__(
        self, log: Log, views: Views, *, registry: EventRegistry, clock: Clock | None
    ) -> None:
        self._log = log
        self._views = views
        self._registry = registry
        self._lot = ParkingLot(views, clock)

    def parked(self, projection: Projection) -> list[ParkedKey]:
        """What is parked of a projection, by the position of the first event of each key."""
        rows = self._lot.units(noted_as(self._views, projection.name))
        return sorted((_parked_key(projection, row) for row in rows), key=_position_of)

    def skipped(self, projection: Projection) -> list[SkippedEvent]:
        """What was ever decided to be passed over, by position."""
        rows = self._lot.skipped(noted_as(self._views, projection.name))
        return sorted((_skipped_event(projection, row) for row in rows), key=_position_of)

    def retry(self, projection: Projection, units: Iterable[Unit] | None = None) -> Retried:
        """See :meth:`eventcore.projections.runner.ProjectionRunner.retry`."""
        return self._retry(projection).run(units)

    def retry_if_parked(self, projection: Projection, units: Iterable[Unit]) -> Retried:
        """The same for those of the units for which something is parked still."""
        parked = {one.unit for one in self.parked(projection)}
        return self.retry(projection, [unit for unit in units if unit in parked])

    def skip(self, projection: Projection, unit: Unit, *, reason: str, by: str | None) -> Retried:
        """See :meth:`eventcore.projections.runner.ProjectionRunner.skip`."""
        if not reason.strip():
            raise ConfigurationError(message="Say why the event is to be skipped")
        return self._retry(projection).run([unit], Skip(unit, reason, by))

    def clear(self, projection: Projection) -> None:
        """Drop what is parked of a projection whose rows were set to the start; skips stay."""
        clear_parked(self._lot, Plan(projection, self._registry))

    def find(self, projection: Projection, key: Any, table: str | None = None) -> list[Unit]:
        """The parked units that a person means.

        Args:
            projection: Of which read model.
            key: The value, or several; or as :func:`key_text` writes them.
            table: Of which of its tables; empty for a stream; None if that is clear.

        Raises:
            ConfigurationError: None is parked under this key.
        """
        wanted = list(key) if isinstance(key, tuple | list) else [key]
        found = [
            one.unit
            for one in self.parked(projection)
            if (list(one.key) == wanted or one.key_text == str(key))
            and (table is None or one.table == table)
        ]
        if not found:
            raise ConfigurationError(
                message=f"Projection {projection.name} has nothing parked under that key: see "
                f"eventcore projections parked {projection.name}"
            )
        return found

    def _retry(self, projection: Projection) -> Retry:
        return Retry(self._lot, Plan(projection, self._registry), self._log)


def _position_of(one: ParkedKey | SkippedEvent) -> tuple[int, str, str]:
    return one.position, one.table, key_text(one.key)


def _parked_key(projection: Projection, row: UnitRow) -> ParkedKey:
    unit = unit_of_text(row.text)
    return ParkedKey(
        projection.name,
        unit.table,
        unit.key,
        row.position,
        row.event_type,
        row.events,
        row.since,
        row.attempts,
        row.error,
        row.message,
        row.transient,
    )


def _skipped_event(projection: Projection, row: SkippedRow) -> SkippedEvent:
    unit = unit_of_text(row.text)
    return SkippedEvent(
        projection.name,
        unit.table,
        unit.key,
        row.position,
        row.event_id,
        row.event_type,
        row.stream,
        row.version,
        row.attempts,
        row.error,
        row.message,
        row.reason,
        row.by,
        row.at,
    )
