"""Digests: the same events the same digest, in every store; anything else another."""

from hashlib import sha256

import pytest

from eventcore.seals.digests import LogDigest, digest_of, event_digest, row_digest
from tests.unit.seals.logs import RowLog, memory_log, rows_of

ROW = ("order-1", 2, "order.paid", b'{"v":1}')


def test_the_digest_of_an_event_is_of_its_framed_columns():
    expected = sha256(b"7:order-1" + b"2:10:order.paid" + b'{"v":1}').digest()

    assert row_digest(*ROW) == expected


@pytest.mark.parametrize(
    "other",
    [
        ("order-2", 2, "order.paid", b'{"v":1}'),
        ("order-1", 3, "order.paid", b'{"v":1}'),
        ("order-1", 2, "order.paie", b'{"v":1}'),
        ("order-1", 2, "order.paid", b'{"v":2}'),
        ("order-12", 2, "order.paid", b'{"v":1}'),
        ("order-", 12, "order.paid", b'{"v":1}'),
        ("order-1", 2, "order.paid{", b'"v":1}'),
        ("order-12:10:order.paid", 2, "", b'{"v":1}'),
    ],
)
def test_an_event_that_differs_in_anything_has_another_digest(other):
    assert row_digest(*other) != row_digest(*ROW)


def test_a_name_that_is_no_text_any_more_still_has_a_digest():
    assert row_digest("order-\ud800", 1, "t", b"") != row_digest("order-\udfff", 1, "t", b"")


def test_a_log_has_the_digest_of_its_order_and_not_of_its_positions():
    rows = rows_of(["a-1", "b-1", "a-1"])
    apart = rows_of(["a-1", "b-1", "a-1"], apart=7)
    swapped = [rows[1], rows[0], rows[2]]

    digest = digest_of(RowLog(rows).read_page(0, 9).events)

    assert digest.events == 3
    assert digest_of(RowLog(apart).read_page(0, 9).events) == digest
    assert digest_of(RowLog(swapped).read_page(-9, 9).events) != digest


def test_a_digest_goes_on_from_where_it_was():
    events = list(memory_log(["a-1", "b-1", "a-1", "c-1"]).read())
    digests = [event_digest(event) for event in events]

    first = LogDigest().then(digests[:2])

    assert LogDigest(first.events, first.value).then(digests[2:]) == digest_of(events)
    assert first.hex() == first.value.hex()
