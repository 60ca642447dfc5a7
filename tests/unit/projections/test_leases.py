"""Leases: who keeps which shares, when workers come, go, fall silent and wake up again."""

import pytest

from eventcore.errors import ConfigurationError
from eventcore.projections import MemoryViews
from eventcore.projections.leases import BEATS_MISSED_MAX, Leases
from eventcore.projections.plan import Plan
from eventcore.projections.read_models import Analytics, Orders, Users
from eventcore.projections.shares import share_name
from eventcore.projections.sharing import fair_parts
from eventcore.projections.views import Views
from eventcore.projections.worker_tables import all_owners, all_workers, worker_row
from eventcore.projections.workers import WorkerOptions
from tests.unit.projections.histories import moment

PROJECTIONS = [Orders(), Users(), Analytics()]
SHARES = 6


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def leases_of(views: Views, name: str, clock: Clock | None = None) -> Leases:
    me = worker_row(name, host="here", pid=1, started="now")
    plans = map(Plan, PROJECTIONS)
    leases = Leases(views, plans, me, shares=SHARES, lease_seconds=10, clock=clock or Clock())
    leases.join()
    return leases


def held(leases: Leases) -> set[tuple[str, int]]:
    return {
        (projection.name, share)
        for projection in PROJECTIONS
        for share in leases.held(projection.name, 0)
    }


ALL = {("orders", share) for share in range(SHARES)}
ALL |= {("users", share) for share in range(SHARES)} | {("analytics", 0)}


def round_of(*workers: Leases) -> None:
    for worker in workers:
        worker.beat()
        worker.settle()


@pytest.fixture
def views():
    return MemoryViews()


def test_one_worker_keeps_everything(views):
    one = leases_of(views, "one")

    assert one.settle()

    assert held(one) == ALL
    assert not one.settle()


def test_a_second_worker_gets_its_part_when_the_first_has_given_it_up(views):
    one, two = leases_of(views, "one"), leases_of(views, "two")
    one.settle()
    two.settle()
    round_of(one, two)

    assert held(one) | held(two) == ALL
    assert held(one) & held(two) == set()
    for name in ("orders", "users"):
        assert len(set(one.held(name, 0))) == len(set(two.held(name, 0))) == SHARES // 2
    assert set(one.held("orders", 0)) == set(one.held("users", 0))


def test_who_leaves_is_not_waited_for(views):
    one, two = leases_of(views, "one"), leases_of(views, "two")
    round_of(one, two, one, two)

    two.leave()
    one.settle()

    assert held(one) == ALL
    assert [row.worker_id for row in all_workers(views)] == ["one"]


def test_who_falls_silent_is_taken_over_after_some_beats_of_the_others(views):
    one, two = leases_of(views, "one"), leases_of(views, "two")
    round_of(one, two, one, two)
    part = held(one)

    for _ in range(BEATS_MISSED_MAX - 1):
        round_of(one)
        assert held(one) == part
    round_of(one)
    round_of(one)

    assert held(one) == ALL
    assert [row.worker_id for row in all_workers(views)] == ["one"]


def test_who_slept_itself_takes_nobody_to_be_gone(views):
    one, two = leases_of(views, "one"), leases_of(views, "two")
    round_of(one, two, one, two)
    part = held(one)
    # `one` is stopped here while `two` goes on; it counts its own beats, not time.
    for _ in range(BEATS_MISSED_MAX - 1):
        round_of(two)

    round_of(one)

    assert held(one) == part


def test_who_wakes_up_after_its_lease_finds_its_shares_fenced_and_gets_a_part_again(views):
    one, two = leases_of(views, "one"), leases_of(views, "two")
    round_of(one, two, one, two)
    share = min(two.held("orders", 0))
    before = views.checkpoint(share_name("orders", share))
    for _ in range(BEATS_MISSED_MAX + 1):
        round_of(one)

    after = views.checkpoint(share_name("orders", share))
    assert before is not None
    assert after is not None
    assert after.revision > before.revision
    two.settle()
    assert held(two) == set()

    round_of(two, one, two)
    assert held(one) | held(two) == ALL
    assert held(one) & held(two) == set()


def test_a_worker_knows_when_its_own_beats_failed_for_a_lease(views):
    clock = Clock()
    one = leases_of(views, "one", clock)
    found = []
    for seconds in (10, 10.1):
        clock.seconds = seconds
        found.append(one.lapsed)
    one.beat()

    assert [*found, one.lapsed] == [False, True, False]


def test_one_that_only_holds_shares_for_a_moment_gets_no_part(views):
    one = leases_of(views, "one")
    me = worker_row("merger", host="here", pid=2, started="now", takes_shares=False)
    Leases(views, [], me).join()
    round_of(one, one)

    assert held(one) == ALL


def test_owners_are_kept_where_everybody_sees_them(views):
    one = leases_of(views, "one")
    one.settle()

    assert all_owners(views) == dict.fromkeys(ALL, "one")


def test_parts_are_even_and_few_shares_move_when_a_worker_comes():
    items = [str(number) for number in range(16)]
    two = fair_parts(["a", "b"], items)
    three = fair_parts(["a", "b", "c"], items)

    assert sorted(list(two.values()).count(name) for name in "ab") == [8, 8]
    assert sorted(list(three.values()).count(name) for name in "abc") == [5, 5, 6]
    assert sum(two[item] != three[item] for item in items) <= 8
    assert fair_parts([], items) == {}
    assert fair_parts(["b", "a"], items) == two


@pytest.mark.parametrize(("name", "value"), [("lease_seconds", 0.1), ("shares", 0), ("shares", 65)])
def test_options_out_of_bounds_are_refused(name, value):
    with pytest.raises(ConfigurationError, match="to"):
        WorkerOptions(now=lambda: moment(0), **{name: value})
