"""Rebuilds: a read model is made again beside the live one, compared with it, and takes its place.

While that lasts the live one is read and kept as ever. Everything that is decided is one
transaction: whatever is killed, the next call goes on where the last one was.

1. *Build* the next generation up to where the live one is.
2. *Compare* the two at one position, row by row.
3. *Swap*: the new one goes on to the head, then takes the live one's names, never to go back in
   position. The live one is set aside, to :meth:`Rebuild.roll_back` to, until it is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NamedTuple

from eventcore.errors import (
    CheckpointMovedError,
    ConfigurationError,
    ReadModelsDifferError,
    StoreUnavailableError,
)
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.anchors import other_log
from eventcore.projections.building import Builder
from eventcore.projections.comparing import Comparison
from eventcore.projections.definitions import is_other_definition
from eventcore.projections.generation_records import (
    GenerationRow,
    ensure_records,
    generations_of,
    note,
)
from eventcore.projections.generations import GenerationViews, generation_table
from eventcore.projections.matching import DISTURB_EVERY, Matcher, disturb, too_busy
from eventcore.projections.ownership import check_own
from eventcore.projections.parking import ParkingLot, UnitRow
from eventcore.projections.projection import Projection
from eventcore.projections.standings import Standing, standing_of
from eventcore.projections.swapping import Swap, drop, finish_dropping, prepare, swap
from eventcore.projections.views import Views
from eventcore.stores.log import Log

SWAP_SECONDS_MAX: Final = 120.0
"""How long a swap is tried that readers or writers are in the way of."""

SWAP_PAUSE_SECONDS: Final = 0.2

UNINDEXED_POSITION_MAX: Final = 1_000_000
"""Up to there rows are written first and indexed after: half the work of writing them. It bounds
how long making an index keeps other writers of an SQLite file waiting (0.3 s for 240,000 rows)."""

OnProgress = Callable[[str, int, int], None]
"""Called with what is done (``building``, ``comparing``, ``swapping``), the position, its end."""


class Rebuilt(NamedTuple):
    """What came of a rebuild.

    Attributes:
        events: Events applied to the new generation by this call.
        position: Where it was when it became live.
        generation: Its number.
        resumed: It went on with a generation that was half built.
        comparison: With the one it replaced; None if there was nothing to compare.
        same_definition: The replaced rows were made by the same definition.
        parked: Keys in it whose events wait since one of them failed.
    """

    events: int
    position: int
    generation: int
    resumed: bool
    comparison: Comparison | None
    same_definition: bool
    parked: int = 0


class RolledBack(NamedTuple):
    """What came of going back.

    Attributes:
        generation: Number of the one that is live now.
        position: Where it is.
        position_before: Where the one was that was live before.
        same_definition: This code made its rows; else code of its time has to go on with it.
    """

    generation: int
    position: int
    position_before: int
    same_definition: bool


class Rebuild:
    """Rebuilds one projection.

    Args:
        log: Where the events are.
        views: Where the read models are.
        projection: Which.
        registry: Tells which class an event's stored name belongs to.
        on_progress: See :data:`OnProgress`.
    """

    def __init__(
        self,
        log: Log,
        views: Views,
        projection: Projection,
        *,
        registry: EventRegistry = default_registry,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._log = log
        self._views = views
        self._projection = projection
        self._name = projection.name
        self._registry = registry
        self._on_progress = on_progress or _ignore_progress
        self._phase = "building"
        self._target = 0

    def run(self, now: datetime | None, *, accept_differences: bool = False) -> Rebuilt:
        """Build, compare, swap.

        Args:
            now: The time, aware: rows whose time to live has passed by then are not missed; None:
                no row of a table with a time to live is.
            accept_differences: Swap also if rows differ that the same definition made.

        Raises:
            ReadModelsDifferError: Rows differ that the same definition made, or events fail that
                did not in the live one. Nothing was replaced; the new rows are kept beside.
            ProjectionFailedError: A handler raised; the live rows are as they were.
            ConfigurationError: It cannot be made beside the live one; the message says why.
            SchemaMismatchError: A table of the name is somebody else's, or something of the
                application is bound to a live one.
            StoreUnavailableError: The database is away or too busy; call it again.
        """
        if self._projection.beside:
            raise ConfigurationError(
                message=f"Projection {self._name} changes tables of another one, which cannot be "
                "made beside the live rows: rebuild it with --in-place"
            )
        self._check_own()
        row, resumed = self._begin()
        ParkingLot(self._views, None).copy_skips(self._name, row.name)
        views = GenerationViews(self._views, self._projection, row.generation)
        builder = self._builder(views)
        self._target = self._first_target()
        builder.to(min(self._target, UNINDEXED_POSITION_MAX))
        views.index(self._projection)
        builder.to(self._target)
        same = self._is_same(self._name)
        self._phase = "comparing"
        comparison = self._compare(builder, views, now)
        problem = self._problem(row, comparison if same else None)
        if problem and not accept_differences:
            raise ReadModelsDifferError(
                projection=self._name, problem=problem, comparison=comparison
            )
        self._swap(builder, row)
        finish_dropping(self._views, self._name)
        return Rebuilt(
            builder.events,
            builder.position,
            row.generation,
            resumed,
            comparison,
            same,
            len(ParkingLot(self._views, None).units(self._name)),
        )

    def _problem(self, row: GenerationRow, comparison: Comparison | None) -> str | None:
        """What a person has to look at before the new rows take the live ones' place."""
        if comparison is not None and not comparison.same:
            return f"the same definition made other rows: {comparison.in_words()}"
        lot = ParkingLot(self._views, None)
        known = {one.unit for one in lot.units(self._name)}
        parked = [one for one in lot.units(row.name) if one.unit not in known]
        if not parked:
            return None
        first = min(parked, key=_position_of)
        return (
            f"the events of {len(parked):,} keys fail in it, the first at position "
            f"{first.position} ({first.event_type}: {first.error})"
        )

    def _check_own(self) -> None:
        """Refuse to take a name that is a table's of somebody else."""
        own = set(self._views.tables_of(self._name))
        with self._views.snapshot() as snapshot:
            for table in self._projection.tables:
                found = snapshot.columns(table)
                if found and table.name not in own:
                    check_own(
                        self._projection, table, database=self._views.name, found=found, made=None
                    )

    def _builder(self, views: Views) -> Builder:
        return Builder(
            self._log,
            views,
            self._projection,
            registry=self._registry,
            on_built=lambda _, position: self._on_progress(self._phase, position, self._target),
        )

    def _begin(self) -> tuple[GenerationRow, bool]:
        """The generation to build: the one half built, if this code began it, else a new one."""
        ensure_records(self._views)
        finish_dropping(self._views, self._name)
        rows = generations_of(self._views, self._name)
        for row in rows:
            if row.state == "building":
                if self._may_go_on(row):
                    return row, True
                drop(self._views, row)
        number = max([row.generation for row in rows] + [1]) + 1
        tables = {one.name: generation_table(one.name, number) for one in self._projection.tables}
        begun = GenerationRow(self._name, number, "building", dict(tables))
        with self._views.transaction() as transaction:
            note(transaction, begun)
        return begun, False

    def _may_go_on(self, row: GenerationRow) -> bool:
        kept = self._views.checkpoint(row.name)
        if kept is None:
            return True
        return self._is_same(row.name) and not other_log(self._log, kept.position, kept.anchor)

    def _is_same(self, name: str) -> bool:
        """Whether this code's definition made the rows of a checkpoint."""
        fingerprint = self._views.fingerprint(name)
        kept = self._views.checkpoint(name)
        return not is_other_definition(kept, self._projection, fingerprint)

    def _standing(self) -> Standing | None:
        """Where the live one is; None if there is none that was made from this log."""
        found = standing_of(self._views, self._name)
        if found is None or self._is_of_another_log(found):
            return None
        return found

    def _is_of_another_log(self, standing: Standing) -> bool:
        return any(other_log(self._log, one.position, one.anchor) for one in standing.all)

    def _compare(
        self, builder: Builder, views: GenerationViews, now: datetime | None
    ) -> Comparison | None:
        if self._standing() is None:
            return None  # there is nothing, or nothing that was made from this log
        self._on_progress(self._phase, builder.position, builder.position)
        matcher = Matcher(
            self._log,
            self._views,
            self._projection,
            registry=self._registry,
            builder=builder,
            generation=views,
        )
        return matcher.compare(now)

    def _first_target(self) -> int:
        """Not beyond the live one: they are to be compared where both are."""
        standing = self._standing()
        if standing is None:
            return self._log.head()
        return standing.lowest

    def _swap(self, builder: Builder, row: GenerationRow) -> None:
        self._phase = "swapping"
        for attempt in self._attempts():
            self._target = max(self._log.head(), builder.position)
            builder.to(self._target)
            prepared = prepare(self._views, self._name, row)
            # From here on as little as can be: the live one moves on meanwhile.
            hurried = attempt >= DISTURB_EVERY
            look = disturb if hurried else standing_of
            standing = look(self._views, self._name)
            if standing is not None and self._is_of_another_log(standing):
                position_max = None
            else:
                position_max = builder.position
                if standing is not None and standing.highest > position_max:
                    if not hurried:
                        continue
                    builder.to(standing.highest)
                    position_max = builder.position
            with self._again():
                swap(self._views, Swap(prepared, builder.checkpoint, standing, position_max))
                return

    def _attempts(self) -> Iterator[int]:
        deadline = time.monotonic() + SWAP_SECONDS_MAX
        attempt = 0
        while time.monotonic() < deadline:
            yield attempt
            attempt += 1
        problem = "readers or writers were in the way every time"
        raise too_busy(self._views, self._name, problem)

    @contextmanager
    def _again(self) -> Iterator[None]:
        """What is only in the way now is no error."""
        try:
            yield
        except CheckpointMovedError:
            pass
        except StoreUnavailableError:
            time.sleep(SWAP_PAUSE_SECONDS)

    def roll_back(self) -> RolledBack:
        """Make the generation live again that was live before. The other one is set aside.

        One that the same definition made first catches up. Another stays where it was left: code
        of its time has to go on with it, and this code refuses it.

        Raises:
            ConfigurationError: There is none.
            StoreUnavailableError: The database is away or too busy; call it again.
        """
        finish_dropping(self._views, self._name)
        row = next(
            (one for one in generations_of(self._views, self._name) if one.state == "old"), None
        )
        if row is None:
            raise ConfigurationError(
                message=f"There is no older generation of projection {self._name} to go back to"
            )
        same = self._is_same(row.name)
        builder = (
            self._builder(GenerationViews(self._views, self._projection, row.generation))
            if same
            else None
        )
        self._phase = "swapping"
        for attempt in self._attempts():
            if builder is not None:
                self._target = max(self._log.head(), builder.position)
                builder.to(self._target)
            prepared = prepare(self._views, self._name, row)
            look = disturb if attempt >= DISTURB_EVERY else standing_of
            standing = look(self._views, self._name)
            if builder is not None and standing is not None and attempt >= DISTURB_EVERY:
                builder.to(standing.highest)
            before = self._views.checkpoint(row.name)
            position_max = builder.position if builder is not None else None
            if standing is None or before is None:
                continue
            if position_max is not None and standing.highest > position_max:
                continue
            with self._again():
                swap(self._views, Swap(prepared, before, standing, position_max))
                now = standing_of(self._views, self._name)
                position = now.highest if now is not None else before.position
                return RolledBack(row.generation, position, standing.highest, same)
        raise AssertionError  # the attempts end with an error of their own

    def drop_old(self) -> int:
        """Drop what was set aside; gives how many generations that was."""
        finish_dropping(self._views, self._name)
        rows = [row for row in generations_of(self._views, self._name) if row.state == "old"]
        for row in rows:
            drop(self._views, row)
        return len(rows)

    def give_up(self) -> int:
        """Drop what is half built; gives how many generations that was."""
        rows = [row for row in generations_of(self._views, self._name) if row.state == "building"]
        for row in rows:
            drop(self._views, row)
        return len(rows)


def _position_of(row: UnitRow) -> int:
    return row.position


def _ignore_progress(phase: str, position: int, end: int) -> None:
    """Nobody looks."""
