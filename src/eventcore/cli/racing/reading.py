"""Readers of a race: a poller as in textbooks, and a subscription of our log."""

from __future__ import annotations

import time
from typing import Final

import psycopg

from eventcore.cli.racing.entries import Entry
from eventcore.cli.racing.finish import Finish
from eventcore.stores.postgres.connections import Connection
from eventcore.stores.postgres.log import PostgresLog

POLL_SECONDS: Final = 0.001
"""Pause between two polls."""

CATCH_UP_SECONDS_MAX: Final = 10.0
"""How long a subscription may take to reach the head after the last write. What it has not seen by
then counts as missed."""

_PAGE_SECONDS: Final = 0.02


def poll(entry: Entry, connection: Connection, finish: Finish) -> list[str]:
    """Read whatever has a higher position than the last row seen, until there is no more.

    Returns: The places (``ctid``) of the rows, in the order they were seen.
    """
    poll_first, poll_next = entry.statement("poll_first"), entry.statement("poll_next")
    cursor = psycopg.RawCursor(connection)
    seen: list[str] = []
    last = None
    while not finish.is_aborted:
        is_over = finish.is_over  # before looking: what comes later is not waited for
        cursor.execute(*((poll_first,) if last is None else (poll_next, (last,))))
        rows = cursor.fetchall()
        if rows:
            last = rows[-1][1]
            seen += [place for place, _ in rows]
        elif is_over:
            break
        finish.wait(POLL_SECONDS)
    return seen


def follow(log: PostgresLog, finish: Finish) -> list[int]:
    """Subscribe to a log until its head is reached; gives the positions in the order seen."""
    seen: list[int] = []
    deadline = float("inf")
    with log.subscribe() as subscription:
        while not finish.is_aborted and time.monotonic() < deadline:
            is_over = finish.is_over
            page = subscription.next_page(_PAGE_SECONDS)
            assert page is not None
            seen += [event.position for event in page.events]
            if is_over and page.end >= finish.head:
                break
            if is_over and deadline == float("inf"):
                deadline = time.monotonic() + CATCH_UP_SECONDS_MAX
    return seen
