"""Read models on Postgres when runners meet, and when the way to the server fails."""
# ruff: noqa: PLR0917 - the arguments of a test are its fixtures

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from typing_extensions import override

from eventcore.errors import StoreError, StoreUnavailableError
from eventcore.events.event import DomainEvent
from eventcore.events.recorded import Recorded
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.projection import Projection, on
from eventcore.projections.runner import ProjectionRunner
from eventcore.projections.tables import Table
from eventcore.stores.log import StreamAppend
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.dropping_proxy import DroppingProxy
from tests.integration.postgres_threads import HANG_SECONDS, at_once, in_thread
from tests.postgres import PostgresSchema

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class CountRow(NamedTuple):
    """How often a stream was written to; rows expire."""

    stream: str
    seen_at: datetime
    times: int
    total: Decimal


COUNTS = Table("counts", CountRow, key=["stream"], ttl_days=1, ttl_column="seen_at")
OTHERS = Table("others", CountRow, key=["stream"], ttl_days=1, ttl_column="seen_at")


def _stream(event: Recorded[Any]) -> str:
    return event.stream


class Counts(Projection):
    """Counts the events of each stream: applied twice, an event counts twice."""

    name = "counts"
    tables = (COUNTS,)

    @on(DomainEvent, key=_stream)
    def count(self, row: CountRow | None, event: Recorded[Any]) -> CountRow:
        """Count."""
        if row is None:
            return CountRow(event.stream, NOW, 1, Decimal("0.10"))
        return row._replace(times=row.times + 1, total=row.total + Decimal("0.10"))


class Others(Counts):
    """The same in another table."""

    name = "others"
    tables = (OTHERS,)

    @override
    @on(DomainEvent, key=_stream)
    def count(self, row: CountRow | None, event: Recorded[Any]) -> CountRow:
        """Count."""
        return super().count(row, event)


@pytest.fixture
def log(postgres_schema: PostgresSchema) -> Iterator[PostgresLog]:
    log = PostgresLog(postgres_schema.url, schema=postgres_schema.schema)
    yield log
    log.close()


@pytest.fixture
def open_runner(
    log: PostgresLog, postgres_schema: PostgresSchema
) -> Iterator[Callable[..., ProjectionRunner]]:
    """``open_runner(*projections, url=...)``: each with connections of its own."""
    opened: list[PostgresViews] = []

    def begin(*projections: Projection, url: str = postgres_schema.url) -> ProjectionRunner:
        opened.append(PostgresViews(url, schema=postgres_schema.schema))
        return ProjectionRunner(log, opened[-1], projections or [Counts()])

    yield begin
    for views in opened:
        views.close()


def is_commit_of_a_transaction(answer: bytes) -> bool:
    return b"COMMIT\0" in answer


def fill(log: PostgresLog, streams: int, events: int, series: int = 0) -> None:
    make = EventMaker(series=series)
    for number in range(streams):
        log.append([StreamAppend(f"s{series}-{number}", 0, make.many(events))])


def counts(runner: ProjectionRunner, table: Any = COUNTS) -> dict[str, int]:
    rows = list(runner.views.query(table))
    assert all(row.total == row.times * Decimal("0.10") for row in rows)
    return {row.stream: row.times for row in rows}


def test_a_page_whose_commit_was_not_answered_counts_once(
    log, open_runner, postgres_schema, dropping_proxy: Callable[..., DroppingProxy]
):
    proxy = dropping_proxy(postgres_schema)
    runner = open_runner(url=proxy.url)
    fill(log, 5, 3)
    runner.run_to_head()
    fill(log, 5, 4, series=1)

    proxy.drop_answers(matching=is_commit_of_a_transaction)
    with pytest.raises(StoreUnavailableError):
        runner.run_to_head()
    assert proxy.drops == 1
    runner.run_to_head()

    expected = {f"s0-{n}": 3 for n in range(5)} | {f"s1-{n}": 4 for n in range(5)}
    assert counts(runner) == expected


def test_an_engine_goes_on_after_a_commit_that_was_not_answered(
    log, open_runner, postgres_schema, dropping_proxy: Callable[..., DroppingProxy]
):
    proxy = dropping_proxy(postgres_schema)
    runner = open_runner(url=proxy.url)
    fill(log, 5, 3)
    engine = runner._engine()
    page = log.read_page(0, 100)

    proxy.drop_answers(matching=is_commit_of_a_transaction)
    with pytest.raises(StoreUnavailableError):
        engine.apply(page)
    assert engine.apply(page).moved
    assert engine.position == log.head()

    assert counts(runner) == {f"s0-{n}": 3 for n in range(5)}


def test_two_runners_of_one_projection_count_each_event_once(log, open_runner):
    runners = [open_runner() for _ in range(3)]
    stop = threading.Event()
    threads = [threading.Thread(target=runner.follow, args=(stop,)) for runner in runners]
    for thread in threads:
        thread.start()
    for series in range(5):
        fill(log, 10, 7, series=series)
    runners[0].wait_for(log.head(), timeout_seconds=HANG_SECONDS)
    stop.set()
    for thread in threads:
        thread.join(HANG_SECONDS)

    assert counts(runners[0]) == {f"s{s}-{n}": 7 for s in range(5) for n in range(10)}


def test_projections_that_share_transactions_in_any_mixture_do_not_block_each_other(
    log, open_runner
):
    mixtures = [
        open_runner(Counts(), Others()),
        open_runner(Others(), Counts()),
        open_runner(Others()),
        open_runner(Counts()),
    ]
    for series in range(4):
        fill(log, 10, 5, series=series)
        results = at_once([runner.run_to_head for runner in mixtures])
        assert [one for one in results if isinstance(one, Exception)] == []

    expected = {f"s{s}-{n}": 5 for s in range(4) for n in range(10)}
    assert counts(mixtures[0]) == expected
    assert counts(mixtures[0], OTHERS) == expected


@pytest.mark.parametrize("step", ["expire", "reset"])
def test_a_step_beside_a_running_page_waits_for_it(log, open_runner, postgres_schema, step):
    """In the same order of locks: else each would wait for the other, and one be given up."""
    runner, other = open_runner(), open_runner()
    fill(log, 3, 2)
    runner.run_to_head()
    views: Any = runner.views
    checkpoint = views.checkpoint("counts")

    def take_the_step() -> None:
        if step == "expire":
            other.expire(datetime(2026, 6, 1, tzinfo=UTC))
        else:
            other.views.reset(Counts())

    with views.transaction() as transaction:
        transaction.advance("counts", checkpoint, checkpoint.position)
        with in_thread(take_the_step) as results:
            wait_for_a_lock(postgres_schema)
            rows = transaction.load_rows(COUNTS, ["s0-0"])
            transaction.upsert(COUNTS, [row._replace(times=100) for row in rows])
            # Committed here, so that what waits can go on; the block commits nothing more.
            transaction.connection.execute("COMMIT")
            transaction.connection.execute("BEGIN")

    assert results == [None]
    assert runner.views.count(COUNTS) == 0


def wait_for_a_lock(place: PostgresSchema) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    with closing(place.connect()) as connection:
        while time.monotonic() < deadline:
            waiting = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND strpos(query, %s) > 0 AND datname = current_database()",
                (place.schema,),
            ).fetchone()
            if waiting != (0,):
                return
            time.sleep(0.005)
    raise AssertionError("nobody waits")


BAD: dict[str, dict[str, Any]] = {
    "NUL": {"stream": "a\0b"},
    "half a surrogate pair": {"stream": "a\ud800"},
    "not a number": {"total": Decimal("NaN")},
    "infinite": {"total": Decimal("Infinity")},
    "beyond 64 bits": {"times": 2**63},
    "no zone": {"seen_at": datetime(2026, 1, 1)},
}


@pytest.mark.parametrize("what", BAD)
def test_a_row_that_no_database_can_hold_is_refused_and_nothing_is_written(open_runner, what):
    views: Any = open_runner().views
    views.ensure(Counts())
    good = CountRow("s-1", NOW, 1, Decimal(1))

    with pytest.raises(StoreError), views.transaction() as transaction:  # noqa: PT012 - two steps
        transaction.upsert(COUNTS, [good])
        transaction.upsert(COUNTS, [good._replace(**BAD[what])])

    assert views.count(COUNTS) == 0


EXTREMES = [
    CountRow("\\", NOW, 2**63 - 1, Decimal("0.0001")),
    CountRow("'\"", NOW, -(2**63), Decimal("-99999999999999999999.99")),
    CountRow("\x7f\u2028💶", datetime(1, 1, 1, tzinfo=UTC), 0, Decimal("1E+20")),
    CountRow("%s {x} $1", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 1, Decimal(0)),
    CountRow("é" * 600, datetime(1900, 1, 1, tzinfo=UTC), 1, Decimal("1.10")),
]


def test_what_can_be_held_comes_back_as_it_was(open_runner):
    views: Any = open_runner().views
    views.ensure(Counts())

    with views.transaction() as transaction:
        transaction.upsert(COUNTS, EXTREMES)

    keys = [row.stream for row in EXTREMES]
    assert sorted(views.load_rows(COUNTS, keys)) == sorted(EXTREMES)
    assert sorted(views.query(COUNTS)) == sorted(EXTREMES)
