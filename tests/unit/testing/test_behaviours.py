"""Given, when, then: what is as it was said passes, and anything else is shown."""

from decimal import Decimal

import pytest

from eventcore.commands import PayOrder
from eventcore.errors import ConfigurationError
from eventcore.events.catalogue import OrderCancelled, OrderPaid
from eventcore.testing import given
from tests.unit.projections.histories import order
from tests.unit.testing import planted

PAY = PayOrder(order_id="o1", amount=Decimal(3))
PAID = OrderPaid(order_id="o1", amount=Decimal(3))


def test_the_events_that_a_command_records_are_as_said():
    given(order("o1"), order("o2")).when(PAY).then(PAID)


def test_a_refusal_is_as_said():
    given(order("o1"), OrderCancelled(order_id="o1")).when(PAY).then(reason="invalid-transition")
    given().when(PAY).then(reason="not-found")


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        ((), None, "Expected: nothing recorded\nFound: \n  OrderPaid("),
        ((PAID, PAID), None, "Expected: \n  OrderPaid("),
        ((), "not-found", "Expected: refused with not-found\nFound: \n  OrderPaid("),
    ],
)
def test_events_that_were_not_said_are_shown(said, reason, words):
    with pytest.raises(AssertionError) as caught:
        given(order("o1")).when(PAY).then(*said, reason=reason)

    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(("said", "reason"), [((PAID,), None), ((), None), ((), "amount-mismatch")])
def test_a_refusal_that_was_not_said_is_shown(said, reason):
    with pytest.raises(AssertionError, match=r"Found: refused: .*not-found"):
        given().when(PAY).then(*said, reason=reason)


def test_the_rows_of_a_projection_are_as_said():
    given(order("o1"), order("o2")).when(planted.Sales).then(
        planted.MoneyRow("GBP", Decimal(6)), planted.CountRow("GBP", 2)
    )
    given().when(planted.Sales).then()


def test_rows_that_were_not_said_are_shown():
    with pytest.raises(AssertionError) as caught:
        given(order("o1")).when(planted.Sales).then(planted.CountRow("GBP", 2))

    assert str(caught.value) == (
        "The rows are not as expected:\n"
        "  table planted_counts, row name='GBP'\n"
        "    column  expected  found\n"
        "    value   2         1\n"
        "  table planted_money, row name='GBP'\n"
        "    ought not to be there: MoneyRow(name='GBP', amount=Decimal('3'))"
    )


def test_a_projection_that_fails_is_shown_with_the_event():
    with pytest.raises(AssertionError, match=r"event 1, order\.paid raised LookupError"):
        given(PAID).when(planted.Fails).then()


def test_a_row_of_no_table_is_refused():
    with pytest.raises(ConfigurationError, match="row class of 0 tables"):
        given().when(planted.Counts).then(planted.MoneyRow("GBP", Decimal(1)))
