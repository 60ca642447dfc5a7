"""Print the sales of UCI's Online Retail data set as ``order.created`` events.

    python examples/online_retail.py online_retail.csv.gz | eventcore ingest -

One event for each sale invoice; invoice numbers that start with C (cancellations, which do not say
what they cancel) or A (bad-debt adjustments) are left out. Lines stay as the file has them, so an
invoice with a negative quantity, or whose lines are all free, is printed too: refusing it is the
importer's business. CustomerID becomes userId exactly as written (``17850.0``).

InvoiceDate is UK local time and becomes UTC. The lines of some invoices carry two times a minute
apart: the first line's counts. totalAmount is the sum of quantity x price, rounded half up to
whole pence, since two invoices hold a price of a tenth of a penny. The file does not name its
currency; its publishers do: pounds sterling.

Source: Online Retail (Chen, Sain, Guo 2012), UCI Machine Learning Repository.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import BinaryIO, NamedTuple

from wire_lines import Event, SourceError, arguments, csv_rows, print_events, utc_text, wire_event

DATA_SET = "online-retail"
COLUMNS = ("InvoiceNo", "StockCode", "Quantity", "UnitPrice", "InvoiceDate", "CustomerID")
CURRENCY = "GBP"
PENNY = Decimal("0.01")
WHOLE_NUMBER = re.compile(r"-?[0-9]+")
AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
LEFT_OUT = {"C": "cancellation invoices", "A": "adjustment invoices"}


class Invoice(NamedTuple):
    """What the first line of an invoice says of all of it, and its lines in file order.

    A line is (stock code, quantity, price), all of it text.
    """

    date: str
    customer: str
    lines: list[tuple[str, str, str]]


def read_invoices(source: BinaryIO) -> dict[str, Invoice]:
    """Gather the lines of every invoice, in order of first appearance.

    The whole file is read first, because the lines of an invoice need not follow each other:
    542806 is interrupted by another one.
    """
    invoices: dict[str, Invoice] = {}
    for number, stock, quantity, price, date, customer in csv_rows(source, COLUMNS):
        if (invoice := invoices.get(number)) is None:
            invoice = invoices[number] = Invoice(date, customer, [])
        # A few thousand texts fill 300,000 lines: keep each once.
        invoice.lines.append((sys.intern(stock), sys.intern(quantity), sys.intern(price)))
    return invoices


def events(source: BinaryIO, left_out: Counter[str]) -> Iterator[Event]:
    for number, invoice in read_invoices(source).items():
        if reason := LEFT_OUT.get(number[:1]):
            left_out[reason] += 1
            continue
        try:
            event = order_created(number, invoice)
        except SourceError as error:
            msg = f"invoice {number}: {error}"
            raise SourceError(msg) from error
        yield event


def order_created(number: str, invoice: Invoice) -> Event:
    lines = [(stock, units(quantity), price) for stock, quantity, price in invoice.lines]
    total = sum((quantity * amount(price) for _, quantity, price in lines), Decimal(0))
    payload = {
        "orderId": number,
        "items": [
            {"productId": stock, "quantity": quantity, "price": price}
            for stock, quantity, price in lines
        ],
        "totalAmount": str(total.quantize(PENNY, ROUND_HALF_UP)),
        "currency": CURRENCY,
    }
    customer = invoice.customer or None
    if customer:
        payload["userId"] = customer
    return wire_event(
        "order.created",
        DATA_SET,
        utc_text(uk_to_utc(local_time(invoice.date))),
        payload=payload,
        position=number,
        userId=customer,
    )


@cache
def units(text: str) -> int:
    if not WHOLE_NUMBER.fullmatch(text):
        msg = f"quantity {text!r} is not a whole number"
        raise SourceError(msg)
    return int(text)


@cache
def amount(text: str) -> Decimal:
    if not AMOUNT.fullmatch(text):
        msg = f"price {text!r} is not an amount"
        raise SourceError(msg)
    return Decimal(text)


def local_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a time"
        raise SourceError(msg) from None


def uk_to_utc(local: datetime) -> datetime:
    """Turn UK local time into UTC, without a time zone database, which slim machines lack.

    Summer time, one hour ahead, runs from the last Sunday of March to the last Sunday of October,
    changing at 01:00 UTC (Directive 2000/84/EC and the Summer Time Order 2002: since 1996). The
    hour that comes twice in October is taken as its first coming.
    """
    starts = _last_sunday(local.year, 3) + timedelta(hours=2)
    ends = _last_sunday(local.year, 10) + timedelta(hours=2)
    ahead = timedelta(hours=1 if starts <= local < ends else 0)
    return (local - ahead).replace(tzinfo=UTC)


@cache
def _last_sunday(year: int, month: int) -> datetime:
    last_day = datetime(year, month, 31)  # noqa: DTZ001 - a UK date; both months have 31 days
    return last_day - timedelta(days=last_day.isoweekday() % 7)


if __name__ == "__main__":
    print_events(arguments(__doc__).parse_args(), events)
