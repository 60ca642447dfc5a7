"""Inline, followed and live: the same rows from one definition, on every backend."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eventcore.app import App, open_app
from eventcore.commands import AddItem, CancelOrder, CreateOrder, PayOrder, RemoveItem
from eventcore.errors import ConfigurationError, StoreUnavailableError
from eventcore.events.catalogue.orders import (
    OrderCreated,
    OrderEvent,
    OrderItem,
    OrderItemAdded,
    OrderItemRemoved,
)
from eventcore.events.catalogue.systems import SystemHealthCheck
from eventcore.events.recorded import EncodedEvent, Recorded
from eventcore.projections import Projection, Table, on
from eventcore.projections.inline import Inline, _InAppend
from eventcore.projections.read_models import ORDER_ITEMS, ORDERS, OrderItems, Orders
from eventcore.settings import Settings
from eventcore.stores.log import StreamAppend
from tests.postgres import store_url
from tests.processing import Clock


class StockRow(NamedTuple):
    product: str
    ordered: int


class LineRow(NamedTuple):
    order_id: str
    number: int
    product: str


STOCK = Table("stock", StockRow, key=["product"])
LINES = Table("order_lines_seen", LineRow, key=["order_id", "number"], group=["order_id"])


class Stock(Projection):
    """How many of each product were ordered: an order names several."""

    name = "stock"
    tables = (STOCK,)

    @on(OrderCreated, keys=lambda event: [item.product_id for item in event.payload.items])
    def ordered(
        self, row: StockRow | None, event: Recorded[OrderCreated], product: str
    ) -> StockRow:
        more = sum(item.quantity for item in event.payload.items if item.product_id == product)
        return StockRow(product, (row.ordered if row else 0) + more)

    @on(OrderItemAdded, key=lambda event: event.payload.product_id)
    def added(self, row: StockRow | None, event: Recorded[OrderItemAdded]) -> StockRow:
        return StockRow(
            event.payload.product_id, (row.ordered if row else 0) + event.payload.quantity
        )

    @on(OrderItemRemoved, key=lambda event: event.payload.product_id)
    def removed(self, row: StockRow, event: Recorded[OrderItemRemoved]) -> StockRow:
        return row._replace(ordered=row.ordered - event.payload.quantity)


class Lines(Projection):
    """The lines of each order, as rows of their own."""

    name = "lines"
    tables = (LINES,)
    share_by = "stream"

    @on(OrderCreated, OrderItemAdded, group=lambda event: event.id)
    def line(self, rows: list[LineRow], event: Recorded[OrderEvent]) -> list[LineRow]:
        payload: Any = event.payload
        new = payload.items if isinstance(payload, OrderCreated) else [payload]
        return rows + [
            LineRow(event.id, number, item.product_id) for number, item in enumerate(new, len(rows))
        ]


class SeenRow(NamedTuple):
    stream: str
    versions: str


SEEN = Table("seen", SeenRow, key=["stream"])


class Seen(Projection):
    """The versions of the events of a stream, in the order they were given."""

    name = "seen"
    tables = (SEEN,)

    @on(OrderEvent, key=lambda event: event.stream)
    def note(self, row: Any, event: Recorded[OrderEvent]) -> Any:
        before = f"{row.versions} " if row else ""
        return SeenRow(event.stream, f"{before}{event.version}")


OWN = (Stock(), Lines(), Seen(), Orders(), OrderItems())
TABLES = (STOCK, LINES, SEEN, ORDERS, ORDER_ITEMS)


# A log in memory is its process's own; any other may be opened by several.
SHARED = ["sqlite", "sqlite apart", "postgres", "dynamodb"]
over_what_others_open = pytest.mark.parametrize("open_here", SHARED, indirect=True)


@pytest.fixture(params=["memory", *SHARED])
def open_here(request, tmp_path):
    """Opens an application on a backend; anew, on the same data."""
    settings = Settings(store="memory://")
    match str(request.param):
        case "sqlite":
            settings = Settings(store=f"sqlite:///{tmp_path}/shop.db")
        case "sqlite apart":
            views = f"sqlite:///{tmp_path}/views.db"
            settings = Settings(store=f"sqlite:///{tmp_path}/shop.db", views=views)
        case "postgres":
            settings = replace(settings, store=request.getfixturevalue("postgres_schema").store_url)
        case "dynamodb":
            place = request.getfixturevalue("dynamodb")
            settings = replace(settings, store=place.url_of(place.table, ttl="no"))
        case _:
            pass
    opened = []

    def open_(*inline: str) -> App:
        clock = Clock()
        app = open_app(settings=settings, clock=clock, projections=OWN, inline=inline)
        opened.append(app)
        return app

    yield open_
    for app in opened:
        app.close()


def item(product: str, quantity: int = 1) -> OrderItem:
    return OrderItem(product_id=product, quantity=quantity, price=Decimal(2))


def order(app: App, order_id: str, *items: OrderItem) -> int:
    command = CreateOrder(order_id=order_id, items=items or (item("a"),), currency="GBP")
    return app.execute(command).position


def a_day(app: App) -> None:
    order(app, "1", item("a", 2), item("b"), item("a"))
    order(app, "2", item("b", 5))
    app.execute(AddItem(order_id="1", product_id="c", quantity=3, price=Decimal(1)))
    app.execute(RemoveItem(order_id="2", product_id="b", quantity=2))
    app.append(
        SystemHealthCheck(service_name="s", status="healthy", response_time=1, error_count=0)
    )
    app.execute(PayOrder(order_id="2", amount=Decimal(6)))
    app.execute(CancelOrder(order_id="1"))


def rows_of(query: Callable[[Any], Any]) -> dict[str, list[Any]]:
    return {table.name: list(query(table)) for table in TABLES}


def followed(app: App) -> dict[str, list[Any]]:
    for projection in app.projections:
        app.views.reset(projection)
    app.runner().run_to_head()
    return rows_of(app.query)


NAMES = [projection.name for projection in OWN]


def test_the_async_lifecycle_produces_the_same_aggregate_as_inline(open_here):
    app = open_here(*NAMES)
    a_day(app)

    inline = rows_of(app.query)

    assert inline == followed(app)
    assert len(inline["orders"]) == 2


def test_both_lifecycles_reach_the_same_state_from_the_same_events(open_here):
    app = open_here()
    a_day(app)
    live = {
        table.name: list(app.live(projection).query(table))
        for projection in OWN
        for table in projection.tables
    }

    assert live == followed(app)
    assert live["stock"] != []


def test_an_inline_read_model_shows_each_command_when_it_returns(open_here):
    app = open_here("orders", "stock")

    shown = []
    for number in range(5):
        order(app, str(number))
        shown.append((app.views.count(ORDERS), next(iter(app.query(STOCK))).ordered))

    assert shown == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    assert app.views.count(LINES) == 0


def test_one_event_reaches_every_identity_it_names(open_here):
    app = open_here("stock")

    order(app, "1", item("a", 2), item("b"), item("a"))

    assert list(app.query(STOCK)) == [StockRow("a", 3), StockRow("b", 1)]


def test_a_fanned_out_event_applies_each_child_inside_its_parents_identity(open_here):
    app = open_here("lines")

    order(app, "1", item("a"), item("b"))
    order(app, "2", item("a"))
    app.execute(AddItem(order_id="1", product_id="c", quantity=1, price=Decimal(1)))

    assert list(app.query(LINES)) == [
        *(LineRow("1", 0, "a"), LineRow("1", 1, "b"), LineRow("1", 2, "c")),
        LineRow("2", 0, "a"),
    ]


def test_increment_and_decrement_move_the_column_in_both_directions(open_here):
    app = open_here("stock")
    order(app, "1", item("a", 2))

    app.execute(AddItem(order_id="1", product_id="a", quantity=5, price=Decimal(1)))
    up = list(app.query(STOCK))
    app.execute(RemoveItem(order_id="1", product_id="a", quantity=6))

    assert (up, list(app.query(STOCK))) == ([StockRow("a", 7)], [StockRow("a", 1)])


def test_events_appended_after_the_daemon_started_still_arrive(open_here):
    app = open_here()
    runner = app.runner()
    runner.start()
    try:
        position = order(app, "late")
        app.wait_for(position, timeout_seconds=60)
    finally:
        runner.stop()

    assert [row.order_id for row in app.query(ORDERS)] == ["late"]


def test_the_events_arrive_in_sequence_order_and_each_has_its_effect_once(open_here):
    app = open_here("seen")
    runner = app.runner()
    runner.start()  # beside the inline one: whoever is late drops its page
    try:
        order(app, "1")
        for number in range(8):
            app.execute(AddItem(order_id="1", product_id=str(number), quantity=1, price=Decimal(1)))
        inline = list(app.query(SEEN))
    finally:
        runner.stop()

    assert inline == [("order-1", "1 2 3 4 5 6 7 8 9")]
    assert inline == list(app.live(Seen()).query(SEEN))


@over_what_others_open
def test_events_of_others_are_not_skipped(open_here):
    elsewhere = open_here()
    app = open_here("stock", "seen")
    order(elsewhere, "1", item("a", 2))
    order(app, "2", item("b"))
    order(elsewhere, "3", item("a"))
    order(app, "4", item("b"))

    assert list(app.query(STOCK)) == [StockRow("a", 3), StockRow("b", 2)]
    assert app.views.count(SEEN) == 4


@over_what_others_open
def test_a_read_model_that_another_process_moved_takes_no_other_with_it(open_here):
    app = open_here("orders", "stock")
    order(app, "1")
    order(open_here("stock"), "2")  # now the two stand at different places

    order(app, "3")

    assert [row.order_id for row in app.query(ORDERS)] == ["1", "2", "3"]
    assert list(app.query(STOCK)) == [StockRow("a", 3)]


def test_many_threads_append_and_each_sees_its_own(open_here):
    app = open_here("orders", "stock")
    missing = []

    def work(number):
        for count in range(4):
            order_id = f"{number}-{count}"
            order(app, order_id)
            if not list(app.query(ORDERS, {"order_id": order_id})):
                missing.append(order_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert missing == []
    assert list(app.query(STOCK)) == [StockRow("a", 16)]


def test_what_a_crash_left_behind_is_caught_up_by_the_next_append(open_here):
    app = open_here("stock")
    order(app, "1", item("a"))
    app._executor.execute(CreateOrder(order_id="2", items=(item("b"),), currency="GBP"))

    order(app, "3", item("c"))

    assert [row.product for row in app.query(STOCK)] == ["a", "b", "c"]


def test_an_append_is_not_refused_because_of_a_read_model(open_here):
    class Broken(Projection):
        name = "stock"
        tables = (STOCK,)

        @on(OrderCreated, key=lambda event: event.id)
        def fail(self, row: Any, event: Any) -> Any:
            raise ZeroDivisionError

    app = open_here("stock", "orders")
    app.projections = (Broken(), Orders())  # as if opened with them

    order(app, "1")
    order(app, "2")

    assert app.log.head() == 2
    assert [row.order_id for row in app.query(ORDERS)] == ["1", "2"]
    assert list(app.query(STOCK)) == []


def test_a_name_that_is_no_projection_is_refused(open_here):
    app = open_here("nothing")

    with pytest.raises(ConfigurationError, match="inline names 'nothing', which is none of stock"):
        order(app, "1")

    assert app.log.head() == 0


def test_live_folds_the_streams_that_are_asked_for(open_here):
    app = open_here()
    order(app, "1", item("a"))
    order(app, "2", item("b"))
    live = app.live(Orders(), streams=["order-2", "order-absent"])

    first = [(row.order_id, row.status) for row in live.query(ORDERS)]
    app.execute(CancelOrder(order_id="2"))
    second = [(row.order_id, row.status) for row in live.query(ORDERS)]

    assert (first, second) == ([("2", "created")], [("2", "cancelled")])
    assert app.views.count(ORDERS) == 0


def test_live_over_the_whole_log_goes_on_where_it_was(open_here):
    app = open_here()
    order(app, "1", item("a"))
    live = app.live(Stock())

    first = list(live.query(STOCK))
    position = live.position
    order(app, "2", item("a", 4))
    second = list(live.query(STOCK))

    assert (first, second) == ([StockRow("a", 1)], [StockRow("a", 5)])
    assert live.position > position > 0


def test_live_of_streams_is_refused_where_rows_are_made_of_several(open_here):
    app = open_here()

    with pytest.raises(ConfigurationError, match='share_by = "stream"'):
        app.live(Stock(), streams=["order-1"])


def places_in(file: Path) -> tuple[int, int]:
    """What another process sees: the log's head and the checkpoint of the read model."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM eventcore_log), "
            "(SELECT position FROM eventcore_checkpoints WHERE projection = 'stock')"
        ).fetchone()
    head, position = found
    return head, position


def test_on_one_sqlite_file_rows_and_events_are_committed_together(tmp_path, monkeypatch):
    app = open_app(f"sqlite:///{tmp_path}/shop.db", projections=OWN, inline=["stock"])
    order(app, "1")
    apply, seen = _InAppend.apply, []

    def applied(self, connection, events):
        number = apply(self, connection, events)
        seen.append(places_in(tmp_path / "shop.db"))
        return number

    monkeypatch.setattr(_InAppend, "apply", applied)
    order(app, "2")
    app.close()

    assert seen == [(1, 1)]
    assert places_in(tmp_path / "shop.db") == (2, 2)


def test_a_commit_that_fails_leaves_neither_rows_nor_memories(tmp_path, monkeypatch):
    app = open_app(f"sqlite:///{tmp_path}/shop.db", projections=OWN, inline=["stock"])
    order(app, "1", item("a"))
    apply = _InAppend.apply

    def applied_and_lost(self, connection, events):
        apply(self, connection, events)
        raise StoreUnavailableError(store="the file", problem="full")

    with monkeypatch.context() as full:
        full.setattr(_InAppend, "apply", applied_and_lost)
        with pytest.raises(StoreUnavailableError):
            order(app, "lost", item("a", 100))
    # Somebody else takes its position, and brings the read model there.
    other = open_app(f"sqlite:///{tmp_path}/shop.db", projections=OWN, inline=["stock"])
    order(other, "2", item("a", 10))
    other.close()
    order(app, "3", item("a", 1000))
    rows = list(app.query(STOCK))
    app.close()

    assert rows == [StockRow("a", 1011)]


def test_a_long_backlog_is_caught_up_after_the_append(tmp_path, monkeypatch):
    monkeypatch.setattr("eventcore.projections.inline.BACKLOG_EVENTS_MAX", 3)
    url = f"sqlite:///{tmp_path}/shop.db"
    with open_app(url, projections=OWN) as plain:
        for number in range(10):
            order(plain, f"old-{number}")

    with open_app(url, projections=OWN, inline=["stock"]) as app:
        order(app, "new")
        first = list(app.query(STOCK))
        order(app, "newer")

        assert (first, list(app.query(STOCK))) == ([StockRow("a", 11)], [StockRow("a", 12)])
        assert app._inline._in_append.reached == 12  # type: ignore[union-attr]  # there is one


def places_on(place: Any) -> tuple[int, int]:
    """What another session sees: the log's head and the checkpoint of the read model."""
    with place.connect() as connection:
        connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [place.schema])
        [(head, position)] = connection.execute(
            "SELECT (SELECT coalesce(max(position), 0) FROM eventcore_log), "
            "(SELECT position FROM eventcore_checkpoints WHERE projection = 'stock')"
        ).fetchall()
    return head, position


def test_on_one_postgres_database_rows_and_events_are_committed_together(
    postgres_schema, monkeypatch
):
    app = open_app(postgres_schema.store_url, projections=OWN, inline=["stock"])
    order(app, "1")
    apply, seen = _InAppend.apply, []

    def applied(self, connection, events):
        number = apply(self, connection, events)
        seen.append(places_on(postgres_schema))
        return number

    monkeypatch.setattr(_InAppend, "apply", applied)
    order(app, "2")
    app.close()

    assert seen == [(1, 1)]
    assert places_on(postgres_schema) == (2, 2)


def test_nobody_ever_sees_an_event_on_postgres_without_its_rows(postgres_schema):
    apps = [
        open_app(postgres_schema.store_url, projections=OWN, inline=["stock", "orders"])
        for _ in range(2)
    ]
    for app in apps:
        order(app, f"first-{id(app)}")
    done, apart = threading.Event(), []

    def look():
        while not done.is_set():
            head, position = places_on(postgres_schema)
            if head != position:
                apart.append((head, position))

    def work(app, number):
        for count in range(6):
            order(app, f"{number}-{count}")

    looking = threading.Thread(target=look)
    looking.start()
    in_threads(*(partial(work, apps[number % 2], number) for number in range(6)))
    done.set()
    looking.join()
    rows = list(apps[0].query(STOCK))
    for app in apps:
        app.close()

    assert apart == []
    assert rows == [StockRow("a", 38)]


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def in_threads(*works: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_share_a_transaction_with_its_rows(postgres_schema, monkeypatch):
    app = open_app(postgres_schema.store_url, projections=OWN, inline=["stock"])
    order(app, "first")
    log: Any = app.log
    sizes: list[int] = []
    apply = _InAppend.apply

    def applied(self, connection, events):
        if not sizes:
            until(lambda: len(log._inline._queue) == 5)  # all of the others have come
        sizes.append(len(events))
        return apply(self, connection, events)

    monkeypatch.setattr(_InAppend, "apply", applied)
    in_threads(*(partial(order, app, str(number)) for number in range(6)))
    rows = list(app.query(STOCK))
    app.close()

    assert sizes == [1, 5]
    assert rows == [StockRow("a", 7)]


def test_on_postgres_a_transaction_that_fails_leaves_neither_rows_nor_memories(
    postgres_schema, monkeypatch
):
    app = open_app(postgres_schema.store_url, projections=OWN, inline=["stock"])
    order(app, "1", item("a"))
    apply = _InAppend.apply

    def applied_and_lost(self, connection, events):
        apply(self, connection, events)
        raise StoreUnavailableError(store="the database", problem="full")

    with monkeypatch.context() as full:
        full.setattr(_InAppend, "apply", applied_and_lost)
        with pytest.raises(StoreUnavailableError):
            order(app, "lost", item("a", 100))
    assert places_on(postgres_schema) == (1, 1)
    other = open_app(postgres_schema.store_url, projections=OWN, inline=["stock"])
    order(other, "2", item("a", 10))
    other.close()
    order(app, "3", item("a", 1000))
    rows = list(app.query(STOCK))
    app.close()

    # The position of what was lost is nobody's.
    assert places_on(postgres_schema) == (4, 4)
    assert rows == [StockRow("a", 1011)]


def test_on_postgres_a_writer_who_is_not_done_is_waited_for_by_nobody_who_appends(postgres_schema):
    app = open_app(postgres_schema.store_url, projections=OWN, inline=["stock"])
    order(app, "1", item("a"))
    with postgres_schema.connect(autocommit=False) as stranger:
        stranger.execute(
            f"INSERT INTO {postgres_schema.schema}.eventcore_log"
            " (stream, version, type, event_id, state)"
            " VALUES ('day-1', 1, 'note.taken', gen_random_uuid(), '{}')"
        )
        waiting = threading.Thread(target=order, args=(app, "2", item("a", 10)))
        waiting.start()
        until(lambda: places_on(postgres_schema)[0] == 3)
        seen = places_on(postgres_schema)
        stranger.commit()
        waiting.join()
    rows = list(app.query(STOCK))
    order(app, "3", item("a", 100))
    app.close()

    assert seen == (3, 1)  # stored, and shown once it is known what came before
    assert rows == [StockRow("a", 11)]
    assert places_on(postgres_schema) == (4, 4)


def test_on_postgres_events_of_writers_without_are_taken_along(postgres_schema, monkeypatch):
    plain = open_app(postgres_schema.store_url, projections=OWN)
    app = open_app(postgres_schema.store_url, projections=OWN, inline=["stock"])
    order(app, "1", item("a"))
    order(plain, "2", item("a", 10))
    order(plain, "3", item("b"))
    reached = []
    monkeypatch.setattr(Inline, "_catch_up", lambda self, position: reached.append(position))

    order(app, "4", item("a", 100))
    rows = list(app.query(STOCK))
    app.close()
    plain.close()

    assert (rows, reached) == ([StockRow("a", 111), StockRow("b", 1)], [])


def test_what_is_judged_and_appended_on_postgres_shows_as_well(postgres_schema):
    app = open_app(postgres_schema.store_url, projections=OWN, inline=["stock"])
    order(app, "1", item("a"))
    [event] = app.log.read_stream("order-1")
    log: Any = app.log

    new = EncodedEvent(str(app.new_id()), event.type, "", event.state)
    log.append_judged([StreamAppend("order-9", 0, [new])], [], {"order-1": 1})
    app.close()

    assert places_on(postgres_schema) == (2, 2)


def test_log_and_views_in_two_schemas_of_a_database_share_a_transaction(postgres_schema):
    views = f"{postgres_schema.schema}_views"
    url = store_url(postgres_schema.url, views)
    settings = Settings(store=postgres_schema.store_url, views=url)
    try:
        with open_app(settings=settings, projections=OWN, inline=["stock"]) as app:
            order(app, "1", item("a"))
            order(app, "2", item("a"))

            assert app._inline._in_append.reached == 2  # type: ignore[union-attr]  # there is one
            assert list(app.query(STOCK)) == [StockRow("a", 2)]
    finally:
        with postgres_schema.connect() as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {views} CASCADE")


def test_an_interrupt_of_one_who_writes_for_others_costs_them_nothing(postgres_schema, monkeypatch):
    app = open_app(postgres_schema.store_url, projections=OWN, inline=["stock"])
    order(app, "first")
    log: Any = app.log
    apply, calls, outcomes = _InAppend.apply, [0], []

    def applied(self, connection, events):
        calls[0] += 1
        if calls[0] == 1:
            until(lambda: len(log._inline._queue) == 2)
        if calls[0] == 2:
            raise KeyboardInterrupt
        return apply(self, connection, events)

    def work(number: int) -> None:
        try:
            order(app, str(number))
            outcomes.append("done")
        except KeyboardInterrupt:
            outcomes.append("interrupted")

    monkeypatch.setattr(_InAppend, "apply", applied)
    in_threads(*(partial(work, number) for number in range(3)))
    rows = list(app.query(STOCK))
    head, position = places_on(postgres_schema)
    app.close()

    assert sorted(outcomes) == ["done", "done", "interrupted"]
    assert rows == [StockRow("a", 3)]
    assert head == position > 3  # what was interrupted has used up positions


@pytest.mark.parametrize("options", [{"prepare": "no"}, {"pool": "1"}, {"notify": "no"}])
def test_inline_on_postgres_goes_with_any_kind_of_connection(postgres_schema, options):
    url = store_url(postgres_schema.url, postgres_schema.schema, **options)
    with open_app(url, projections=OWN, inline=NAMES) as app:
        a_day(app)
        in_threads(*(partial(order, app, f"more-{number}") for number in range(4)))
        inline = rows_of(app.query)

        assert app._inline._in_append.reached == app.log.head()  # type: ignore[union-attr]  # there is one
        assert inline == followed(app)
