"""The runner: to the head, following, waiting, rebuilding, and saying how things stand."""

import threading
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest

from eventcore.errors import ConfigurationError, ProjectionFailedError, WaitTimeoutError
from eventcore.events.catalogue import (
    OrderCreated,
    OrderItemAdded,
    OrderItemRemoved,
    SessionStarted,
    UserRegistered,
)
from eventcore.projections import (
    MemoryViews,
    Projection,
    ProjectionRunner,
    Table,
    built_in_projections,
    on,
)
from eventcore.projections.read_models import ORDERS, USERS, Orders, Users, UserSessions
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog
from tests.unit.projections import shops
from tests.unit.projections.histories import moment, order, record, rows_of

PATIENCE_SECONDS = 30.0


@pytest.fixture(params=["memory", "sqlite", "sqlite, two files"])
def stores(request, tmp_path):
    if request.param == "memory":
        yield MemoryLog(), MemoryViews()
        return
    log = SQLiteLog(tmp_path / "shop.db")
    views = SQLiteViews(log.connections if request.param == "sqlite" else tmp_path / "views.db")
    yield log, views
    views.close()
    log.close()


@pytest.fixture
def log(stores):
    return stores[0]


@pytest.fixture
def views(stores):
    return stores[1]


@pytest.fixture
def runner(log, views):
    return ProjectionRunner(log, views, [*built_in_projections(), *shops.own_projections()])


def user(number: int) -> UserRegistered:
    return UserRegistered(user_id=f"u{number}", email=f"{number}@example.com")


def test_a_run_ends_at_the_head_and_the_next_goes_on_from_there(log, runner):
    record(log, user(1), order("o1"))
    assert runner.run_to_head() == (2, 2, 0)
    assert runner.run_to_head() == (0, 2, 0)

    record(log, user(2))
    assert runner.run_to_head() == (1, 3, 0)


def test_an_empty_log_is_its_own_head(runner):
    assert runner.run_to_head() == (0, 0, 0)


def test_progress_is_told_page_by_page(log, views):
    record(log, *(user(number) for number in range(250)))
    told = []
    runner = ProjectionRunner(log, views, [Users()], on_page=lambda *page: told.append(page))
    runner.run_to_head()

    # Pages grow while they are full.
    assert told == [(100, 100), (150, 250)]


def test_following_applies_what_is_recorded_meanwhile(log, views, runner):
    record(log, user(1))
    runner.start()
    for number in range(2, 6):
        position = record(log, user(number))
        runner.wait_for(position, timeout_seconds=PATIENCE_SECONDS)
        assert views.count(USERS) == number
    runner.stop()

    record(log, user(6))
    assert views.count(USERS) == 5


def test_a_position_that_meets_no_handler_is_reached_too(log, views):
    runner = ProjectionRunner(log, views, [Users()])
    runner.start()
    runner.wait_for(record(log, order("o1")), timeout_seconds=PATIENCE_SECONDS)
    runner.stop()


def test_a_follower_stops_at_once_and_may_start_again(log, runner):
    runner.start()
    with pytest.raises(ConfigurationError, match="following already"):
        runner.start()
    runner.wait_for(record(log, user(1)), timeout_seconds=PATIENCE_SECONDS)
    runner.stop()
    runner.stop()

    runner.start()
    runner.wait_for(record(log, user(2)), timeout_seconds=PATIENCE_SECONDS)
    runner.stop()


def test_a_follower_ends_when_the_event_it_was_given_is_set(log, runner):
    stop = threading.Event()
    thread = threading.Thread(target=runner.follow, args=(stop,))
    thread.start()
    runner.wait_for(record(log, user(1)), timeout_seconds=PATIENCE_SECONDS)
    stop.set()
    thread.join(PATIENCE_SECONDS)

    assert not thread.is_alive()


def test_two_followers_of_the_same_projections_share_the_work(log, views, runner):
    other = ProjectionRunner(log, views, [*built_in_projections(), *shops.own_projections()])
    runner.start()
    other.start()
    for number in range(40):
        record(log, user(number), order(f"o{number}", ("apple", 1, "1"), user_id=f"u{number}"))
    runner.wait_for(80, timeout_seconds=PATIENCE_SECONDS)
    runner.stop()
    other.stop()

    scratch = MemoryViews()
    ProjectionRunner(log, scratch, runner.projections).run_to_head()
    assert rows_of(views, runner.projections) == rows_of(scratch, runner.projections)


def test_a_rebuild_under_a_follower_ends_in_the_same_rows(log, views, runner):
    record(log, *(user(number) for number in range(300)))
    runner.start()
    other = ProjectionRunner(log, views, [Users(), Orders()])
    for number in range(300, 310):
        other.rebuild("users")
        record(log, user(number))
    runner.wait_for(310, timeout_seconds=PATIENCE_SECONDS)
    runner.stop()

    assert sorted(row.user_id for row in views.query(USERS)) == sorted(f"u{n}" for n in range(310))


def test_waiting_in_vain_says_where_the_projection_is(log, views, runner):
    record(log, user(1))
    runner.run_to_head()

    with pytest.raises(
        WaitTimeoutError, match=r"orders is at position 1, waited 0.01 s for 2"
    ) as caught:
        runner.wait_for(2, ["orders"], timeout_seconds=0.01)
    assert (caught.value.projection, caught.value.current) == ("orders", 1)


def test_waiting_for_a_projection_that_was_never_run_times_out(log, views):
    runner = ProjectionRunner(log, views, [Orders()])
    with pytest.raises(WaitTimeoutError, match="orders is at position 0"):
        runner.wait_for(1, timeout_seconds=0.01)


class BrokenRow(NamedTuple):
    name: str


class Broken(Projection):
    name = "broken"
    tables = (Table("broken", BrokenRow, key=["name"]),)

    @on(SessionStarted, key=lambda event: "x")
    def fail(self, row, event):
        raise LookupError


@pytest.mark.usefixtures("nothing_is_parked")
def test_who_waits_for_a_follower_that_failed_is_told_why(log, views):
    runner = ProjectionRunner(log, views, [Broken(), Users()])
    runner.start()
    position = record(log, SessionStarted(session_id="s1"))

    with pytest.raises(ProjectionFailedError, match="broken stopped at position 1"):
        runner.wait_for(position, timeout_seconds=PATIENCE_SECONDS)
    with pytest.raises(ProjectionFailedError, match="broken stopped at position 1"):
        runner.stop()
    # The next run starts afresh and fails again; what it need not hold up goes on.
    record(log, user(1))
    with pytest.raises(ProjectionFailedError, match="broken stopped at position 1"):
        runner.run_to_head()
    assert views.count(USERS) == 1


def test_status_says_how_far_behind_each_projection_is(log, views):
    record(log, user(1), order("o1"), user(2))
    ProjectionRunner(log, views, [Users()]).run_to_head()
    record(log, user(3))
    runner = ProjectionRunner(log, views, [Users(), Orders()])

    assert [tuple(found) for found in runner.status(moment(4) + timedelta(seconds=60))] == [
        ("users", 3, 4, 1, 60.0, 2, None, (), 0, 0, ((1, "live", 3),)),
        ("orders", 0, 4, 4, 63.0, 0, None, (), 0, 0, ()),
    ]
    assert [found.lag_seconds for found in runner.status()] == [None, None]

    runner.run_to_head()
    assert [tuple(found) for found in runner.status()] == [
        ("users", 4, 4, 0, 0.0, 3, None, (), 0, 0, ((1, "live", 4),)),
        ("orders", 4, 4, 0, 0.0, 1, None, (), 0, 0, ((1, "live", 4),)),
    ]


def test_a_rebuild_reproduces_the_projected_state(log, views, runner):
    record(
        log,
        user(1),
        order("o1", ("apple", 3, "1.50"), user_id="u1"),
        OrderItemAdded(order_id="o1", product_id="fig", quantity=1, price=Decimal("0.5")),
        OrderItemRemoved(order_id="o1", product_id="apple", quantity=1),
        SessionStarted(session_id="s1", user_id="u1"),
    )
    runner.run_to_head()
    before = rows_of(views, runner.projections)
    for projection in runner.projections:
        runner.rebuild(projection.name)

    assert rows_of(views, runner.projections) == before


def test_a_rebuild_removes_state_the_replay_cannot_produce(log, views, runner):
    record(log, user(1))
    runner.run_to_head()
    [real] = views.query(USERS)
    with views.transaction() as transaction:
        transaction.upsert(USERS, [real._replace(user_id="ghost")])

    runner.rebuild("users", accept_differences=True)
    assert list(views.query(USERS)) == [real]


def test_rebuilding_twice_is_idempotent(log, views, runner):
    record(log, user(1), order("o1"))
    runner.run_to_head()
    before = rows_of(views, runner.projections)

    assert runner.rebuild("orders")[:2] == runner.rebuild("orders")[:2] == (1, 2)
    assert rows_of(views, runner.projections) == before


def test_rebuilding_one_projection_leaves_another_alone(log, views, runner):
    record(log, user(1), order("o1"))
    runner.run_to_head()
    kept = views.checkpoint("users")
    with views.transaction() as transaction:
        [row] = transaction.load_rows(USERS, ["u1"])
        transaction.upsert(USERS, [row._replace(first_name="touched by hand")])

    runner.rebuild("orders")
    assert views.checkpoint("users") == kept
    assert [row.first_name for row in views.query(USERS)] == ["touched by hand"]


def test_rebuilding_a_projection_with_no_events_is_not_an_error(log, views, runner):
    assert runner.rebuild("users")[:2] == (0, 0)
    record(log, order("o1"))
    assert runner.rebuild("users")[:2] == (0, 1)
    assert views.checkpoint("users").position == 1


def test_rebuilding_what_does_not_exist_is_refused(runner):
    with pytest.raises(ConfigurationError, match="There is no projection 'sales', only users, "):
        runner.rebuild("sales")


def test_one_event_reaches_every_identity_it_names(log, views, runner):
    record(
        log, order("o1", ("apple", 1, "1"), ("pear", 2, "1"), ("fig", 3, "1"), ("apple", 4, "1"))
    )
    runner.run_to_head()

    assert list(views.query(shops.STOCK)) == [
        shops.StockRow("apple", 5),
        shops.StockRow("fig", 3),
        shops.StockRow("pear", 2),
    ]


def test_increment_and_decrement_move_the_column_in_both_directions(log, views, runner):
    def reserved() -> list[int]:
        runner.run_to_head()
        return [row.reserved for row in views.query(shops.STOCK)]

    record(log, order("o1", ("apple", 2, "1")))
    assert reserved() == [2]
    record(log, OrderItemAdded(order_id="o1", product_id="apple", quantity=3, price=Decimal(1)))
    assert reserved() == [5]
    record(log, OrderItemRemoved(order_id="o1", product_id="apple", quantity=4))
    assert reserved() == [1]
    record(log, OrderItemRemoved(order_id="o1", product_id="apple", quantity=1))
    assert reserved() == []


def test_events_of_other_streams_do_not_touch_a_row(log, views):
    record(
        log,
        order("o1"),
        order("o2"),
        OrderItemAdded(order_id="o2", product_id="x", quantity=1, price=Decimal(1)),
    )
    ProjectionRunner(log, views, [Orders(), UserSessions()]).run_to_head()

    assert [(row.order_id, row.total_amount) for row in views.query(ORDERS)] == [
        ("o1", Decimal(3)),
        ("o2", Decimal(4)),
    ]


def test_a_log_larger_than_a_page_is_read_to_its_end(tmp_path):
    log = SQLiteLog(tmp_path / "shop.db", synchronous="NORMAL")
    views = SQLiteViews(log.connections)
    record(log, *(order(f"o{n}") for n in range(4_500)))

    assert ProjectionRunner(log, views, [Orders()]).run_to_head() == (4_500, 4_500, 0)
    assert views.count(ORDERS) == 4_500
    views.close()
    log.close()


def test_a_handler_is_called_in_the_order_of_the_log(log, views):
    seen = []

    class Listening(Projection):
        name = "listening"
        tables = (Table("listening", BrokenRow, key=["name"]),)

        @on(OrderCreated, key=lambda event: "x")
        def listen(self, row, event):
            seen.append(event.position)

    record(log, *(order(f"o{n}") for n in range(5)))
    ProjectionRunner(log, views, [Listening()]).run_to_head()
    assert seen == [1, 2, 3, 4, 5]
