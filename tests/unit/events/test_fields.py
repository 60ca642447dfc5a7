"""The values payloads are made of: amounts, currencies, ids, free JSON; and the context."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from eventcore.errors import InvalidEventError
from eventcore.events import CurrencyCode, EventContext, Id, Money, current_context, event_context
from eventcore.events.catalogue import ModelInference, OrderCreated, SessionActivity
from eventcore.events.currencies import MINOR_UNIT_EXPONENTS, minor_unit_exponent
from eventcore.events.fields import JSON_DEPTH_MAX

money = TypeAdapter(Money)


@pytest.mark.parametrize(
    ("code", "exponent"),
    [
        ("GBP", 2), ("EUR", 2), ("USD", 2), ("JPY", 0), ("ISK", 0), ("KWD", 3), ("TND", 3),
        ("CLF", 4), ("UYW", 4), ("XCG", 2), ("HRK", None), ("XAU", None), ("gbp", None),
        ("", None), ("ANG", None),
    ],
)  # fmt: skip
def test_a_currency_has_the_decimals_of_iso_4217(code: str, exponent: int | None) -> None:
    assert minor_unit_exponent(code) == exponent


def test_every_currency_code_has_three_capital_letters_and_is_listed_once() -> None:
    assert len(MINOR_UNIT_EXPONENTS) == 165
    assert all(len(c) == 3 and c.isascii() and c.isupper() for c in MINOR_UNIT_EXPONENTS)


@pytest.mark.parametrize("code", ["HRK", "XXX", "gbp", "", "POUND", 826, None])
def test_a_currency_that_does_not_exist_cannot_be_written(code: Any) -> None:
    with pytest.raises(ValidationError, match="active ISO 4217 code"):
        TypeAdapter(CurrencyCode).validate_python(code)
    with pytest.raises(ValidationError):
        OrderCreated(order_id="o", items=(), total_amount=Decimal(1), currency=code)


def test_a_currency_that_was_withdrawn_can_be_read() -> None:
    stored = b'{"orderId":"o","items":[],"totalAmount":"1","currency":"HRK"}'

    assert OrderCreated.model_validate_json(stored).currency == "HRK"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+2"), "100"),
        (Decimal("1E+14"), "100000000000000"),
        (Decimal("0E+40"), "0"),
        (Decimal("0E-9"), "0"),
        (Decimal("1.50000"), "1.5000"),
        (Decimal("-0.0001"), "-0.0001"),
        ("2.55", "2.55"),
        (7, "7"),
        (Decimal("999999999999999.9999"), "999999999999999.9999"),
    ],
)
def test_an_amount_made_in_python_is_exact(value: Any, kept: str) -> None:
    amount = money.validate_python(value)

    assert money.dump_json(amount) == f'"{kept}"'.encode()
    assert money.validate_json(money.dump_json(amount)) == amount


@pytest.mark.parametrize(
    "value",
    [1.5, True, "1e5", "1_000", "\u0661", "", "x", Decimal("NaN"), Decimal("Infinity"),
     Decimal("1.23456"), Decimal("1E+15"), Decimal("1E+40"), Decimal("1E-400"), 10**15, None, b"1"],
)  # fmt: skip
def test_an_amount_that_is_a_float_or_does_not_fit_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        money.validate_python(value)


@pytest.mark.parametrize("value", ["01", "-00.1", "1.", "+1", "1e3", "\u0661", "1\n"])
def test_an_amount_has_one_spelling_only(value: str) -> None:
    with pytest.raises(ValidationError):
        money.validate_json(f'"{value}"'.replace("\n", "\\n"))


@pytest.mark.parametrize("value", ["", "x" * 129, "a\x00", "a\n", "\x7f", "\x9f", "\ud800", 1])
def test_an_id_has_1_to_128_characters_without_control_characters(value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Id).validate_python(value, strict=True)


@pytest.mark.parametrize("value", ["a", "x" * 128, "a/b#c d", "💸" * 128, "ü"])
def test_an_id_may_hold_anything_else(value: str) -> None:
    assert TypeAdapter(Id).validate_python(value) == value


def activity(details: Any) -> SessionActivity:
    return SessionActivity(session_id="s", action="a", details=details)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"x", {1: 2}, "\ud800", {"\ud800": 1}, (1,), {1}, Decimal(1),
     10**1_000, object()],
)  # fmt: skip
def test_free_json_made_in_python_is_checked_deeply(value: Any) -> None:
    with pytest.raises(ValidationError, match="Input should be JSON"):
        activity({"a": [value]})


@pytest.mark.parametrize("value", [None, True, 0, -(2**70), 1.5, "", "\x00", [], {}, [{"": None}]])
def test_free_json_is_kept_as_it_is(value: Any) -> None:
    event = activity({"a": value})

    assert event.details == {"a": value}
    assert SessionActivity.model_validate_json(event.to_json()) == event


def test_free_json_is_a_copy_that_later_changes_do_not_reach() -> None:
    given: dict[str, Any] = {"a": [1]}

    event = activity(given)
    given["a"].append(2)

    assert event.details == {"a": [1]}


def test_free_json_has_a_greatest_depth() -> None:
    deep: Any = 1
    for _ in range(JSON_DEPTH_MAX - 1):
        deep = [deep]

    assert activity({"a": deep}).details == {"a": deep}
    with pytest.raises(ValidationError, match="at most 100 levels"):
        activity({"a": [deep]})
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with pytest.raises(ValidationError):
        activity(circle)


def test_a_value_that_must_be_there_is_not_null() -> None:
    with pytest.raises(ValidationError):
        ModelInference(model_id="m", model_version="1", input=None, output=1)


def test_the_context_is_added_to_and_taken_back() -> None:
    assert current_context() == EventContext()

    with event_context(user_id="u", metadata={"a": 1, "b": 1}):
        with event_context(correlation_id="c", metadata={"b": 2}) as inner:
            assert inner == current_context()
            assert (inner.user_id, inner.correlation_id) == ("u", "c")
            assert inner.metadata == {"a": 1, "b": 2}
        assert current_context().correlation_id is None

    assert current_context() == EventContext()


@pytest.mark.parametrize("value", ["", "x" * 129, "a\n", "\x00", "\ud800", 7])
def test_a_context_that_the_wire_form_could_not_carry_is_refused(value: Any) -> None:
    with pytest.raises(InvalidEventError) as refused, event_context(source=value):
        pass

    assert (refused.value.reason, refused.value.field) == ("invalid-field", "eventSource")
    assert current_context() == EventContext()
