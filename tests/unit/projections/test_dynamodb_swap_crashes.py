"""A swap that takes more along than one transaction holds, broken off at any request.

The limits are set so low that each chunk holds two notes of what is parked.
"""

from typing import Any, ClassVar, NamedTuple

import pytest

from eventcore.errors import LimitExceededError
from eventcore.events.catalogue import OrderCreated
from eventcore.projections import Projection, ProjectionRunner, Table, on
from eventcore.projections.dynamodb import DynamoDBViews, commits, renaming
from eventcore.projections.generation_records import generations_of
from eventcore.projections.parking import UNITS, WORK, ParkingLot
from eventcore.projections.shares import split
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views, transport_to
from tests.unit.projections.dynamodb_pages import Budget, CrashError, Failing
from tests.unit.projections.histories import order, record

pytestmark = pytest.mark.dynamodb

BROKEN = {f"u{number}" for number in range(5)}
TRANSACTION_ACTIONS = 14


class CountRow(NamedTuple):
    user_id: str
    orders: int


COUNTS = Table("counts", CountRow, key=["user_id"])


class Counts(Projection):
    """Orders of each user; of some users it can count none."""

    name = "counts"
    tables = (COUNTS,)
    fingerprint: ClassVar[str] = "1"

    @on(OrderCreated, key=lambda event: event.payload.user_id)
    def ordered(self, row: CountRow | None, event: Any) -> CountRow:
        if event.payload.user_id in BROKEN:
            raise ZeroDivisionError
        return CountRow(event.payload.user_id, (row.orders if row else 0) + 1)


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renaming, "ACTIONS_MAX", TRANSACTION_ACTIONS)
    monkeypatch.setattr(commits, "CHUNK_ROWS_MAX", 2)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    for number, user in enumerate([*sorted(BROKEN), "fine", "u3", "fine"]):
        record(log, order(f"o{number}", user_id=user))
    return log


def runner_of(log: MemoryLog, views: DynamoDBViews) -> ProjectionRunner:
    return ProjectionRunner(log, views, [Counts()])


def notes(views: DynamoDBViews, name: str) -> dict[str, list[int]]:
    """Positions of the events that are parked for each unit, as all notes together say."""
    units = {row.text: row.events for row in views.query(UNITS, {"projection": name})}
    work: dict[str, list[int]] = {text: [] for text in units}
    for row in views.query(WORK):
        if row.projection == name:
            work[row.unit].append(row.position)
    assert {text: len(found) for text, found in work.items()} == units
    return {text: sorted(found) for text, found in work.items()}


def left_under_way(views: DynamoDBViews) -> list[str]:
    found = views.calls.call("Scan", {"TableName": views._checkpoints.table})["Items"]
    return [
        item["pk"]["S"]
        for item in found
        if "pending" in item or (item["pk"]["S"].startswith("journal") and "swept" not in item)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("action", ["rebuild", "roll_back"])
def test_a_swap_broken_off_at_any_request_is_whole_for_whoever_goes_on(
    log, dynamodb, moment, *, action
):
    survivor = dynamodb_views(dynamodb)
    runner = runner_of(log, survivor)
    runner.run_to_head()
    parked = notes(survivor, "counts")
    runner.rebuild("counts")  # so that there is something to go back to
    crashes, finished = (0 if moment == "before" else 3), False
    while not finished:
        transport = Failing(transport_to(dynamodb), **{moment: Budget(crashes).spend})
        finished = True
        try:
            getattr(runner_of(log, dynamodb_views(dynamodb, transport=transport)), action)("counts")
        except CrashError:
            finished = False
        transport.close()

        runner.run_to_head()

        where = f"{moment} request {crashes}"
        assert notes(survivor, "counts") == parked, where
        assert list(survivor.query(COUNTS)) == [CountRow("fine", 2)], where
        states = [row.state for row in generations_of(survivor, "counts")]
        assert (states.count("live"), states.count("old")) == (1, 1), where
        [old] = [row for row in generations_of(survivor, "counts") if row.state == "old"]
        assert notes(survivor, old.name) == parked, where
        crashes += 7

    runner.give_up_rebuild("counts")
    runner.drop_old("counts")
    assert {row.projection for row in survivor.query(WORK)} == {"counts"}
    survivor._commits.sweep()
    assert crashes > 50
    survivor.close()


def test_a_swap_in_parts_leaves_nothing_under_way(log, dynamodb):
    views = dynamodb_views(dynamodb)
    runner = runner_of(log, views)
    runner.run_to_head()
    parked = notes(views, "counts")
    assert sum(map(len, parked.values())) == len(BROKEN) + 1

    runner.rebuild("counts")

    assert notes(views, "counts") == notes(views, "counts+1") == parked
    assert left_under_way(views) == []
    assert ParkingLot(views, None).units("counts+2") == []
    views.close()


def test_of_two_swaps_the_late_one_leaves_nothing_behind(log, dynamodb, monkeypatch):
    views, others = dynamodb_views(dynamodb), dynamodb_views(dynamodb)
    runner, other = runner_of(log, views), runner_of(log, others)
    runner.run_to_head()
    transact = views._requests.transact
    moved: list[object] = []

    def late(actions):
        if not moved and any("Put" in one and "pending" in str(one) for one in actions):
            moved.append(record(log, order("late", user_id="fine")))
            other.run_to_head()
        return transact(actions)

    monkeypatch.setattr(views._requests, "transact", late)
    runner.rebuild("counts")

    assert len(moved) == 1
    assert list(views.query(COUNTS)) == [CountRow("fine", 3)]
    assert left_under_way(views) == []
    views.close()
    others.close()


def test_what_names_the_generations_is_never_left_for_later(log, dynamodb):
    views = dynamodb_views(dynamodb)
    runner = runner_of(log, views)
    runner.run_to_head()
    split(views, Counts(), 16)
    runner.run_to_head()

    with pytest.raises(LimitExceededError, match="unite it first"):
        runner.rebuild("counts")

    assert list(views.query(COUNTS)) == [CountRow("fine", 2)]
    assert [row.state for row in generations_of(views, "counts")] == ["building"]
    views.close()
