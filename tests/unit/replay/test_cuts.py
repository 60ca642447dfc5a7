"""Cuts: what belongs to a moment, told alike wherever one begins to look."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventcore.errors import ConfigurationError
from eventcore.projections import MemoryViews
from eventcore.replay import Cut, cut_of, replay
from eventcore.replay import gathering as gathering_module
from eventcore.stores.log import Page
from eventcore.stores.memory.log import MemoryLog
from tests.replaying import (
    archive_shards,
    expected_rows,
    fill,
    had_happened,
    moment,
    random_history,
    rows_in,
)
from tests.unit.lake.logs import archived
from tests.unit.projections.shops import DailySales
from tests.unit.projections.test_summaries import Standing

FAR_EAST = timezone(timedelta(hours=14))


@pytest.mark.parametrize(
    ("until", "cut"),
    [
        (None, Cut(9)),
        (0, Cut(0)),
        (9, Cut(9)),
        (moment(1), Cut(9, "2026-03-01T00:00:01.000000Z")),
        (datetime(2026, 3, 1, 14, tzinfo=FAR_EAST), Cut(9, "2026-03-01T00:00:00.000000Z")),
    ],
)
def test_a_place_is_a_cut(until: Any, cut: Cut):
    assert cut_of(until, 9) == cut


@pytest.mark.parametrize(
    ("until", "problem"),
    [
        (10, "There is no state at position 10 yet: the log ends at 9"),
        (-1, "-1 is none"),
        (datetime(2026, 3, 1), "a time with a zone"),
        (datetime(1, 1, 1, tzinfo=FAR_EAST), "within the years 1 to 9999"),
    ],
)
def test_what_is_no_place_is_refused(until: Any, problem: str):
    with pytest.raises(ConfigurationError, match=problem):
        cut_of(until, 9)


@given(st.integers(0, 10**6), st.integers(0, 100), st.tuples(st.integers(0, 30), st.integers(1, 9)))
def test_who_goes_on_lets_through_what_is_left(seed: int, second: int, going: tuple[int, int]):
    log, (seen, size) = MemoryLog(), going
    head = fill(log, random_history(seed, 30))
    admission = cut_of(moment(second), head).admission()

    admission.skip_to(log, seen)
    found = []
    while admission.position < head:
        found += admission.page(log.read_page(admission.position, size)).events

    expected = [event for event in had_happened(log, moment(second)) if event.position > seen]
    assert found == expected


def test_a_log_that_ends_earlier_is_skipped_to_its_end():
    log = MemoryLog()
    fill(log, random_history(1, 5))
    admission = Cut(9, "2026-03-01T00:00:01.000000Z").admission()

    admission.skip_to(log, 9)

    assert admission.position == 5
    assert admission.page(Page([], 20)).end == 9


def test_a_feed_that_is_held_is_waited_for():
    log = MemoryLog()
    fill(log, random_history(3, 20))
    held = [True, True]

    class Held:
        codec = log.codec
        head = staticmethod(log.head)

        def read_page(self, after: int, limit: int, *where: Any) -> Page:
            if after == 8 and held:
                held.pop()
                return Page([], after)
            return log.read_page(after, min(limit, 4), *where)

    views, held_log = MemoryViews(), Held()
    until: Any = moment(10_000)  # by time every event is read, whatever is handled
    replay(held_log, [DailySales()], views, until=until)  # type: ignore[arg-type]  # a part

    assert held == []
    assert rows_in(views, [DailySales()]) == expected_rows(log, until, [DailySales()])


def test_many_rows_of_a_query_are_written_in_parts(tmp_path, monkeypatch):
    log, views = MemoryLog(), MemoryViews()
    fill(log, random_history(4, 60))
    source = archive_shards(archived(log, tmp_path / "lake", events_max=100), log)
    monkeypatch.setattr(gathering_module, "WRITTEN_ROWS", 2)

    done = replay(log, [Standing()], views, source=source)

    assert done.queried == ("standing",)
    assert views.count(Standing.table()) > 4
    assert rows_in(views, [Standing()]) == expected_rows(log, None, [Standing()])
