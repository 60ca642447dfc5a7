"""Whatever happens in which order, and wherever it breaks off: rows are those of one fold, and each
command has one effect."""

from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from eventcore.commands import CancelOrder, PayOrder, StartSession
from eventcore.errors import RuleViolationError, StoreUnavailableError
from eventcore.projections.engine import Engine
from eventcore.projections.memory import MemoryViews
from eventcore.stores.log import Page
from tests.processing import (
    ITEM,
    WITHIN,
    Chase,
    ChaseRow,
    Clock,
    Crash,
    Steps,
    crashing_runner,
    create_order,
    open_shop,
)

ORDERS = st.sampled_from(["a", "b", "c"])


class Shop(RuleBasedStateMachine):
    """Orders come and go, clocks step both ways, runners crash, stores are away, rows are rebuilt.

    What must be true is read off the log alone: the timeouts recorded in it say what was due.
    """

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.app = open_shop("memory://", self.clock, Chase())
        self.away = False

    @override
    def teardown(self) -> None:
        self.app.close()

    @rule(order=ORDERS)
    def create(self, order):
        if not self.app.log.stream_version(f"order-{order}"):
            self.app.execute(StartSession(session_id=f"s-{order}"))
            create_order(self.app, order)

    @rule(order=ORDERS)
    def pay(self, order):
        with suppress(RuleViolationError):
            self.app.execute(PayOrder(order_id=order, amount=ITEM.price))

    @rule(order=ORDERS)
    def cancel(self, order):
        with suppress(RuleViolationError):
            self.app.execute(CancelOrder(order_id=order, reason="by hand"))

    @rule(minutes=st.integers(-90, 180))
    def change_the_clock(self, minutes):
        self.clock.forward(minutes=minutes)

    @rule(crash_at=st.integers(1, 25))
    def run_and_crash(self, crash_at):
        with suppress(Crash):
            crashing_runner(self.app, Steps(crash_at)).run_to_rest()

    @rule(crash_at=st.integers(1, 8))
    def rebuild_and_crash(self, crash_at):
        with suppress(Crash):
            crashing_runner(self.app, Steps(crash_at)).rebuild("chase")

    @rule()
    def run_without_the_store(self):
        def execute(command):
            raise StoreUnavailableError(store="the log", problem="away")

        runner = self.app.process_runner()
        for relay in runner._relays:
            relay._execute = execute
        runner.run_to_rest()

    @rule()
    def run(self):
        self.app.process_runner().run_to_rest()
        self.check_rest()

    def check_rest(self) -> None:
        assert self.rows() == self.expected_rows()
        for order in ("a", "b", "c"):
            self.check_effects(order)

    def rows(self) -> list[Any]:
        return list(self.app.query(Chase.table))

    def expected_rows(self) -> list[Any]:
        """By an independent fold: what the events say, with no engine and no tables."""
        rows: dict[str, ChaseRow] = {}
        due: dict[str, object] = {}
        for event in self.app.log.read():
            match event.type:
                case "order.created":
                    rows[event.id] = ChaseRow(event.id)
                    due[event.id] = event.timestamp + WITHIN
                case "order.paid" | "order.cancelled":
                    rows.pop(event.id, None)
                    due.pop(event.id, None)
                case "process.timed_out":
                    order = event.payload.instance.strip('["]')
                    if due.get(order) != event.timestamp:
                        continue
                    if rows[order].reminders:
                        del rows[order], due[order]
                    else:
                        rows[order] = ChaseRow(order, 1)
                        due[order] = event.timestamp + WITHIN
                case _:
                    pass
        return sorted(rows.values())

    def check_effects(self, order: str) -> None:
        actions = [
            e.payload.action for e in self.app.log.read_stream(f"session-s-{order}", after=1)
        ]
        assert actions in ([], ["ordered"], ["ordered", "reminded"])
        if self.app.log.stream_version(f"order-{order}"):
            assert actions, order

    @invariant()
    def no_timer_comes_due_twice(self):
        timed_out = [e for e in self.app.log.read() if e.type == "process.timed_out"]
        assert len({e.payload.timer_id for e in timed_out}) == len(timed_out)
        assert all(e.version == 1 for e in timed_out)


TestShop = Shop.TestCase
TestShop.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_rows_do_not_depend_on_how_the_log_is_cut_into_pages():
    clock = Clock()
    app = open_shop("memory://", clock, Chase())
    runner = app.process_runner()
    for number in range(5):
        app.execute(StartSession(session_id=f"s-{number}"))
        create_order(app, str(number))
        runner.run_to_rest()
        clock.forward(minutes=35)
        runner.run_to_rest()
    [kept] = app.process_runner()._kept.values()

    views = MemoryViews()
    views.ensure(kept.tables.sending)
    engine = Engine(views, [kept.projection])
    for event in app.log.read():
        engine.apply(Page([event], event.position))

    assert list(views.query(Chase.table)) == list(app.query(Chase.table))
    assert list(views.query(kept.tables.armed)) == list(app.views.query(kept.tables.armed))
    app.close()
