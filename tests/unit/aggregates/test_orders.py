"""The rules of an order: exactly these reason codes, in exactly this order."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest

from eventcore.aggregates import Order, OrderLine, OrderStatus
from eventcore.aggregates.orders import in_minor_units
from eventcore.errors import RuleViolationError
from eventcore.events.catalogue import (
    OrderCreated,
    OrderItem,
    OrderItemAdded,
    OrderItemRemoved,
    OrderRefunded,
)

STEPS = {
    "pay": lambda order: order.pay(amount=Decimal("5.00")),
    "ship": lambda order: order.ship(carrier="DHL"),
    "deliver": lambda order: order.deliver(),
    "cancel": lambda order: order.cancel(reason="late"),
    "refund": lambda order: order.refund(amount=Decimal("5.00")),
    "refund 2": lambda order: order.refund(amount=Decimal("2.00")),
    "refund 3": lambda order: order.refund(amount=Decimal("3.00")),
    "add": lambda order: order.add_item(product_id="b", quantity=1, price=Decimal(1)),
    "remove": lambda order: order.remove_item(product_id="a", quantity=1),
}


def item(product_id: str = "a", quantity: int = 2, price: str = "2.50") -> OrderItem:
    return OrderItem(product_id=product_id, quantity=quantity, price=Decimal(price))


def order(*steps: str) -> Order:
    made = Order(id="o-1")
    made.create(items=[item()], currency="GBP", user_id="u-1")
    for step in steps:
        STEPS[step](made)
    return made


def reason(action, aggregate: Order) -> str:
    before = aggregate.copy()
    with pytest.raises(RuleViolationError) as refused:
        action(aggregate)
    assert aggregate == before
    assert aggregate.pending == before.pending
    return refused.value.reason


def test_a_created_order_has_its_lines_and_their_total():
    made = order()

    assert made.status is OrderStatus.CREATED
    assert made.items == (OrderLine(1, "a", 2, Decimal("2.50")),)
    assert made.total_amount == Decimal("5.00")
    assert (made.user_id, made.currency, made.version) == ("u-1", "GBP", 1)


@pytest.mark.parametrize(
    ("items", "total", "expected"),
    [
        ([], "0", "invalid-quantity"),
        ([item(quantity=0)], "0", "invalid-quantity"),
        ([item(quantity=-1)], "-2.50", "invalid-quantity"),
        ([item(price="-0.01")], "-0.02", "invalid-price"),
        ([item(quantity=-1, price="-1")], "1", "invalid-quantity"),
        ([item(price="-1"), item(quantity=0)], "0", "invalid-price"),
        ([item(quantity=0), item(price="-1")], "0", "invalid-quantity"),
        ([item()], "5.01", "total-mismatch"),
        ([item(price="0")], "1", "total-mismatch"),
        ([item(price="0")], "0", "amount-not-positive"),
    ],
)
def test_the_first_rule_that_a_new_order_breaks_is_named(items, total, expected):
    def create(made: Order) -> None:
        made.create(items=items, currency="GBP", total_amount=Decimal(total))

    assert reason(create, Order(id="o-1")) == expected


def test_an_order_is_created_once():
    assert reason(lambda o: o.create(items=[item()], currency="GBP"), order()) == "already-exists"


@pytest.mark.parametrize("step", STEPS)
def test_nothing_happens_to_an_order_that_does_not_exist(step):
    assert reason(STEPS[step], Order(id="o-1")) == "not-found"


ALLOWED = {
    (): {"pay", "cancel", "add", "remove"},
    ("pay",): {"ship", "cancel", "refund", "refund 2", "refund 3"},
    ("pay", "ship"): {"deliver", "refund", "refund 2", "refund 3"},
    ("pay", "ship", "deliver"): {"refund", "refund 2", "refund 3"},
    ("cancel",): set(),
    ("pay", "cancel"): {"refund", "refund 2", "refund 3"},
    ("pay", "refund"): set(),
    ("pay", "refund 2", "refund 3"): set(),
}


@pytest.mark.parametrize("done", ALLOWED, ids=" ".join)
@pytest.mark.parametrize("step", STEPS)
def test_every_step_happens_exactly_where_it_may(done, step):
    made = order(*done)

    if step in ALLOWED[done]:
        STEPS[step](made)
        assert made.version == len(done) + 2
    else:
        assert reason(STEPS[step], made) == "invalid-transition"


def test_an_order_is_refunded_once_all_of_the_payment_went_back():
    made = order("pay", "ship", "refund 2")
    assert (made.status, made.refunded_amount) == (OrderStatus.SHIPPED, Decimal("2.00"))

    STEPS["refund 3"](made)

    assert (made.status, made.refunded_amount) == (OrderStatus.REFUNDED, Decimal("5.00"))


def test_refunds_never_exceed_the_payment():
    made = order("pay", "refund 2")

    assert reason(lambda o: o.refund(amount=Decimal("3.01")), made) == "refund-exceeds-payment"


@pytest.mark.parametrize("amount", ["0", "-1"])
def test_a_refund_is_above_zero(amount):
    made = order("pay")

    assert reason(lambda o: o.refund(amount=Decimal(amount)), made) == "amount-not-positive"


@pytest.mark.parametrize("amount", ["4.99", "5.01", "0", "-5"])
def test_an_order_is_paid_exactly(amount):
    assert reason(lambda o: o.pay(amount=Decimal(amount)), order()) == "amount-mismatch"


def test_the_total_follows_the_items_until_payment():
    made = order()

    made.add_item(product_id="b", quantity=3, price=Decimal("1.10"))
    assert made.total_amount == Decimal("8.30")
    made.remove_item(product_id="a", quantity=2)
    assert made.total_amount == Decimal("3.30")
    made.pay(amount=Decimal("3.30"))

    assert made.paid_amount == Decimal("3.30")


def test_removing_takes_from_the_newest_line_first():
    made = order()
    made.add_item(product_id="a", quantity=2, price=Decimal("4.00"))

    made.remove_item(product_id="a", quantity=3)

    assert made.items == (OrderLine(1, "a", 1, Decimal("2.50")),)
    assert made.total_amount == Decimal("2.50")


def test_line_numbers_are_never_used_again():
    made = order("add")
    made.remove_item(product_id="b", quantity=1)

    STEPS["add"](made)

    assert [line.number for line in made.items] == [1, 3]


@pytest.mark.parametrize(
    ("product_id", "quantity"), [("a", 3), ("a", 0), ("a", -1), ("unknown", 1), ("a", 2)]
)
def test_what_is_not_there_and_what_is_last_is_not_removed(product_id, quantity):
    made = order()

    assert (
        reason(lambda o: o.remove_item(product_id=product_id, quantity=quantity), made)
        == "invalid-quantity"
    )


def test_what_stays_costs_something():
    made = order()
    made.add_item(product_id="gift", quantity=1, price=Decimal(0))

    assert (
        reason(lambda o: o.remove_item(product_id="a", quantity=2), made) == "amount-not-positive"
    )


@pytest.mark.parametrize(
    ("quantity", "price", "expected"),
    [(0, "1", "invalid-quantity"), (1, "-1", "invalid-price"), (-1, "-1", "invalid-quantity")],
)
def test_an_added_item_passes_the_rules_of_items(quantity, price, expected):
    def add(made: Order) -> None:
        made.add_item(product_id="b", quantity=quantity, price=Decimal(price))

    assert reason(add, order()) == expected


@pytest.mark.parametrize(
    ("price", "currency", "expected"),
    [
        ("0.005", "GBP", "0.01"),
        ("0.0049", "GBP", "0.00"),
        ("0.5", "JPY", "1"),
        ("0.0005", "KWD", "0.001"),
        ("1.0050", "GBP", "1.01"),
    ],
)
def test_a_total_is_rounded_half_up_to_the_currency_s_minor_unit(price, currency, expected):
    total = in_minor_units(Decimal(price), currency)

    assert total == Decimal(expected)


def test_the_sum_is_rounded_and_not_each_line():
    made = Order(id="o-1")

    made.create(
        items=[item(price="0.333", quantity=1), item(price="0.333", quantity=1)],
        currency="GBP",
        total_amount=Decimal("0.67"),
    )

    assert made.total_amount == Decimal("0.67")


def test_the_fold_does_not_depend_on_the_thread_s_decimal_context():
    with decimal.localcontext(prec=2, rounding=decimal.ROUND_DOWN):
        made = order()
        made.add_item(product_id="b", quantity=1, price=Decimal("1234567.8912"))

    assert made.total_amount == Decimal("1234572.89")


def test_history_that_today_s_rules_would_refuse_still_folds():
    huge = 2**31 - 1
    made = Order(id="o-1").fold(
        [
            OrderItemRemoved(order_id="o-1", product_id="a", quantity=1),
            OrderRefunded(order_id="o-1", amount=Decimal(-1)),
            OrderCreated(
                order_id="o-1",
                items=(item(quantity=-2), item(quantity=5), item("b", huge, "999999999999999")),
                total_amount=Decimal(-1),
                currency="GBP",
            ),
            OrderItemRemoved(order_id="o-1", product_id="a", quantity=huge),
            OrderItemAdded(order_id="o-1", product_id="c", quantity=1, price=Decimal(-1)),
        ]
    )

    assert made.version == 5
    assert sorted(made.lines) == ["b", "c"]
    assert made.total_amount > 0
