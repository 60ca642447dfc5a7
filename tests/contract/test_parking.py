"""What fails is parked with what follows for its rows, and everything else goes on: everywhere."""

import threading
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from typing_extensions import override

from eventcore.errors import ConfigurationError, ProjectionFailedError, StoreError
from eventcore.events.catalogue import (
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderPaid,
    OrderShipped,
)
from eventcore.projections import Engine, MemoryViews, Projection, ProjectionRunner, Views, on
from eventcore.projections import engine as engine_module
from eventcore.projections.parking import SKIPPED, UNITS, WORK
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.retrying import Retried
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views
from tests.unit.projections.histories import event_id, order, record, rows_of
from tests.unit.projections.parkings import (
    HISTORIES,
    Histories,
    HistoryRow,
    PoisonError,
    Shop,
    Troubled,
    poisoned,
    seen,
)
from tests.unit.projections.shops import Lines, Seen

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


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


@pytest.fixture(scope="module")
def log():
    """Three orders, their events in turns: 1 4 7, 2 5 8, 3 6 9."""
    log = MemoryLog()
    for name in ("o1", "o2", "o3"):
        record(log, order(name))
    for name in ("o1", "o2", "o3"):
        record(log, OrderPaid(order_id=name, amount=Decimal(1)))
    for name in ("o1", "o2", "o3"):
        record(log, OrderCancelled(order_id=name))
    return log


def runner_of(log, views, *projections: Projection) -> ProjectionRunner:
    return ProjectionRunner(log, views, projections, clock=lambda: NOW)


def histories(views) -> dict[str, str]:
    return {row.name: row.seen for row in views.query(HISTORIES)}


def whole(log, projection: Projection) -> dict[str, list]:
    """The rows that projection has if nothing goes wrong."""
    views = MemoryViews()
    runner_of(log, views, projection).run_to_head()
    return rows_of(views, [projection])


def nothing_is_parked(views) -> bool:
    return list(views.query(UNITS)) == [] and list(views.query(WORK)) == []


def test_one_faulting_stream_does_not_stop_another_stream_from_projecting(log, views):
    progress = runner_of(log, views, Histories(poisoned(5))).run_to_head()

    assert progress == (9, 9, 1)
    assert histories(views) == {"o1": "1 4 7", "o2": "2", "o3": "3 6 9"}
    assert views.checkpoint("histories").position == 9


def test_the_shard_survives_a_poison_event_and_keeps_going(log, views):
    engine = Engine(views, [Histories(poisoned(2))])
    for after in range(0, 9, 3):
        assert engine.apply(log.read_page(after, 3)).events == 3
        assert engine.running

    assert histories(views) == {"o1": "1 4 7", "o3": "3 6 9"}


def test_the_dead_letter_row_identifies_the_projection_and_the_failure(log, views):
    runner = runner_of(log, views, Histories(poisoned(5)), Lines())
    runner.run_to_head()

    [found] = runner.parked()
    assert (found.projection, found.table, found.key) == ("histories", "histories", ("o2",))
    assert (found.position, found.event_type, found.events) == (5, "order.paid", 2)
    assert (found.error, found.message) == ("PoisonError", "this event is poison")
    assert (found.attempts, found.since, found.transient) == (1, NOW, False)
    [first, second] = views.query(WORK)
    assert (first.position, first.event_id, first.stream, first.version) == (
        5, event_id(5), "order-o2", 2
    )  # fmt: skip
    assert (second.position, second.attempts, second.error) == (8, 0, None)
    [status, other] = runner.status()
    assert (status.parked, status.parked_events, status.lag_events) == (1, 2, 0)
    assert (other.parked, other.parked_events) == (0, 0)


def test_what_other_errors_say_is_not_kept(log, views):
    def trouble(event, _work):
        if event.position == 5:
            raise KeyError("ada@example.com")

    runner = runner_of(log, views, Histories(trouble))
    runner.run_to_head()

    [found] = runner.parked("histories")
    assert (found.error, found.message) == ("KeyError", None)


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_what_is_retried_ends_in_the_rows_that_would_have_been_there(log, views, size):
    for at in (2, 5, 8):
        engine = Engine(views, [Histories(poisoned(at))])
        while engine.position < 9:
            engine.apply(log.read_page(engine.position, size, LogFilter()))
        runner = runner_of(log, views, Histories())

        assert runner.retry("histories") == Retried(events=(11 - at) // 3, skipped=0, parked=0)
        assert rows_of(views, [Histories()]) == whole(log, Histories())
        assert nothing_is_parked(views)
        runner.rebuild("histories")
        views.reset(Histories())


def test_events_above_those_that_were_retried_go_on_from_there(log, views):
    engine = Engine(views, [Histories(poisoned(2))])
    engine.apply(log.read_page(0, 5, LogFilter()))
    runner_of(log, views, Histories()).retry("histories", "o2")
    assert histories(views) == {"o1": "1 4", "o2": "2 5", "o3": "3"}

    # The engine remembers that o2 is parked, until it is told that its rows were revised.
    assert engine.apply(log.read_page(5, 9, LogFilter())).moved
    engine.apply(log.read_page(5, 9, LogFilter()))
    assert rows_of(views, [Histories()]) == whole(log, Histories())


def test_a_retry_that_fails_again_keeps_the_rest_parked(log, views):
    runner_of(log, views, Histories(poisoned(2))).run_to_head()

    assert runner_of(log, views, Histories(poisoned(5))).retry("histories") == (1, 0, 1)
    runner = runner_of(log, views, Histories(poisoned(5, error=ZeroDivisionError)))
    assert histories(views)["o2"] == "2"
    [found] = runner.parked()
    assert (found.position, found.attempts, found.events) == (5, 1, 2)

    assert runner.retry("histories", "o2") == (0, 0, 1)
    [found] = runner.parked()
    assert (found.position, found.attempts, found.error) == (5, 2, "ZeroDivisionError")
    assert [row.position for row in views.query(WORK)] == [5, 8]
    assert histories(views)["o2"] == "2"


def test_only_the_rows_that_fail_wait(log, views):
    def trouble(event, work):
        if event.position == 1 and work == "apple":
            raise PoisonError

    runner = runner_of(log, views, Shop(trouble))
    runner.run_to_head()

    # The order's own row has all its events; the product's row waits.
    assert histories(views)["o1"] == "1 4 7"
    assert [(one.table, one.key, one.events) for one in runner.parked()] == [
        ("buyers", ("apple",), 3)
    ]
    assert runner_of(log, views, Shop()).retry("shop").parked == 0
    assert rows_of(views, [Shop()]) == whole(log, Shop())


def test_rows_that_one_call_changes_wait_together(log, views):
    def trouble(event, work):
        if event.position == 4 and work == "key":
            raise PoisonError

    runner = runner_of(log, views, Shop(trouble))
    runner.run_to_head()

    # Event 7 would change the row of o1, which waits, and the one of the cancelled orders: so that
    # waits from then on, and with it the rows of o2 and o3, which 8 and 9 would change as well.
    assert histories(views) == {"o1": "1", "o2": "2 5", "o3": "3 6"}
    assert "cancelled" not in [row.name for row in rows_of(views, [Shop()])["buyers"]]
    assert [(one.position, one.key[0], one.events) for one in runner.parked()] == [
        (4, "o1", 2), (7, "cancelled", 3), (8, "o2", 1), (9, "o3", 1)
    ]  # fmt: skip

    # Retrying one of them retries what hangs together with it.
    assert runner_of(log, views, Shop()).retry("shop", "o3") == (4, 0, 0)
    assert rows_of(views, [Shop()]) == whole(log, Shop())
    assert nothing_is_parked(views)


def test_a_call_that_fails_leaves_all_its_rows_as_they_were(log, views):
    runner = runner_of(log, views, Shop(poisoned(8)))
    runner.run_to_head()

    assert histories(views) == {"o1": "1 4 7", "o2": "2 5", "o3": "3 6"}
    assert {row.name: row.seen for row in rows_of(views, [Shop()])["buyers"]} == {
        "apple": "1 2 3", "cancelled": "7"
    }  # fmt: skip
    assert runner_of(log, views, Shop()).retry("shop") == (2, 0, 0)
    assert rows_of(views, [Shop()]) == whole(log, Shop())


def test_what_is_appended_waits_for_its_stream_alone(log, views):
    def trouble(event, work):
        if event.position == 4 and work == "append":
            raise PoisonError

    runner = runner_of(log, views, Shop(trouble))
    runner.run_to_head()

    assert histories(views) == {"o1": "1 4 7", "o2": "2 5 8", "o3": "3 6 9"}
    assert [(one.table, one.key) for one in runner.parked()] == [("order_notes", ("order-o1",))]
    runner_of(log, views, Shop()).retry("shop")
    assert rows_of(views, [Shop()]) == whole(log, Shop())


class Unfindable(Troubled, Projection):
    """Cannot tell what one of its events touches, until it is mended."""

    name = "histories"
    tables = (HISTORIES,)
    broken: frozenset[int] = frozenset()

    @staticmethod
    def key_of(event):
        if event.position in Unfindable.broken:
            raise KeyError("ada@example.com")
        return event.id

    @on(OrderCreated, OrderPaid, OrderCancelled, key=key_of)
    def add(self, row, event):
        return seen(row, event.id, event)


def test_an_event_of_which_it_cannot_be_told_what_it_touches_parks_its_stream(
    log, views, monkeypatch
):
    monkeypatch.setattr(Unfindable, "broken", frozenset({5}))
    runner = runner_of(log, views, Unfindable())
    runner.run_to_head()

    assert histories(views) == {"o1": "1 4 7", "o2": "2", "o3": "3 6 9"}
    assert [(one.table, one.key, one.position, one.error) for one in runner.parked()] == [
        ("", ("order-o2",), 5, "KeyError"),
        ("histories", ("o2",), 8, None),
    ]
    assert runner.retry("histories") == (0, 0, 2)
    monkeypatch.setattr(Unfindable, "broken", frozenset())
    assert runner.retry("histories", "order-o2") == (2, 0, 0)
    assert rows_of(views, [Unfindable()]) == whole(log, Unfindable())
    assert nothing_is_parked(views)


def test_an_event_that_is_skipped_is_left_out_and_recorded_and_the_rest_is_applied(log, views):
    runner = runner_of(log, views, Histories(poisoned(5)))
    runner.run_to_head()

    assert runner.skip("histories", "o2", reason="paid by mistake", by="ada") == (1, 1, 0)

    assert histories(views) == {"o1": "1 4 7", "o2": "2 8", "o3": "3 6 9"}
    assert nothing_is_parked(views)
    [skipped] = runner.skipped("histories")
    assert (skipped.table, skipped.key, skipped.position, skipped.event_id) == (
        "histories", ("o2",), 5, event_id(5)
    )  # fmt: skip
    assert (skipped.reason, skipped.by, skipped.at) == ("paid by mistake", "ada", NOW)
    assert (skipped.attempts, skipped.error) == (1, "PoisonError")


def test_a_rebuild_passes_over_what_was_skipped(log, views):
    runner = runner_of(log, views, Histories(poisoned(5)))
    runner.run_to_head()
    runner.skip("histories", "o2", reason="paid by mistake")

    assert runner.reset("histories") == (9, 9, 0)
    assert histories(views) == {"o1": "1 4 7", "o2": "2 8", "o3": "3 6 9"}
    assert runner.rebuild("histories").parked == 0
    assert histories(views) == {"o1": "1 4 7", "o2": "2 8", "o3": "3 6 9"}
    assert len(list(views.query(SKIPPED))) == 1


def test_a_rebuild_begins_with_nothing_parked(log, views):
    runner = runner_of(log, views, Histories(poisoned(2)), Lines())
    runner.run_to_head()

    assert runner_of(log, views, Histories()).reset("histories") == (9, 9, 0)
    assert rows_of(views, [Histories()]) == whole(log, Histories())
    assert nothing_is_parked(views)


def test_what_was_parked_before_a_reset_that_nobody_knew_of_ends_in_the_same_rows(log, views):
    runner_of(log, views, Histories(poisoned(2))).run_to_head()
    views.reset(Histories())
    runner = runner_of(log, views, Histories())

    assert runner.run_to_head().parked == 1
    assert runner.retry("histories").parked == 0
    assert rows_of(views, [Histories()]) == whole(log, Histories())
    assert nothing_is_parked(views)


def test_what_is_parked_is_known_to_who_starts_next(log, views):
    Engine(views, [Histories(poisoned(2))]).apply(log.read_page(0, 4, LogFilter()))

    assert runner_of(log, views, Histories()).run_to_head() == (5, 9, 1)
    assert histories(views) == {"o1": "1 4 7", "o3": "3 6 9"}
    assert [row.position for row in views.query(WORK)] == [2, 5, 8]


def test_of_two_runners_the_late_one_sees_what_the_other_parked(log, views):
    first, second = Engine(views, [Histories(poisoned(2))]), Engine(views, [Histories()])
    first.apply(log.read_page(0, 5, LogFilter()))

    assert second.apply(log.read_page(0, 9, LogFilter())).moved
    second.apply(log.read_page(5, 9, LogFilter()))
    assert histories(views) == {"o1": "1 4 7", "o3": "3 6 9"}
    assert first.apply(log.read_page(5, 9, LogFilter())).moved
    runner_of(log, views, Histories()).retry("histories")
    assert rows_of(views, [Histories()]) == whole(log, Histories())


def test_a_projection_stops_where_too_much_would_be_parked(log, views, monkeypatch):
    monkeypatch.setattr(engine_module, "PARKED_UNITS_MAX", 2)
    monkeypatch.setattr("eventcore.projections.stopping.PARKED_UNITS_MAX", 2)
    runner = runner_of(log, views, Histories(poisoned(1, 2, 3)), Lines())
    with pytest.raises(ProjectionFailedError, match=r"2 keys are parked already") as caught:
        runner.run_to_head()

    assert (caught.value.projection, caught.value.position) == ("histories", 3)
    assert views.checkpoint("histories").position == 2
    assert views.checkpoint("lines").position == 9
    assert len(runner.parked()) == 2

    mended = runner_of(log, views, Histories())
    mended.retry("histories")
    assert mended.run_to_head() == (7, 9, 0)
    assert rows_of(views, [Histories()]) == whole(log, Histories())


@pytest.mark.parametrize(
    "refusal",
    [
        ConfigurationError(message="create=no forbids to begin it there"),
        StoreError(store="the database", problem="permission denied"),
    ],
)
def test_a_projection_stops_where_nothing_may_be_made_to_park_in(
    log, views, refusal, *, monkeypatch
):
    views.ensure(Histories())
    ensure = views.ensure

    def refuse(projection):
        if projection.name == "eventcore_parking":
            raise refusal
        return ensure(projection)

    monkeypatch.setattr(views, "ensure", refuse)
    runner = runner_of(log, views, Histories(poisoned(5)), Lines())
    with pytest.raises(ProjectionFailedError, match="it cannot be parked: ") as caught:
        runner.run_to_head()

    assert (caught.value.position, str(refusal) in str(caught.value)) == (5, True)
    assert histories(views) == {"o1": "1 4", "o2": "2", "o3": "3"}
    assert views.checkpoint("lines").position == 9
    assert runner.parked() == []


class BrokenPages(Seen):
    name = "pages"

    @override
    def apply_page(self, events, transaction):
        super().apply_page(events, transaction)  # type: ignore[no-untyped-call]  # of a test
        if any(event.position == 5 for event in events):
            raise LookupError


def test_a_projection_that_takes_pages_stops_and_the_others_go_on(log, views):
    runner = runner_of(log, views, BrokenPages(), Histories(poisoned(5)))
    with pytest.raises(ProjectionFailedError, match="pages stopped at position 5"):
        runner.run_to_head()

    assert [views.checkpoint(name).position for name in ("pages", "histories")] == [4, 9]
    assert histories(views) == {"o1": "1 4 7", "o2": "2", "o3": "3 6 9"}


def test_nothing_is_to_be_retried_or_skipped_where_nothing_is_parked(log, views):
    runner = runner_of(log, views, Histories())
    runner.run_to_head()

    assert runner.retry("histories") == (0, 0, 0)
    assert runner.parked() == []
    assert runner.skipped("histories") == []
    with pytest.raises(ConfigurationError, match="nothing parked under that key"):
        runner.retry("histories", "o1")
    with pytest.raises(ConfigurationError, match="nothing parked under that key"):
        runner.skip("histories", "o1", reason="why not")
    with pytest.raises(ConfigurationError, match="no projection 'orders'"):
        runner.retry("orders")


def test_nothing_is_skipped_without_a_reason(log, views):
    runner = runner_of(log, views, Histories(poisoned(5)))
    runner.run_to_head()

    with pytest.raises(ConfigurationError, match="Say why"):
        runner.skip("histories", "o2", reason=" ")
    assert len(runner.parked()) == 1


def test_what_failed_for_want_of_something_outside_is_tried_again_by_the_next_run(log, views):
    def trouble(event, _work):
        if event.position == 5 and not there:
            raise TimeoutError

    there: list[bool] = []
    runner = runner_of(log, views, Histories(trouble))
    assert runner.run_to_head() == (9, 9, 1)
    assert runner.run_to_head() == (0, 9, 1)
    [found] = runner.parked()
    assert (found.transient, found.attempts) == (True, 2)

    there.append(True)
    assert runner.run_to_head() == (0, 9, 0)
    assert rows_of(views, [Histories()]) == whole(log, Histories())


def test_a_follower_retries_by_itself_what_may_go_by_itself(log, views, monkeypatch):
    monkeypatch.setattr("eventcore.projections.transient.RETRY_FIRST_SECONDS", 0.01)
    tries = []
    done = threading.Event()

    def trouble(event, _work):
        if event.position == 5:
            tries.append(event.position)
            if len(tries) < 5:
                raise OSError("no route to host")
            done.set()

    runner = runner_of(log, views, Histories(trouble))
    runner.start()
    try:
        assert done.wait(60)
    finally:
        runner.stop()

    assert runner.run_to_head().parked == 0
    assert rows_of(views, [Histories()]) == whole(log, Histories())


def test_many_events_wait_behind_one_and_are_applied_in_order(views, monkeypatch):
    monkeypatch.setattr("eventcore.projections.retrying.RETRIED_AT_ONCE", 7)
    log = MemoryLog()
    record(log, order("o1"), order("o2"))
    for _ in range(15):
        record(log, OrderShipped(order_id="o1"), OrderDelivered(order_id="o2"))
    runner_of(log, views, Histories(poisoned(1))).run_to_head()

    assert runner_of(log, views, Histories()).retry("histories") == (16, 0, 0)
    assert rows_of(views, [Histories()]) == whole(log, Histories())
    assert histories(views)["o1"] == " ".join(map(str, [1, *range(3, 33, 2)]))
    assert isinstance(next(iter(views.query(HISTORIES))), HistoryRow)
