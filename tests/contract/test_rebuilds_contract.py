"""Rebuilding beside the live read model, on every backend: the same sentences for each."""

import threading
import time
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

import pytest
from typing_extensions import override

from eventcore.errors import (
    ConfigurationError,
    DefinitionChangedError,
    ProjectionFailedError,
    ReadModelsDifferError,
    SchemaMismatchError,
)
from eventcore.events.catalogue import OrderCreated, OrderItemAdded, UserRegistered
from eventcore.projections import Index, MemoryViews, Projection, ProjectionRunner, Table, on
from eventcore.projections.dynamodb import DynamoDBViews
from eventcore.projections.engine import Engine
from eventcore.projections.generation_records import generations_of
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.shares import shares_of, split
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.views import Views
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views
from tests.unit.projections.histories import order, record


class SpendingRow(NamedTuple):
    user_id: str
    orders: int
    amount: Decimal
    kind: str | None = None


SPENDING = Table(
    "spending", SpendingRow, key=["user_id"], group=["kind"], indexes=[Index.on("orders")]
)


class Spending(Projection):
    name = "spending"
    tables = (SPENDING,)

    @on(OrderCreated, key=lambda event: event.payload.user_id)
    def ordered(self, row: SpendingRow | None, event: Any) -> SpendingRow:
        before = row or SpendingRow(event.payload.user_id, 0, Decimal(0), "customer")
        amount = before.amount + event.payload.total_amount
        return before._replace(orders=before.orders + 1, amount=amount)


class OnlyLarge(Projection):
    """The same table, of other orders: a changed handler."""

    name = "spending"
    tables = (SPENDING,)

    @on(OrderCreated, key=lambda event: event.payload.user_id)
    def ordered(self, row: SpendingRow | None, event: Any) -> SpendingRow | None:
        if event.payload.total_amount < 10:
            return row
        before = row or SpendingRow(event.payload.user_id, 0, Decimal(0), "customer")
        amount = before.amount + event.payload.total_amount
        return before._replace(orders=before.orders + 1, amount=amount)


class WiderRow(NamedTuple):
    user_id: str
    orders: int
    items: int


class CountRow(NamedTuple):
    kind: str
    orders: int


WIDER = Table("spending", WiderRow, key=["user_id"])
COUNTS = Table("spending_counts", CountRow, key=["kind"])


class Wider(Projection):
    """Other columns, and one more table."""

    name = "spending"
    tables = (WIDER, COUNTS)

    @on(OrderCreated, key=lambda event: event.payload.user_id, table=WIDER)
    def ordered(self, row: WiderRow | None, event: Any) -> WiderRow:
        before = row or WiderRow(event.payload.user_id, 0, 0)
        items = before.items + len(event.payload.items)
        return before._replace(orders=before.orders + 1, items=items)

    @on(OrderCreated, key=lambda _event: "order", table=COUNTS)
    def counted(self, row: CountRow | None, _event: Any) -> CountRow:
        return CountRow("order", (row.orders if row else 0) + 1)


class Users(Projection):
    name = "known_users"
    tables = (Table("known_users", SpendingRow, key=["user_id"]),)

    @on(UserRegistered, key=lambda event: event.payload.user_id)
    def registered(self, _row: SpendingRow | None, event: Any) -> SpendingRow:
        return SpendingRow(event.payload.user_id, 0, Decimal(0))


class Failing(Projection):
    name = "spending"
    tables = (SPENDING,)
    fingerprint: ClassVar[str] = "failing"

    @on(OrderCreated, key=lambda event: event.payload.user_id)
    def ordered(self, row: SpendingRow | None, _event: Any) -> SpendingRow | None:
        msg = "not this one"
        raise ValueError(msg)


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


@pytest.fixture
def log():
    return MemoryLog()


def bought(log: MemoryLog, number: int, *, user: str = "u1", price: str = "1.50") -> None:
    record(log, order(f"o{number}", ("apple", 1, price), user_id=user))


def rows(views: Views, table: Table[Any] = SPENDING) -> list[Any]:
    return list(views.query(table))


def runner_of(log: MemoryLog, views: Views, *projections: Projection) -> ProjectionRunner:
    return ProjectionRunner(log, views, projections or (Spending(),))


def test_a_rebuild_reproduces_the_projected_state(log, views):
    for number in range(5):
        bought(log, number, user=f"u{number % 2}")
    runner = runner_of(log, views)
    runner.run_to_head()
    before = rows(views)

    rebuilt = runner.rebuild("spending")

    assert rows(views) == before
    assert rebuilt.comparison is not None
    assert rebuilt.comparison.same
    assert rebuilt.same_definition
    [table] = rebuilt.comparison.tables
    assert (table.table, table.live_rows, table.new_rows, table.differing) == ("spending", 2, 2, 0)
    assert table.live_digest == table.new_digest
    assert (rebuilt.position, rebuilt.generation, rebuilt.events) == (5, 2, 5)


def test_a_rebuilt_model_goes_on_and_its_groups_and_indexes_with_it(log, views):
    bought(log, 1)
    runner = runner_of(log, views)
    runner.run_to_head()
    runner.rebuild("spending")
    bought(log, 2)
    bought(log, 3, user="u2")

    runner.run_to_head()

    assert rows(views) == [
        SpendingRow("u1", 2, Decimal(3), "customer"),
        SpendingRow("u2", 1, Decimal("1.5"), "customer"),
    ]
    assert views.load_groups(SPENDING, ["customer"]) == rows(views)
    assert views.load_rows(SPENDING, ["u2"]) == [SpendingRow("u2", 1, Decimal("1.5"), "customer")]
    assert [row.user_id for row in views.query(SPENDING, {"orders": 2})] == ["u1"]


def test_what_was_changed_by_hand_is_shown_and_replaced_only_when_accepted(log, views):
    bought(log, 1)
    bought(log, 2, user="u2")
    bought(log, 3, user="u3")
    runner = runner_of(log, views)
    runner.run_to_head()
    right = rows(views)
    with views.transaction() as transaction:
        transaction.upsert(
            SPENDING,
            [right[0]._replace(orders=7), SpendingRow("ghost", 1, Decimal(0), "customer")],
        )
        transaction.delete(SPENDING, ["u2"])
    drifted = rows(views)

    with pytest.raises(ReadModelsDifferError, match="3 rows of spending") as caught:
        runner.rebuild("spending")

    assert rows(views) == drifted
    [table] = caught.value.comparison.tables
    assert {row.key["user_id"]: (row.only, row.columns) for row in table.rows} == {
        "u1": (None, {"orders": (7, 1)}),
        "u2": ("new", {}),
        "ghost": ("live", {}),
    }
    assert table.live_digest != table.new_digest

    rebuilt = runner.rebuild("spending", accept_differences=True)
    assert rows(views) == right
    assert rebuilt.resumed
    assert rebuilt.events == 0


def test_a_rebuild_removes_state_the_replay_cannot_produce(log, views):
    bought(log, 1)
    runner = runner_of(log, views)
    runner.run_to_head()
    [real] = rows(views)
    with views.transaction() as transaction:
        transaction.upsert(SPENDING, [real._replace(user_id="ghost")])

    runner.rebuild("spending", accept_differences=True)

    assert rows(views) == [real]


def test_rebuilding_twice_is_idempotent(log, views):
    bought(log, 1)
    runner = runner_of(log, views)
    runner.run_to_head()
    before = rows(views)

    generations = [runner.rebuild("spending").generation for _ in range(3)]

    assert generations == [2, 3, 4]
    assert rows(views) == before
    states = {row.generation: row.state for row in generations_of(views, "spending")}
    assert states == {3: "old", 4: "live"}


def test_rebuilding_one_projection_leaves_another_alone(log, views):
    record(log, UserRegistered(user_id="u1", email="1@example.com"))
    bought(log, 1)
    runner = runner_of(log, views, Spending(), Users())
    runner.run_to_head()
    kept = views.checkpoint("known_users")

    runner.rebuild("spending")

    assert views.checkpoint("known_users") == kept
    assert len(rows(views, Users.tables[0])) == 1


def test_rebuilding_a_projection_with_no_events_is_not_an_error(log, views):
    runner = runner_of(log, views)

    assert runner.rebuild("spending").position == 0
    bought(log, 1)
    assert runner.rebuild("spending").position == 1
    assert len(rows(views)) == 1


def test_a_changed_definition_is_noticed_and_rebuilt_beside(log, views):
    bought(log, 1)
    bought(log, 2, price="20")
    runner_of(log, views).run_to_head()
    changed = runner_of(log, views, OnlyLarge())

    with pytest.raises(DefinitionChangedError, match="projections rebuild spending"):
        changed.run_to_head()
    rebuilt = changed.rebuild("spending")

    assert not rebuilt.same_definition
    assert rebuilt.comparison is not None
    assert not rebuilt.comparison.same
    assert rows(views) == [SpendingRow("u1", 1, Decimal(20), "customer")]
    changed.run_to_head()
    with pytest.raises(DefinitionChangedError):
        runner_of(log, views).run_to_head()


def test_a_change_that_makes_no_other_rows_is_accepted(log, views):
    bought(log, 1, price="20")
    runner_of(log, views).run_to_head()
    changed = runner_of(log, views, OnlyLarge())

    changed.accept("spending")
    bought(log, 2, price="20")
    changed.run_to_head()

    assert rows(views) == [SpendingRow("u1", 2, Decimal(40), "customer")]


def test_other_columns_and_tables_are_rebuilt_beside(log, views):
    bought(log, 1)
    bought(log, 2)
    runner_of(log, views).run_to_head()
    changed = runner_of(log, views, Wider())

    rebuilt = changed.rebuild("spending")

    assert rows(views, WIDER) == [WiderRow("u1", 2, 2)]
    assert rows(views, COUNTS) == [CountRow("order", 2)]
    assert rebuilt.comparison is not None
    wider, counts = rebuilt.comparison.tables
    if isinstance(views, DynamoDBViews):
        # There rows lie by their group: of another group they are not found by key.
        assert wider.problem == "its keys or columns are of other kinds"
    else:
        assert (wider.differing, wider.left_out) == (0, ("amount", "items", "kind"))
    assert (wider.live_rows, wider.new_rows) == (1, 1)
    assert counts.problem == "it is new"


def test_a_rollback_brings_the_rows_of_before_back(log, views):
    bought(log, 1)
    runner_of(log, views).run_to_head()
    before = rows(views)
    changed = runner_of(log, views, Wider())
    changed.rebuild("spending")
    bought(log, 2)
    changed.run_to_head()

    back = changed.roll_back("spending")

    assert (back.generation, back.position, back.position_before) == (1, 1, 2)
    assert not back.same_definition
    assert rows(views) == before
    assert rows(views, COUNTS) == []
    with pytest.raises(SchemaMismatchError, match="projections rebuild spending"):
        changed.run_to_head()
    runner_of(log, views).run_to_head()
    assert rows(views) == [SpendingRow("u1", 2, Decimal(3), "customer")]


def test_a_rollback_to_rows_of_the_same_definition_never_goes_back_in_position(log, views):
    bought(log, 1)
    runner = runner_of(log, views)
    runner.run_to_head()
    runner.rebuild("spending")
    bought(log, 2)
    runner.run_to_head()

    back = runner.roll_back("spending")

    assert (back.generation, back.position, back.same_definition) == (1, 2, True)
    assert rows(views) == [SpendingRow("u1", 2, Decimal(3), "customer")]
    assert runner.roll_back("spending").generation == 2
    assert rows(views) == [SpendingRow("u1", 2, Decimal(3), "customer")]


def test_what_was_replaced_is_there_until_it_is_dropped(log, views):
    bought(log, 1)
    runner = runner_of(log, views)
    runner.run_to_head()
    runner.rebuild("spending")

    assert views.tables_of("spending+1") == ["spending__1"]
    assert runner.drop_old("spending") == 1

    assert views.tables_of("spending+1") == []
    assert views.count(SPENDING.renamed("spending__1")) == 0
    with pytest.raises(ConfigurationError, match="no older generation"):
        runner.roll_back("spending")
    assert runner.rebuild("spending").generation == 3


def test_a_rebuild_whose_handler_fails_leaves_the_live_rows_as_they_are(log, views):
    bought(log, 1)
    runner_of(log, views).run_to_head()
    before = rows(views)

    with pytest.raises(ReadModelsDifferError, match="of 1 keys fail in it"):
        runner_of(log, views, Failing()).rebuild("spending")

    assert rows(views) == before
    bought(log, 2)
    assert runner_of(log, views).run_to_head().parked == 0


def test_a_half_built_generation_of_other_code_is_begun_anew(log, views):
    bought(log, 1)
    runner_of(log, views).run_to_head()
    with pytest.raises(ReadModelsDifferError):
        runner_of(log, views, Failing()).rebuild("spending")

    rebuilt = runner_of(log, views, OnlyLarge()).rebuild("spending")

    assert (rebuilt.generation, rebuilt.resumed) == (3, False)
    assert [row.generation for row in generations_of(views, "spending")] == [1, 3]


def test_a_rebuild_that_is_given_up_leaves_nothing(log, views):
    bought(log, 1)
    runner_of(log, views).run_to_head()
    failing = runner_of(log, views, Failing())
    with pytest.raises(ReadModelsDifferError):
        failing.rebuild("spending")

    assert failing.give_up_rebuild("spending") == 1
    assert generations_of(views, "spending") == []
    assert views.tables_of("spending+2") == []


def test_a_running_runner_of_the_code_before_is_fenced_by_the_swap(log, views):
    bought(log, 1)
    old = runner_of(log, views)
    old.start()
    old.wait_for(1)
    changed = runner_of(log, views, OnlyLarge())
    changed.rebuild("spending")
    bought(log, 2)
    bought(log, 3, price="20")

    changed.run_to_head()

    with pytest.raises(DefinitionChangedError):
        old.wait_for(10**9, timeout_seconds=30)
    assert rows(views) == [SpendingRow("u1", 1, Decimal(20), "customer")]
    with pytest.raises(DefinitionChangedError):
        old.stop()


class Reader(threading.Thread):
    """Polls; notes what no reader may ever see."""

    def __init__(self, views: Views) -> None:
        super().__init__()
        self.views = views
        self.stop = threading.Event()
        self.seen = [0]
        self.wrong: list[str] = []

    @override
    def run(self) -> None:
        while not (self.stop.is_set() or self.wrong):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a reader meets no error at all
                self.wrong.append(repr(error))

    def look(self) -> None:
        found, position = rows(self.views), self.views.checkpoint("spending")
        if len(found) != 1 or position is None or found[0].orders < self.seen[-1]:
            self.wrong.append(f"{found} at {position} after {self.seen[-1]}")
        self.seen.append(found[0].orders)


class Writer(threading.Thread):
    def __init__(self, log: MemoryLog) -> None:
        super().__init__()
        self.log = log
        self.stop = threading.Event()

    @override
    def run(self) -> None:
        number = 100
        while not self.stop.wait(0.01):
            bought(self.log, number)
            number += 1


def test_readers_see_no_gap_and_nothing_going_back_while_writers_go_on(log, views):
    for number in range(20):
        bought(log, number)
    runner_of(log, views).run_to_head()
    follower, reader, writer = runner_of(log, views), Reader(views), Writer(log)
    follower.start()
    reader.start()
    writer.start()

    try:
        other = runner_of(log, views)
        other.rebuild("spending")
        other.rebuild("spending")
        # In memory all of it may be over before anybody has written.
        while len(set(reader.seen)) < 3 and not reader.wrong:
            time.sleep(0.001)
        other.roll_back("spending")
        other.rebuild("spending")
    finally:
        for thread in (writer, reader):
            thread.stop.set()
            thread.join()
    follower.wait_for(log.head(), timeout_seconds=60)
    follower.stop()

    assert reader.wrong == []
    assert len(set(reader.seen)) > 2
    assert rows(views)[0].orders == log.head()


class FailsOnce(Projection):
    """Fails on the orders of one user until it is mended."""

    name = "spending"
    tables = (SPENDING,)
    fingerprint: ClassVar[str] = "fails for some"
    broken: ClassVar[set[str]] = set()

    @on(OrderCreated, key=lambda event: event.payload.user_id)
    def ordered(self, row: SpendingRow | None, event: Any) -> SpendingRow | None:
        if event.payload.user_id in self.broken:
            msg = "not this one"
            raise ValueError(msg)
        before = row or SpendingRow(event.payload.user_id, 0, Decimal(0), "customer")
        return before._replace(orders=before.orders + 1)


def test_what_is_parked_and_skipped_goes_with_the_rows_through_swap_and_rollback(
    log, views, monkeypatch
):
    monkeypatch.setattr(FailsOnce, "broken", {"u2", "u3"})
    for number, user in enumerate(["u1", "u2", "u2", "u3"]):
        bought(log, number, user=user)
    runner = runner_of(log, views, FailsOnce())
    assert runner.run_to_head().parked == 2
    runner.skip("spending", "u3", reason="a test order")

    runner.rebuild("spending")
    assert [one.key_text for one in runner.parked("spending")] == ["u2"]
    monkeypatch.setattr(FailsOnce, "broken", {"u3"})
    runner.retry("spending")
    assert {row.user_id: row.orders for row in rows(views)} == {"u1": 1, "u2": 2}

    runner.roll_back("spending")
    assert [one.key_text for one in runner.parked("spending")] == ["u2"]
    assert {row.user_id: row.orders for row in rows(views)} == {"u1": 1}
    runner.retry("spending")
    assert {row.user_id: row.orders for row in rows(views)} == {"u1": 1, "u2": 2}
    assert [one.position for one in runner.skipped("spending")] == [4]


def test_however_much_is_parked_goes_along_and_back(log, views, monkeypatch):
    monkeypatch.setattr(FailsOnce, "broken", {f"u{number}" for number in range(40)})
    for number in range(40):
        bought(log, number, user=f"u{number}")
    bought(log, 40, user="fine")
    runner = runner_of(log, views, FailsOnce())
    assert runner.run_to_head().parked == 40

    runner.rebuild("spending")
    assert [row.user_id for row in rows(views)] == ["fine"]
    assert len(runner.parked("spending")) == 40
    monkeypatch.setattr(FailsOnce, "broken", {f"u{number}" for number in range(30)})
    assert runner.retry("spending").events == 10
    runner.roll_back("spending")
    assert len(runner.parked("spending")) == 40
    monkeypatch.setattr(FailsOnce, "broken", set())
    runner.retry("spending")

    assert len(rows(views)) == 41
    assert runner.parked("spending") == []
    runner.roll_back("spending")
    assert len(runner.parked("spending")) == 30


def test_a_projection_in_shares_is_rebuilt_and_rolled_back_with_them(log, views):
    for number in range(6):
        bought(log, number, user=f"u{number}")
    runner = runner_of(log, views)
    runner.run_to_head()
    split(views, Spending(), 3)
    bought(log, 7, user="u7")
    runner.run_to_head()
    worker = Engine(views, [Spending()], held=lambda _name, _shares: [1])
    before = rows(views)

    runner.rebuild("spending")
    assert shares_of(views, "spending") is None
    assert rows(views) == before
    bought(log, 8, user="u8")
    assert worker.apply(log.read_page(7, 10, LogFilter())).moved
    runner.run_to_head()
    back = runner.roll_back("spending")

    assert (back.position, shares_of(views, "spending")) == (8, 3)
    assert len(rows(views)) == 8
    runner.run_to_head()
    assert len(rows(views)) == 8


class ByHand(Projection):
    """Writes with statements of its own."""

    name = "spending"
    tables = (SPENDING,)
    listens = (OrderCreated, OrderItemAdded)

    @override
    def apply_page(self, events: Any, transaction: Any) -> None:
        transaction.connection  # noqa: B018 - asked for, as statements of one's own would
        rows = [SpendingRow(event.payload.user_id, 1, Decimal(0)) for event in events]
        transaction.upsert(SPENDING, rows)


class ByHandNamed(ByHand):
    names_tables: ClassVar[bool] = True


def test_statements_of_ones_own_write_beside_only_if_they_ask_for_names(log, views):
    bought(log, 1)
    with pytest.raises((ConfigurationError, ProjectionFailedError), match="name_of"):
        runner_of(log, views, ByHand()).rebuild("spending")

    assert runner_of(log, views, ByHandNamed()).rebuild("spending").position == 1
    assert len(rows(views)) == 1
