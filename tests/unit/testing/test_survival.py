"""Projections that break a rule are caught by the trial meant for it; good ones pass."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st

from eventcore.app import open_views
from eventcore.errors import ConfigurationError
from eventcore.events import DomainEvent
from eventcore.projections import Engine, built_in_projections, on
from eventcore.projections import engine as engine_module
from eventcore.projections.memory import MemoryTransaction
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing import assert_projection_survives, trials
from eventcore.testing.crashes import FusedConnections, _FusedConnection
from eventcore.testing.databases import MemoryStore
from tests.unit.projections import shops
from tests.unit.projections.histories import order, record
from tests.unit.testing import planted

HISTORY = [order(f"o{number}", user_id="u1") for number in range(9)]


def failure(projection: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        assert_projection_survives(projection, **{"events": HISTORY, **options})
    return str(caught.value)


def trial(monkeypatch: pytest.MonkeyPatch, *functions: Any) -> None:
    """Only these trials."""
    monkeypatch.setattr(trials, "TRIALS", functions)


@pytest.mark.parametrize("projection", [type(one) for one in built_in_projections()])
def test_the_built_in_projections_survive(projection):
    assert_projection_survives(projection)


@pytest.mark.parametrize("projection", [type(one) for one in shops.own_projections()])
def test_projections_of_every_kind_survive(projection):
    assert_projection_survives(projection)


def test_a_projection_in_sql_survives_where_there_is_sql():
    assert_projection_survives(planted.Sql, HISTORY, stores=["sqlite"])

    assert "name the stores that have it" in failure(planted.Sql)


@pytest.mark.parametrize(
    "projection",
    [
        planted.ReadsTheDay,
        planted.ReadsSeconds,
        planted.ThrowsDice,
        planted.HashesItsKey,
        planted.ReadsElsewhere,
    ],
)
def test_what_depends_on_more_than_row_and_event_is_found_by_folding_once_more(projection):
    assert "folded once more, on another day" in failure(projection)


def test_a_row_that_comes_back_otherwise_is_found():
    assert failure(planted.GivesTuples) == (
        "The rows of projection planted are not what they ought to be when they are stored and "
        "read back:\n"
        "  table planted_notes, row name='GBP'\n"
        "    column   expected             found\n"
        "    content  {'orders': ('o8',)}  {'orders': ['o8']}\n"
        "Give the row the value that comes back, e.g. a list instead of a tuple."
    )


def test_a_row_that_cannot_be_stored_is_found():
    assert "because a row cannot be stored" in failure(planted.GivesText)


def test_a_handler_that_fails_is_named_with_the_event():
    message = failure(planted.Fails, events=None)

    assert "add on event 10, order.paid: LookupError: no currency" in message


@pytest.mark.parametrize("projection", [planted.CountsPages, planted.SumsAtTheEnd])
def test_what_depends_on_the_borders_of_pages_is_found_by_pages(projection):
    assert re.search(r"in pages of [23456789] events, on memory", failure(projection))


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (trials.by_two_workers, "when two workers keep it at once"),
        (trials.by_two_workers_in_shares, "when two workers share it"),
        (trials.with_rows_dropped_in_the_middle, "when its rows are dropped in the middle"),
        (trials.through_failed_writes, "when writes fail and are tried again"),
        (trials.through_crashes, "after a crash behind statement 5 of page 1 (the commit"),
    ],
)
def test_what_is_kept_in_an_attribute_is_found_wherever_processes_change(monkeypatch, one, words):
    trial(monkeypatch, one)

    assert words in failure(planted.RemembersInAnAttribute)


def test_keys_that_are_counted_are_found_by_crashes(monkeypatch):
    trial(monkeypatch, trials.through_crashes)

    assert "after a crash behind statement" in failure(planted.NumbersItsCalls)


def test_rows_of_several_streams_are_found_by_shares(monkeypatch):
    trial(monkeypatch, trials.by_two_workers_in_shares)

    assert 'with share_by = "stream", each row belongs to one stream' in failure(
        planted.SharesWrongly
    )


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (trials.through_crashes, "kept although the transaction was not"),
        (trials.with_a_rebuild_in_the_middle, "after a rebuild in the middle"),
    ],
)
def test_what_is_written_outside_the_transaction_is_found(monkeypatch, one, words):
    trial(monkeypatch, one)
    outside = repeatedly_empty()
    # As in another database, which every trial finds empty.
    monkeypatch.setattr(MemoryStore, "empty", emptying(MemoryStore.empty, outside))

    assert words in failure(planted.WritesOutside, stores=["memory"])


def repeatedly_empty() -> Iterator[dict[str, int]]:
    while True:
        yield {}


def emptying(empty: Any, outside: Iterator[dict[str, int]]) -> Any:
    def emptied(self):
        planted.WritesOutside.outside = next(outside)
        return empty(self)

    return emptied


def test_events_that_count_twice_are_found_by_bringing_them_again(monkeypatch):
    trial(monkeypatch, trials.with_events_that_come_again)
    monkeypatch.setattr(engine_module, "_in_order", lambda events: events)

    assert "when events are delivered again, on memory" in failure(planted.Counts)


def test_a_database_that_keeps_half_a_transaction_is_found_by_crashes(monkeypatch):
    trial(monkeypatch, trials.through_crashes)
    monkeypatch.setattr(FusedConnections, "writing", halfway)

    assert "after a crash behind statement 1 of page 1 (UPDATE eventcore_checkpoints" in failure(
        planted.Counts, stores=["sqlite"]
    )


def test_a_worker_that_is_late_and_not_refused_is_found(monkeypatch):
    trial(monkeypatch, trials.by_two_workers)
    monkeypatch.setattr(MemoryTransaction, "advance", unrefused)
    fruit = [order(f"o{n}", (("apple", "pear", "fig")[n % 3], 1, "1")) for n in range(12)]

    assert "when two workers keep it at once" in failure(shops.Stock, events=fruit)


def test_the_first_rows_that_differ_are_shown_and_the_others_counted(monkeypatch):
    class Appended(planted.NumbersItsCalls):
        name = "appended"

    trial(monkeypatch, trials.by_two_workers)
    message = failure(Appended, stores=["memory"])

    assert message.count("table planted_counts, row name=") == 3
    assert re.search(r"and \d more rows", message)


def test_a_history_may_come_from_a_strategy():
    orders = st.lists(st.sampled_from(HISTORY), max_size=3)
    assert_projection_survives(planted.Counts, orders, stores=["memory"], examples=3)

    with pytest.raises(AssertionError, match="in pages of 2 events"):
        assert_projection_survives(planted.CountsPages, orders, stores=["memory"])


def test_without_a_history_an_event_of_ones_own_is_refused():
    class Listens(planted.Counts):
        name = "listens"

        @on(Unheard, key=lambda event: event.id)
        def unheard(self, row, event):
            return row

    with pytest.raises(ConfigurationError, match="No example is known of Unheard"):
        assert_projection_survives(Listens)


class Unheard(DomainEvent, type="unheard.of", category="unheard", key="unheard_id"):
    unheard_id: str


def test_an_empty_history_is_no_error():
    assert_projection_survives(planted.Counts, [])


@pytest.mark.parametrize("projection", [planted.Sales, shops.Spenders, shops.Baskets])
def test_a_projection_survives_on_postgres(postgres_schema, projection):
    assert_projection_survives(projection, stores=[postgres_schema.store_url])


@pytest.mark.dynamodb
@pytest.mark.slow
def test_a_projection_survives_on_dynamodb(dynamodb):
    assert_projection_survives(
        planted.Sales, HISTORY[:5], stores=[dynamodb.url_of(dynamodb.table, ttl="no")]
    )


@pytest.mark.dynamodb
def test_what_is_kept_in_an_attribute_is_found_on_dynamodb(dynamodb, monkeypatch):
    trial(monkeypatch, trials.through_failed_writes)

    assert "on dynamodb://" in failure(
        planted.RemembersInAnAttribute,
        events=HISTORY[:3],
        stores=[dynamodb.url_of(dynamodb.table, ttl="no")],
    )


def test_what_is_kept_in_an_attribute_is_found_on_postgres(postgres_schema, monkeypatch):
    trial(monkeypatch, trials.through_crashes)

    assert "on postgresql://" in failure(
        planted.RemembersInAnAttribute, stores=[postgres_schema.store_url]
    )


def test_a_database_with_rows_of_the_projection_is_left_alone(postgres_schema):
    log = MemoryLog()
    record(log, *HISTORY)
    views = open_views(postgres_schema.store_url, log)
    Engine(views, [planted.Counts()]).apply(log.read_page(0, 10))

    with pytest.raises(ConfigurationError, match="holds rows of projection planted"):
        assert_projection_survives(planted.Counts, HISTORY, stores=[postgres_schema.store_url])
    assert list(views.query(planted.COUNTS)) == [planted.CountRow("GBP", 9)]
    views.close()


@contextmanager
def halfway(self):
    """Every statement a transaction of its own."""
    yield _FusedConnection(self._writer, self._fuse)


def unrefused(self, projection, before, position, **options):  # noqa: PLR0917 - as the original
    """As if a checkpoint were no more than a note."""
    self._checkpoints[projection] = before._replace(position=position, anchor=options.get("anchor"))
