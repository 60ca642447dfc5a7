"""The engine: each event counts once, whatever comes again, in whatever pages, beside whomever."""

import decimal
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from typing_extensions import override

from eventcore.errors import ConfigurationError, ProjectionFailedError, StoreError
from eventcore.events.catalogue import (
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
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
    Table,
    Views,
    appends,
    built_in_projections,
    on,
)
from eventcore.projections import remembered as remembered_module
from eventcore.projections.read_models import ORDERS, Orders, Users
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.transactions import Checkpoint
from eventcore.stores.log import LogFilter, Page
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog
from tests.unit.projections import shops
from tests.unit.projections.histories import order, record, rows_of


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture(params=["memory", "sqlite"])
def views(request, tmp_path):
    kept = MemoryViews() if request.param == "memory" else SQLiteViews(tmp_path / "views.db")
    yield kept
    kept.close()


def fill(log: MemoryLog) -> None:
    record(
        log,
        UserRegistered(user_id="u1", email="a@example.com"),
        order("o1", ("apple", 2, "1.50"), ("pear", 1, "2"), user_id="u1"),
        SessionStarted(session_id="s1", user_id="u1"),
        OrderItemAdded(order_id="o1", product_id="apple", quantity=1, price=Decimal(2)),
        order("o2", ("apple", 1, "1.50"), user_id="u2"),
        OrderItemRemoved(order_id="o1", product_id="pear", quantity=1),
        OrderPaid(order_id="o1", amount=Decimal(5)),
        OrderCancelled(order_id="o2"),
        order("o3", ("fig", 3, "0.10"), user_id="u1"),
    )


def everything() -> list[Projection]:
    return [*built_in_projections(), *shops.own_projections()]


def whole(log: MemoryLog) -> Page:
    return log.read_page(0, 10_000, LogFilter())


@pytest.fixture
def expected(log):
    fill(log)
    views = MemoryViews()
    Engine(views, everything()).apply(whole(log))
    return rows_of(views, everything())


def test_own_projections_keep_what_they_say(log, views):
    fill(log)
    ProjectionRunner(log, views, shops.own_projections()).run_to_head()

    assert rows_of(views, shops.own_projections()) == {
        "sales": [shops.SalesRow("2026-02-01", "GBP", Decimal("6.80"))],
        "stock": [shops.StockRow("apple", 4), shops.StockRow("fig", 3)],
        "baskets": [
            shops.BasketRow("o1", "apple", Decimal("0.5")),
            shops.BasketRow("o1", "pear", Decimal("0.5")),
            shops.BasketRow("o3", "fig", Decimal(1)),
        ],
        "spenders": [shops.SpenderRow("u1", 2), shops.SpenderRow("u2", 1)],
        "totals": [shops.TotalRow("distinct", 2)],
        "lines": [
            shops.LineRow("2/0", "apple"),
            shops.LineRow("2/1", "pear"),
            shops.LineRow("5/0", "apple"),
            shops.LineRow("9/0", "fig"),
        ],
        "seen": [
            shops.SeenRow("order.cancelled", 1),
            shops.SeenRow("order.created", 3),
            shops.SeenRow("order.item_added", 1),
            shops.SeenRow("order.item_removed", 1),
            shops.SeenRow("order.paid", 1),
            shops.SeenRow("session.started", 1),
            shops.SeenRow("user.registered", 1),
        ],
    }


@pytest.mark.parametrize("size", range(1, 11))
def test_pages_of_any_size_end_in_the_same_rows(log, views, expected, *, size):
    engine = Engine(views, everything())
    while engine.position < log.head():
        engine.apply(log.read_page(engine.position, size, LogFilter()))

    assert rows_of(views, everything()) == expected


def test_a_page_that_comes_again_changes_nothing(log, views, expected):
    engine = Engine(views, everything())
    assert engine.apply(whole(log)).events == 9

    assert engine.apply(whole(log)).events == 0
    assert Engine(views, everything()).apply(whole(log)).events == 0
    assert rows_of(views, everything()) == expected


def test_events_that_come_twice_in_a_page_count_once(log, views, expected):
    events, end = whole(log)
    twice = [events[0], events[0], *events[:5], *events[2:], events[1]]

    assert Engine(views, everything()).apply(Page(twice, end)).events == 9
    assert rows_of(views, everything()) == expected


def test_pages_that_overlap_count_once(log, views, expected):
    engine = Engine(views, everything())
    for after in (0, 2, 1, 4, 5, 3):
        engine.apply(log.read_page(after, 4, LogFilter()))

    assert rows_of(views, everything()) == expected


def test_a_checkpoint_advances_past_events_that_meet_no_handler(log, views):
    fill(log)
    engine = Engine(views, [Users()])
    assert engine.where() == LogFilter(
        types=frozenset(
            {
                "user.registered",
                "user.profile_updated",
                "user.email_changed",
                "user.suspended",
                "user.reactivated",
                "user.closed",
            }
        )
    )

    engine.apply(log.read_page(0, 100, engine.where()))
    assert views.checkpoint("users").position == 9


def test_one_projection_for_everything_makes_the_pass_read_everything():
    assert Engine(MemoryViews(), [Users(), *shops.own_projections()]).where() == LogFilter()


def test_projections_at_different_places_share_a_pass(log, views, expected):
    Engine(views, [Orders()]).apply(log.read_page(0, 4, LogFilter()))
    Engine(views, [shops.Stock()]).apply(whole(log))

    engine = Engine(views, everything())
    assert engine.position == 0
    assert engine.apply(whole(log)).events == 9
    assert rows_of(views, everything()) == expected


def test_of_two_runners_of_one_projection_the_late_one_drops_its_page(log, views, expected):
    first, second = Engine(views, everything()), Engine(views, everything())
    assert first.apply(log.read_page(0, 4, LogFilter())) == (4, False)

    assert second.apply(whole(log)) == (0, True)
    assert second.position == 4
    assert second.apply(log.read_page(4, 2, LogFilter())) == (2, False)
    assert first.apply(log.read_page(4, 100, LogFilter())) == (0, True)
    assert first.apply(log.read_page(first.position, 100, LogFilter())) == (3, False)
    assert rows_of(views, everything()) == expected


def test_what_a_runner_remembers_is_dropped_when_rows_expired_meanwhile(log, views):
    record(log, UserRegistered(user_id="u1", email="a@example.com"))
    engine = Engine(views, built_in_projections())
    engine.apply(whole(log))
    runner = ProjectionRunner(log, views, built_in_projections())
    runner.expire(datetime(2030, 1, 1, tzinfo=UTC))
    record(log, UserRegistered(user_id="u2", email="b@example.com"))

    assert engine.apply(log.read_page(1, 10, LogFilter())).moved
    engine.apply(log.read_page(1, 10, LogFilter()))
    counts = [row.value for row in views.query(runner.projections[-1].tables[0])]
    assert counts == [Decimal(1), Decimal(1)]


def test_rows_that_are_no_longer_remembered_are_loaded_again(log, views, expected, *, monkeypatch):
    monkeypatch.setattr(remembered_module, "ROWS_REMEMBERED_MAX", 1)
    engine = Engine(views, everything())
    while engine.position < log.head():
        engine.apply(log.read_page(engine.position, 2, LogFilter()))

    assert rows_of(views, everything()) == expected


def test_sums_are_exact_whatever_the_thread_is_set_to(log, views):
    big = "99999999999999.9999"
    record(log, SessionStarted(session_id="s1"))
    record(log, order("o1", ("gold", 1, big)), order("o2", ("gold", 1, big)))
    with decimal.localcontext() as context:
        context.prec = 3
        Engine(views, [shops.DailySales()]).apply(whole(log))

    assert [row.amount for row in views.query(shops.SALES)] == [Decimal("199999999999999.9998")]


class NoteRow(NamedTuple):
    note: str
    times: int


NOTES = Table("notes", NoteRow, key=["note"])
JOURNAL = Table("journal", NoteRow, key=["note"])


class Fragile(Projection):
    """Fails on the order "bad"; what it does to the rows before that must not be seen."""

    name = "fragile"
    tables = (NOTES, JOURNAL)
    wrong: Any = staticmethod(lambda: 1 / 0)

    @on(OrderCreated, table=NOTES, key=lambda event: "all")
    def count(self, row, event):
        return NoteRow("all", row.times + 1 if row else 1)

    @appends(OrderCreated, table=JOURNAL)
    def note(self, event):
        if event.id == "bad":
            return self.wrong()
        return NoteRow(event.id, 1)


def failing(
    log: MemoryLog, views: Views, projection: Projection, *others: Projection
) -> ProjectionFailedError:
    runner = ProjectionRunner(log, views, [projection, *others])
    with pytest.raises(ProjectionFailedError) as caught:
        runner.run_to_head()
    return caught.value


def fill_badly(log: MemoryLog) -> None:
    record(log, order("o1"), order("o2"), order("bad"), OrderDelivered(order_id="o1"), order("o4"))


@pytest.mark.usefixtures("nothing_is_parked")
def test_a_handler_that_raises_keeps_what_comes_before_it(log, views):
    fill_badly(log)
    error = failing(log, views, Fragile(), Orders())

    assert (error.projection, error.position, error.event_type, error.stream) == (
        "fragile", 3, "order.created", "order-bad"
    )  # fmt: skip
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert rows_of(views, [Fragile()]) == {
        "notes": [NoteRow("all", 2)],
        "journal": [NoteRow("o1", 1), NoteRow("o2", 1)],
    }
    assert views.checkpoint("fragile").position == 2
    # The others are not held up.
    assert views.checkpoint("orders").position == 5
    assert views.count(ORDERS) == 4


@pytest.mark.usefixtures("nothing_is_parked")
def test_a_failed_projection_goes_on_once_it_is_mended(log, views):
    fill_badly(log)
    failing(log, views, Fragile())

    mended = Fragile()
    mended.wrong = lambda: None
    assert ProjectionRunner(log, views, [mended]).run_to_head() == (2, 5, 0)
    assert list(views.query(NOTES)) == [NoteRow("all", 4)]


@pytest.mark.usefixtures("nothing_is_parked")
def test_a_failure_says_nothing_of_the_values(log, views):
    fill_badly(log)
    fragile = Fragile()
    fragile.wrong = lambda: dict[str, int]()["ada@example.com"]

    assert str(failing(log, views, fragile)) == (
        "Projection fragile stopped at position 3 (order.created of order-bad): KeyError. "
        "Fix the handler and run it again; events before that position are applied"
    )


WRONG_ROWS = {
    "a row of another type": (
        lambda: NoteRow._make(["bad", "one"]),
        "StoreError",
        "column times is a str",
    ),
    "a row with another shape": (
        lambda: [("bad",)],
        "StoreError",
        "a row has 1 columns, expected 2",
    ),
    "no row at all": (lambda: 5, "TypeError", "not iterable"),
}


@pytest.mark.usefixtures("nothing_is_parked")
@pytest.mark.parametrize(("wrong", "kind", "words"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_row_that_cannot_be_kept_is_the_fault_of_its_event(log, views, *, wrong, kind, words):
    fill_badly(log)
    fragile = Fragile()
    fragile.wrong = wrong
    error = failing(log, views, fragile)

    assert (error.position, type(error.__cause__).__name__) == (3, kind)
    assert words in str(error.__cause__)
    assert list(views.query(NOTES)) == [NoteRow("all", 2)]


class Careless(Projection):
    name = "careless"
    tables = (NOTES,)
    key: Any = "all"

    @on(OrderCreated, key=lambda event: "all" if event.id != "bad" else Careless.key)
    def count(self, row, event):
        return NoteRow("all", row.times + 1 if row else 1)


@pytest.mark.usefixtures("nothing_is_parked")
@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("other", "table notes got a row whose key is not the one the event touches"),
        (7, "column note is a int, expected str"),
        ([], "column note is a list, expected str"),
    ],
)
def test_a_key_that_is_not_the_rows_is_the_fault_of_its_event(
    log, views, monkeypatch, *, key, words
):
    monkeypatch.setattr(Careless, "key", key)
    fill_badly(log)
    error = failing(log, views, Careless())

    assert error.position == 3
    assert words in str(error.__cause__)
    assert list(views.query(NOTES)) == [NoteRow("all", 2)]


class Grouping(Projection):
    name = "grouping"
    tables = (shops.BASKETS,)
    rows: Any = ()

    @on(OrderCreated, group=lambda event: event.id)
    def created(self, rows, event):
        return self.rows if event.id == "bad" else [shops.BasketRow(event.id, "x", Decimal(1))]


@pytest.mark.usefixtures("nothing_is_parked")
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([shops.BasketRow("o1", "y", Decimal(1))], "a row of another group"),
        ([shops.BasketRow("bad", "y", Decimal(1))] * 2, "two rows with one key"),
        ([shops.BasketRow._make(["bad", "y", 1])], "column share is a int, expected Decimal"),
    ],
)
def test_a_group_that_cannot_be_kept_is_the_fault_of_its_event(log, views, rows, *, words):
    fill_badly(log)
    grouping = Grouping()
    grouping.rows = rows
    error = failing(log, views, grouping)

    assert error.position == 3
    assert words in str(error.__cause__)
    assert [row.order_id for row in views.query(shops.BASKETS)] == ["o1", "o2"]


class Pages(Projection):
    name = "pages"
    tables = (NOTES,)
    listens = (OrderCreated,)

    @override
    def apply_page(self, events, transaction):
        for event in events:
            [row] = transaction.load_rows(NOTES, ["all"]) or [NoteRow("all", 0)]
            transaction.upsert(NOTES, [NoteRow("all", row.times + 1)])
            if event.id == "bad":
                raise LookupError


def test_a_page_that_fails_keeps_what_comes_before_the_event_at_fault(log, views):
    fill_badly(log)
    error = failing(log, views, Pages(), Orders())

    assert (error.position, type(error.__cause__)) == (3, LookupError)
    assert list(views.query(NOTES)) == [NoteRow("all", 2)]
    assert [views.checkpoint(name).position for name in ("pages", "orders")] == [2, 5]


def test_a_page_may_be_written_in_sql(log, tmp_path):
    class Counted(Projection):
        name = "counted"
        tables = (NOTES,)
        listens = (OrderCreated,)

        @override
        def apply_page(self, events, transaction):
            transaction.connection.executemany(
                "INSERT INTO notes VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
                [(event.payload.currency,) for event in events],
            )

    fill(log)
    views = SQLiteViews(tmp_path / "views.db")
    ProjectionRunner(log, views, [Counted()]).run_to_head()

    assert list(views.query(NOTES)) == [NoteRow("GBP", 3)]
    views.close()


def test_a_page_that_appends_to_the_log_it_is_read_from_is_refused(tmp_path):
    class Appending(Projection):
        name = "appending"
        tables = (NOTES,)
        listens = (OrderCreated,)

        @override
        def apply_page(self, events, transaction):
            record(shared, order("o2"))

    shared = SQLiteLog(tmp_path / "shop.db")
    record(shared, order("o1"))
    views = SQLiteViews(shared.connections)

    with pytest.raises(StoreError, match="the thread that is writing cannot start another write"):
        ProjectionRunner(shared, views, [Appending()]).run_to_head()
    assert shared.head() == 1
    assert views.checkpoint("appending") == Checkpoint(position=0, version=1, revision=1)
    views.close()
    shared.close()


def test_a_database_that_fails_is_not_the_fault_of_an_event(log, tmp_path, monkeypatch):
    fill(log)
    views = SQLiteViews(tmp_path / "views.db")
    engine = Engine(views, [Orders()])
    engine.apply(log.read_page(0, 2, LogFilter()))
    engine.reload()
    with monkeypatch.context() as patch:
        patch.setattr(
            views, "load_rows", lambda *_: (_ for _ in ()).throw(StoreError(store="x", problem="y"))
        )
        with pytest.raises(StoreError, match=r"^x: y$"):
            engine.apply(log.read_page(2, 100, LogFilter()))

    assert engine.apply(log.read_page(2, 100, LogFilter())).events == 7
    assert {row.order_id: row.status for row in views.query(ORDERS)} == {
        "o1": "paid", "o2": "cancelled", "o3": "created"
    }  # fmt: skip
    views.close()


def test_rows_of_another_version_are_refused_until_they_are_rebuilt(log, views):
    class Newer(Orders):
        version = 2

    fill(log)
    ProjectionRunner(log, views, [Orders()]).run_to_head()
    runner = ProjectionRunner(log, views, [Newer()])

    with pytest.raises(ConfigurationError, match="made by its version 1, this code is version 2"):
        runner.run_to_head()
    assert runner.rebuild("orders").position == 9
    assert runner.run_to_head() == (0, 9, 0)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([Orders(), Orders()], "Two projections are named orders"),
        ([Fragile(), Careless()], "Projections fragile and careless both keep a table notes"),
    ],
)
def test_projections_that_would_write_over_one_another_are_refused(log, views, others, *, words):
    with pytest.raises(ConfigurationError, match=words):
        ProjectionRunner(log, views, others)
