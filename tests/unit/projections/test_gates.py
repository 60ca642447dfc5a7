"""A gate lets through the work on some rows; the rest of a page is as if it were not there."""

from decimal import Decimal

import pytest

from eventcore.events.catalogue import OrderCancelled, OrderItemAdded, OrderItemRemoved
from eventcore.projections import MemoryViews, Projection
from eventcore.projections.careful import Blocked
from eventcore.projections.fold import Folded, Gate, PageFold
from eventcore.projections.plan import Plan
from eventcore.projections.tables import StoredRow
from eventcore.projections.units import Unit, share_of, stream_unit
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections import shops
from tests.unit.projections.histories import order, record


@pytest.fixture(scope="module")
def events():
    log = MemoryLog()
    record(
        log,
        order("o1", ("apple", 2, "1.50"), ("pear", 1, "2"), user_id="u1"),
        OrderItemAdded(order_id="o1", product_id="fig", quantity=1, price=Decimal(2)),
        order("o2", ("apple", 1, "1.50"), user_id="u2"),
        OrderItemRemoved(order_id="o1", product_id="pear", quantity=1),
        order("o3", ("plum", 4, "1"), ("fig", 2, "1"), user_id="u1"),
        OrderCancelled(order_id="o2"),
    )
    return log.read_page(0, 100).events


def fold_of(projection: Projection, gate: Gate | None = None) -> PageFold:
    views = MemoryViews()
    views.ensure(projection)
    return PageFold(Plan(projection), views, gate)


def stored(folded: Folded) -> set[tuple[str, StoredRow]]:
    return {
        (changes.table.name, row)
        for changes in folded.changes
        for row in changes.upserts
    }  # fmt: skip


@pytest.mark.parametrize(
    ("projection", "asked"),
    [
        (shops.DailySales(), [[Unit("sales", ("2026-01-31", "GBP"))]]),
        (shops.Stock(), [[Unit("stock", ("apple",))], [Unit("stock", ("pear",))]]),
        (shops.Baskets(), [[Unit("baskets", ("o1",))]]),
        (shops.Spenders(), [[Unit("spenders", ("u1",)), Unit("totals", ("distinct",))]]),
        (shops.Lines(), [[Unit("lines", ("order-o1",))]]),
    ],
    ids=repr,
)
def test_a_gate_is_asked_with_what_each_piece_of_work_touches(events, projection, asked):
    questions = []

    def gate(event, units):
        questions.append((event.position, list(units)))
        return False

    assert fold_of(projection, gate).fold(events[:1]).changes == []
    assert questions == [(1, units) for units in asked]


@pytest.mark.parametrize(
    "projection",
    [shops.DailySales(), shops.Stock(), shops.Baskets(), shops.Spenders(), shops.Lines()],
    ids=repr,
)
@pytest.mark.parametrize("shares", [1, 2, 5])
def test_the_shares_of_a_page_are_the_whole_page(events, projection, shares):
    whole = stored(fold_of(projection).fold(events))

    def share(number: int) -> Gate:
        return lambda _event, units: share_of(units[0], shares) == number

    parts = [stored(fold_of(projection, share(n)).fold(events)) for n in range(shares)]

    assert whole
    assert set().union(*parts) == whole
    assert sum(map(len, parts)) == len(whole)


def test_what_is_blocked_is_held_and_takes_the_rows_it_shares_with_it(events):
    fold = fold_of(shops.Spenders())
    fold.block(Blocked([Unit("spenders", ("u1",))], units_max=10))
    folded = fold.fold(events)

    # The first order of u1 would have changed the total: so all later ones wait for that as well.
    assert folded.changes == []
    assert [
        (parked.event.position, parked.units, parked.cause, parked.whole)
        for parked in folded.parked
    ] == [
        (position, (Unit("spenders", (user,)), Unit("totals", ("distinct",))), None, True)
        for position, user in ((1, "u1"), (3, "u2"), (5, "u1"))
    ]


def test_a_blocked_stream_holds_all_its_events_and_no_others(events):
    fold = fold_of(shops.Baskets())
    fold.block(Blocked([stream_unit("order-o1")], units_max=10))
    folded = fold.fold(events)

    assert [parked.units for parked in folded.parked] == [
        (stream_unit("order-o1"), Unit("baskets", ("o1",)))
    ]
    assert stored(folded) == {
        ("baskets", ("o3", "fig", "0.5")),
        ("baskets", ("o3", "plum", "0.5")),
    }


def test_what_is_skipped_is_not_done_and_holds_up_nothing(events):
    fold = fold_of(shops.Stock())
    fold.block(Blocked(skipped=[(Unit("stock", ("apple",)), 1)]))
    folded = fold.fold(events)

    assert folded.parked == ()
    assert stored(folded) == {
        ("stock", ("apple", 1)),
        ("stock", ("fig", 3)),
        ("stock", ("plum", 4)),
    }


def test_a_page_ends_where_nothing_more_can_be_held(events):
    fold = fold_of(shops.Spenders())
    fold.block(Blocked([Unit("spenders", ("u2",))], units_max=1))
    folded = fold.fold(events)

    assert folded.failure is not None
    assert folded.failure.event.position == 3
    assert folded.parked == ()
    assert stored(folded) == {("spenders", ("u1", 1)), ("totals", ("distinct", 1))}
