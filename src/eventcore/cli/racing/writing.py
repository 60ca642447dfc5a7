"""Writers of a race: transactions that pause, roll back and run into what is unique."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, assert_never
from uuid import UUID

import psycopg

from eventcore.cli.racing.entries import Entry
from eventcore.cli.racing.finish import Finish
from eventcore.cli.racing.plans import Kind, Plan, Step
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.log import StreamAppend
from eventcore.stores.postgres.connections import Connection
from eventcore.stores.postgres.log import PostgresLog

_TIME: Final = "2000-01-01T00:00:00.000000Z"
_ID_BASE: Final = 1 << 100
"""Above it are the ids of appended events; those of plain INSERTs are digests."""

_REFUSALS: Final = (psycopg.IntegrityError, psycopg.errors.DeadlockDetected)
"""Of a transaction that runs into what is unique, alone or with another."""


class Tally(NamedTuple):
    """How the transactions of a writer ended."""

    committed: int = 0
    rolled_back: int = 0
    refused: int = 0


class Writer:
    """Takes its steps until the time is over.

    Args:
        entry: The table.
        plan: The steps.
        number: Which of the plan's writers.
        connection: Of its own, in autocommit mode.
    """

    def __init__(self, entry: Entry, plan: Plan, number: int, connection: Connection) -> None:
        self._steps = plan.steps(number)
        self._seconds_max = plan.seconds_max
        # Small numbers, and none that another writer has.
        self._numbers = itertools.count(number + 1, plan.writers)
        self._connection = connection
        self._cursor = psycopg.RawCursor(connection)
        self._insert_statement = entry.insert
        log = entry.log
        self._appender = None if log is None else _Appender(log, f"appended-{number}")
        is_locking = plan.is_locking and log is None
        self._lock_statement = entry.statement("lock_table") if is_locking else None

    def run(self, finish: Finish) -> Tally:
        """Take the steps; gives how they ended.

        It ends early when the plan's time is over, or when somebody failed.

        Raises:
            psycopg.Error: The server refused what it should not, or went away.
            EventCoreError: The same, of the log.
        """
        deadline = time.monotonic() + self._seconds_max
        committed = rolled_back = refused = 0
        for step in self._steps:
            if finish.is_aborted or time.monotonic() >= deadline:
                break
            try:
                self._take(step)
            except _REFUSALS:
                refused += 1
            else:
                is_committed = step.kind in {Kind.APPEND, Kind.COMMIT}
                committed += is_committed
                rolled_back += not is_committed
        return Tally(committed, rolled_back, refused)

    def _take(self, step: Step) -> None:
        (first, second), (pause, other_pause) = step.counts, step.pauses_seconds
        match step.kind:
            case Kind.APPEND if self._appender is not None:
                self._appender.append(self._next(first))
            case Kind.APPEND:
                with self._transaction():
                    self._insert(self._next(first))
            case Kind.COMMIT:
                with self._transaction():
                    self._insert(self._next(first))
                    time.sleep(pause)
                    self._insert(self._next(second))
                    time.sleep(other_pause)
            case Kind.ROLL_BACK:
                with self._transaction():
                    self._insert(self._next(first))
                    time.sleep(pause)
                    raise psycopg.Rollback
            case Kind.VIOLATE:
                with self._transaction():
                    numbers = self._next(first)
                    self._insert(numbers)
                    time.sleep(pause)
                    self._insert(numbers)
                    raise psycopg.Rollback  # nothing in this table is unique
            case _:
                assert_never(step.kind)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._connection.transaction():
            if self._lock_statement is not None:
                self._cursor.execute(self._lock_statement)
            yield

    def _insert(self, numbers: Sequence[int]) -> None:
        self._cursor.execute(self._insert_statement, (numbers,))

    def _next(self, count: int) -> list[int]:
        return list(itertools.islice(self._numbers, count))


class _Appender:
    """Appends to a stream of its own, by the log."""

    def __init__(self, log: PostgresLog, stream: str) -> None:
        self._log = log
        self._stream = stream
        self._version = 0

    def append(self, numbers: Sequence[int]) -> None:
        events = [_event(number) for number in numbers]
        self._log.append([StreamAppend(self._stream, self._version, events)])
        self._version += len(events)


def _event(number: int) -> EncodedEvent:
    id_text = str(UUID(int=_ID_BASE + number))
    state = f'{{"v":1,"id":"{id_text}","at":"{_TIME}","data":{{}}}}'.encode()
    return EncodedEvent(id_text, "order.paid", _TIME, state)
