"""Replays from an archive and its log: the rows are those of the log alone, wherever the cut is."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventcore.events.catalogue import OrderCancelled, OrderPaid
from eventcore.projections import MemoryViews
from eventcore.projections.summaries import Summary
from eventcore.replay import Cut, cut_of, replay
from eventcore.replay.archives import ArchiveShards
from eventcore.replay.duckdb_queries import query_summary
from eventcore.replay.querying import may_be_queried
from eventcore.replay.shards import ParquetFiles
from eventcore.stores.memory.log import MemoryLog
from tests.replaying import (
    archive_shards,
    expected_rows,
    fill,
    moment,
    projections,
    random_history,
    rows_in,
)
from tests.unit.lake.logs import archived
from tests.unit.projections.test_summaries import ByUser, Names, Revenue, Standing

EVENTS = 40

seeds = st.integers(0, 10**6)
places = st.integers(0, EVENTS)
cuts = st.one_of(st.none(), places, st.integers(0, 200).map(moment))
summaries = [Revenue(), Standing(), Names(), ByUser()]


@contextmanager
def partly_archived(seed: int, archived_until: int) -> Iterator[tuple[MemoryLog, ArchiveShards]]:
    """A log of which the first events are in an archive, and the archive with what is beyond."""
    log, history = MemoryLog(), random_history(seed, EVENTS)
    with TemporaryDirectory() as folder:
        fill(log, history[:archived_until])
        archive = archived(log, Path(folder) / "archive", events_max=25, shards=2)
        fill(log, history[archived_until:])
        yield log, archive_shards(archive, log)


@given(seeds, st.integers(1, EVENTS), cuts)
@settings(max_examples=15)
def test_archive_and_log_come_to_the_rows_of_the_log_alone(
    seed: int, archived_until: int, until: int | datetime | None
):
    with partly_archived(seed, archived_until) as (log, source):
        views, of = MemoryViews(), projections()
        with ThreadPoolExecutor(2) as executor:
            replay(log, of, views, until=until, source=source, executor=executor)

        assert rows_in(views, of) == expected_rows(log, until, of)


@given(seeds, st.integers(1, EVENTS), cuts)
@settings(max_examples=15)
def test_a_query_over_the_archive_comes_to_the_rows_of_the_handlers(
    seed: int, archived_until: int, until: int | datetime | None
):
    with partly_archived(seed, archived_until) as (log, source):
        views = MemoryViews()

        done = replay(log, summaries, views, until=until, source=source, processes=1)

        assert rows_in(views, summaries) == expected_rows(log, until, summaries)
        if until != 0:
            assert set(done.queried) == {one.name for one in summaries}
        assert done.apart == ()


def queried(summary: Summary, files: ParquetFiles, log: MemoryLog, *, cut: Cut) -> Any:
    assert may_be_queried(summary, log.codec)
    return query_summary(summary, files, log.codec, cut=cut)


texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
)
amounts = st.decimals(-(10**14), 10**14, places=4).map(lambda amount: amount.normalize() + 0)


@given(st.lists(st.tuples(texts, amounts), min_size=1, max_size=10))
@settings(max_examples=25)
def test_any_text_and_any_amount_are_what_they_were(told: list[tuple[str, Decimal]]):
    log = MemoryLog()
    for number, (text, amount) in enumerate(told):
        cancelled = OrderCancelled(order_id=str(number % 4), reason=text)
        paid = OrderPaid(order_id=str(number % 3), amount=amount, payment_method=text)
        fill(log, [(cancelled, moment(number)), (paid, moment(number))])
    with TemporaryDirectory() as folder:
        source = archive_shards(archived(log, Path(folder) / "archive", events_max=100), log)
        files = source.parquet()
        assert files is not None

        stored = queried(Standing(), files, log, cut=Cut(log.head()))

    [table] = Standing.tables
    expected = expected_rows(log, None, [Standing()])[table.name]
    assert stored is not None
    assert sorted(stored) == sorted(map(tuple, table.encode(expected)))


@given(seeds, cuts)
@settings(max_examples=15)
def test_the_query_alone_makes_the_rows(seed: int, until: int | datetime | None):
    with partly_archived(seed, EVENTS) as (log, source):
        files = source.parquet()
        assert files is not None
        cut = cut_of(until, log.head())
        for summary in summaries:
            table = summary.table()
            stored = queried(summary, files, log, cut=cut)

            assert stored is not None
            expected = expected_rows(log, until, [summary])[table.name]
            assert sorted(stored) == sorted(map(tuple, table.encode(expected)))
