"""Shares: parts of a projection side by side come to the rows of the whole, however it is cut."""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

import pytest
from typing_extensions import override

from eventcore.errors import RegistrationError
from eventcore.events.catalogue import (
    OrderCancelled,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    SessionStarted,
    UserRegistered,
)
from eventcore.projections import (
    Engine,
    MemoryViews,
    Projection,
    ProjectionRunner,
    built_in_projections,
)
from eventcore.projections.plan import Plan
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.read_models import ORDERS, Metadata, Orders
from eventcore.projections.shares import (
    may_be_split,
    merge,
    reached,
    share_name,
    share_of_stream,
    shares_of,
    split,
)
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.uniting import unite
from eventcore.projections.views import Views
from eventcore.projections.worker_tables import all_workers
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views
from tests.unit.projections import shops
from tests.unit.projections.histories import moment, order, record, rows_of
from tests.unit.projections.parkings import Histories, poisoned
from tests.unit.projections.working import Worker


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb"])
def views(request, tmp_path):
    views: Views
    match request.param:
        case "memory":
            views = MemoryViews()
        case "sqlite":
            views = SQLiteViews(tmp_path / "views.db")
        case "dynamodb":
            views = dynamodb_views(request.getfixturevalue("dynamodb"))
        case _:
            found = request.getfixturevalue("postgres_schema")
            views = PostgresViews(found.url, schema=found.schema)
    yield views
    views.close()


def fill(log: MemoryLog, first: int = 1, last: int = 12) -> None:
    for number in range(first, last + 1):
        one = f"o{number}"
        record(
            log,
            UserRegistered(user_id=f"u{number}", email=f"{number}@example.com"),
            order(one, ("apple", 2, "1.50"), ("pear", 1, "2"), user_id=f"u{number % 3}"),
            SessionStarted(session_id=f"s{number}", user_id=f"u{number}"),
            OrderItemAdded(order_id=one, product_id="fig", quantity=number, price=Decimal(2)),
            OrderItemRemoved(order_id=one, product_id="pear", quantity=1),
            order(f"p{number}", ("fig", 1, "0.10")),
            OrderCancelled(order_id=one),
            OrderPaid(order_id=f"p{number}", amount=Decimal("0.10")),
        )


def everything() -> list[Projection]:
    return [*built_in_projections(), *shops.own_projections(), Metadata()]


def splittable() -> list[Projection]:
    return [one for one in everything() if may_be_split(Plan(one))]


def in_one_pass(log: MemoryLog, projections: Iterable[Projection]) -> dict[str, list]:
    kept, views = list(projections), MemoryViews()
    ProjectionRunner(log, views, kept).run_to_head()
    return rows_of(views, kept)


def checkpoint(views: Views, name: str) -> Checkpoint:
    found = reached(views, name)
    assert found is not None
    return found


def engine_of(views: Views, projections: Iterable[Projection], *shares: int) -> Engine:
    return Engine(views, projections, held=lambda _name, _count: shares)


def run(engine: Engine, log: MemoryLog, size: int = 7) -> None:
    while engine.running and engine.position < log.head():
        engine.apply(log.read_page(engine.position, size, LogFilter()))


def test_shares_kept_apart_come_to_the_rows_of_the_whole(log, views):
    fill(log)
    for projection in splittable():
        split(views, projection, 4)

    run(engine_of(views, splittable(), 0, 3), log, size=11)
    run(engine_of(views, splittable(), 2), log)
    run(engine_of(views, splittable(), 1), log, size=50)

    assert rows_of(views, splittable()) == in_one_pass(log, splittable())
    assert {checkpoint(views, one.name).position for one in splittable()} == {log.head()}


def test_a_split_projection_goes_on_from_where_the_whole_was(log, views):
    fill(log, 1, 4)
    ProjectionRunner(log, views, splittable()).run_to_head()
    fill(log, 5, 8)

    for projection in splittable():
        assert split(views, projection, 3) == 3
    for share in range(3):
        run(engine_of(views, splittable(), share), log)

    assert rows_of(views, splittable()) == in_one_pass(log, splittable())


def test_splitting_twice_changes_nothing(log, views):
    assert split(views, Orders(), 4) == 4
    before = checkpoint(views, share_name("orders", 1))

    assert split(views, Orders(), 8) == 4
    assert checkpoint(views, share_name("orders", 1)) == before


def test_a_runner_of_the_whole_is_fenced_by_the_split_and_goes_on_with_all_shares(log, views):
    fill(log, 1, 3)
    engine = Engine(views, [Orders()], log=log)
    run(engine, log)
    split(views, Orders(), 4)
    fill(log, 4, 6)

    assert engine.apply(log.read_page(engine.position, 100, LogFilter())).moved
    run(engine, log)

    assert rows_of(views, [Orders()]) == in_one_pass(log, [Orders()])
    assert checkpoint(views, "orders").position == log.head()


def test_shares_gained_behind_the_others_catch_up_and_join_them(log, views):
    fill(log)
    split(views, Orders(), 4)
    run(engine_of(views, [Orders()], 0, 1), log)
    fill(log, 13, 14)

    engine = engine_of(views, [Orders()], 0, 1, 2)
    assert engine.position == 0
    assert len(engine._kept) == 2
    run(engine, log)

    assert len(engine._kept) == 1
    run(engine_of(views, [Orders()], 3), log)
    assert rows_of(views, [Orders()]) == in_one_pass(log, [Orders()])


def test_one_whose_share_was_taken_can_write_nothing(log, views):
    fill(log)
    split(views, Orders(), 2)
    late = engine_of(views, [Orders()], 0)
    late.apply(log.read_page(0, 20, LogFilter()))
    before = checkpoint(views, share_name("orders", 0))

    with views.transaction() as transaction:
        transaction.advance(
            share_name("orders", 0), before, before.position, anchor=before.anchor, revise=True
        )
    rows = rows_of(views, [Orders()])

    assert late.apply(log.read_page(20, 20, LogFilter())).moved
    assert rows_of(views, [Orders()]) == rows


def test_shares_at_one_place_are_merged_and_all_who_kept_them_are_fenced(log, views):
    fill(log)
    split(views, Orders(), 4)
    worker, single = engine_of(views, [Orders()], 0, 1), Engine(views, [Orders()])
    run(single, log, size=1_000)
    worker.reload()

    whole = merge(views, Orders())
    fill(log, 13, 14)

    assert whole is not None
    assert whole.position == checkpoint(views, "orders").position
    assert shares_of(views, "orders") is None
    page = log.read_page(whole.position, 100, LogFilter())
    assert single.apply(page).moved
    assert worker.apply(page).moved
    run(single, log)
    assert rows_of(views, [Orders()]) == in_one_pass(log, [Orders()])


def test_shares_that_are_apart_are_not_merged(log, views):
    fill(log)
    split(views, Orders(), 2)
    run(engine_of(views, [Orders()], 0), log)

    assert merge(views, Orders()) is None
    assert shares_of(views, "orders") == 2


def test_shares_that_are_apart_are_united_from_those_who_keep_them(log, views):
    fill(log)
    worker = Worker("one", log, views, [Orders()])
    run(engine_of(views, [Orders()], 0), log, size=9)

    united = unite(log, views, Orders())
    fill(log, 13, 14)

    assert united.position == checkpoint(views, "orders").position < log.head()
    assert shares_of(views, "orders") is None
    assert [row.worker_id for row in all_workers(views)] == ["one"]
    worker.page()
    assert shares_of(views, "orders") == 4  # who is left divides it again
    for _ in range(100):
        worker.page()
    assert rows_of(views, [Orders()]) == in_one_pass(log, [Orders()])


def test_a_projection_that_is_not_split_merges_to_itself(log, views):
    fill(log)
    ProjectionRunner(log, views, [Orders()]).run_to_head()

    assert merge(views, Orders()) == views.checkpoint("orders")


def test_a_split_projection_is_as_far_as_its_last_share(log, views):
    fill(log)
    split(views, Orders(), 2)
    runner = ProjectionRunner(log, views, [Orders()])
    run(engine_of(views, [Orders()], 0), log)

    assert checkpoint(views, "orders").position == 0
    assert runner.status()[0].lag_events == log.head()

    run(engine_of(views, [Orders()], 1), log)

    assert runner.status()[0].lag_events == 0
    runner.wait_for(log.head(), timeout_seconds=60)


def test_a_reset_takes_the_shares_back_as_well(log, views):
    fill(log)
    split(views, Orders(), 3)
    run(Engine(views, [Orders()]), log)
    worker = engine_of(views, [Orders()], 1)
    fill(log, 13, 14)

    views.reset(Orders())

    assert shares_of(views, "orders") is None
    assert views.count(ORDERS) == 0
    assert worker.apply(log.read_page(worker.position, 5, LogFilter())).moved
    assert views.count(ORDERS) == 0
    split(views, Orders(), 3)
    run(Engine(views, [Orders()]), log)
    assert rows_of(views, [Orders()]) == in_one_pass(log, [Orders()])


def test_expiring_rows_fences_whoever_remembers_them(log, views):
    [user_events] = [one for one in built_in_projections() if one.name == "user_events"]
    fill(log)
    split(views, user_events, 2)
    worker = engine_of(views, [user_events], 0)
    run(worker, log)
    fill(log, 13, 13)

    views.expire(user_events, moment(log.head()) + timedelta(days=1_000))

    assert worker.apply(log.read_page(worker.position, 5, LogFilter())).moved


def test_a_reset_leaves_the_shares_of_a_projection_of_a_longer_name_alone(log, views):
    class OrdersToo(shops.Stock):
        name = "orders_too"

    fill(log)
    split(views, Orders(), 2)
    split(views, OrdersToo(), 2)
    run(Engine(views, [Orders(), OrdersToo()]), log)
    before = views.checkpoint("orders_too/1")

    views.reset(Orders())

    assert views.checkpoint("orders_too/1") == before


def test_streams_with_one_id_are_in_one_share_and_ids_are_spread():
    assert share_of_stream("order-1", 16) == share_of_stream("payment-1", 16)
    counts = [0] * 16
    for number in range(16_000):
        counts[share_of_stream(f"order-{number}", 16)] += 1

    assert min(counts) > 800
    assert max(counts) < 1_200
    assert share_of_stream("order-o1", 16) == 7


def test_only_its_author_can_say_that_touching_work_may_be_divided():
    whole = {one.name for one in everything() if not may_be_split(Plan(one))}

    assert "analytics" in whole
    assert "orders" not in whole


def test_names_with_a_slash_are_refused():
    with pytest.raises(RegistrationError, match="holds no /"):
        type("Bad", (Projection,), {"name": "a/b", "tables": (ORDERS,)})
    with pytest.raises(RegistrationError, match="share_by"):
        type("Bad", (Projection,), {"name": "a", "tables": (ORDERS,), "share_by": "table"})


def test_a_split_is_refused_to_one_who_read_before_another_moved(log):
    class Racing(MemoryViews):
        raced = 0

        @override
        def transaction(self):
            if self.raced < 3:
                self.raced += 1
                with super().transaction() as transaction:
                    before = checkpoint(self, "orders")
                    transaction.advance("orders", before, before.position + 1)
            return super().transaction()

    views = Racing()

    assert split(views, Orders(), 2) == 2
    assert checkpoint(views, share_name("orders", 1)).position == 3
    assert views.raced == 3


def test_what_one_worker_parked_is_held_by_who_takes_its_share_over_and_retried_by_anyone(
    log, views
):
    fill(log)
    split(views, Histories(), 2)
    poison = 2  # the event that begins order o1
    engines = [engine_of(views, [Histories(poisoned(poison))], share) for share in (0, 1)]
    for engine in engines:
        engine.apply(log.read_page(0, 20, LogFilter()))

    for share in (0, 1):  # another process goes on with each, and parks what follows
        run(engine_of(views, [Histories(poisoned(poison))], share), log)
    runner = ProjectionRunner(log, views, [Histories()], clock=lambda: moment(1_000))
    [parked] = runner.parked()
    assert (parked.key, parked.position) == (("o1",), poison)
    assert parked.events > 1

    runner.retry("histories")

    assert runner.parked() == []
    assert rows_of(views, [Histories()]) == in_one_pass(log, [Histories()])
