"""Notifications are as rare as commits allow: one for many, and fewer the more others write."""

import pytest

from eventcore.stores.postgres.wakeup import (
    BUSY_COMMITS,
    BUSY_PAUSE_SECONDS,
    CROWD_PAUSE_SECONDS_MAX,
    NOTIFY_PAUSE_SECONDS,
    Pace,
)


def pause_after(pace: Pace, positions: list[int]) -> float:
    for position in positions:
        pace.committed([position])
    return pace.pause_seconds()


def test_a_lone_commit_is_followed_by_the_shortest_pause():
    pace = Pace()

    pauses = [pause_after(pace, [position]) for position in (7, 8, 9)]

    assert pauses == [NOTIFY_PAUSE_SECONDS] * 3


def test_fast_commits_of_a_process_alone_share_more_of_a_notification():
    pace = Pace()

    first = pause_after(pace, list(range(1, 1 + BUSY_COMMITS)))
    second = pause_after(pace, list(range(10, 10 + BUSY_COMMITS)))

    assert (first, second) == (BUSY_PAUSE_SECONDS, BUSY_PAUSE_SECONDS * 9 / BUSY_COMMITS)


@pytest.mark.parametrize("processes", [2, 5])
def test_processes_that_write_at_once_notify_together_as_often_as_one_would(processes):
    pace = Pace()
    pause_after(pace, [100])

    # Of each stretch of positions this process wrote its share.
    mine = range(100 + processes, 100 + processes * (BUSY_COMMITS + 1), processes)

    assert pause_after(pace, list(mine)) == BUSY_PAUSE_SECONDS * processes


def test_a_pause_is_bounded_however_many_others_write():
    pace = Pace()
    pause_after(pace, [1])

    assert pause_after(pace, [10_000_000]) == CROWD_PAUSE_SECONDS_MAX


def test_what_others_wrote_before_the_first_commit_is_not_counted():
    assert pause_after(Pace(), [5_000_000]) == NOTIFY_PAUSE_SECONDS


def test_commits_without_positions_count_as_commits():
    pace = Pace()
    for _ in range(BUSY_COMMITS):
        pace.committed(())

    assert pace.pause_seconds() == BUSY_PAUSE_SECONDS
    assert pace.pause_seconds() == NOTIFY_PAUSE_SECONDS
