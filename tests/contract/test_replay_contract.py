"""Replays on every backend: what a log was at a place is what the views of a replay say."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from eventcore.app import App, open_app
from eventcore.errors import ReplayRefusedError, SchemaMismatchError
from eventcore.events.catalogue import OrderCreated
from eventcore.lake.stitching import ArchivedLog
from eventcore.projections import MemoryViews, ProjectionRunner, on
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.views import Views
from eventcore.replay import drop_replays, replay
from eventcore.settings import Settings
from tests import replaying
from tests.archived import trim_until
from tests.dynamodb_views import dynamodb_views
from tests.processing import Clock
from tests.replaying import expected_rows, fill, moment, random_history, rows_in
from tests.unit.lake.logs import archived
from tests.unit.projections.shops import DailySales, Seen, SeenRow, Stock
from tests.unit.projections.test_summaries import Revenue

EVENTS = 60


class Failing(DailySales):
    """Takes no euros."""

    fingerprint = "failing"

    @override
    @on(OrderCreated, key=lambda event: event.payload.currency)
    def add(self, row: Any, event: Any) -> Any:
        msg = "not this one"
        raise ValueError(msg)


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb"])
def backend(request):
    return request.param


@pytest.fixture
def app(backend, request, tmp_path):
    match backend:
        case "sqlite":
            store = f"sqlite:///{tmp_path}/shop.db"
        case "postgres":
            store = request.getfixturevalue("postgres_schema").store_url
        case "dynamodb":
            place = request.getfixturevalue("dynamodb")
            store = place.url_of(place.table, ttl="no")
        case _:
            store = "memory://"
    with open_app(
        settings=Settings(store=store), clock=Clock(), projections=replaying.projections()
    ) as app:
        yield app


@pytest.fixture
def views(backend, request, tmp_path):
    views: Views
    match backend:
        case "memory":
            views = MemoryViews()
        case "sqlite":
            views = SQLiteViews(tmp_path / "past.db")
        case "dynamodb":
            views = dynamodb_views(request.getfixturevalue("dynamodb"))
        case _:
            found = request.getfixturevalue("postgres_schema")
            views = PostgresViews(found.url, schema=found.schema)
    yield views
    views.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_replay_until_a_position_is_the_fold_of_the_events_up_to_it(app: App, seed: int):
    head = fill(app.log, random_history(seed, EVENTS))
    until = [0, 1, head // 3, head - 1, head]

    found, expected = [], []
    for position in until:
        views = MemoryViews()
        done = replay(app.log, replaying.projections(), views, until=position)
        found.append((done.position, rows_in(views)))
        expected.append((position, expected_rows(app.log, position)))

    assert found == expected


@pytest.mark.parametrize("seed", [4, 5])
def test_a_replay_until_a_time_takes_of_each_stream_what_the_stream_says(app: App, seed: int):
    fill(app.log, random_history(seed, EVENTS))
    streams = sorted({event.stream for event in app.log.read()})

    for second in (0, 45, 200, 10_000):
        views = MemoryViews()
        done = replay(app.log, replaying.projections(), views, until=moment(second))

        assert rows_in(views) == expected_rows(app.log, moment(second))
        of_streams = [
            event.position
            for stream in streams
            for event in app.log.read_stream(stream, until_time=done.until)
        ]
        plainly = [event.position for event in replaying.had_happened(app.log, moment(second))]
        assert sorted(of_streams) == plainly


def test_every_backend_takes_the_rows(app: App, views: Views):
    head = fill(app.log, random_history(6, EVENTS))

    done = app.replay(views, until=head - 7)

    assert rows_in(views) == expected_rows(app.log, head - 7)
    assert (done.until, done.position, done.resumed) == (f"position {head - 7}", head - 7, False)
    assert done.together == tuple(one.name for one in replaying.projections())


def test_a_repeated_replay_does_nothing(app: App, views: Views):
    fill(app.log, random_history(7, EVENTS))
    first = app.replay(views, until=moment(100))
    fill(app.log, [(payload, moment(1)) for payload, _ in random_history(8, 10)])

    again = app.replay(views, until=moment(100))

    assert (again.events, again.resumed, again.position) == (0, True, first.position)
    assert rows_in(views) != expected_rows(app.log, moment(100))  # of what was there at the first


def test_it_goes_on_where_it_was_broken_off(app: App, views: Views):
    fill(app.log, random_history(9, EVENTS))

    both = [DailySales(), Stock()]

    class BrokenOffError(Exception):
        pass

    def break_off(position: int, end: int) -> None:
        raise BrokenOffError

    for until in (50, moment(120)):
        with pytest.raises(BrokenOffError):
            replay(
                _paged(app.log), [DailySales(), Stock()], views, until=until, on_progress=break_off
            )
        done = replay(_paged(app.log), [DailySales(), Stock()], views, until=until)

        assert done.resumed
        assert rows_in(views, both) == expected_rows(app.log, until, both)
        assert drop_replays(views, both) == ["daily_sales", "stock"]


def _paged(log: Any) -> Any:
    """The log in pages of seven events."""

    class Paged:
        codec = log.codec
        head = log.head

        def read_page(self, after: int, _limit: int, *where: Any) -> Any:
            return log.read_page(after, 7, *where)

    return Paged()


def test_a_target_of_another_place_definition_or_log_is_refused(app: App, views: Views):
    fill(app.log, random_history(10, EVENTS))
    replay(app.log, [DailySales()], views, until=30)
    before = rows_in(views, [DailySales()])
    with open_app("memory://", clock=Clock()) as other:
        fill(other.log, random_history(11, EVENTS), first_id=10_001)

        refusals = []
        for log, projection, until in (
            (app.log, DailySales(), 31),
            (app.log, DailySales(), moment(30)),
            (app.log, Failing(), 30),
            (other.log, DailySales(), 30),
        ):
            with pytest.raises(ReplayRefusedError) as refusal:
                replay(log, [projection], views, until=until)
            refusals.append(refusal.value.problem)

    assert [problem.split(":")[0] for problem in refusals] == [
        "its rows there are those until position 30",
        "its rows there are those until position 30",
        "its rows there were made by other handlers or tables than this code has",
        "its rows there are of another log",
    ]
    assert rows_in(views, [DailySales()]) == before


def test_what_a_runner_keeps_is_never_replayed_into(app: App):
    head = fill(app.log, random_history(12, EVENTS))
    app.runner().run_to_head()
    before = rows_in(app.views)

    with pytest.raises(ReplayRefusedError, match="kept up to date"):
        app.replay(app.views, until=head // 2)

    assert rows_in(app.views) == before


def test_no_runner_goes_on_with_rows_of_the_past(app: App, views: Views):
    fill(app.log, random_history(13, EVENTS))
    app.replay(views, until=moment(60))
    before = rows_in(views)

    with pytest.raises(SchemaMismatchError, match="made by someone else"):
        ProjectionRunner(app.log, views, replaying.projections()).run_to_head()

    assert rows_in(views) == before


@pytest.mark.parametrize("until", [None, EVENTS // 4, EVENTS - 3, moment(150)])
def test_an_archive_and_the_store_come_to_the_rows_of_the_store(
    app: App, tmp_path: Path, until: Any
):
    of = [*replaying.projections(), Revenue()]
    history = random_history(16, EVENTS)
    fill(app.log, history[: EVENTS // 2])
    archive = archived(app.log, tmp_path / "archive", events_max=25, shards=2)
    fill(app.log, history[EVENTS // 2 :])
    stitched = ArchivedLog(archive, app.log, prefer_archive=True)

    together, apart = MemoryViews(), MemoryViews()
    replay(stitched, of, together, until=until)
    with ThreadPoolExecutor(2) as executor:
        source = replaying.archive_shards(archive, app.log)
        done = replay(stitched, of, apart, until=until, source=source, executor=executor)

    expected = expected_rows(app.log, until, of)
    assert rows_in(together, of) == expected
    assert rows_in(apart, of) == expected
    assert done.queried == ("revenue",)


@pytest.mark.parametrize("backend", ["memory", "sqlite", "dynamodb"], indirect=True)
def test_a_trimmed_log_is_replayed_from_its_archive(app: App, tmp_path: Path):
    of = [*replaying.projections(), Revenue()]
    fill(app.log, random_history(17, EVENTS))
    expected = {until: expected_rows(app.log, until, of) for until in (20, EVENTS)}
    archive = archived(app.log, tmp_path / "archive", events_max=25, shards=2)
    stitched = ArchivedLog(archive, app.log)
    assert trim_until(stitched, EVENTS) > 0

    for until, rows in expected.items():
        together, apart = MemoryViews(), MemoryViews()
        replay(stitched, of, together, until=until)
        source = replaying.archive_shards(archive, app.log)
        replay(stitched, of, apart, until=until, source=source, processes=1)

        assert rows_in(together, of) == rows
        assert rows_in(apart, of) == rows


def test_failing_events_wait_as_they_do_in_any_read_model(app: App, views: Views):
    fill(app.log, random_history(14, EVENTS))

    done = replay(app.log, [Failing(), Stock()], views, until=EVENTS // 2)

    assert done.parked > 0
    assert rows_in(views, [Stock()]) == expected_rows(app.log, EVENTS // 2, [Stock()])
    assert drop_replays(views, [Failing()]) == ["daily_sales"]
    assert replay(app.log, [DailySales()], views, until=EVENTS // 2).parked == 0


def test_a_projection_that_takes_pages_is_replayed_too(app: App, views: Views):
    fill(app.log, random_history(15, EVENTS))

    replay(app.log, [Seen()], views, until=20)

    times: dict[str, int] = {}
    for event in replaying.had_happened(app.log, 20):
        times[event.type] = times.get(event.type, 0) + 1
    [table] = Seen.tables
    assert sorted(views.query(table)) == sorted(SeenRow(*one) for one in times.items())
