"""Read models: are the rows those that the log makes? Each is made again elsewhere, and compared.

The rows are made in a temporary file, to exactly where the live ones are, while everybody goes on.
Nothing is written where they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from typing_extensions import override

from eventcore.errors import ProjectionFailedError
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.anchors import other_log
from eventcore.projections.building import Builder
from eventcore.projections.comparing import Comparison, RowDifference, TableComparison
from eventcore.projections.definitions import is_other_definition
from eventcore.projections.matching import APART_PAUSE_SECONDS, Matcher
from eventcore.projections.parking import SKIPPED, ParkingLot
from eventcore.projections.projection import Projection
from eventcore.projections.snapshots import Snapshot
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.standings import Standing, standing_of
from eventcore.projections.tables import AnyTable, StoredRow
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.views import Views
from eventcore.seals.findings import Finding, Kind
from eventcore.stores.log import Log

OnReplayed = Callable[[str, int, int], None]
"""Called with the name of a projection, the position reached and the one to reach."""


class ReadModelsVerdict(NamedTuple):
    """What came of comparing read models.

    Attributes:
        projections: Names of those that were compared.
        absent: Names of those that are not kept there.
        rows: How many rows are as the log makes them.
        finding: The first row that is not; None: there is none.
    """

    projections: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    rows: int = 0
    finding: Finding | None = None


def verify_read_models(  # noqa: PLR0913 - each a keyword but the first three
    log: Log,
    views: Views | None,
    projections: Iterable[Projection],
    *,
    now: datetime | None,
    registry: EventRegistry = default_registry,
    replay_absent: bool = False,
    on_replayed: OnReplayed | None = None,
) -> ReadModelsVerdict:
    """Make read models again from the log, and find the first row that is another.

    A projection that changes tables of another one cannot be made apart, and counts as absent.

    Args:
        log: Where the events are.
        views: Where the rows are; None: nowhere.
        projections: Which read models.
        now: The time, aware: rows whose time to live has passed are not missed. None: none of a
            table with a time to live is.
        registry: Tells which class an event's stored name belongs to.
        replay_absent: Make those again, too, that are not kept: to see that it can be done.
        on_replayed: See :data:`OnReplayed`.

    Raises:
        StoreUnavailableError: The log or the rows cannot be read now; verify again.
    """
    compared: list[str] = []
    absent: list[str] = []
    rows = 0
    for projection in projections:
        with TemporaryDirectory(prefix="eventcore-verify-") as folder:
            scratch = SQLiteViews(Path(folder) / "rows.db", synchronous="NORMAL")
            try:
                one = _Replayed(log, views, projection, scratch, registry, on_replayed)
                found = one.compare(now)
                if found is None and replay_absent:
                    failed = one.replay()
                    if failed is not None:
                        return ReadModelsVerdict(tuple(compared), tuple(absent), rows, failed)
            finally:
                scratch.close()
        if found is None:
            absent.append(projection.name)
            continue
        compared.append(projection.name)
        if isinstance(found, Finding):
            return ReadModelsVerdict(tuple(compared), tuple(absent), rows, found)
        rows += found
    return ReadModelsVerdict(tuple(compared), tuple(absent), rows)


class _Replayed:
    """One read model, made again in scratch."""

    def __init__(  # noqa: PLR0917, PLR0913 - made in one place
        self,
        log: Log,
        views: Views | None,
        projection: Projection,
        scratch: Views,
        registry: EventRegistry,
        on_replayed: OnReplayed | None,
    ) -> None:
        self._log = log
        self._views = views
        self._projection = projection
        self._scratch = scratch
        self._registry = registry
        self._on_replayed = on_replayed
        self._target = 0

    def compare(self, now: datetime | None) -> int | Finding | None:
        """How many rows are the same; or the first that is not; None: there is nothing."""
        views = self._views
        standing = None if views is None else standing_of(views, self._projection.name)
        if views is None or standing is None or self._projection.beside:
            return None
        problem = self._problem(views, standing)
        if problem is not None:
            return self._finding(problem)
        self._target = standing.highest
        self._copy_skips(views)
        try:
            comparison = self._matcher(views).compare(now)
        except ProjectionFailedError as error:
            return self._finding(str(error))
        return None if comparison is None else _rows_or_first(comparison)

    def replay(self) -> Finding | None:
        """Make the rows up to the head of the log; what fails is said."""
        if self._projection.beside:
            return None
        self._target = self._log.head()
        try:
            self._builder().to(self._target)
        except ProjectionFailedError as error:
            return self._finding(str(error))
        parked = ParkingLot(self._scratch, None).units(self._projection.name)
        if not parked:
            return None
        first = min(parked, key=lambda unit: unit.position)
        return self._finding(
            f"the events of {len(parked)} keys fail, the first at position {first.position} "
            f"({first.event_type}: {first.error})"
        )

    def _problem(self, views: Views, standing: Standing) -> str | None:
        """Why its rows cannot be those that this log and this code make."""
        name = self._projection.name
        kept, fingerprint = views.checkpoint(name), views.fingerprint(name)
        if is_other_definition(kept, self._projection, fingerprint):
            return "its rows were made by another definition of it: rebuild it"
        for one in standing.all:
            problem = other_log(self._log, one.position, one.anchor)
            if problem is not None:
                return f"its rows were made from another log: {problem}"
        return None

    def _builder(self) -> Builder:
        return Builder(
            self._log,
            self._scratch,
            self._projection,
            registry=self._registry,
            on_built=self._note,
        )

    def _matcher(self, views: Views) -> _ScratchMatcher:
        return _ScratchMatcher(
            self._log,
            views,
            self._projection,
            registry=self._registry,
            builder=self._builder(),
            generation=_SameNames(),
            scratch=self._scratch,
        )

    def _finding(self, problem: str) -> Finding:
        return Finding(Kind.ROW, problem, table=self._projection.tables[0].name)

    def _note(self, _events: int, position: int) -> None:
        if self._on_replayed is not None:
            self._on_replayed(self._projection.name, position, max(self._target, position))

    def _copy_skips(self, views: Views) -> None:
        """Pass over the events that somebody decided to leave out, too."""
        rows = ParkingLot(views, None).skipped(self._projection.name)
        if rows:
            ParkingLot(self._scratch, None).ensure()
            with self._scratch.transaction() as transaction:
                transaction.upsert(SKIPPED, rows)


class _SameNames:
    """In scratch a table has its own name."""

    def table(self, table: AnyTable) -> AnyTable:
        return table


class _ScratchMatcher(Matcher):
    """Compares rows with those made in scratch, and writes nothing where they are."""

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        log: Log,
        views: Views,
        projection: Projection,
        *,
        registry: EventRegistry,
        builder: Builder,
        generation: _SameNames,
        scratch: Views,
    ) -> None:
        super().__init__(
            log, views, projection, registry=registry, builder=builder, generation=generation
        )
        self._scratch = scratch

    @override
    def new_snapshot(self, live: Snapshot) -> AbstractContextManager[Snapshot]:
        # Where the live rows move on, the others are read again after each step that they follow.
        return self._scratch.snapshot() if live.steady else nullcontext(_Present(self._scratch))

    @override
    def bring_together(self) -> None:
        # Whoever keeps the shares goes on; one moment they are at one place.
        time.sleep(APART_PAUSE_SECONDS)


class _Present:
    """A snapshot of the moment of each question."""

    steady = False

    def __init__(self, views: Views) -> None:
        self._views = views

    @contextmanager
    def _now(self) -> Iterator[Snapshot]:
        with self._views.snapshot() as snapshot:
            yield snapshot

    def checkpoint(self, projection: str) -> Checkpoint | None:
        with self._now() as now:
            return now.checkpoint(projection)

    def columns(self, table: AnyTable) -> list[str]:
        with self._now() as now:
            return now.columns(table)

    def pages(self, table: AnyTable) -> Generator[list[StoredRow]]:
        with self._now() as now:
            yield from now.pages(table)

    def at(self, table: AnyTable, keys: Sequence[StoredRow]) -> list[StoredRow]:
        with self._now() as now:
            return now.at(table, keys)

    def count(self, table: AnyTable) -> int:
        with self._now() as now:
            return now.count(table)


def _rows_or_first(comparison: Comparison) -> int | Finding:
    """How many rows are the same, or the first that is not."""
    different = next((table for table in comparison.tables if not table.same), None)
    if different is not None:
        return _first_row(different)
    return sum(table.new_rows for table in comparison.tables)


def _first_row(table: TableComparison) -> Finding:
    """The first row that differs; of a table that cannot be compared, why."""
    if not table.rows:
        return Finding(Kind.ROW, table.problem or "it differs", table=table.table)
    row = table.rows[0]
    column = next(iter(row.columns), None)
    return Finding(Kind.ROW, _problem(row, column), table=table.table, key=row.key, column=column)


def _problem(row: RowDifference, column: str | None) -> str:
    if row.only == "new":
        return "the log makes this row, and it is not there"
    if row.only == "live":
        return "this row is there, and the log does not make it"
    return f"its column {column} is not what the log makes"
