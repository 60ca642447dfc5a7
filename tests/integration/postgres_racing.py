"""What the processes of the Postgres race do: write by every way there is, and follow.

A follower keeps what it has seen in a file of 8-byte positions, which is its checkpoint as well:
one write a page, so that killing it leaves both as they were before the page or after it.
"""

from __future__ import annotations

import logging
import os
import random
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from eventcore.errors import ConcurrencyConflictError, StoreUnavailableError
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.log import ANY_VERSION, EVERYTHING, AppendResult, LogFilter, StreamAppend
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker

APPLICATION = "race"
"""Name that the sessions of the race's processes give, to find those to terminate."""

SERVER_AWAY_SECONDS = 60.0
"""A server that does not come back in that time fails the test."""

WIDE_EVENTS = 12_000
"""Rows that one writer inserts and rolls back: a gap of more than 10,000 positions."""

NAIVE_PAGE_EVENTS = 500

TYPE = "test.happened"

INSERT = """
    INSERT INTO {schema}.eventcore_log (stream, version, type, event_id, state)
    SELECT %s, %s + event.place, %s, event.id, event.state
    FROM unnest(%s::text[]::uuid[], %s::bytea[]) WITH ORDINALITY AS event (id, state, place)
"""


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a race is held.

    Attributes:
        url: Of the server.
        schema: Of the log.
        folder: What the processes tell is in files there.
    """

    url: str
    schema: str
    folder: Path

    @property
    def session_url(self) -> str:
        mark = "&" if "?" in self.url else "?"
        return f"{self.url}{mark}application_name={APPLICATION}"

    @property
    def enough(self) -> Path:
        """Is there once all that was to go wrong went wrong: until then writers go on."""
        return self.folder / "enough"

    @property
    def target(self) -> Path:
        """Says, once everything is written, the position that followers are to reach."""
        return self.folder / "target"

    def connect(self) -> psycopg.Connection[Any]:
        """A plain connection, as soon as there is a server."""
        return _when_there(lambda: psycopg.connect(self.session_url))

    def open_log(self) -> PostgresLog:
        return _when_there(lambda: PostgresLog(self.session_url, schema=self.schema, create=False))


def _when_there(act: Callable[[], T]) -> T:
    deadline = time.monotonic() + SERVER_AWAY_SECONDS
    while True:
        try:
            return act()
        except (psycopg.OperationalError, StoreUnavailableError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def write(place: Place, number: int, *, events: int, batch_events_max: int) -> None:
    """Run a writer until it has committed so many events; it tells what was acknowledged.

    It goes on as long as there is something that is still to go wrong.
    """
    writer = Writer(place, number, batch_events_max)
    while len(writer.acknowledged) < events or not place.enough.exists():
        writer.act()
    writer.finish()


class Writer:
    """Appends through the log and by transactions of its own, some of which end badly."""

    def __init__(self, place: Place, number: int, batch_events_max: int) -> None:
        self.acknowledged = array("q")
        self._place = place
        self._number = number
        self._batch_events_max = batch_events_max
        self._random = random.Random(number)
        self._make = EventMaker(series=number + 1)
        self._log = place.open_log()
        self._raw = place.connect()
        self._insert = INSERT.format(schema=place.schema)
        self._own_version = 0
        self._raw_version = 0
        self._is_wide_due = number == 0

    def act(self) -> None:
        actions = (
            (self._append_one, 30),
            (self._append_several, 20),
            (self._commit_slowly, 25),
            (self._roll_back, 10),
            (self._violate_uniqueness, 7),
            (self._append_stale, 4),
            (self._contend, 4),
        )
        names, weights = zip(*actions, strict=True)
        (action,) = self._random.choices(names, weights)
        action()

    def finish(self) -> None:
        self._log.close()
        self._raw.close()
        with (self._place.folder / f"writer-{self._number}").open("wb") as file:
            self.acknowledged.tofile(file)

    def _events(self) -> list[EncodedEvent]:
        return [self._make() for _ in range(self._random.randint(1, self._batch_events_max))]

    def _append(self, *appends: StreamAppend) -> AppendResult:
        # The same append, whatever became of the one before.
        result: AppendResult = _when_there(lambda: self._log.append(appends))
        self.acknowledged.extend(result.positions)
        return result

    def _append_one(self) -> None:
        stream = StreamAppend(f"own-{self._number}", self._own_version, [self._make()])
        assert self._append(stream).versions == (self._own_version + 1,)
        self._own_version += 1

    def _append_several(self) -> None:
        own = StreamAppend(f"own-{self._number}", self._own_version, self._events())
        result = self._append(own, StreamAppend("shared-1", ANY_VERSION, [self._make()]))
        assert result.versions[0] == self._own_version + 1
        self._own_version += len(own.events)

    def _append_stale(self) -> None:
        if self._own_version == 0:
            return
        stale = StreamAppend(f"own-{self._number}", self._own_version - 1, [self._make()])
        with pytest.raises(ConcurrencyConflictError) as caught:
            self._append(stale)
        assert caught.value.actual_version == self._own_version

    def _contend(self) -> None:
        version = self._log.stream_version("hot-1")
        with suppress(ConcurrencyConflictError):
            self._append(StreamAppend("hot-1", version, [self._make()]))

    def _pause(self) -> None:
        time.sleep(self._random.random() * 0.01)

    def _insert_rows(self, events: Sequence[EncodedEvent], after: int) -> None:
        ids, states = [one.event_id for one in events], [one.state for one in events]
        stream = f"raw-{self._number}"
        self._raw.execute(self._insert, (stream, after, TYPE, ids, states))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Whatever goes wrong inside, there is a usable connection afterwards."""
        try:
            yield
        except psycopg.errors.UniqueViolation:
            with self._transaction():
                self._raw.rollback()
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self._raw.close()
            self._raw = self._place.connect()

    def _commit_slowly(self) -> None:
        first, second = self._events(), self._events()
        events = [*first, *second]
        with self._transaction():
            self._insert_rows(first, self._raw_version)
            self._pause()
            self._insert_rows(second, self._raw_version + len(first))
            self._pause()
            self._raw.commit()
        # If the connection was lost, whether they were committed is not known.
        places = _when_there(lambda: self._log.locate([one.event_id for one in events]))
        assert len(places) in {0, len(events)}
        if places:
            self._raw_version += len(events)
            self.acknowledged.extend([one.position for one in places.values()])

    def _roll_back(self) -> None:
        is_wide = self._is_wide_due
        with self._transaction():
            events = self._make.many(WIDE_EVENTS) if is_wide else self._events()
            self._insert_rows(events, self._raw_version)
            self._is_wide_due = False
            self._pause()
            self._raw.rollback()

    def _violate_uniqueness(self) -> None:
        events = self._events()
        with self._transaction():
            self._insert_rows(events, self._raw_version)
            self._pause()
            self._insert_rows(events, self._raw_version)


class Seen:
    """The positions a follower has seen, kept in a file."""

    def __init__(self, file: Path) -> None:
        self._out = os.open(file, os.O_RDWR | os.O_CREAT)
        size = os.fstat(self._out).st_size // 8 * 8
        os.ftruncate(self._out, size)
        last = os.pread(self._out, 8, size - 8) if size else b""
        os.lseek(self._out, size, os.SEEK_SET)
        self.last = array("q", last)[0] if last else 0

    def add(self, positions: Sequence[int]) -> None:
        if positions:
            os.write(self._out, array("q", positions).tobytes())
            self.last = positions[-1]


def read_positions(file: Path) -> array[int]:
    """What :class:`Seen` wrote."""
    positions = array("q")
    if file.exists():
        found = file.read_bytes()
        positions.frombytes(found[: len(found) // 8 * 8])  # one may be being written just now
    return positions


def follow(place: Place, file: Path, categories: frozenset[str] | None) -> None:
    """Follow with a subscription from the checkpoint on, until the target is reached."""
    logging.disable()  # it says that the server is away: so it is
    seen = Seen(file)
    log = place.open_log()
    where = LogFilter(categories=categories) if categories else EVERYTHING
    with log.subscribe(seen.last, where) as subscription:
        while True:
            page = subscription.next_page(0.2)
            assert page is not None
            seen.add([event.position for event in page.events])
            if page.end >= _target(place):
                break
    log.close()


def follow_naively(place: Place, file: Path, categories: frozenset[str] | None) -> None:
    """Follow as textbooks do: whatever has a higher position than the last one seen."""
    seen = Seen(file)
    statement = (
        f"SELECT position FROM {place.schema}.eventcore_log WHERE position > %s "
        f"ORDER BY position LIMIT {NAIVE_PAGE_EVENTS}"
    )
    while seen.last < _target(place):
        with (
            suppress(psycopg.OperationalError, psycopg.InterfaceError),
            place.connect() as connection,
        ):
            connection.autocommit = True
            while seen.last < _target(place):
                rows = connection.execute(statement, (seen.last,)).fetchall()
                seen.add([position for (position,) in rows])
                if not rows:
                    time.sleep(0.001)


def _target(place: Place) -> float:
    try:
        return int(place.target.read_text())
    except FileNotFoundError:
        return float("inf")
