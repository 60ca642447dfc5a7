"""Replaying: whole read models as of a position or a time, from any log into any views.

The very projections that runners keep fold the events up to a cut. Rows and checkpoint are written
together, page by page, so that a replay that is killed and repeated goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple, TypedDict

from eventcore.events.garbage import collector_paused
from eventcore.projections.building import HELD_PAUSE_SECONDS
from eventcore.projections.engine import Engine, check_names
from eventcore.projections.following import PAGE_EVENTS_MIN, next_size
from eventcore.projections.parking import Clock, ParkingLot
from eventcore.projections.projection import Projection
from eventcore.projections.views import Views
from eventcore.replay.cuts import Admission, Cut, cut_of
from eventcore.replay.targets import Target, as_replayed
from eventcore.stores.log import Log

OnReplayed = Callable[[int, int], None]
"""Called as it goes on, with the position reached and the position of the end."""


class Replayed(NamedTuple):
    """What came of a replay.

    Attributes:
        until: What the rows are: ``position 1234``, or a time.
        position: No event above it is in them.
        events: Events applied by this call; 0 if all had been done before.
        resumed: It went on with one that was begun before.
        parked: Keys whose events wait since one of them failed, as in any read model.
        together: Names of projections that were made as a whole, in one process.
        apart: Names of those that were made in shares.
    """

    until: str
    position: int
    events: int
    resumed: bool
    parked: int
    together: tuple[str, ...]
    apart: tuple[str, ...] = ()


class ReplayOptions(TypedDict, total=False):
    """What :func:`replay` takes besides the log, the read models and their target."""

    until: int | datetime | None
    on_progress: OnReplayed | None


def replay(  # noqa: PLR0913 - each a keyword with a default but the first three
    log: Log,
    projections: Iterable[Projection],
    into: Views,
    *,
    until: int | datetime | None = None,
    clock: Clock | None = None,
    on_progress: OnReplayed | None = None,
) -> Replayed:
    """Make read models as of a position or a time.

    Repeated after it was killed it goes on where it was; repeated after that it does nothing. Where
    a time is asked for, what is appended after the first call counts no more, whenever it happened.

    Args:
        log: Where the events are.
        projections: Which read models.
        into: Where the rows go: views of the past alone, or those of other replays.
        until: A position, or an aware time (see :mod:`eventcore.replay.cuts`); None: everything
            there is.
        clock: Gives the time, aware, to note when something failed; nothing depends on it.
        on_progress: See :data:`OnReplayed`.

    Raises:
        ReplayRefusedError: The target holds something else. Nothing was changed.
        ConfigurationError: There is no such position yet, or the time cannot be read.
        SchemaMismatchError: A table of the name is somebody else's. Nothing was changed.
        ProjectionFailedError: A handler raised, and its event cannot be parked.
        StoreError: The log or the views failed; do it again.
    """
    chosen = list(projections)
    check_names(chosen)
    target = Target(into, log, chosen)
    cut = cut_of(until, log.head())
    rows = target.begin(cut, cut.label if until is not None else "the head", {})
    tell = on_progress or _ignore_progress
    events = 0
    # Usually one: projections that were begun together end at one place.
    for cut in dict.fromkeys(row.cut for row in rows):
        of_cut = [one for one, row in zip(chosen, rows, strict=True) if row.cut == cut]
        renamed = [as_replayed(one) for one in of_cut]
        events += _Pages(log, into, renamed, cut=cut, clock=clock).run(tell)
    lot = ParkingLot(into, None)
    return Replayed(
        until=rows[0].until if rows else cut.label,
        position=max((row.position for row in rows), default=cut.position),
        events=events,
        resumed=target.resumed,
        parked=sum(len(lot.units(as_replayed(one).name)) for one in chosen),
        together=tuple(one.name for one in chosen),
    )


class _Pages:
    """Replays page by page, each page of rows in one transaction with the checkpoints."""

    def __init__(
        self,
        log: Log,
        views: Views,
        projections: Iterable[Projection],
        *,
        cut: Cut,
        clock: Clock | None,
    ) -> None:
        self._log = log
        self._cut = cut
        self._views = views
        self._admission: Admission = cut.admission()
        registry = log.codec.registry
        self._engine = Engine(views, projections, registry, log=log, clock=clock)
        self._size = PAGE_EVENTS_MIN

    def run(self, on_progress: OnReplayed) -> int:
        """Go to the end; gives how many events were applied."""
        engine, end = self._engine, self._cut.position
        engine.check_log()
        events = 0
        with self._views.catching_up():
            while engine.running and engine.position < end:
                before = engine.position
                with collector_paused():
                    events += self._apply_page()
                if engine.failures:
                    raise engine.failures[0]
                on_progress(engine.position, end)
                if engine.position == before:
                    # The feed waits for a writer below the end.
                    time.sleep(HELD_PAUSE_SECONDS)
        return events

    def _apply_page(self) -> int:
        engine = self._engine
        after = engine.position
        if self._cut.time is None:
            page = self._log.read_page(after, self._size, engine.where())
        else:
            # Every event of a stream may be the one that ends it, whether anybody handles it.
            if self._admission.position > after:
                self._admission = self._cut.admission()
            self._admission.skip_to(self._log, after)
            page = self._log.read_page(after, self._size)
        self._size = next_size(self._size, page)
        applied = engine.apply(self._admission.page(page))
        return applied.events


def _ignore_progress(position: int, end: int) -> None:
    """Nobody looks."""
