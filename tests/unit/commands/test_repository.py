"""Loading aggregates: caches and snapshots save time and never tell anything but the log."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from typing_extensions import override

from eventcore.aggregates import Aggregate, Model, Order, OrderStatus, applies
from eventcore.app import open_log
from eventcore.commands import (
    AddItem,
    Command,
    PayOrder,
    RegisterModel,
    Repository,
    ShipOrder,
    StartSession,
    TrackActivity,
    TrainVersion,
)
from eventcore.errors import (
    AggregateNotFoundError,
    ConcurrencyConflictError,
    ConfigurationError,
    StoreUnavailableError,
    UndecodableEventError,
    VersionNotFoundError,
)
from eventcore.events import (
    Codec,
    DomainEvent,
    EncodedEvent,
    EventRegistry,
    Id,
    PayloadModel,
)
from eventcore.stores.log import StreamAppend
from eventcore.stores.snapshots import Snapshot
from tests.unit.commands.shop import PRICE, START, Shop, log_of


class Plan(PayloadModel):
    steps: dict[str, int]


registry = EventRegistry()


class PlanMade(
    DomainEvent,
    type="project.plan_made",
    category="project",
    key="project_id",
    registry=registry,
):
    project_id: Id
    plan: Plan


@dataclass(kw_only=True)
class Project(Aggregate, category="project", begins_with=PlanMade):
    plan: Plan | None = None

    @applies(PlanMade)
    def _plan_made(self, event: PlanMade) -> None:
        self.plan = event.plan


class MakePlan(Command, aggregate=Project):
    project_id: Id
    plan: Plan

    @override
    def decide(self, project, /):
        project.record(PlanMade(project_id=self.project_id, plan=self.plan))


@pytest.fixture(params=["memory", "sqlite"])
def log(request, tmp_path):
    made = log_of(request.param, tmp_path)
    yield made
    made.close()


def fill(shop: Shop, count: int = 3) -> None:
    shop.create_order()
    for number in range(count - 1):
        shop.executor.execute(
            AddItem(order_id="o-1", product_id=f"p-{number}", quantity=1, price=PRICE)
        )


def test_an_aggregate_is_given_as_it_is_now_or_was_at_a_version(log):
    shop = Shop(log)
    fill(shop)

    assert shop.repository.get(Order, "o-1").version == 3
    for version in (1, 2, 3):
        found = shop.repository.get(Order, "o-1", version=version)
        assert (found.version, len(found.items)) == (version, version)


@pytest.mark.parametrize(("seconds", "version"), [(0, 1), (0.999999, 1), (1, 2), (2, 3), (1000, 3)])
def test_an_aggregate_is_given_as_it_was_at_a_time(log, seconds, version):
    shop = Shop(log)
    fill(shop)

    found = shop.repository.get(Order, "o-1", as_of=START + timedelta(seconds=seconds))

    assert found.version == version


def test_a_time_before_an_event_ends_the_prefix_even_where_a_later_one_has_an_older_clock(log):
    shop = Shop(log)
    fill(shop, 2)
    shop.ticks = iter([-10])
    shop.executor.execute(PayOrder(order_id="o-1", amount=PRICE * 2))

    found = shop.repository.get(Order, "o-1", as_of=START)

    assert (found.version, found.status) == (1, OrderStatus.CREATED)


def test_an_aggregate_is_given_as_it_was_at_a_position_of_the_log(log):
    shop = Shop(log)
    fill(shop, 2)
    first, last = (event.position for event in log.read_stream("order-o-1"))

    found = [
        shop.repository.get(Order, "o-1", as_of=at).version for at in (first, last - 1, last, 10**9)
    ]

    assert found == [1, 1, 2, 2]
    with pytest.raises(AggregateNotFoundError, match=f"at position {first - 1}"):
        shop.repository.get(Order, "o-1", as_of=first - 1)


@pytest.mark.parametrize("version", [0, -1, 4])
def test_a_version_that_is_not_there_is_refused_by_name(log, version):
    shop = Shop(log)
    fill(shop)

    with pytest.raises(VersionNotFoundError) as missing:
        shop.repository.get(Order, "o-1", version=version)

    assert str(missing.value) == f"Order 'o-1' has 3 versions in the test's log, not {version}"


@pytest.mark.parametrize("bound", [{}, {"version": 1}])
def test_an_unknown_aggregate_is_refused_by_name(log, bound):
    with pytest.raises(AggregateNotFoundError) as missing:
        Shop(log).repository.get(Order, "o-1", **bound)

    assert str(missing.value) == "Order 'o-1' does not exist in the test's log"


def test_an_aggregate_that_did_not_exist_yet_is_refused_with_the_time(log):
    shop = Shop(log)
    fill(shop)

    with pytest.raises(AggregateNotFoundError, match=r"as of 2025-12-31T23:59:59\.000000Z"):
        shop.repository.get(Order, "o-1", as_of=START - timedelta(seconds=1))


def test_two_bounds_or_a_time_without_zone_are_refused(log):
    repository = Shop(log).repository

    with pytest.raises(ConfigurationError):
        repository.get(Order, "o-1", version=1, as_of=START)
    with pytest.raises(ConfigurationError):
        repository.get(Order, "o-1", as_of=datetime(2026, 1, 1))


def test_what_is_handed_out_can_be_changed_without_changing_what_is_kept(log):
    shop = Shop(log)
    fill(shop)
    for _ in range(2):
        found = shop.repository.get(Order, "o-1")
        found.pay(amount=PRICE * 3)
        found.lines["a"].clear()

    again = shop.repository.get(Order, "o-1")

    assert (again.version, again.status, len(again.items)) == (3, OrderStatus.CREATED, 3)


def test_what_is_inside_a_frozen_value_can_be_changed_without_changing_what_is_kept(log):
    shop = Shop(log)
    shop.executor.execute(RegisterModel(model_id="m", name="churn", model_type="tree"))
    metrics = {"acc": 0.9}
    shop.executor.execute(TrainVersion(model_id="m", model_version="1", metrics=metrics))

    metrics["acc"] = 999.0
    shop.repository.get(Model, "m").versions["1"].metrics["acc"] = 999.0

    assert shop.repository.get(Model, "m").versions["1"].metrics == {"acc": 0.9}


def test_what_is_kept_shares_nothing_with_the_command():
    shop = Shop(open_log("memory://", Codec(registry)))
    plan = Plan(steps={"one": 1})
    shop.executor.execute(MakePlan(project_id="p", plan=plan))

    plan.steps["one"] = 999

    kept = shop.repository.get(Project, "p").plan
    assert kept is not None
    assert kept.steps == {"one": 1}


def test_each_reading_of_the_log_gives_events_of_its_own(log):
    shop = Shop(log)
    shop.executor.execute(StartSession(session_id="s"))
    done = shop.executor.execute(TrackActivity(session_id="s", action="look", details={"x": 0}))

    done.events[0].payload.details["x"] = 1
    next(log.read(1)).payload.details["x"] = 1
    next(log.read_stream("session-s", after=1)).payload.details["x"] = 1
    for found in log.locate([str(done.events[0].event_id)]).values():
        found.payload.details["x"] = 1

    assert next(log.read(1)).payload.details == {"x": 0}
    assert next(log.read_stream("session-s", after=1)).payload.details == {"x": 0}


@pytest.mark.parametrize(
    "as_of",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=2))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-2))),
    ],
)
def test_a_time_that_utc_does_not_have_is_refused(log, as_of):
    with pytest.raises(ConfigurationError, match="years 1 to 9999"):
        Shop(log).repository.get(Order, "o-1", as_of=as_of)


def test_every_load_reads_what_other_writers_appended(log):
    shop, other = Shop(log), Shop(log)
    fill(shop)

    other.ids = itertools.count(1000)
    other.executor.execute(PayOrder(order_id="o-1", amount=PRICE * 3))

    assert shop.repository.get(Order, "o-1").status is OrderStatus.PAID


def test_a_cached_baseline_cannot_suppress_a_concurrency_exception(log):
    shop = Shop(log)
    fill(shop)
    stale = shop.repository.get(Order, "o-1")
    stale.pay(amount=PRICE * 3)
    fresh = shop.repository.get(Order, "o-1")
    fresh.pay(amount=PRICE * 3)
    shop.executor.save(fresh)

    with pytest.raises(ConcurrencyConflictError):
        shop.executor.save(stale)


def test_a_cached_baseline_ahead_of_the_stream_heals_itself(log):
    shop = Shop(log)
    fill(shop)
    ahead = shop.repository.get(Order, "o-1")
    ahead.pay(amount=PRICE * 3)
    last = list(log.read_stream("order-o-1"))[-1]
    pending = list(ahead.pending)
    ahead.pending.clear()
    shop.repository.stored(ahead, pending, last)

    found = shop.repository.get(Order, "o-1")

    assert (found.version, found.status) == (3, OrderStatus.CREATED)
    assert shop.executor.execute(PayOrder(order_id="o-1", amount=PRICE * 3)).version == 4


def test_a_cached_baseline_of_another_history_heals_itself(tmp_path):
    first, second = open_log("memory://"), open_log("memory://")
    shop = Shop(first)
    fill(shop, 2)
    Shop(second).create_order()
    other = Shop(second)
    other.ids = itertools.count(50)
    other.executor.execute(PayOrder(order_id="o-1", amount=PRICE))

    # What a restored backup looks like: as long, and not the same.
    shop.repository._log = second

    assert shop.repository.get(Order, "o-1").status is OrderStatus.PAID


def test_a_failed_commit_leaves_no_poisoned_entry_behind(log):
    shop = Shop(log)
    fill(shop)
    plain = log.append

    def fail(appends):
        raise StoreUnavailableError(store="log", problem="full")

    log.append = fail
    with pytest.raises(StoreUnavailableError):
        shop.executor.execute(PayOrder(order_id="o-1", amount=PRICE * 3))
    log.append = plain

    assert shop.repository.get(Order, "o-1").version == 3
    assert shop.executor.execute(PayOrder(order_id="o-1", amount=PRICE * 3)).version == 4


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest():
    shop = Shop(cached_max=2)
    for order_id in ("o-1", "o-2"):
        shop.create_order(order_id)
    shop.repository.get(Order, "o-1")

    shop.create_order("o-3")

    assert list(shop.repository._cache) == ["order-o-1", "order-o-3"]


def test_without_a_cache_everything_is_read_anew():
    shop = Shop(cached_max=0)
    fill(shop)

    assert shop.repository.get(Order, "o-1").version == 3
    assert not shop.repository._cache


def test_a_snapshot_is_saved_every_so_many_events(log):
    shop = Shop(log, snapshots={Order: 3})

    fill(shop, 2)
    assert log.load_snapshot("order-o-1") is None
    shop.executor.execute(AddItem(order_id="o-1", product_id="x", quantity=1, price=PRICE))

    snapshot = log.load_snapshot("order-o-1")
    assert (snapshot.version, snapshot.fingerprint) == (3, Order.fingerprint())
    assert Order.from_json(snapshot.state) == shop.repository.get(Order, "o-1")


def read_versions(log) -> list[int]:
    """Record the version after which each later read of a stream begins."""
    seen: list[int] = []
    for name in ("read_stream", "read_stream_rows"):
        plain = getattr(log, name, None)
        if plain is not None:

            def spy(stream, *, after=0, plain=plain, **bounds):
                seen.append(after)
                return plain(stream, after=after, **bounds)

            setattr(log, name, spy)
    return seen


def test_a_snapshot_saves_reading_what_it_has(log):
    fill(Shop(log, snapshots={Order: 2}), 5)
    expected = Repository(log).get(Order, "o-1")
    seen = read_versions(log)

    repository = Repository(log, snapshots={Order: 2}, cached_max=0)

    assert repository.get(Order, "o-1") == expected
    assert seen[0] == 3  # from the last event that the snapshot at version 4 has
    assert repository.get(Order, "o-1", version=5) == expected
    assert repository.get(Order, "o-1", version=3).version == 3


@pytest.mark.parametrize(
    "spoil",
    [
        {"fingerprint": "another fold"},
        {"state": b"not json"},
        {"state": b'{"id":"o-1","version":3,"status":"paid","currency":"GBP"}', "version": 2},
        {"state": b'{"id":"o-2","version":3,"status":"paid","currency":"GBP"}'},
    ],
    ids=["another fold", "damaged", "another version", "another aggregate"],
)
def test_a_snapshot_that_does_not_fit_is_ignored(log, spoil):
    fill(Shop(log), 3)
    facts = {
        "stream": "order-o-1",
        "version": 3,
        "fingerprint": Order.fingerprint(),
        "state": b'{"id":"o-1","version":3,"status":"paid","currency":"GBP"}',
    }
    log.save_snapshot(Snapshot(**(facts | spoil)))

    found = Repository(log, snapshots={Order: 100}).get(Order, "o-1")

    assert (found.status, len(found.items)) == (OrderStatus.CREATED, 3)


def test_a_snapshot_beyond_the_stream_is_ignored(log):
    fill(Shop(log), 3)
    state = b'{"id":"o-1","version":9,"status":"paid","currency":"GBP"}'
    log.save_snapshot(Snapshot("order-o-1", 9, Order.fingerprint(), state))
    repository = Repository(log, snapshots={Order: 100})

    assert repository.get(Order, "o-1").version == 3
    assert repository.get(Order, "o-1", version=2).version == 2
    with pytest.raises(VersionNotFoundError):
        repository.get(Order, "o-1", version=9)


def test_a_snapshot_that_cannot_be_saved_does_not_fail_the_command(log, caplog):
    shop = Shop(log, snapshots={Order: 1})

    def fail(snapshot):
        raise StoreUnavailableError(store="log", problem="full")

    log.save_snapshot = fail

    assert shop.create_order().version == 1
    assert "No snapshot of order-o-1 was saved" in caplog.text


def test_an_interval_of_no_events_is_refused(log):
    with pytest.raises(ConfigurationError, match="at least 1 event"):
        Repository(log, snapshots={Order: 0})


def test_a_damaged_event_is_named(log):
    log.append(
        [
            StreamAppend(
                "order-o-1",
                0,
                [EncodedEvent(str(UUID(int=1)), "order.paid", "", b'{"v":1,"data":{}}')],
            )
        ]
    )

    with pytest.raises(UndecodableEventError) as damaged:
        Repository(log).get(Order, "o-1")

    assert (damaged.value.stream, damaged.value.version) == ("order-o-1", 1)


def test_a_stream_of_several_pages_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("eventcore.stores.sqlite.log.READ_PAGE_EVENTS", 2)
    monkeypatch.setattr("eventcore.commands.repository.READ_PAGE_EVENTS", 2)
    for kind in ("memory", "sqlite"):
        log = log_of(kind, tmp_path)
        shop = Shop(log)
        fill(shop, 4)
        shop.executor.execute(PayOrder(order_id="o-1", amount=PRICE * 4))
        shop.executor.execute(ShipOrder(order_id="o-1"))

        found = Repository(log).get(Order, "o-1")

        assert (found.version, found.status, len(found.items)) == (6, OrderStatus.SHIPPED, 4)
        log.close()


@pytest.mark.parametrize(("after", "until"), [(0, None), (1, 3), (3, 3), (0, 0), (9, None)])
def test_rows_of_a_stream_are_its_events(tmp_path, after, until):
    log: Any = log_of("sqlite", tmp_path)
    fill(Shop(log), 4)

    pages = list(log.read_stream_rows("order-o-1", after=after, until=until))
    events = list(log.read_stream("order-o-1", after=after, until=until))

    rows = [row for page in pages for row in page]
    assert rows == [(e.position, e.version, e.type, e.state) for e in events]
    assert log.codec.decode_rows("order-o-1", rows) == [e.payload for e in events]
    log.close()
