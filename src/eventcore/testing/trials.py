"""What may happen to a projection while it is kept, each way of it a generator of the rows it left.

Every trial makes its processes anew, each with a projection object of its own, on an empty
database, and gives a sentence's end ("in pages of 3 events") with the rows there are then.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from eventcore.errors import ConfigurationError
from eventcore.events.registry import EventRegistry
from eventcore.projections.engine import Engine
from eventcore.projections.kept import Held, all_shares
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.projections.runner import ProjectionRunner
from eventcore.projections.shares import may_be_split, split
from eventcore.projections.tables import AnyTable
from eventcore.projections.views import Views
from eventcore.stores.log import Log, LogFilter, Page
from eventcore.testing.crashes import CrashError, Fuse
from eventcore.testing.databases import Store
from eventcore.testing.plain_folds import Rows

PAGE_EVENTS: Final = 4
"""Of trials that are not about the size of pages: small, so that there are several."""

PAGE_SIZES_MAX: Final = 40
"""Page sizes tried; of a longer history, all the small ones and every so many of the others."""

CRASHES_MAX: Final = 600
"""Places of a crash that are tried; of a longer history, evenly spread ones."""

SHARES: Final = 4

RESTART_TURNS: Final = 3
"""Pages after which one of two workers is started again."""

ATTEMPTS_MAX: Final = 100
"""Of applying one page: two workers are in each other's way once or twice."""


class EventFailedError(Exception):
    """The engine could not apply an event."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tried.

    Attributes:
        make: Makes the projection, as a process that begins does.
        log: The history.
        half: The first half of it.
        registry: Tells which class an event's stored name belongs to.
        tables: Those of the projection.
    """

    make: Callable[[], Projection]
    log: Log
    half: Log
    registry: EventRegistry
    tables: Sequence[AnyTable] = field(default=())

    def engine(self, views: Views, held: Held = all_shares) -> Engine:
        """A process of its own."""
        return Engine(views, [self.make()], self.registry, held=held)

    def rows(self, views: Views) -> Rows:
        """All there are."""
        return {
            table.name: {table.key_of(row): row for row in views.query(table)}
            for table in self.tables
        }


Left = tuple[str, Rows]
Trial = Callable[[Subject, Store], Generator[Left, None, None]]


def step(
    subject: Subject, engine: Engine, events: int = PAGE_EVENTS, *, page: Page | None = None
) -> bool:
    """Apply one page from where an engine is, or the one given; gives whether there was one.

    Raises:
        EventFailedError: An event of it failed.
    """
    if engine.position >= subject.log.head():
        return False
    for _ in range(ATTEMPTS_MAX):
        found = page or subject.log.read_page(engine.position, events, LogFilter())
        moved = engine.apply(found).moved
        _raise_failure(engine)
        if not moved:
            return True
    msg = "a page was refused again and again, as if somebody else were writing"
    raise EventFailedError(msg)


def to_head(subject: Subject, engine: Engine, events: int = PAGE_EVENTS) -> None:
    """Apply everything."""
    while step(subject, engine, events):
        pass


def _raise_failure(engine: Engine) -> None:
    for units in engine.parked.values():
        for row in units.values():
            if row.error is not None:
                msg = f"event {row.position}, {row.event_type} raised {row.error}" + (
                    f": {row.message}" if row.message else ""
                )
                raise EventFailedError(msg)
    if engine.failures:
        cause = engine.failures[0].__cause__
        raise EventFailedError(str(engine.failures[0])) from cause


def in_pages_of_every_size(subject: Subject, store: Store) -> Generator[Left, None, None]:
    """From one event a page to all of them in one."""
    for size in _some(subject.log.head(), PAGE_SIZES_MAX):
        with store.empty() as database:
            views = database.open()
            to_head(subject, subject.engine(views), size)
            yield f"in pages of {size} events", subject.rows(views)


def with_events_that_come_again(subject: Subject, store: Store) -> Generator[Left, None, None]:
    """Each event twice in a page, and again in the page after."""
    with store.empty() as database:
        views = database.open()
        engine = subject.engine(views)
        before: Page | None = None
        while engine.position < subject.log.head():
            page = subject.log.read_page(engine.position, PAGE_EVENTS, LogFilter())
            again = [*(before.events if before else ()), *page.events]
            step(subject, engine, page=Page([one for event in again for one in (event, event)],
                                            page.end))  # fmt: skip
            before = page
        yield "when events are delivered again", subject.rows(views)


def through_crashes(subject: Subject, store: Store) -> Generator[Left, None, None]:
    """Behind every statement, the process ends; another one goes on."""
    for statement in _places_of_crashes(subject, store):
        with store.empty() as database:
            fuse = Fuse()
            broken = _until_crash(subject, database.open(fuse), fuse, statement=statement)
            if broken is None:
                return
            views = database.open()
            to_head(subject, subject.engine(views))
            yield f"after a crash behind {broken}", subject.rows(views)


def _until_crash(subject: Subject, views: Views, fuse: Fuse, *, statement: int) -> str | None:
    engine = subject.engine(views)
    fuse.set(statement)
    try:
        while engine.position < subject.log.head():
            fuse.begin_page()
            step(subject, engine)
    except CrashError:
        return fuse.blown
    return None


def through_failed_writes(subject: Subject, store: Store) -> Generator[Left, None, None]:
    """Behind every statement, the database breaks down; the same process tries again."""
    with store.empty() as database:
        fuse = Fuse()
        views = database.open(fuse)
        engine = subject.engine(views)
        while engine.position < subject.log.head():
            fuse.begin_page()
            for statement in itertools.count(1):
                fuse.mend()
                fuse.set(statement)
                try:
                    step(subject, engine)
                except CrashError:
                    continue
                break
        fuse.mend()
        yield "when writes fail and are tried again", subject.rows(views)


def by_two_workers(subject: Subject, store: Store) -> Generator[Left, None, None]:
    """Both keep all of it: whoever is late drops its page. Now and then one is started again."""
    with store.empty() as database:
        views = database.open()
        workers = [subject.engine(views), subject.engine(views)]
        turn = 0
        while any(worker.position < subject.log.head() for worker in workers):
            turn += 1
            # Both read, then both apply: one of them is late. They take turns in that.
            pages = [
                (worker, subject.log.read_page(worker.position, (turn + late) % PAGE_EVENTS + 1))
                for late, worker in enumerate(workers if turn % 2 else workers[::-1])
            ]
            for worker, page in pages:
                worker.apply(page)
                _raise_failure(worker)
            if turn % RESTART_TURNS == 0:
                workers[0] = subject.engine(views)
        yield "when two workers keep it at once", subject.rows(views)


def by_two_workers_in_shares(subject: Subject, store: Store) -> Generator[Left, None, None]:
    """Each keeps a part; one of them ends, and the other takes its part over."""
    projection = subject.make()
    if not may_be_split(Plan(projection, subject.registry)):
        return
    with store.empty() as database:
        views = database.open()
        split(views, projection, SHARES)
        odd = subject.engine(views, lambda _, shares: range(1, shares, 2))
        even = subject.engine(views, lambda _, shares: range(0, shares, 2))
        while odd.position < subject.half.head():
            step(subject, odd, PAGE_EVENTS)
            step(subject, even, PAGE_EVENTS // 2)
        to_head(subject, subject.engine(views))
        yield "when two workers share it and one takes over from the other", subject.rows(views)


def with_a_rebuild_in_the_middle(subject: Subject, store: Store) -> Generator[Left, None, None]:
    """Half of it is applied when the rows are made again beside; who applied it goes on then."""
    with store.empty() as database:
        views = database.open()
        engine = subject.engine(views)
        while engine.position < subject.half.head():
            step(subject, engine, 1)
        projection = subject.make()
        runner = ProjectionRunner(subject.half, views, [projection], registry=subject.registry)
        try:
            # Rows that differ are ours to find.
            runner.rebuild(projection.name, accept_differences=True)
        except ConfigurationError:
            # It writes with SQL that names the live tables: rebuilt in place, as below.
            return
        engine.reload()
        to_head(subject, engine)
        yield "after a rebuild in the middle", subject.rows(views)
        runner.drop_old(projection.name)


def with_rows_dropped_in_the_middle(subject: Subject, store: Store) -> Generator[Left, None, None]:
    """Half of it is applied when the rows are dropped; who applied it makes them again."""
    with store.empty() as database:
        views = database.open()
        engine = subject.engine(views)
        while engine.position < subject.half.head():
            step(subject, engine)
        views.reset(subject.make())
        engine.reload()
        to_head(subject, engine)
        yield "when its rows are dropped in the middle and made again", subject.rows(views)


TRIALS: Final[Sequence[Trial]] = (
    in_pages_of_every_size,
    with_events_that_come_again,
    by_two_workers,
    by_two_workers_in_shares,
    with_a_rebuild_in_the_middle,
    with_rows_dropped_in_the_middle,
    through_failed_writes,
    through_crashes,
)
"""Cheap ones first."""


def _places_of_crashes(subject: Subject, store: Store) -> Iterator[int]:
    with store.empty() as database:
        fuse = Fuse()
        views = database.open(fuse)
        engine = subject.engine(views)
        fuse.set(1_000_000_000)
        to_head(subject, engine)
        statements = fuse.burned
        fuse.mend()
    yield from _some(statements, CRASHES_MAX)


def _some(count: int, most: int) -> Iterator[int]:
    """Numbers from 1 to ``count``: all, or so many of them, with the first and the last."""
    if count <= most:
        yield from range(1, count + 1)
        return
    small = most // 2
    yield from range(1, small + 1)
    others = most - small
    yield from (small + (count - small) * number // others for number in range(1, others + 1))
