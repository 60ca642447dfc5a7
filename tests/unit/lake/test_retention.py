"""Retention: only what an archive holds and a saved state covers leaves the log."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest

from eventcore.aggregates import Aggregate, Order, User
from eventcore.app import App, open_app
from eventcore.commands.orders import AddItem, CreateOrder, PayOrder
from eventcore.commands.users import RegisterUser
from eventcore.errors import (
    ArchiveDamagedError,
    ConfigurationError,
    TrimmedHistoryError,
    TrimRefusedError,
    UndecodableEventError,
)
from eventcore.events.catalogue import OrderItem, SystemHealthCheck
from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.lake.reading import open_archive
from eventcore.lake.retention import Retention
from eventcore.lake.stitching import ArchivedLog
from eventcore.stores.log import ANY_VERSION, StreamAppend, store_of
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.snapshots import SnapshotStore
from eventcore.stores.trimming import TrimmableLog
from eventcore.testing import EventMaker
from eventcore.testing.scenarios import START, SteppingClock
from tests.dynamodb import DynamoDBPlace
from tests.unit.lake.logs import archived, run

LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", pytest.param("dynamodb", marks=pytest.mark.dynamodb)])
def store(request, tmp_path):
    if request.param == "dynamodb":
        place: DynamoDBPlace = request.getfixturevalue("dynamodb")
        return place.store_url
    return f"sqlite:///{tmp_path / 'shop.db'}"


def open_shop(store: str, **options: Any) -> App:
    clock = options.pop("clock", None) or SteppingClock(step=timedelta(hours=1))
    return open_app(store, clock=clock, codec=Codec(allow_unknown=True), **options)


def fill(app: App, orders: int = 3, items: int = 6) -> None:
    """Orders with a few items each, a user, and an event a round that belongs to no aggregate."""
    app.execute(RegisterUser(user_id="u-1", email="ada@example.org"))
    pear = OrderItem(product_id="pear", quantity=1, price=Decimal("2.00"))
    for number in range(orders):
        order = f"o-{number}"
        app.execute(CreateOrder(order_id=order, user_id="u-1", items=(pear,), currency="GBP"))
        for item in range(items):
            app.execute(
                AddItem(order_id=order, product_id=f"p-{item}", quantity=1, price=Decimal("1.00"))
            )
        app.append(
            SystemHealthCheck(service_name="shop", status="ok", response_time=0.5, error_count=0)
        )


def positions(events: Iterable[Recorded[Any]]) -> list[int]:
    return [event.position for event in events]


def test_what_a_snapshot_covers_leaves_and_the_rest_stays(store, tmp_path):
    with open_shop(store, snapshots={Order: 5}) as app:
        fill(app)
        whole = list(app.log.read())
        archive = archived(app.log, tmp_path / "lake")

        report = Retention(archive, app.log).trim(before=LATER)

        assert report.trimmed > 0
        left = {event.event_id for event in ArchivedLog(archive, app.log).read()}
        assert left == {event.event_id for event in whole}
        for number in range(3):
            kept = list(app.log.read_stream(f"order-o-{number}", after=4))
            assert [event.version for event in kept] == [5, 6, 7]
            with pytest.raises(TrimmedHistoryError):
                list(app.log.read_stream(f"order-o-{number}"))
        # No aggregate has these: all but the newest one.
        assert [e.version for e in app.log.read_stream("system-shop", after=2)] == [3]
        # No snapshot of the user, nor of the reservation of the address.
        assert len(list(app.log.read_stream("user-u-1"))) == 1
    assert report.kept["newest"] >= 4
    assert report.until < len(whole)


def test_states_are_saved_where_nothing_else_keeps_events_from_leaving(store, tmp_path):
    with open_shop(store) as app:
        fill(app)
        whole = list(app.log.read())
        before = {f"o-{n}": app.get(Order, f"o-{n}").to_json() for n in range(3)}
        archive = archived(app.log, tmp_path / "lake")
        young = whole[-1].timestamp

        kept = Retention(archive, app.log, save=app.save_snapshot).trim(before=START)
        assert kept.trimmed == 0
        assert isinstance(app.log, SnapshotStore)
        assert app.log.load_snapshot("order-o-0") is None  # what is too young needs none

        report = Retention(archive, app.log, save=app.save_snapshot).trim(before=young)

        # One event is left of each stream: the newest one.
        assert "no-snapshot" not in report.kept
        assert report.trimmed == len(whole) - len({event.stream for event in whole})
        assert list(ArchivedLog(archive, app.log).read()) == whole
        for number in range(3):
            assert [e.version for e in app.log.read_stream(f"order-o-{number}", after=6)] == [7]
    with open_shop(store, archive=str(tmp_path / "lake")) as app:
        assert {key: app.get(Order, key).to_json() for key in before} == before


def test_an_aggregate_that_cannot_be_loaded_stays_whole(store, tmp_path):
    with open_shop(store) as app:
        fill(app, orders=2)
        broken = list(app.log.read_stream("order-o-0"))[2]
        archive = archived(app.log, tmp_path / "lake")

        def save(cls: type[Aggregate], id_: str) -> int:
            if id_ == "o-0":
                raise UndecodableEventError(
                    position=broken.position,
                    stream=broken.stream,
                    version=broken.version,
                    event_type=broken.type,
                    problem="damaged",
                )
            return app.save_snapshot(cls, id_)

        report = Retention(archive, app.log, save=save).trim(before=LATER)

        assert report.kept["no-snapshot"] == 1
        assert len(list(app.log.read_stream("order-o-0"))) == 7
        assert len(list(app.log.read_stream("order-o-1", after=6))) == 1


def test_a_damaged_event_stays_and_keeps_no_others_from_leaving(store, tmp_path):
    make = EventMaker()
    with open_shop(store) as app:
        damaged = make("system.health.check")._replace(state=b"{damaged")
        others = make.many(3, "system.health.check")
        app.log.append([StreamAppend("system-bad", 0, [others[0], damaged, others[1]])])
        app.log.append([StreamAppend("system-good", 0, [others[2], make("system.health.check")])])
        archive = archived(app.log, tmp_path / "lake")

        report = Retention(archive, app.log).trim(before=LATER)

        assert report.trimmed == 2
        assert report.kept == {"unreadable": 1, "behind": 1, "newest": 1}
        assert [one.version for one in app.log.read_stream("system-bad", after=1)] == [2, 3]


def _health(at: Any, event_id: Any = "1e7f3a52-0000-4000-8000-000000000000") -> bytes:
    return orjson.dumps({"v": 1, "id": event_id, "at": at, "data": {}})


@pytest.mark.parametrize(
    "state",
    [
        b"{damaged",
        b"",
        _health(at=5),
        _health(at=None),
        _health(at="junk"),
        _health(at="2020-01-01T00:00:00.000000"),
        _health(at="2020-01-01T00:00:00.000000Z", event_id=None),
        _health(at="2020-01-01T00:00:00.000000Z", event_id=5),
        _health(at="2020-01-01T00:00:00.000000Z", event_id="1E7F3A52-0000-4000-8000-000000000000"),
        _health(at="2020-01-01T00:00:00.000000Z")[:-3],
        _health(at="2020-01-01T00:00:00.000000Z").replace(b"T00", b"T\xff0"),
        _health(at="2020-01-01T00:00:00.000000Z").replace(b"f3a52", b"f\xffa52"),
    ],
)
@pytest.mark.parametrize("ends", [False, True])
def test_whatever_is_damaged_of_an_event_the_others_are_archived_and_leave(
    store, tmp_path, *, state, ends
):
    make, kind = EventMaker(), "system.health.check"
    with open_shop(store) as app:
        app.log.append([StreamAppend("system-good", 0, make.many(3, kind))])
        damaged = make(kind)._replace(state=state)
        behind = [] if ends else make.many(2, kind)
        app.log.append([StreamAppend("system-bad", 0, [make(kind), damaged, *behind])])
        if not ends:
            app.log.append([StreamAppend("system-later", 0, make.many(2, kind))])
        archive = archived(app.log, tmp_path / "lake", events_max=3)

        report = Retention(archive, app.log).trim(before=LATER)
        again = Retention(archive, app.log).trim(before=LATER)

        assert report.trimmed == (3 if ends else 4)
        assert (again.trimmed, again.already) == (0, report.trimmed)
        assert report.kept.pop("behind", 0) == (0 if ends else 2)
        assert report.kept == {"unreadable": 1, "newest": 1 if ends else 2}
        assert run(archive, app.log).events == 0


def test_events_that_leave_while_they_are_located_are_found(tmp_path, monkeypatch):
    with closing(MemoryLog()) as log:
        events = EventMaker().many(10)
        log.append([StreamAppend("order-1", 0, events[:5])])
        archive = archived(log, tmp_path / "lake")
        log.trim(list(log.read(until=2)), archive=archive.url)
        stitched = ArchivedLog(open_archive(archive.url), log)
        log.append([StreamAppend("order-1", 5, events[5:])])
        trimmed_positions = log.trimmed_positions

        def late(ids: Sequence[str]) -> Mapping[str, int]:
            monkeypatch.setattr(log, "trimmed_positions", trimmed_positions)
            run(archive, log)
            log.trim(list(log.read(2, until=8)), archive=archive.url)
            return trimmed_positions(ids)

        monkeypatch.setattr(log, "trimmed_positions", late)
        found = stitched.locate([events[0].event_id, events[5].event_id])

        assert {id_: event.position for id_, event in found.items()} == {
            events[0].event_id: 1,
            events[5].event_id: 6,
        }


def test_an_archive_that_reaches_less_far_than_the_log_was_trimmed_is_refused(store, tmp_path):
    with open_shop(store) as app:
        fill(app)
        few = archived(app.log, tmp_path / "few")
        app.append(
            *[
                SystemHealthCheck(
                    service_name="shop", status="ok", response_time=0.5, error_count=number
                )
                for number in range(3)
            ]
        )
        whole = archived(app.log, tmp_path / "whole")
        assert Retention(whole, app.log).trim(before=LATER).until > few.until

        with pytest.raises(ConfigurationError, match=r"few reaches .*whole: archive there"):
            Retention(few, app.log).trim(before=LATER)


def test_an_application_on_a_trimmed_log_works_as_before(store, tmp_path):
    with open_shop(store, snapshots={Order: 5}) as app:
        fill(app)
        before = {f"o-{n}": app.get(Order, f"o-{n}").to_json() for n in range(3)}
        early = app.get(Order, "o-1", version=2).to_json()
        events = list(app.log.read())
        archive = archived(app.log, tmp_path / "lake")
        Retention(archive, app.log).trim(before=LATER)

    lake = str(tmp_path / "lake")
    later = SteppingClock(start=START + timedelta(days=30))
    with open_shop(store, archive=lake, clock=later) as app:
        assert {key: app.get(Order, key).to_json() for key in before} == before
        assert app.get(Order, "o-1", version=2).to_json() == early
        assert list(app.log.read()) == events
        assert app.runner(["orders"]).run_to_head() is not None
        assert len(list(app.log.read_stream("order-o-1"))) == 7
        app.execute(PayOrder(order_id="o-1", amount=app.get(Order, "o-1").total_amount))
        assert app.log.stream_version("order-o-1") == 8
        moment = events[5].timestamp
        assert app.get(Order, "o-0", as_of=moment).version == events[5].version


def test_without_its_archive_a_trimmed_log_says_where_it_is(store, tmp_path):
    with open_shop(store, snapshots={Order: 5}) as app:
        fill(app)
        archive = archived(app.log, tmp_path / "lake")
        Retention(archive, app.log).trim(before=LATER)

    with open_shop(store) as app, pytest.raises(TrimmedHistoryError) as caught:
        app.get(Order, "o-1")
    assert caught.value.archive == str(tmp_path / "lake")
    with open_shop(store) as app, pytest.raises(TrimmedHistoryError, match="--archive"):
        list(app.log.read())
    # With snapshots of its own it needs the beginning no more.
    with open_shop(store, snapshots={Order: 5}) as app:
        assert app.get(Order, "o-1").version == 7


def test_only_what_is_old_leaves(store, tmp_path):
    with open_shop(store, snapshots={Order: 5}) as app:
        fill(app)
        archive = archived(app.log, tmp_path / "lake")
        third = next(app.log.read_stream("order-o-1", after=2))

        report = Retention(archive, app.log).trim(before=third.timestamp)

        assert report.kept["recent"] > 0
        left = app.log.read_stream("order-o-1", after=2)
        assert [event.version for event in left] == [3, 4, 5, 6, 7]
        with pytest.raises(TrimmedHistoryError):
            list(app.log.read_stream("order-o-1", after=1))
        later = list(app.log.read_stream("order-o-2"))
        assert len(later) == 7


def test_a_second_trim_goes_on_where_the_first_could_not(store, tmp_path):
    with open_shop(store) as app:
        fill(app)
        archive = archived(app.log, tmp_path / "lake")
        first = Retention(archive, app.log).trim(before=LATER)
        assert first.kept["no-snapshot"] > 0
    with open_shop(store, snapshots={Order: 1}) as app:
        for number in range(3):
            order = app.get(Order, f"o-{number}")
            app.execute(PayOrder(order_id=order.id, amount=order.total_amount))
        archived(app.log, tmp_path / "lake")
        archive.refresh()

        second = Retention(archive, app.log).trim(before=LATER)

        assert second.already == first.trimmed
        assert second.trimmed == 21
        third = Retention(archive, app.log).trim(before=LATER)
        assert (third.trimmed, third.already) == (0, first.trimmed + second.trimmed)
        with ArchivedLogOf(archive, app.log) as whole:
            assert positions(whole.read()) == list(range(1, app.log.head() + 1))


class ArchivedLogOf(ArchivedLog):
    """Left open: the application closes the log."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def test_a_stream_of_a_type_that_is_not_known_stays(store, tmp_path):
    make = EventMaker(series=3)
    with open_shop(store) as app:
        for _ in range(3):
            app.log.append([StreamAppend("parcel-1", ANY_VERSION, [make("parcel.sent")])])
            # Known, but of another category than its stream.
            app.log.append([StreamAppend("parcel-2", ANY_VERSION, [make("order.paid")])])
        archive = archived(app.log, tmp_path / "lake")

        report = Retention(archive, app.log).trim(before=LATER)

    assert (report.trimmed, report.until) == (0, 0)
    assert report.kept == {"unknown": 2, "behind": 4}


def test_a_snapshot_of_another_fold_or_a_damaged_one_covers_nothing(store, tmp_path):
    with open_shop(store, snapshots={Order: 5}) as app:
        fill(app, orders=2)
        log = app.log
        assert isinstance(log, SnapshotStore)
        good = log.load_snapshot("order-o-0")
        assert good is not None
        log.save_snapshot(good._replace(fingerprint="another fold"))
        other = log.load_snapshot("order-o-1")
        assert other is not None
        log.save_snapshot(other._replace(version=6, state=b"{damaged"))
        archive = archived(log, tmp_path / "lake")

        report = Retention(archive, log).trim(before=LATER)

        assert report.trimmed == 1  # of system-shop
        assert len(list(log.read_stream("order-o-0"))) == 7
        assert len(list(log.read_stream("order-o-1"))) == 7


def test_nothing_leaves_by_a_file_that_was_changed(store, tmp_path):
    with open_shop(store, snapshots={Order: 5}) as app:
        fill(app)
        archive = archived(app.log, tmp_path / "lake", events_max=1_000)
        file = next(iter(archive.files()))
        path = tmp_path / "lake" / file.name
        path.write_bytes(path.read_bytes()[:-1] + b"?")

        with pytest.raises(ArchiveDamagedError):
            Retention(archive, app.log).trim(before=LATER)

        assert isinstance(app.log, TrimmableLog)
        assert app.log.trim_record() is None
        assert positions(app.log.read()) == list(range(1, app.log.head() + 1))


def test_nothing_leaves_for_an_archive_of_another_log(store, tmp_path):
    with open_shop("memory://", snapshots={Order: 5}) as other:
        fill(other, items=7)
        archive = archived(other.log, tmp_path / "lake")
    with open_shop(store, snapshots={Order: 5}) as app:
        fill(app, items=8)

        with pytest.raises(TrimRefusedError):
            Retention(archive, app.log).trim(before=LATER)

        assert positions(app.log.read()) == list(range(1, app.log.head() + 1))


def test_a_log_that_cannot_be_trimmed_is_refused(tmp_path):
    with open_shop("memory://") as app:
        fill(app)
        archive = archived(app.log, tmp_path / "lake")
        assert store_of(ArchivedLog(archive, app.log)) is app.log

        with pytest.raises(ConfigurationError, match="nothing can be trimmed"):
            Retention(archive, ArchivedLog(archive, app.log))


def test_users_without_snapshots_are_read_from_the_archive_when_they_are_old(store, tmp_path):
    with open_shop(store, snapshots={User: 1}) as app:
        fill(app)
        archive = archived(app.log, tmp_path / "lake")
        Retention(archive, app.log).trim(before=LATER)
        assert app.get(User, "u-1").version == 1
