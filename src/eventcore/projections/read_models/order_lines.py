"""Lines of an order as items are taken off it: the rule that two read models share."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple, Protocol, Self, TypeVar

from eventcore.events.currencies import minor_unit_exponent

_DECIMALS_USUAL: Final = 2
"""For currencies that are no longer listed: an old order must stay readable."""
_DIGITS_ROUNDED_MAX: Final = 70
"""An amount beyond is no money that exists; rounding must not fail on it."""


class Line(NamedTuple):
    """One line: ``number`` counts from 1 in the order lines were added."""

    number: int
    product_id: str
    quantity: int
    price: Decimal


class HasQuantity(Protocol):
    """A line, or a row about one."""

    @property
    def product_id(self) -> str:
        """Of what."""

    @property
    def quantity(self) -> int:
        """How many."""

    def _replace(self, *, quantity: int) -> Self: ...


LineT = TypeVar("LineT", bound=HasQuantity)


def take_off(lines: Sequence[LineT], product_id: str, quantity: int) -> list[LineT]:
    """The lines that remain when so many of a product are taken off, from its newest line back.

    Args:
        lines: Oldest first, and so they remain.
        product_id: Of what.
        quantity: How many.
    """
    remaining: list[LineT] = []
    for line in reversed(lines):
        if line.product_id != product_id or quantity == 0:
            remaining.append(line)
            continue
        taken = min(quantity, line.quantity)
        quantity -= taken
        if taken < line.quantity:
            remaining.append(line._replace(quantity=line.quantity - taken))
    return remaining[::-1]


def total_of(lines: Sequence[Line], currency: str) -> Decimal:
    """Sum of quantity times price, rounded half up to the currency's smallest amount."""
    total = sum((line.quantity * line.price for line in lines), Decimal(0))
    if total.adjusted() > _DIGITS_ROUNDED_MAX:
        return total
    exponent = minor_unit_exponent(currency)
    decimals = _DECIMALS_USUAL if exponent is None else exponent
    return total.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
