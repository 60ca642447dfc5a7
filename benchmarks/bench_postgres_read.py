"""Reading a whole log from Postgres, page by page, without decoding the events.

Beside it ``select_notifications`` of ``eventsourcing``, at the page size that its subscriptions
use and at larger ones, and plain psycopg with binary rows.

    python -m benchmarks.bench_postgres_read [--events N] [--rounds N]
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import psycopg

from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from benchmarks.postgres_filling import fill_log, fill_rival
from benchmarks.postgres_server import new_schema, server, settle, version
from benchmarks.rivals_eventsourcing import Inserting, environment
from eventcore.stores.postgres.log import PostgresLog

PAGES = (500, 4_000)
"""What a subscription of ``eventsourcing`` asks for, and what our projections do."""

TARGET = 3.0
SELECT = """
SELECT position, stream, version, type, state FROM ours.eventcore_log
WHERE position > %s ORDER BY position LIMIT %s
"""

Page = Callable[[int], tuple[int, int]]
"""From a position to how many events came after it, and the position of the last one."""


def read_all(page: Page, count: int) -> float:
    """Events a second, from the first to the last."""
    found = position = 0
    started = time.perf_counter()
    while True:
        events, last = page(position)
        if not events:
            break
        found += events
        position = last
    elapsed = time.perf_counter() - started
    assert found == count
    return count / elapsed


def page_of_ours(log: PostgresLog, limit: int, after: int) -> tuple[int, int]:
    page = log.read_page(after, limit)
    return len(page.events), page.end


def page_of_theirs(recorder: Any, limit: int, after: int) -> tuple[int, int]:
    found = recorder.select_notifications(after, limit, inclusive_of_start=False)
    return len(found), found[-1].id if found else after


def page_of_rows(cursor: psycopg.Cursor[Any], limit: int, after: int) -> tuple[int, int]:
    rows = cursor.execute(SELECT, (after, limit), prepare=True).fetchall()
    return len(rows), rows[-1][0] if rows else after


def measure(url: str, count: int, rounds: int) -> list[Figure]:
    with (
        closing(PostgresLog(url, schema=new_schema(url, "ours"))) as log,
        closing(Inserting(environment(url, new_schema(url, "theirs")))) as rival,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        fill_log(url, "ours", count)
        fill_rival(url, "theirs", count, topic=rival.topic, state=rival.state)
        settle(url)
        cursor = connection.cursor(binary=True)
        cases: dict[str, Callable[[], float]] = {}
        for limit in PAGES:
            pages: dict[str, Page] = {
                "eventcore read_page": partial(page_of_ours, log, limit),
                "eventsourcing select_notifications": partial(
                    page_of_theirs, rival.app.recorder, limit
                ),
                "plain psycopg": partial(page_of_rows, cursor, limit),
            }
            for name, page in pages.items():
                cases[f"{name}, pages of {limit:,}"] = partial(read_all, page, count)
        found = interleaved(cases, rounds)
    names = list(cases)
    figures = [
        ratio(
            f"over select_notifications, pages of {limit:,}",
            found[names[place]],
            found[names[place + 1]],
            TARGET,
        )
        for place, limit in zip((0, 3), PAGES, strict=True)
    ]
    return figures + [rate(name, values) for name, values in found.items()]


def main() -> None:
    """Measure on a fresh server."""
    warnings.simplefilter("ignore")
    options = arguments(__doc__ or "", events=200_000, rounds=5)
    with server() as url:
        figures = measure(url, options.events, options.rounds)
        title = f"reading a log of {options.events:,} events, undecoded, Postgres {version(url)}"
    report(title, figures)


if __name__ == "__main__":
    main()
