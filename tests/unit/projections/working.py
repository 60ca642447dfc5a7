"""Workers in one thread, that beat, settle and apply pages when a test says so, and may be stopped
in the middle of a page while the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from typing_extensions import override

from eventcore.projections import Engine, MemoryViews, Projection
from eventcore.projections.leases import BEATS_MISSED_MAX, Leases
from eventcore.projections.memory import MemoryTransaction
from eventcore.projections.plan import Plan
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.views import Views
from eventcore.projections.worker_tables import worker_row
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog

PAGE_EVENTS = 5


class StoppableViews(MemoryViews):
    """Views whose next transaction waits for something else to happen first."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], None] | None = None

    @override
    @contextmanager
    def transaction(self) -> Iterator[MemoryTransaction]:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        with super().transaction() as transaction:
            yield self.made(transaction)

    def made(self, transaction: MemoryTransaction) -> MemoryTransaction:
        return transaction


class UnfencedTransaction(MemoryTransaction):
    """The bug that fencing prevents: it moves a checkpoint wherever that is."""

    @override
    def advance(self, projection, before, position, *, anchor=None, revise=False):
        found = self._checkpoints[projection]
        after = Checkpoint(position, found.version, found.revision + revise, anchor)
        self._checkpoints[projection] = after


class UnfencedViews(StoppableViews):
    @override
    def made(self, transaction: MemoryTransaction) -> MemoryTransaction:
        transaction.__class__ = UnfencedTransaction
        return transaction


class Worker:
    """One worker, as :mod:`eventcore.projections.following` drives it."""

    def __init__(  # noqa: PLR0917 - a worker and where it works
        self, name: str, log: MemoryLog, views: Views, projections: Sequence[Projection]
    ) -> None:
        self.name = name
        self._log = log
        self._views = views
        me = worker_row(name, host="here", pid=1, started="now")
        plans = [Plan(projection) for projection in projections]
        self.leases = Leases(views, plans, me, shares=4, lease_seconds=10, clock=lambda: 0.0)
        self.leases.join()
        self.leases.settle(split_again=True)
        self.engine = Engine(views, projections, held=self.leases.held)

    def beat(self) -> None:
        self.leases.beat()
        if self.leases.settle():
            self.engine.reload()

    def page(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Apply a page; stopped between folding and writing it if something is to happen then."""
        if not self.engine.running or self.engine.position >= self._log.head():
            return
        page = self._log.read_page(self.engine.position, PAGE_EVENTS, LogFilter())
        if meanwhile is not None:
            assert isinstance(self._views, StoppableViews)
            self._views.meanwhile = meanwhile
        moved = self.engine.apply(page).moved
        if isinstance(self._views, StoppableViews):
            self._views.meanwhile = None
        if moved:
            self.leases.settle(split_again=True)
            self.engine.reload()

    def leave(self) -> None:
        self.leases.leave()


def take_over(worker: Worker) -> None:
    """Beat until everybody who is silent is taken to be gone, and apply everything."""
    for _ in range(BEATS_MISSED_MAX + 2):
        worker.beat()
    for _ in range(1_000):
        worker.page()
