"""One table against hash partitions by stream: appending, paging by position, reading a stream.

Partitions by position are no candidate: neither a version of a stream nor an event id can be kept
unique over them. Hash partitions by stream keep the versions unique, and nothing else; event ids
are then either not unique, or kept in a table of their own that every append writes to as well.

Each side is one plain INSERT with the same work for the version, in autocommit, on tables that
hold the same events.

    python -m benchmarks.bench_postgres_partitions [--events N] [--threads N] [--rounds N]
        [--milliseconds N]
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg
from psycopg import sql

from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from benchmarks.postgres_server import server, settle, version

PARTITIONS: Final = 8
STREAM_EVENTS: Final = 10
PAGE_EVENTS: Final = 1_000
STATE: Final = b'{"v":1,"data":{"text":"' + b"x" * 230 + b'"}}'

ONE = "one table"
HASHED = f"{PARTITIONS} hash partitions, event ids not unique"
HASHED_IDS = f"{PARTITIONS} hash partitions, event ids in a side table"
TABLES = {ONE: "one", HASHED: "hashed", HASHED_IDS: "hashed_ids"}

COLUMNS = """
    position bigint NOT NULL DEFAULT nextval({sequence}), stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL, type text COLLATE "C" NOT NULL, event_id uuid NOT NULL,
    state bytea NOT NULL
"""
CREATE = {
    ONE: """
        CREATE TABLE {table} ({columns}, PRIMARY KEY (position));
        CREATE UNIQUE INDEX ON {table} (stream, version);
        CREATE UNIQUE INDEX ON {table} (event_id);
    """,
    HASHED: """
        CREATE TABLE {table} ({columns}) PARTITION BY HASH (stream);
        {partitions}
        CREATE UNIQUE INDEX ON {table} (stream, version);
        CREATE INDEX ON {table} (position);
    """,
    HASHED_IDS: """
        CREATE TABLE {table} ({columns}) PARTITION BY HASH (stream);
        {partitions}
        CREATE UNIQUE INDEX ON {table} (stream, version);
        CREATE INDEX ON {table} (position);
        CREATE TABLE event_ids (event_id uuid PRIMARY KEY, stream text NOT NULL);
    """,
}
PARTITION = """
    CREATE TABLE {name} PARTITION OF {table} FOR VALUES WITH (MODULUS {count}, REMAINDER {number});
"""
FILL = """
    INSERT INTO {table} (stream, version, type, event_id, state)
    SELECT 'order-' || (n - 1) / %(each)s, (n - 1) %% %(each)s + 1, 'order.paid',
           gen_random_uuid(), %(state)s
    FROM generate_series(1, %(events)s) AS n
"""
FILL_IDS = "INSERT INTO event_ids SELECT event_id, stream FROM {table}"
APPEND = """
    INSERT INTO {table} (stream, version, type, event_id, state)
    SELECT %(stream)s, last.version + 1, 'order.paid', %(id)s, %(state)s
    FROM (SELECT coalesce((SELECT max(version) FROM {table} WHERE stream = %(stream)s), 0)
          AS version) AS last
    RETURNING position, version
"""
APPEND_IDS = """
    WITH known AS (INSERT INTO event_ids VALUES (%(id)s, %(stream)s))
"""
PAGE = """
    SELECT position, stream, version, type, state FROM {table}
    WHERE position > %s ORDER BY position LIMIT %s
"""
STREAM = """
    SELECT position, version, type, state FROM {table} WHERE stream = %s ORDER BY version LIMIT 1000
"""

SESSION = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
"""As the log's own connections for appending: a plan made while a table is small is no trap."""

Connection = psycopg.Connection[Any]


def connect(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True, prepare_threshold=0, options=SESSION)


class Layout:
    """One of the layouts, filled with events of streams of :data:`STREAM_EVENTS` each."""

    def __init__(self, url: str, name: str, events: int) -> None:
        self.name = name
        self.url = url
        self.events = events
        self.table = sql.Identifier(TABLES[name])
        self.numbers = itertools.count()
        self.connection = connect(url)
        self.create()

    def statement(self, text: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(text).format(table=self.table, **parts)

    def create(self) -> None:
        table = TABLES[self.name]
        sequence = f"{table}_position"
        partitions = [
            self.statement(
                PARTITION,
                name=sql.Identifier(f"{table}_{number}"),
                count=sql.Literal(PARTITIONS),
                number=sql.Literal(number),
            )
            for number in range(PARTITIONS)
        ]
        columns = sql.SQL(COLUMNS).format(sequence=sql.Literal(sequence))
        self.connection.execute(sql.SQL("CREATE SEQUENCE {}").format(sql.Identifier(sequence)))
        create = self.statement(
            CREATE[self.name], columns=columns, partitions=sql.SQL("").join(partitions)
        )
        self.connection.execute(create.as_string(), prepare=False)
        self.connection.execute(
            self.statement(FILL), {"each": STREAM_EVENTS, "events": self.events, "state": STATE}
        )
        if self.name == HASHED_IDS:
            self.connection.execute(self.statement(FILL_IDS))

    def appending(self, threads: int, seconds: float) -> Callable[[], float]:
        """One measurement: events appended a second, by so many threads."""
        text = (APPEND_IDS if self.name == HASHED_IDS else "") + APPEND
        connections = [connect(self.url) for _ in range(threads)]
        query = self.statement(text).as_string().encode()

        def append(connection: Connection, until: float, done: list[int]) -> None:
            count = 0
            while time.perf_counter() < until:
                stream = f"new-{next(self.numbers) // STREAM_EVENTS}-{id(connection)}"
                connection.execute(
                    query, {"stream": stream, "id": uuid.uuid4(), "state": STATE}, binary=True
                )
                count += 1
            done.append(count)

        def measure() -> float:
            done: list[int] = []
            started = time.perf_counter()
            until = started + seconds
            workers = [
                threading.Thread(target=append, args=(connection, until, done))
                for connection in connections
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            return sum(done) / (time.perf_counter() - started)

        return measure

    def paging(self, seconds: float) -> Callable[[], float]:
        """One measurement: events read a second, page by page."""

        def pages() -> Iterator[int]:
            after = 0
            while True:
                rows = self.connection.execute(
                    self.statement(PAGE), (after, PAGE_EVENTS), binary=True, prepare=False
                ).fetchall()
                after = rows[-1][0] if len(rows) == PAGE_EVENTS else 0
                yield len(rows)

        return self.counting(pages(), seconds)

    def rehydrating(self, seconds: float) -> Callable[[], float]:
        """One measurement: streams read a second."""

        def streams() -> Iterator[int]:
            for number in itertools.cycle(range(0, self.events // STREAM_EVENTS, 7)):
                rows = self.connection.execute(
                    self.statement(STREAM), (f"order-{number}",), binary=True
                ).fetchall()
                assert len(rows) == STREAM_EVENTS
                yield 1

        return self.counting(streams(), seconds)

    @staticmethod
    def counting(found: Iterator[int], seconds: float) -> Callable[[], float]:
        def measure() -> float:
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                count += next(found)
            return count / (time.perf_counter() - started)

        return measure


def measure(url: str, options: Any) -> list[Figure]:
    seconds = options.milliseconds / 1000
    layouts = [Layout(url, name, options.events) for name in TABLES]
    settle(url)
    threads: int = options.threads
    begins: dict[str, Callable[[Layout], Callable[[], float]]] = {
        "pages by position": lambda layout: layout.paging(seconds),
        "streams read": lambda layout: layout.rehydrating(seconds),
        "appends, 1 thread": lambda layout: layout.appending(1, seconds),
        f"appends, {threads} threads": lambda layout: layout.appending(threads, seconds),
    }
    figures: list[Figure] = []
    for what, begin in begins.items():
        cases = {layout.name: begin(layout) for layout in layouts}
        found = interleaved(cases, options.rounds)
        figures += [
            ratio(f"{what}: {name}, over one table", found[name], found[ONE])
            for name in (HASHED, HASHED_IDS)
        ]
        figures += [rate(f"{what}: {name}", values) for name, values in found.items()]
    return figures


def main() -> None:
    """Measure on a fresh server."""
    options = arguments(__doc__ or "", events=1_000_000, threads=8, rounds=5, milliseconds=1500)
    with server() as url:
        figures = measure(url, options)
        title = f"partitions of a log of {options.events:,} events, Postgres {version(url)}"
    report(title, figures)


if __name__ == "__main__":
    main()
