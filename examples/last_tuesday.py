"""What did the shop look like last Tuesday? A report from a log, by people who did not ask then.

    python examples/last_tuesday.py --store sqlite:///shop.db --at 2026-11-24T23:59:59Z \
        --into sqlite:///tuesday.db [--archive s3://bucket/lake] [--processes 4]

Makes two read models as they were at that time, one of them written for this report alone, and
prints how many orders stood where, and what had been taken by then in each currency. The database
stays: look into it with any SQL tool. Killed and started again, it goes on where it was.
"""

import argparse
import sys
from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, NamedTuple

from eventcore import EventCoreError, open_app
from eventcore.app import open_views
from eventcore.events.catalogue import OrderCreated
from eventcore.projections import Table
from eventcore.projections.read_models import ORDERS, Orders
from eventcore.projections.summaries import Summary, count, field, sum_of


class TakingsRow(NamedTuple):
    """Orders of one currency."""

    currency: str
    orders: int
    amount: Decimal


TAKINGS = Table("takings", TakingsRow, key=["currency"])


class Takings(Summary):
    """Nobody kept this last Tuesday; the log knows it all the same."""

    name = "takings"
    tables = (TAKINGS,)
    source = (OrderCreated,)
    key: ClassVar = {"currency": field("currency")}
    columns: ClassVar = {"orders": count(), "amount": sum_of("total_amount")}


def show(position: int, end: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{position:,} of {end:,}", end="", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", required=True, help="URL of the log")
    parser.add_argument("--at", required=True, type=datetime.fromisoformat, help="with an offset")
    parser.add_argument("--into", required=True, help="URL of a database for the rows")
    parser.add_argument("--archive", help="folder or s3:// URL of the log's archive")
    parser.add_argument("--processes", type=int)
    options = parser.parse_args()
    try:
        read_models = [Orders(), Takings()]
        with open_app(options.store, archive=options.archive, projections=read_models) as app:
            views = open_views(options.into, app.log)
            done = app.replay(
                views, until=options.at, processes=options.processes, on_progress=show
            )
            standing = Counter(row.status for row in views.query(ORDERS))
            takings = list(views.query(TAKINGS))
            views.close()
    except EventCoreError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"as of {done.until}")
    for status, orders in sorted(standing.items()):
        print(f"  {status:<10}{orders:>8,} orders")
    for row in takings:
        print(f"  {row.currency}  {row.amount:>14,.2f} in {row.orders:,} orders")
    return 0


if __name__ == "__main__":
    sys.exit(main())
