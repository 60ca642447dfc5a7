"""Random histories: whatever happens, in whatever pages, every backend ends in the same rows."""

from collections.abc import Iterable
from contextlib import closing
from decimal import Decimal, localcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventcore.events import DomainEvent
from eventcore.events.catalogue import (
    ModelDeployed,
    ModelRegistered,
    ModelRetired,
    ModelVersionTrained,
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderItem,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    OrderRefunded,
    OrderShipped,
    ReservationClaimed,
    SessionActivity,
    SessionEnded,
    SessionStarted,
    UserClosed,
    UserEmailChanged,
    UserProfileUpdated,
    UserRegistered,
    UserSuspended,
    WebhookReceived,
)
from eventcore.projections import Engine, MemoryViews, Projection, Table, built_in_projections
from eventcore.projections.careful import EXACT
from eventcore.projections.plan import Plan, Step
from eventcore.projections.projection import Fold
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.views import Views
from eventcore.stores.log import LogFilter, Page
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections import shops
from tests.unit.projections.histories import record, rows_of


def made(event_class: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects of a payload class; its signature has wire names, which ``st.builds`` would fill."""
    return st.fixed_dictionaries(fields).map(lambda values: event_class(**values))


ids = st.sampled_from(["1", "2", "é", "x#1"])
users = st.sampled_from([None, "u1", "u2"])
products = st.sampled_from(["apple", "pear", "fig"])
quantities = st.integers(1, 5)
amounts = st.integers(0, 10**7).map(lambda units: Decimal(units) / 10_000)
versions = st.sampled_from(["1", "2", "10"])
items = made(OrderItem, product_id=products, quantity=quantities, price=amounts)
# Any order of events, also ones that the rules would refuse: a log is folded as it stands.
payloads: st.SearchStrategy[DomainEvent] = st.one_of(
    made(UserRegistered, user_id=ids, email=st.just("a@example.com")),
    made(UserProfileUpdated, user_id=ids, first_name=st.sampled_from(["Ada", "Zoë"])),
    made(UserEmailChanged, user_id=ids, email=st.just("b@example.com")),
    made(UserSuspended, user_id=ids),
    made(UserClosed, user_id=ids),
    made(SessionStarted, session_id=ids, user_id=users),
    made(SessionActivity, session_id=ids, action=st.just("view")),
    made(SessionEnded, session_id=ids),
    made(
        OrderCreated,
        order_id=ids,
        user_id=users,
        items=st.lists(items, min_size=1, max_size=3).map(tuple),
        total_amount=amounts,
        currency=st.sampled_from(["GBP", "JPY"]),
    ),
    made(OrderItemAdded, order_id=ids, product_id=products, quantity=quantities, price=amounts),
    made(OrderItemRemoved, order_id=ids, product_id=products, quantity=quantities),
    made(OrderPaid, order_id=ids, amount=amounts),
    made(OrderShipped, order_id=ids),
    made(OrderDelivered, order_id=ids),
    made(OrderCancelled, order_id=ids),
    made(OrderRefunded, order_id=ids, amount=amounts),
    made(ModelRegistered, model_id=ids, name=st.just("M"), model_type=st.just("tree")),
    made(
        ModelVersionTrained,
        model_id=ids,
        model_version=versions,
        metrics=st.dictionaries(st.sampled_from(["auc", "f1"]), st.floats(0, 1)),
    ),
    made(ModelDeployed, model_id=ids, model_version=versions),
    made(ModelRetired, model_id=ids, model_version=versions),
    made(WebhookReceived, webhook_id=ids, source=ids, payload=st.just({})),
    made(ReservationClaimed, reservation_id=ids, holder=ids),
)
histories = st.lists(payloads, max_size=40)
page_sizes = st.lists(st.integers(1, 12), min_size=1)


def projections() -> list[Projection]:
    return [*built_in_projections(), *shops.own_projections()]


def log_of(history: Iterable[DomainEvent]) -> MemoryLog:
    log = MemoryLog()
    record(log, *history)
    return log


def one_by_one(log: MemoryLog) -> dict[str, list[Any]]:
    """The plainest fold there is: each event, each handler, a dictionary a table."""
    tables: dict[str, dict[Any, Any]] = {}
    for projection in projections():
        for table in projection.tables:
            tables[table.name] = {}
        plan = Plan(projection)
        for event in log.read():
            for step in plan.steps_for(event.type):
                with localcontext(EXACT):
                    apply_plainly(projection, step, event, tables=tables)
    return {name: [rows[key] for key in sorted(rows)] for name, rows in tables.items()}


def apply_plainly(
    projection: Projection, step: Step, event: Any, *, tables: dict[str, dict[Any, Any]]
) -> None:
    if projection.takes_pages():
        seen = tables["seen"]
        times = seen[event.type].times if event.type in seen else 0
        seen[event.type] = shops.SeenRow(event.type, times + 1)
    elif step.table is None:
        touch(step, event, tables)
    else:
        change(step, step.table, event, rows=tables[step.table.name])


def touch(step: Step, event: Any, tables: dict[str, dict[Any, Any]]) -> None:
    pairs = list(step.locate(event))
    if not pairs:
        return
    before = [tables[table.name].get(key) for table, key in pairs]
    for (table, key), row in zip(pairs, step.call(before, event), strict=True):
        put(tables[table.name], key, row)


def change(step: Step, table: Table[Any], event: Any, *, rows: dict[Any, Any]) -> None:
    located = step.locate(event)
    if step.fold is Fold.APPEND:
        made = step.call(event)
        for row in [] if made is None else [made] if isinstance(made, table.row) else made:
            rows[table.key_of(row)] = row
    elif step.fold is Fold.KEY:
        put(rows, located, step.call(rows.get(located), event))
    elif step.fold is Fold.KEYS:
        for key in dict.fromkeys(located):
            put(rows, key, step.call(rows.get(key), event, key))
    else:
        before = {key: row for key, row in rows.items() if table.group_of(row) == located}
        after = step.call([before[key] for key in sorted(before)], event)
        for key in before:
            del rows[key]
        rows.update((table.key_of(row), row) for row in after)


def put(rows: dict[Any, Any], key: Any, row: Any) -> None:
    if row is None:
        rows.pop(key, None)
    else:
        rows[key] = row


def run(log: MemoryLog, views: Views, sizes: list[int]) -> dict[str, list[Any]]:
    """Apply the log in pages of these sizes, in turn; each comes again, with a bit of the last."""
    engine, turn = Engine(views, projections()), 0
    while engine.position < log.head():
        size = sizes[turn % len(sizes)]
        after = engine.position
        page = log.read_page(after, size, LogFilter())
        engine.apply(page)
        engine.apply(Page(page.events * 2, page.end))
        engine.apply(log.read_page(max(0, after - 2), size, LogFilter()))
        turn += 1
        if size == 1:
            # Started anew: nothing is remembered.
            engine = Engine(views, projections())
    return rows_of(views, projections())


@given(histories, page_sizes)
def test_sqlite_memory_and_a_plain_fold_end_in_the_same_rows(
    history: list[DomainEvent], sizes: list[int]
) -> None:
    log = log_of(history)
    expected = one_by_one(log)

    assert run(log, MemoryViews(), sizes) == expected
    with TemporaryDirectory() as folder, closing(SQLiteViews(Path(folder) / "views.db")) as views:
        assert run(log, views, sizes) == expected


@given(histories, st.integers(0, 40), page_sizes)
def test_a_split_history_ends_where_the_whole_does(
    history: list[DomainEvent], cut: int, sizes: list[int]
) -> None:
    whole = log_of(history)
    views = MemoryViews()
    run(log_of(history[:cut]), views, sizes)

    assert run(whole, views, sizes) == run(whole, MemoryViews(), [1_000])


@given(st.lists(payloads, min_size=1, max_size=15), st.lists(st.booleans()), page_sizes)
def test_two_runners_taking_turns_end_in_the_same_rows(
    history: list[DomainEvent], turns: list[bool], sizes: list[int]
) -> None:
    log, views = log_of(history), MemoryViews()
    engines = [Engine(views, projections()), Engine(views, projections())]
    for number, second in enumerate(turns):
        engine = engines[second]
        size = sizes[number % len(sizes)]
        engine.apply(log.read_page(engine.position, size, LogFilter()))

    assert run(log, views, sizes) == one_by_one(log)
