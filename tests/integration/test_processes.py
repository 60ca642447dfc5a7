"""Process managers on every backend: what goes out is done once, whatever happens in between."""

import pytest
from typing_extensions import override

from eventcore.aggregates.orders import Order, OrderStatus
from eventcore.app import App
from eventcore.commands import CancelOrder, EndSession, PayOrder, StartSession, TrackActivity
from eventcore.errors import StoreUnavailableError
from eventcore.events.catalogue.orders import OrderCreated, OrderEvent, OrderPaid
from eventcore.events.identifiers import event_id_of_command
from eventcore.events.recorded import Recorded
from eventcore.processes import (
    AWAITED_PAYMENTS,
    CARTS,
    CartAbandoned,
    PaymentNotReceived,
    ProcessManager,
    Reaction,
    reacts,
)
from eventcore.processes.folding import command_id_of
from eventcore.processes.runner import ProcessRunner
from eventcore.projections.tables import Table
from tests.processing import (
    ITEM,
    Chase,
    ChaseRow,
    Clock,
    Crash,
    Steps,
    crashing_runner,
    create_order,
    open_shop,
    types_of,
)

PAID = ITEM.price


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb"])
def open_here(request, tmp_path, clock):
    """Opens an application on a backend, with the given processes; anew, on the same data."""
    match request.param:
        case "memory":
            url = "memory://"
        case "sqlite":
            url = f"sqlite:///{tmp_path}/shop.db"
        case "postgres":
            url = request.getfixturevalue("postgres_schema").store_url
        case _:
            place = request.getfixturevalue("dynamodb")
            # The days of these tests are long past: DynamoDB would delete what it is to keep.
            url = place.url_of(place.table, ttl="no")
    opened = []

    def open_(*processes):
        app = open_shop(url, clock, *processes)
        opened.append(app)
        return app

    yield open_
    for app in opened:
        app.close()


def test_an_order_that_is_not_paid_in_time_is_cancelled(open_here, clock):
    app = open_here(PaymentNotReceived())
    create_order(app, "late")
    create_order(app, "paid")
    runner = app.process_runner()
    runner.run_to_rest()
    app.execute(PayOrder(order_id="paid", amount=PAID))

    clock.forward(days=4)
    handled = runner.run_to_rest()

    assert app.get(Order, "late").status is OrderStatus.CANCELLED
    assert app.get(Order, "paid").status is OrderStatus.PAID
    assert (handled.commands, handled.timed_out, handled.refused) == (1, 1, 0)
    assert list(app.query(AWAITED_PAYMENTS)) == []


def test_nothing_is_cancelled_before_its_time(open_here, clock):
    app = open_here(PaymentNotReceived())
    create_order(app, "o-1")
    runner = app.process_runner()
    runner.run_to_rest()

    clock.forward(days=2, hours=23)
    handled = runner.run_to_rest()

    assert handled.timed_out == 0
    assert [row.order_id for row in app.query(AWAITED_PAYMENTS)] == ["o-1"]
    assert runner.status()[0].next_due == clock.time.replace(day=4, hour=12)


def test_a_command_says_which_event_sent_it(open_here, clock):
    app = open_here(PaymentNotReceived())
    create_order(app, "o-1")
    runner = app.process_runner()
    runner.run_to_rest()
    clock.forward(days=4)
    runner.run_to_rest()

    created, cancelled = app.log.read_stream("order-o-1")
    timed_out = next(event for event in app.log.read() if event.type == "process.timed_out")

    assert timed_out.causation_id == str(created.event_id)
    assert cancelled.causation_id == str(timed_out.event_id)
    assert cancelled.correlation_id == str(created.event_id)
    expected = command_id_of("payment_not_received", str(timed_out.event_id), 0)
    assert cancelled.event_id == event_id_of_command(expected, 0)
    assert timed_out.timestamp == created.timestamp.replace(day=4)


def test_a_cart_that_is_left_standing_is_noted_in_its_session(open_here, clock):
    app = open_here(CartAbandoned())
    for session in ("left", "ordered", "ended"):
        app.execute(StartSession(session_id=session))
        app.execute(TrackActivity(session_id=session, action="add_to_cart"))
    with app.context(session_id="ordered"):
        create_order(app, "o-1")
    app.execute(EndSession(session_id="ended"))
    runner = app.process_runner()
    runner.run_to_rest()

    clock.forward(minutes=30)
    app.execute(TrackActivity(session_id="left", action="add_to_cart"))
    runner.run_to_rest()
    clock.forward(minutes=40)
    runner.run_to_rest()
    standing_after_70_minutes = {row.session_id: row.status for row in app.query(CARTS)}
    clock.forward(minutes=40)
    handled = runner.run_to_rest()

    assert standing_after_70_minutes == {"ended": "abandoned", "left": "open"}
    assert {row.session_id: row.status for row in app.query(CARTS)} == {
        "ended": "abandoned",
        "left": "abandoned",
    }
    assert [e.payload.action for e in app.log.read_stream("session-left", after=1)] == [
        *("add_to_cart", "add_to_cart", "cart_abandoned"),
    ]
    assert types_of(app, "session-ended")[-1] == "session.ended"
    assert handled.refused == 0


def test_a_refused_command_is_noted_and_not_sent_again(open_here, clock):
    app = open_here(Chase())  # the session that it writes to was never started
    create_order(app, "o-1")
    runner = app.process_runner()

    first = runner.run_to_rest()
    second = runner.run_to_rest()

    assert (first.refused, first.commands) == (1, 0)
    assert (second.refused, second.commands, second.waiting) == (0, 0, 0)
    [refusal] = runner.refusals("chase")
    assert (refusal.command, refusal.stream, refusal.reason) == (
        *("TrackActivity", "session-s-o-1", "not-found"),
    )


def started(app: App, *order_ids: str) -> None:
    for order_id in order_ids:
        app.execute(StartSession(session_id=f"s-{order_id}"))
        create_order(app, order_id)


def actions_in(app: App, order_id: str) -> list[str]:
    events = app.log.read_stream(f"session-s-{order_id}", after=1)
    return [event.payload.action for event in events]


def test_what_a_crash_interrupts_is_done_once(open_here, clock):
    app = open_here(Chase())

    # On DynamoDB a run takes seconds: there every fifth moment.
    apart = 5 if "DynamoDB" in app.views.name else 1
    crash_at, crashes = 1, 0
    while True:
        order_id = f"o-{crash_at}"
        started(app, order_id)
        steps = Steps(crash_at)
        try:
            runner = crashing_runner(app, steps)
            runner.run_to_rest()
            clock.forward(hours=1)
            runner.run_to_rest()
            clock.forward(hours=1)
            runner.run_to_rest()
        except Crash:
            crashes += 1
        runner = app.process_runner()
        runner.run_to_rest()
        for _ in range(2):
            clock.forward(hours=1)
            runner.run_to_rest()
        assert actions_in(app, order_id) == ["ordered", "reminded"], steps.crash_at
        assert types_of(app, f"order-{order_id}") == ["order.created", "order.cancelled"]
        if steps.taken < crash_at:
            break
        crash_at += apart

    assert crashes * apart > 20


def test_a_rebuild_makes_the_same_rows_and_sends_nothing(open_here, clock):
    app = open_here(Chase())
    started(app, "a", "b", "c")
    runner = app.process_runner()
    runner.run_to_rest()
    app.execute(PayOrder(order_id="a", amount=PAID))
    clock.forward(hours=1)
    runner.run_to_rest()
    rows, head = list(app.query(Chase.table)), app.log.head()

    runner.rebuild("chase")
    handled = runner.run_to_rest()

    assert rows == list(app.query(Chase.table))
    assert [row.reminders for row in rows] == [1, 1]
    assert app.log.head() == head
    assert (handled.commands, handled.refused, handled.timed_out) == (0, 0, 0)


def test_timers_that_are_set_outlast_a_rebuild(open_here, clock):
    app = open_here(Chase())
    started(app, "a")
    runner = app.process_runner()
    runner.run_to_rest()

    runner.rebuild("chase")
    clock.forward(hours=1)
    runner.run_to_rest()

    assert actions_in(app, "a") == ["ordered", "reminded"]


def test_a_refused_command_is_not_sent_by_a_rebuild_either(open_here, clock):
    app = open_here(Chase())
    create_order(app, "o-1")
    runner = app.process_runner()
    runner.run_to_rest()

    app.execute(StartSession(session_id="s-o-1"))  # now it would be taken
    runner.rebuild("chase")
    runner.run_to_rest()

    assert actions_in(app, "o-1") == []


def test_a_rebuild_leaves_alone_what_was_not_sent_yet(open_here, clock):
    app = open_here(Chase())
    started(app, "a")

    def execute(command):
        raise StoreUnavailableError(store="the log", problem="away")

    ProcessRunner(app.log, app.views, app.processes, execute=execute, now=clock).run_to_rest()

    runner = app.process_runner()
    runner.rebuild("chase")
    runner.run_to_rest()
    clock.forward(hours=1)
    runner.run_to_rest()

    assert actions_in(app, "a") == ["ordered", "reminded"]


def test_a_rebuild_whose_code_sends_more_sends_nothing_for_the_past(open_here, clock):
    class Silent(Chase):
        name = "chase"

        @override
        @reacts(OrderCreated, key=lambda event: event.id)
        def placed(self, row: ChaseRow | None, event: Recorded[OrderCreated]) -> Reaction:
            return super().placed(row, event)._replace(commands=())

    app = open_here(Silent())
    started(app, "a")
    app.process_runner().run_to_rest()

    talking = app.process_runner([Chase()])
    talking.rebuild("chase")
    talking.run_to_rest()
    started(app, "b")
    talking.run_to_rest()

    assert actions_in(app, "a") == []
    assert actions_in(app, "b") == ["ordered"]


def test_two_runners_have_one_effect(open_here, clock):
    app = open_here(Chase())
    one, other = app.process_runner(), app.process_runner()
    started(app, "a", "b")
    for _ in range(3):
        for runner in (one, other):
            runner.run_once()
        clock.forward(hours=1)
    for runner in (one, other):
        runner.run_to_rest()

    for order_id in ("a", "b"):
        assert actions_in(app, order_id) == ["ordered", "reminded"]
        assert types_of(app, f"order-{order_id}") == ["order.created", "order.cancelled"]


def test_a_clock_that_steps_back_or_ahead_changes_nothing_that_was_recorded(open_here, clock):
    app = open_here(Chase())
    started(app, "a")
    runner = app.process_runner()
    clock.forward(hours=1)
    runner.run_to_rest()
    clock.forward(days=-300)
    runner.run_to_rest()
    clock.forward(days=300)
    runner.run_to_rest()

    assert actions_in(app, "a") == ["ordered", "reminded"]
    assert types_of(app, "order-a") == ["order.created"]
    [timed_out] = [event for event in app.log.read() if event.type == "process.timed_out"]
    assert (timed_out.version, timed_out.stream) == (1, f"process-{timed_out.event_id}")


def test_a_payment_that_came_before_the_timeout_was_recorded_wins(open_here, clock):
    app = open_here(PaymentNotReceived())
    create_order(app, "o-1")
    runner = app.process_runner()
    runner.run_to_rest()
    clock.forward(days=4)
    # The payment is in the log before the runner that has not seen it records the timeout.
    app.execute(PayOrder(order_id="o-1", amount=PAID))
    [timers] = runner._timers
    assert timers.record(clock()) == 1

    handled = runner.run_to_rest()

    assert types_of(app, "order-o-1") == ["order.created", "order.paid"]
    assert (handled.commands, handled.refused) == (0, 0)


def test_begins_at_the_head_sends_nothing_for_what_was_there_before(open_here, clock):
    class Newcomer(Chase):
        name = "newcomer"
        begins = "head"
        table = Chase.table

    app = open_here(Newcomer())
    started(app, "old")
    runner = app.process_runner()
    runner.run_to_rest()
    started(app, "new")
    app.process_runner().run_to_rest()

    assert actions_in(app, "old") == []
    assert actions_in(app, "new") == ["ordered"]
    assert [row.order_id for row in app.query(Chase.table)] == ["new", "old"]


def test_a_store_that_is_away_is_tried_again_and_others_go_on(open_here, clock):
    app = open_here(Chase())
    started(app, "a", "b")
    seconds = [0.0]
    tried = []

    def execute(command):
        tried.append(command.aggregate_id)
        if command.aggregate_id == "s-a" and len(tried) < 4:
            raise StoreUnavailableError(store="the log", problem="away")
        return app.execute(command)

    runner = ProcessRunner(
        app.log, app.views, app.processes, execute=execute, now=clock, monotonic=lambda: seconds[0]
    )
    first = runner.run_to_rest()
    again_at_once = runner.run_to_rest()

    assert (first.commands, first.waiting, again_at_once.waiting) == (1, 1, 1)
    assert tried == ["s-a", "s-b"]
    assert (actions_in(app, "a"), actions_in(app, "b")) == ([], ["ordered"])

    for _ in range(4):
        seconds[0] += 120
        runner.run_to_rest()

    assert actions_in(app, "a") == ["ordered"]
    assert tried == ["s-a", "s-b", "s-a", "s-a"]


class Noting(ProcessManager):
    """Notes in the session what becomes of an order."""

    name = "noting"
    table = Table("notings", ChaseRow, key=["order_id"])
    sends = (TrackActivity,)

    @reacts(OrderCreated, OrderPaid, key=lambda event: event.id)
    def note(self, row: ChaseRow | None, event: Recorded[OrderEvent]) -> Reaction:
        note = TrackActivity(session_id=f"s-{event.id}", action=event.type)
        return Reaction(ChaseRow(event.id), [note])


def test_commands_of_one_instance_stay_in_order_when_the_first_must_wait(open_here, clock):
    app = open_here(Noting())
    started(app, "a", "b")
    app.execute(PayOrder(order_id="a", amount=PAID))
    app.execute(PayOrder(order_id="b", amount=PAID))
    away = [True]

    def execute(command):
        if away[0] and (command.aggregate_id, command.action) == ("s-a", "order.created"):
            raise TimeoutError
        return app.execute(command)

    ProcessRunner(app.log, app.views, app.processes, execute=execute, now=clock).run_to_rest()
    while_away = actions_in(app, "a"), actions_in(app, "b")
    app.process_runner().run_to_rest()

    assert while_away == ([], ["order.created", "order.paid"])
    assert actions_in(app, "a") == ["order.created", "order.paid"]


def test_a_mistake_in_a_commands_code_is_noted_and_stops_nobody(open_here, clock):
    app = open_here(Chase())
    started(app, "a", "b")

    def execute(command):
        if command.aggregate_id == "s-a":
            raise ZeroDivisionError
        return app.execute(command)

    runner = ProcessRunner(app.log, app.views, app.processes, execute=execute, now=clock)
    handled = runner.run_to_rest()

    assert (handled.commands, handled.refused) == (1, 1)
    assert [row.reason for row in runner.refusals("chase")] == ["ZeroDivisionError"]


def test_refusals_are_forgotten_after_their_time(open_here, clock):
    app = open_here(Chase())
    create_order(app, "o-1")
    runner = app.process_runner()
    runner.run_to_rest()

    early = runner.expire(clock())
    clock.forward(days=91)
    runner.expire(clock())

    assert early == 0
    assert runner.refusals("chase") == []


def test_follow_reacts_to_what_is_recorded_meanwhile(open_here, clock):
    app = open_here(Chase())
    runner = app.process_runner()
    runner.start()
    try:
        started(app, "a")
        with app.log.subscribe() as subscription:
            seen = [next(event for event in subscription if event.type == "session.activity")]
        clock.forward(hours=1)
        with app.log.subscribe(seen[0].position) as subscription:
            seen.append(next(event for event in subscription if event.type == "session.activity"))
    finally:
        runner.stop()

    assert [event.payload.action for event in seen] == ["ordered", "reminded"]


def test_a_command_by_hand_with_the_same_id_changes_nothing(open_here, clock):
    app = open_here(PaymentNotReceived())
    create_order(app, "o-1")
    runner = app.process_runner()
    runner.run_to_rest()
    clock.forward(days=4)
    runner.run_to_rest()
    timed_out = next(event for event in app.log.read() if event.type == "process.timed_out")

    command_id = command_id_of("payment_not_received", str(timed_out.event_id), 0)
    again = app.execute(
        CancelOrder(order_id="o-1", reason="payment not received in time", command_id=command_id)
    )

    assert again.repeated


class Picky(Chase):
    """Cannot take one order until it is mended."""

    name = "chase"

    def __init__(self, *, mended: bool) -> None:
        self.mended = mended

    @override
    @reacts(OrderCreated, key=lambda event: event.id)
    def placed(self, row: ChaseRow | None, event: Recorded[OrderCreated]) -> Reaction:
        if event.id == "bad" and not self.mended:
            raise ZeroDivisionError
        return super().placed(row, event)


def test_a_poison_event_parks_its_instance_and_is_sent_once_when_it_is_retried(open_here, clock):
    app = open_here()
    started(app, "bad", "good")
    runner = app.process_runner([Picky(mended=False)])
    runner.run_to_rest()
    started(app, "later")
    app.execute(PayOrder(order_id="later", amount=PAID))
    runner.run_to_rest()
    [parked] = runner.parked("chase")

    assert (parked.key, parked.error, parked.events) == (("bad",), "ZeroDivisionError", 1)
    assert [actions_in(app, order) for order in ("bad", "good", "later")] == [
        *([], ["ordered"], ["ordered"]),
    ]

    mended = app.process_runner([Picky(mended=True)])
    retried = mended.retry("chase", "bad")
    mended.run_to_rest()
    runner.run_to_rest()
    clock.forward(hours=1)
    mended.run_to_rest()

    assert (retried.events, retried.parked) == (1, 0)
    assert mended.parked("chase") == []
    assert [actions_in(app, order) for order in ("bad", "good", "later")] == [
        *(["ordered", "reminded"], ["ordered", "reminded"], ["ordered"]),
    ]


def test_an_event_that_is_skipped_sends_nothing_and_what_follows_is_handled(open_here, clock):
    app = open_here()
    started(app, "bad")
    runner = app.process_runner([Picky(mended=False)])
    runner.run_to_rest()
    app.execute(PayOrder(order_id="bad", amount=PAID))
    runner.run_to_rest()
    waiting = [(one.key, one.events) for one in runner.parked("chase")]

    done = runner.skip("chase", "bad", reason="a test order", by="ada")
    runner.run_to_rest()

    assert waiting == [(("bad",), 2)]
    assert (done.skipped, done.parked) == (1, 0)
    assert actions_in(app, "bad") == []
    assert runner.status()[0].parked == 0


def test_follow_waits_for_a_database_that_is_away_and_goes_on(open_here, clock, caplog):
    app = open_here(Chase())
    runner = app.process_runner()
    tries: list[int] = []
    begin = runner._begin

    def away_at_first():
        tries.append(len(tries))
        if len(tries) < 3:
            raise StoreUnavailableError(store="the log", problem="away")
        return begin()

    runner._begin = away_at_first
    started(app, "a")
    runner.start()
    try:
        with app.log.subscribe() as subscription:
            seen = next(event for event in subscription if event.type == "session.activity")
    finally:
        runner.stop()

    assert seen.payload.action == "ordered"
    assert [r.message.split(",")[0] for r in caplog.records if r.name == "eventcore.processes"] == [
        *("a database is away", "a database is away"),
    ]


def test_a_timeout_of_a_timer_that_was_set_anew_calls_nobody(open_here, clock):
    app = open_here(CartAbandoned())
    app.execute(StartSession(session_id="s"))
    app.execute(TrackActivity(session_id="s", action="add_to_cart"))
    runner = app.process_runner()
    runner.run_to_rest()
    clock.forward(minutes=61)
    # It is filled again before the runner that has not seen it records the timeout.
    app.execute(TrackActivity(session_id="s", action="add_to_cart"))
    [timers] = runner._timers
    assert timers.record(clock()) == 1

    runner.run_to_rest()

    assert [(row.items, row.status) for row in app.query(CARTS)] == [(2, "open")]
    assert runner.status()[0].timers == 1


def test_a_timer_comes_due_though_a_rebuild_had_not_come_to_it(open_here, clock):
    app = open_here(Chase())
    started(app, "a")
    runner = app.process_runner()
    runner.run_to_rest()
    clock.forward(hours=1)
    [kept], [timers] = runner._kept.values(), runner._timers

    app.views.reset(kept.projection)  # where a rebuild broke off
    recorded = timers.record(clock())
    app.process_runner().run_to_rest()

    assert recorded == 0
    assert actions_in(app, "a") == ["ordered", "reminded"]
