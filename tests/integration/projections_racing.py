"""What the processes of the race of projections do: write, keep, rebuild, read.

Started and killed by :mod:`tests.integration.projections_race`.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from eventcore.app import App, open_app
from eventcore.errors import CheckpointMovedError, StoreError, StoreUnavailableError
from eventcore.events import NewEvent
from eventcore.projections import rebuilds, swapping
from eventcore.projections.postgres.views import PostgresTransaction
from eventcore.projections.sqlite.views import SQLiteTransaction
from eventcore.projections.workers import WorkerOptions
from eventcore.settings import parse_store_url
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import SequentialIds, SteppingClock
from tests.integration.racing_accounts import ACCOUNTS, POISON, TABLES, Moved, projections

BATCH_EVENTS_MAX = 20
ORDERS_EACH = 40
ACCOUNTS_COUNT = 60
POISON_SHARE = 0.01
HALF_SWAP_SECONDS = 0.5
EXTRA_PAUSE_SECONDS = 1.0
POLLS_MIN = 10
"""Of each reader, however slow it is."""


@dataclass(frozen=True)
class Place:
    """Where a race is held.

    Attributes:
        url: Of log and views.
        folder: What the processes tell is in files there.
        lease_seconds: Of the workers.
        mutant: Name of a bug: ``unfenced`` or ``swap in two steps``.
        poison_each: Events that fail, of each writer, at most.
    """

    url: str
    folder: Path
    lease_seconds: float
    mutant: str = ""
    poison_each: int = 1_000_000

    def open(self) -> App:
        return open_app(self.url, projections=projections(self.folder))

    def is_said(self, word: str) -> bool:
        return (self.folder / word).exists()

    def say(self, word: str, text: str = "") -> None:
        # Not to be taken for the word itself while it is being written.
        part = self.folder / f"part-{os.getpid()}-{word}"
        part.write_text(text)
        part.rename(self.folder / word)


@contextmanager
def told(place: Place, name: str) -> Iterator[None]:
    """Leave what goes wrong in a file, for whoever started this process."""
    try:
        yield
    except BaseException:
        place.say(f"failed-{name}-{os.getpid()}", traceback.format_exc())
        raise


def patiently(act: Callable[[], Any]) -> Any:
    while True:
        try:
            return act()
        except StoreUnavailableError:
            time.sleep(0.05)


def write(place: Place, number: int, *, events: int, seconds: float) -> None:
    """Append at a pace until there are enough and the others are done."""
    chance = random.Random(number)
    new_id, clock = SequentialIds(number + 1), SteppingClock()
    with told(place, "writer"), closing(place.open()) as app:
        written, poisoned, began = 0, 0, time.monotonic()
        while written < events or not place.is_said("enough"):
            order_id = f"w{number}-{chance.randrange(ORDERS_EACH)}"
            batch = []
            for _ in range(chance.randint(1, BATCH_EVENTS_MAX)):
                poison = chance.random() < POISON_SHARE and poisoned < place.poison_each
                poisoned += poison
                account = POISON if poison else f"a{chance.randrange(ACCOUNTS_COUNT)}"
                payload = Moved(
                    order_id=order_id, account=account, amount=chance.randint(-100, 100)
                )
                batch.append(app.log.codec.encode(NewEvent(payload, new_id(), clock())))
            append = StreamAppend(f"raceorder-{order_id}", ANY_VERSION, batch)
            patiently(partial(app.log.append, [append]))
            written += len(batch)
            ahead = written / events * seconds - (time.monotonic() - began)
            # What is more than planned only keeps the log moving.
            time.sleep(EXTRA_PAUSE_SECONDS if written >= events else max(0.0, ahead))


def keep(place: Place) -> None:
    """Run a worker until it is told to end."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if place.mutant == "unfenced":
        for transaction in (SQLiteTransaction, PostgresTransaction):
            transaction.advance = _unfenced(transaction.advance)  # type: ignore[method-assign]
    with told(place, "worker"), closing(place.open()) as app:
        options = WorkerOptions(now=app.now, lease_seconds=place.lease_seconds, shares=4)
        while not stop.is_set():
            try:
                app.runner().follow(stop, worker=options)
            except StoreError:
                # Readers are to see that bug, not the workers.
                if place.mutant != "swap in two steps":
                    raise


def _unfenced(advance: Callable[..., None]) -> Callable[..., None]:
    def unfenced(self: Any, *arguments: Any, **options: Any) -> None:
        with suppress(CheckpointMovedError):
            advance(self, *arguments, **options)

    return unfenced


def rebuild(place: Place, name: str) -> None:
    """Rebuild a projection beside the live one."""
    with told(place, "rebuild"), closing(place.open()) as app:
        if place.mutant == "swap in two steps":
            swap = _in_two_steps(place, swapping.swap)
            rebuilds.swap = swap  # type: ignore[attr-defined]  # the bug is put where it is called
        patiently(lambda: app.runner().rebuild(name))
        place.say(f"rebuilt-{name}")


def _in_two_steps(place: Place, swap: Callable[..., Any]) -> Callable[..., Any]:
    """Take the live table away, and put it there again a little later."""

    def in_two_steps(*arguments: Any) -> Any:
        with closing(raw_connection(place)) as connection:
            connection.execute(f"ALTER TABLE {ACCOUNTS.name} RENAME TO race_away")
            connection.commit()
            time.sleep(HALF_SWAP_SECONDS)
            connection.execute(f"ALTER TABLE race_away RENAME TO {ACCOUNTS.name}")
            connection.commit()
        return swap(*arguments)

    return in_two_steps


def raw_connection(place: Place) -> Any:
    """The database's own connection, as somebody else's program has it."""
    location = parse_store_url(place.url)
    if location.scheme == "sqlite":
        return sqlite3.connect(location.path, timeout=60)
    connection = psycopg.connect(location.conninfo)
    connection.execute(f'SET search_path TO "{location.schema}"')
    connection.commit()
    return connection


def read(place: Place, number: int, *, raw: bool) -> None:
    """Poll every table until told to end; what is missing or goes back is noted, and ends it."""
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    polls = 0
    with told(place, "reader"), closing(place.open()) as app:
        rows_of = _raw_rows(place) if raw else (lambda table: list(app.views.query(table)))
        while polls < POLLS_MIN or not place.is_said("read enough"):
            # The echo last: it is written with the order, so it is never behind what was read.
            try:
                found = [(table.name, rows_of(table)) for table in TABLES]
            except (sqlite3.OperationalError, psycopg.errors.UndefinedTable) as error:
                place.say(f"violation-{number}", f"poll {polls}: {error}")
                return
            orders = {row[0]: row[1] for row in found[1][1]}
            echoes = {row[0]: row[1] for row in found[2][1]}
            problems = list(_problems(seen, found))
            problems += [
                f"echo of {name} has {echoes.get(name)} events, the order had {events}"
                for name, events in orders.items()
                if echoes.get(name, 0) < events
            ]
            if problems:
                place.say(f"violation-{number}", f"poll {polls}: " + "; ".join(problems[:5]))
                return
            polls += 1
        place.say(f"read-{number}", str(polls))


def _problems(
    seen: dict[tuple[str, str], tuple[int, str]], found: list[tuple[str, list[Any]]]
) -> Iterator[str]:
    for table, rows in found:
        now = {row[0]: (row[1], row[-1]) for row in rows}
        for (where, key), (events, digest) in seen.items():
            if where != table:
                continue
            if key not in now:
                yield f"{table} {key} is gone, which had {events} events"
            elif now[key][0] < events:
                yield f"{table} {key} went back from {events} to {now[key][0]} events"
            elif now[key][0] == events and now[key][1] != digest:
                yield f"{table} {key} has other events than before"
        seen.update({(table, key): value for key, value in now.items()})


def _raw_rows(place: Place) -> Callable[[Any], list[Any]]:
    connection = raw_connection(place)

    def rows(table: Any) -> list[Any]:
        found = connection.execute(f"SELECT * FROM {table.name}").fetchall()
        connection.commit()
        return list(found)

    return rows
