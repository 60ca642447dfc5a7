"""Workers that come and go, fall silent, are stopped in the middle of a page and wake up again.

Whatever happens, in whatever order: when one worker is left and has caught up, the rows are those
of one pass over the log.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from eventcore.events.catalogue import OrderItemAdded, OrderItemRemoved
from eventcore.projections import Engine, MemoryViews, Projection, ProjectionRunner
from eventcore.projections.read_models import Analytics, OrderItems, Orders
from eventcore.projections.shares import merge, shares_of
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections import shops
from tests.unit.projections.histories import order, record, rows_of
from tests.unit.projections.working import (
    StoppableViews,
    UnfencedViews,
    Worker,
    take_over,
)

WORKERS_MAX = 4


def kept() -> list[Projection]:
    """By stream, by key, by several keys, and one that cannot be divided."""
    return [Orders(), OrderItems(), shops.DailySales(), shops.Stock(), Analytics()]


def in_one_pass(log: MemoryLog) -> dict[str, list[Any]]:
    views = MemoryViews()
    ProjectionRunner(log, views, kept()).run_to_head()
    return rows_of(views, kept())


def place_order(log: MemoryLog, number: int) -> None:
    record(
        log,
        order(f"o{number}", ("apple", 1 + number % 3, "1.50"), ("pear", 1, "2")),
        OrderItemAdded(order_id=f"o{number}", product_id="fig", quantity=1, price="2"),  # type: ignore[arg-type]
        OrderItemRemoved(order_id=f"o{number}", product_id="pear", quantity=1),
    )


class Working(RuleBasedStateMachine):
    views: StoppableViews

    @initialize()
    def begin(self) -> None:
        self.log = MemoryLog()
        self.views = StoppableViews()
        self.workers: list[Worker] = []
        self.names = 0
        self.orders = 0
        self.happens()

    @rule()
    def happens(self) -> None:
        self.orders += 1
        place_order(self.log, self.orders)

    @precondition(lambda self: len(self.workers) < WORKERS_MAX)
    @rule()
    def comes(self) -> None:
        self.names += 1
        self.workers.append(Worker(f"worker {self.names}", self.log, self.views, kept()))

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, WORKERS_MAX - 1))
    def goes(self, number: int) -> None:
        self.workers.pop(number % len(self.workers)).leave()

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, WORKERS_MAX - 1))
    def is_killed(self, number: int) -> None:
        self.workers.pop(number % len(self.workers))

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, WORKERS_MAX - 1), beats=st.integers(1, 5))
    def beats(self, number: int, beats: int) -> None:
        for _ in range(beats):
            self.workers[number % len(self.workers)].beat()

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, WORKERS_MAX - 1), pages=st.integers(1, 3))
    def works(self, number: int, pages: int) -> None:
        for _ in range(pages):
            self.workers[number % len(self.workers)].page()

    @precondition(lambda self: self.workers)
    @rule(
        number=st.integers(0, WORKERS_MAX - 1),
        steps=st.lists(st.tuples(st.sampled_from(["beats", "works"]), st.integers(0, 3))),
    )
    def is_stopped_in_a_page(self, number: int, steps: list[tuple[str, int]]) -> None:
        stopped = self.workers[number % len(self.workers)]
        others = [worker for worker in self.workers if worker is not stopped]

        def meanwhile() -> None:
            for what, which in steps if others else []:
                other = others[which % len(others)]
                if what == "beats":
                    for _ in range(4):
                        other.beat()
                else:
                    other.page()

        stopped.page(meanwhile)

    @rule()
    def a_runner_of_the_whole_joins_in(self) -> None:
        engine = Engine(self.views, kept())
        engine.apply(self.log.read_page(engine.position, 7))

    @rule()
    def is_merged(self) -> None:
        engine = Engine(self.views, [Orders()])
        while engine.position < self.log.head():
            engine.apply(self.log.read_page(engine.position, 100))
        assert merge(self.views, Orders()) is not None
        assert shares_of(self.views, "orders") is None

    @invariant()
    def nobody_is_beyond_the_log(self) -> None:
        for worker in self.workers:
            assert worker.engine.position <= self.log.head()

    @override
    def teardown(self) -> None:
        last = Worker("the last", self.log, self.views, kept())
        take_over(last)
        assert rows_of(self.views, kept()) == in_one_pass(self.log)


TestWorking = Working.TestCase
TestWorking.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def story(views: StoppableViews) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """One is stopped in the middle of a page until another has taken over and gone on."""
    log = MemoryLog()
    for number in range(8):
        place_order(log, number)
    one = Worker("one", log, views, kept())
    two = Worker("two", log, views, kept())
    one.page(lambda: take_over(two))
    take_over(two)
    return rows_of(views, kept()), in_one_pass(log)


def test_who_wakes_up_in_the_middle_of_a_page_changes_nothing():
    found, expected = story(StoppableViews())

    assert found == expected


def test_without_fencing_the_same_story_ends_in_wrong_rows():
    found, expected = story(UnfencedViews())

    assert found != expected
