"""Units have one spelling, whoever spells them."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import NamedTuple

import pytest

from eventcore.errors import StoreError
from eventcore.projections import Table
from eventcore.projections.units import (
    Unit,
    key_unit,
    share_of,
    stream_unit,
    unit_of_text,
    unit_text,
)


class SaleRow(NamedTuple):
    day: datetime
    amount: Decimal
    shop: str


SALES = Table("sales", SaleRow, key=["day", "amount", "shop"], group=["shop"])
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_equal_keys_are_one_unit_however_they_are_written():
    units = {
        key_unit(SALES, SALES.key_columns, (at, amount, "é"))
        for at in (NOON, NOON.astimezone(timezone(timedelta(hours=5))))
        for amount in (Decimal("1.50"), Decimal("1.5"))
    }

    assert units == {Unit("sales", ("2026-03-01T12:00:00.000000Z", "1.5", "é"))}


def test_a_group_a_row_and_a_stream_are_told_apart():
    units = [
        key_unit(SALES, SALES.group_columns, "a"),
        stream_unit("a"),
        Unit("sales", ("a", "b")),
    ]

    assert list(map(unit_text, units)) == ['["sales","a"]', '["","a"]', '["sales","a","b"]']
    assert [unit_of_text(unit_text(unit)) for unit in units] == units


@pytest.mark.parametrize("key", [1, None, "a\0b", "\ud800", [], object()])
def test_a_key_that_fits_no_column_is_no_unit(key):
    with pytest.raises(StoreError, match="Table sales"):
        key_unit(SALES, SALES.group_columns, key)


@pytest.mark.parametrize(
    "key", [5, (NOON, Decimal(1)), (NOON, 1, "a"), (NOON, Decimal("NaN"), "a")]
)
def test_a_key_of_several_parts_must_fit_each(key):
    with pytest.raises(StoreError, match="Table sales"):
        key_unit(SALES, SALES.key_columns, key)


def test_a_share_is_the_same_in_every_process_and_release():
    shares = [share_of(Unit("orders", (f"o-{number}",)), 16) for number in range(8)]

    assert shares == [0, 12, 11, 11, 9, 0, 5, 3]


def test_units_fall_evenly_into_shares():
    shares = [share_of(stream_unit(f"order-{number}"), 4) for number in range(4_000)]

    assert set(shares) == {0, 1, 2, 3}
    assert all(800 < shares.count(share) < 1_200 for share in range(4))
