"""Summaries: what is declared is what is kept, and what cannot be kept is refused at once."""

from decimal import Decimal
from typing import Any, ClassVar, Literal, NamedTuple

import pytest

from eventcore.errors import RegistrationError
from eventcore.events import DomainEvent
from eventcore.events.catalogue import (
    ModelInference,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderItemAdded,
    OrderPaid,
    OrderShipped,
    UserProfileUpdated,
)
from eventcore.projections import MemoryViews, ProjectionRunner, Table
from eventcore.projections.definitions import fingerprint_of
from eventcore.projections.summaries import (
    Summary,
    count,
    day,
    field,
    id_of_stream,
    last,
    month,
    stream,
    sum_of,
    timestamp,
    type_of_event,
)
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing import assert_projection_survives
from tests.replaying import fill, random_history
from tests.unit.projections.histories import BEGIN, order, record


class RevenueRow(NamedTuple):
    day: str
    currency: str
    orders: int
    amount: Decimal
    last_order: str


REVENUE = Table("revenue", RevenueRow, key=["day", "currency"])


class Revenue(Summary):
    name = "revenue"
    tables = (REVENUE,)
    source = (OrderCreated,)
    key: ClassVar = {"currency": field("currency"), "day": day()}
    columns: ClassVar = {
        "orders": count(),
        "amount": sum_of("total_amount"),
        "last_order": last("order_id"),
    }


class StandingRow(NamedTuple):
    order_id: str
    events: int
    added: int
    pieces: int
    paid: Decimal
    method: str | None
    reason: str | None
    last_type: str
    last_at: str


class Standing(Summary):
    """Of every order, whatever happens to it."""

    name = "standing"
    tables = (Table("standing", StandingRow, key=["order_id"]),)
    share_by = "stream"
    source = (OrderEvent,)
    key: ClassVar = {"order_id": id_of_stream()}
    columns: ClassVar = {
        "events": count(),
        "added": count(OrderItemAdded),
        "pieces": sum_of("quantity", OrderItemAdded),
        "paid": sum_of("amount", OrderPaid),
        "method": last("payment_method", OrderPaid),
        "reason": last("reason", OrderCancelled),
        "last_type": last(type_of_event()),
        "last_at": last(stream()),
    }


class NamesRow(NamedTuple):
    month: str
    first_name: str | None
    changes: int


class Names(Summary):
    name = "names"
    tables = (Table("names", NamesRow, key=["month"]),)
    source = (UserProfileUpdated,)
    key: ClassVar = {"month": month()}
    columns: ClassVar = {"first_name": last("first_name"), "changes": count()}


def rows(of: Summary, *events: DomainEvent) -> list[Any]:
    log, views = MemoryLog(), MemoryViews()
    record(log, *events)
    ProjectionRunner(log, views, [of]).run_to_head()
    return list(views.query(of.table()))


def test_counts_sums_and_last_values_are_kept_by_key():
    kept = rows(Revenue(), order("1"), order("2", ("fig", 3, "0.10")), order("3"))

    assert kept == [
        RevenueRow("2026-01-31", "GBP", 1, Decimal("3.00"), "1"),
        RevenueRow("2026-02-01", "GBP", 2, Decimal("3.30"), "3"),
    ]


def test_a_column_may_be_of_some_of_the_events():
    kept = rows(
        Standing(),
        order("1"),
        OrderItemAdded(order_id="1", product_id="fig", quantity=4, price=Decimal(1)),
        OrderPaid(order_id="1", amount=Decimal("2.50"), payment_method="card"),
        OrderPaid(order_id="1", amount=Decimal("0.5")),
        OrderShipped(order_id="1"),
        OrderCancelled(order_id="2", reason="late"),
    )

    assert kept == [
        StandingRow("1", 5, 1, 4, Decimal(3), "card", None, "order.shipped", "order-1"),
        StandingRow("2", 1, 0, 0, Decimal(0), None, "late", "order.cancelled", "order-2"),
    ]


def test_an_absent_value_leaves_the_last_one_as_it_is():
    kept = rows(
        Names(),
        UserProfileUpdated(user_id="1", last_name="B."),
        UserProfileUpdated(user_id="1", first_name="Ada"),
        UserProfileUpdated(user_id="1", last_name="C."),
    )

    assert kept == [NamesRow("2026-01", None, 1), NamesRow("2026-02", "Ada", 2)]
    assert (BEGIN.month, BEGIN.second) == (1, 58)  # the first one is still of January


class ByUserRow(NamedTuple):
    user_id: str
    orders: int


class ByUser(Summary):
    name = "by_user"
    tables = (Table("by_user", ByUserRow, key=["user_id"]),)
    source = (OrderCreated,)
    key: ClassVar = {"user_id": field("user_id")}
    columns: ClassVar = {"orders": count()}


def test_an_event_without_a_key_is_passed_over():
    assert rows(ByUser(), order("1"), order("2", user_id="u"), order("3")) == [("u", 1)]


def test_every_way_of_keeping_it_ends_in_the_same_rows():
    assert_projection_survives(Revenue)
    assert_projection_survives(Standing)


def test_the_declaration_is_its_fingerprint():
    first = fingerprint_of(Revenue())

    class Other(Revenue):
        name = "other"
        columns: ClassVar = {**Revenue.columns, "amount": sum_of("total_amount", OrderCreated)}

    class Same(Revenue):
        """The same, in other words."""

        name = "same"

    assert fingerprint_of(Other()) != first
    assert fingerprint_of(Same()) == first


class WideRow(NamedTuple):
    key: str
    n: int
    amount: Decimal
    text: str
    word: Literal["a"]
    at: str | None


WIDE = Table("wide", WideRow, key=["key"])
GOOD: dict[str, Any] = {
    "n": count(),
    "amount": sum_of("total_amount"),
    "text": last("order_id"),
    "at": last("user_id"),
}


class NarrowRow(NamedTuple):
    key: str
    n: int


class NumberRow(NamedTuple):
    key: int
    n: int


NARROW = Table("narrow", NarrowRow, key=["key"])
NUMBER = Table("number", NumberRow, key=["key"])


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"tables": (NARROW, NUMBER)}, "exactly one table"),
        ({"source": ()}, "source="),
        ({"key": {}}, "the table's key is key"),
        ({"columns": {}}, "the table has n"),
        ({"key": {"key": field("nowhere")}}, "OrderCreated has no field nowhere"),
        ({"key": {"key": field("items")}}, "none of str, int, bool and Decimal"),
        ({"tables": (NUMBER,)}, "the key column key is int, its values are str"),
        ({"key": {"key": field("total_amount")}}, "its values are Decimal"),
        ({"columns": {"n": sum_of("order_id")}}, "column n is int, its values are str"),
        ({"columns": {"n": count(OrderPaid)}}, "OrderPaid, which source= does not name"),
        ({"columns": {"n": last("total_amount")}}, "column n is int, its values are Decimal"),
        ({"tables": (WIDE,), "columns": {**GOOD, "word": last("order_id")}}, "word is bounded"),
        (
            {"source": (OrderCreated, OrderCancelled), "columns": {"n": sum_of("reason")}},
            "OrderCreated has no field reason",
        ),
        ({"name": ""}, "needs a name"),
    ],
)
def test_what_cannot_be_kept_is_refused_where_it_is_declared(changed: Any, problem: str):
    declared = {
        "name": "wrong",
        "tables": (NARROW,),
        "source": (OrderCreated,),
        "key": {"key": field("order_id")},
        "columns": {"n": count()},
        **changed,
    }

    with pytest.raises(RegistrationError, match=problem):
        type("Wrong", (Summary,), declared)


class LastRow(NamedTuple):
    key: str
    user: str


class CountsRow(NamedTuple):
    key: str
    user: int


class TextRow(NamedTuple):
    key: str
    user: str | None


@pytest.mark.parametrize(
    ("row", "figure", "problem"),
    [
        (LastRow, last("user_id"), "may have had no value yet"),
        (LastRow, last("order_id", OrderCreated), "may have had no value yet"),
        (LastRow, count(), "it is to be int"),
        (LastRow, sum_of("order_id"), "sums up what is no number"),
        (CountsRow, last(timestamp()), "its values are TimeText"),
        (TextRow, last("items"), "none of str"),
    ],
)
def test_a_column_fits_what_it_keeps(row: Any, figure: Any, *, problem: str):
    declared = {
        "name": "wrong",
        "tables": (Table("wrong", row, key=["key"]),),
        "source": (OrderCreated,),
        "key": {"key": field("order_id")},
        "columns": {"user": figure},
    }

    with pytest.raises(RegistrationError, match=problem):
        type("Wrong", (Summary,), declared)


def test_flags_and_floats():
    class InferenceRow(NamedTuple):
        model_id: str
        n: int

    with pytest.raises(RegistrationError, match="none of str, int, bool and Decimal"):
        type(
            "Wrong",
            (Summary,),
            {
                "name": "wrong",
                "tables": (Table("wrong", InferenceRow, key=["model_id"]),),
                "source": (ModelInference,),
                "key": {"model_id": field("model_id")},
                "columns": {"n": sum_of("confidence")},
            },
        )


def test_a_random_history_sums_up():
    log, views = MemoryLog(), MemoryViews()
    fill(log, random_history(3, 200))
    ProjectionRunner(log, views, [Revenue()]).run_to_head()

    created = [event.payload for event in log.read() if event.type == "order.created"]
    assert sum(row.orders for row in views.query(REVENUE)) == len(created)
    assert sum(row.amount for row in views.query(REVENUE)) == sum(
        order.total_amount for order in created
    )
