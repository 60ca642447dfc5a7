"""What the tests of process managers share: a shop, and runners that crash where they are told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from eventcore.app import App, open_app
from eventcore.commands import CancelOrder, CreateOrder, TrackActivity
from eventcore.events.catalogue.orders import (
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderItem,
    OrderPaid,
)
from eventcore.events.recorded import Recorded
from eventcore.processes import (
    ENDED,
    ProcessManager,
    ProcessRunner,
    ProcessTimedOut,
    Reaction,
    Timer,
    reacts,
    timed_out,
)
from eventcore.projections.tables import Table

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ITEM = OrderItem(product_id="p-1", quantity=1, price=Decimal(5))
WITHIN = timedelta(hours=1)


class Clock:
    """Shows what it is told."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **by: float) -> None:
        self.time += timedelta(**by)


class ChaseRow(NamedTuple):
    order_id: str
    reminders: int = 0


class Chase(ProcessManager):
    """Reminds once of an order that is not paid for, then calls it off."""

    name = "chase"
    table = Table("chases", ChaseRow, key=["order_id"])
    sends = (TrackActivity, CancelOrder)

    @reacts(OrderCreated, key=lambda event: event.id)
    def placed(self, row: ChaseRow | None, event: Recorded[OrderCreated]) -> Reaction:
        greet = TrackActivity(session_id=f"s-{event.id}", action="ordered")
        return Reaction(ChaseRow(event.id), [greet], [Timer("payment", event.timestamp + WITHIN)])

    @reacts(OrderPaid, OrderCancelled, key=lambda event: event.id)
    def settled(self, row: ChaseRow | None, event: Recorded[OrderEvent]) -> Reaction:
        return ENDED

    @timed_out("payment")
    def late(self, row: ChaseRow, event: Recorded[ProcessTimedOut]) -> Reaction:
        if row.reminders:
            return Reaction(None, [CancelOrder(order_id=row.order_id)])
        remind = TrackActivity(session_id=f"s-{row.order_id}", action="reminded")
        again = Timer("payment", event.timestamp + WITHIN)
        return Reaction(row._replace(reminders=1), [remind], [again])


def create_order(app: App, order_id: str) -> None:
    app.execute(CreateOrder(order_id=order_id, items=(ITEM,), currency="GBP"))


def open_shop(url: str, clock: Callable[[], datetime], *processes: ProcessManager) -> App:
    return open_app(url, clock=clock, processes=processes)


def types_of(app: App, stream: str) -> list[str]:
    return [event.type for event in app.log.read_stream(stream)]


class Crash(BaseException):
    """The process is gone at this moment."""


class Steps:
    """Counts the moments between which something is written, and ends the process at one."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.crash_at = crash_at
        self.taken = 0

    def step(self) -> None:
        self.taken += 1
        if self.taken == self.crash_at:
            raise Crash


class _Proxy:
    def __init__(self, inner: Any, steps: Steps) -> None:
        self._inner = inner
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class CrashingLog(_Proxy):
    def append(self, appends: Any) -> Any:
        self._steps.step()
        result = self._inner.append(appends)
        self._steps.step()
        return result


class CrashingViews(_Proxy):
    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self._inner.transaction() as transaction:
            yield transaction
            self._steps.step()
        self._steps.step()


def crashing_runner(app: App, steps: Steps) -> ProcessRunner:
    """A runner of the application that crashes before or after each write, as the steps say."""

    def execute(command: Any) -> Any:
        steps.step()
        result = app.execute(command)
        steps.step()
        return result

    log, views = CrashingLog(app.log, steps), CrashingViews(app.views, steps)
    return ProcessRunner(log, views, app.processes, execute=execute, now=app.now)
