"""Lines of an order as items are taken off it: the rule that two read models share."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple

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


def take_off(lines: Sequence[Line], product_id: str, quantity: int) -> list[Line]:
    """The lines that remain when so many of a product are taken off, from its newest line back."""
    remaining: list[Line] = []
    for line in sorted(lines, reverse=True):
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
