"""Each projection has a position of its own, also in a file that came from the base library."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    IntegrityError,
    OperationalError,
    Tracking,
)
from eventsourcing.projection import ProjectionRunner

from tests.contract.eventsourcing_cases.sqlite_files import OURS, THEIRS, rows_of_tracking, stored
from tests.contract.eventsourcing_cases.views_written_for_sqlite import (
    Counters,
    Counting,
    CountingElsewhere,
    OtherCounters,
)


def projected(
    path: str, projection_class: Any, view_class: type[Counters], *, saves: int = 0
) -> int:
    """Run a projection on one file after saving so many aggregates; return what it has counted."""
    env = {"PERSISTENCE_MODULE": OURS, "SQLITE_DBNAME": path}
    with ProjectionRunner(
        application_class=Application[UUID],
        projection_class=projection_class,
        view_class=view_class,
        env=env,
    ) as runner:
        for _ in range(saves):
            runner.app.save(Aggregate())
        runner.wait(runner.app.recorder.max_notification_id(), timeout=30)
        counted = runner.projection.view.get_created_event_counter()
        runner.projection.view.datastore.close()
    return int(counted)


def test_two_projections_of_one_application_in_one_file_each_count_everything(path):
    assert projected(path, Counting, Counters, saves=3) == 3
    assert projected(path, CountingElsewhere, OtherCounters, saves=2) == 5
    assert projected(path, Counting, Counters) == 5

    assert rows_of_tracking(path) == {
        "__migration__": 1,
        "Application": 5,
        '__new__["counting"]': 1,
        '__new__["counting_elsewhere"]': 1,
        '__owner__["Application","counting"]': 0,
        '__projection__["counting_elsewhere","Application"]': 5,
    }


def test_two_runners_at_once_in_one_file_do_not_disturb_each_other(path):
    env = {"PERSISTENCE_MODULE": OURS, "SQLITE_DBNAME": path}

    def runner(projection_class: Any, view_class: type[Counters]) -> Any:
        return ProjectionRunner(
            application_class=Application[UUID],
            projection_class=projection_class,
            view_class=view_class,
            env=env,
        )

    last = 0
    with runner(Counting, Counters) as one, runner(CountingElsewhere, OtherCounters) as other:
        for app in (one.app, other.app):
            for _ in range(20):
                last = app.save(Aggregate())[-1].notification.id
        one.wait(last, timeout=30)
        other.wait(last, timeout=30)
        counts = [r.projection.view.get_created_event_counter() for r in (one, other)]
        for r in (one, other):
            r.projection.view.datastore.close()

    assert counts == [40, 40]


@pytest.fixture
def file_of_base_library(path, opened):
    """A file whose one projection, ``counting``, has counted events up to position 2."""
    factory = opened(path, THEIRS, name="counting")
    recorder = factory.application_recorder()
    recorder.insert_events([stored(version) for version in range(1, 4)])
    view = factory.tracking_recorder(Counters)
    view.incr_created_event_counter(Tracking("shop", 1))
    view.incr_created_event_counter(Tracking("shop", 2))
    factory.close()
    return path


def test_a_file_of_the_base_library_goes_on_under_ours_and_back(file_of_base_library, opened):
    path = file_of_base_library
    ours = opened(path, name="counting")
    view = ours.tracking_recorder(Counters)
    assert view.max_tracking_id("shop") == 2
    assert ours.application_recorder().insert_events([stored(4)]) == [4]
    view.incr_created_event_counter(Tracking("shop", 3))
    ours.close()

    theirs = opened(path, THEIRS, name="counting")
    their_view = theirs.tracking_recorder(Counters)
    assert their_view.max_tracking_id("shop") == 3
    assert theirs.application_recorder().insert_events([stored(5)]) == [5]
    their_view.incr_created_event_counter(Tracking("shop", 5))
    theirs.close()

    again = opened(path, name="counting").tracking_recorder(Counters)
    assert again.max_tracking_id("shop") == 5
    assert again.get_created_event_counter() == 4
    with pytest.raises(IntegrityError):
        again.incr_created_event_counter(Tracking("shop", 5))


def test_a_new_projection_starts_at_the_beginning_and_leaves_the_old_position_to_the_old_one(
    file_of_base_library, opened
):
    new = opened(file_of_base_library, name="counting_elsewhere").tracking_recorder(OtherCounters)
    assert new.max_tracking_id("shop") is None
    new.incr_created_event_counter(Tracking("shop", 1))

    old = opened(file_of_base_library, name="counting").tracking_recorder(Counters)

    assert old.max_tracking_id("shop") == 2
    assert new.max_tracking_id("shop") == 1


def test_a_position_taken_by_one_that_may_not_be_its_owner_is_refused_to_the_other(
    file_of_base_library, opened
):
    path = file_of_base_library
    without_tables = opened(path, name="mailing").tracking_recorder()
    without_tables.insert_tracking(Tracking("shop", 3))

    counting = opened(path, name="counting").tracking_recorder(Counters)

    refused = "Cannot tell the position of projection 'counting'"
    with pytest.raises(OperationalError, match=refused):
        counting.max_tracking_id("shop")
    with pytest.raises(OperationalError, match=refused):
        counting.incr_created_event_counter(Tracking("shop", 4))
    assert counting.get_created_event_counter() == 2
    assert rows_of_tracking(path)["shop"] == 3


def test_projections_without_tables_have_positions_of_their_own(path, opened):
    first, second = (opened(path, name=name).tracking_recorder() for name in ("first", "second"))

    first.insert_tracking(Tracking("shop", 5))
    second.insert_tracking(Tracking("shop", 3))
    second.insert_tracking(Tracking("shop", 4))

    assert (first.max_tracking_id("shop"), second.max_tracking_id("shop")) == (5, 4)
    with pytest.raises(IntegrityError):
        second.insert_tracking(Tracking("shop", 4))


def test_a_rolled_back_first_position_takes_nothing(path, opened):
    factory = opened(path, name="first")
    first = factory.tracking_recorder()
    with factory.datastore.transaction(commit=False) as cursor:
        first._insert_tracking(cursor, Tracking("shop", 5))

    second = opened(path, name="second").tracking_recorder()
    second.insert_tracking(Tracking("shop", 1))
    first.insert_tracking(Tracking("shop", 2))

    assert (first.max_tracking_id("shop"), second.max_tracking_id("shop")) == (2, 1)
    assert rows_of_tracking(path)["shop"] == 1


def test_names_with_quotes_and_commas_are_not_mistaken_for_each_other(path, opened):
    names = ['a","b', "a", 'b"', "a,b", "Ω"]
    views = [opened(path, name=name).tracking_recorder() for name in names]

    for number, view in enumerate(views, start=1):
        view.insert_tracking(Tracking('b","c', number))
        view.insert_tracking(Tracking("c", 10 * number))

    assert [view.max_tracking_id('b","c') for view in views] == [1, 2, 3, 4, 5]
    assert [view.max_tracking_id("c") for view in views] == [10, 20, 30, 40, 50]


def test_rows_per_event_are_migrated_to_one_row_per_position_with_every_projection(path, opened):
    for name in ("first", "second"):
        factory = opened(path, name=name, SINGLE_ROW_TRACKING="no")
        recorder = factory.tracking_recorder()
        recorder.insert_tracking(Tracking("shop", 1))
        recorder.insert_tracking(Tracking("shop", 2 if name == "first" else 3))
        factory.close()

    first, second = (opened(path, name=name).tracking_recorder() for name in ("first", "second"))

    assert (first.max_tracking_id("shop"), second.max_tracking_id("shop")) == (2, 3)
