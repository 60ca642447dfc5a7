"""Read models know the log they were made from: with another one they refuse to go on."""

import shutil
import threading
from contextlib import closing
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from typing_extensions import override

from eventcore.errors import ProjectionFailedError, ViewsOfAnotherLogError
from eventcore.events import DomainEvent, NewEvent, stream_of
from eventcore.events.catalogue import OrderCreated, SessionStarted
from eventcore.projections import Engine, MemoryViews, Projection, ProjectionRunner, Table, on
from eventcore.projections.anchors import Anchor
from eventcore.projections.read_models import ORDERS, Orders, Users
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog
from tests.unit.projections.histories import moment, order

OTHER = "rows of projection orders in .* were made from another log, or from a later state"


@pytest.fixture(params=["memory", "sqlite"])
def views(request, tmp_path):
    kept = MemoryViews() if request.param == "memory" else SQLiteViews(tmp_path / "views.db")
    yield kept
    kept.close()


def record(log: Log, source: int, *payloads: DomainEvent) -> int:
    """Append with ids that no other source gives."""
    position = log.head()
    for payload in payloads:
        id_ = UUID(int=source * 1_000_000 + position)
        event = NewEvent(payload=payload, event_id=id_, timestamp=moment(position))
        encoded = log.codec.encode(event)
        [position] = log.append(
            [StreamAppend(stream_of(payload), ANY_VERSION, [encoded])]
        ).positions
    return position


def log_of(source: int, *payloads: DomainEvent) -> MemoryLog:
    log = MemoryLog()
    record(log, source, *payloads)
    return log


def orders(first: int, last: int) -> list[OrderCreated]:
    return [order(f"o{number}") for number in range(first, last + 1)]


def runner_of(log: Log, views: Any) -> ProjectionRunner:
    return ProjectionRunner(log, views, [Orders()])


@pytest.mark.parametrize(
    ("count", "problem"),
    [
        (5, "they are at position 10, the log ends at 5"),
        (10, "the event at position 10 is another"),
        (15, "the event at position 10 is another"),
    ],
)
def test_rows_of_another_log_are_refused_by_everything_that_goes_on_from_them(
    views, count, problem
):
    runner_of(log_of(1, *orders(1, 10)), views).run_to_head()
    kept = views.checkpoint("orders")
    other = runner_of(log_of(2, *orders(1, count)), views)

    for step in (
        other.run_to_head,
        other.follow,
        lambda: other.wait_for(5),
        lambda: other.wait_for(20, timeout_seconds=0.01),
    ):
        with pytest.raises(ViewsOfAnotherLogError, match=OTHER) as caught:
            step()
        assert caught.value.problem == problem

    assert views.checkpoint("orders") == kept
    assert views.count(ORDERS) == 10
    [status] = other.status()
    assert (status.position, status.head, status.lag_events, status.problem) == (
        10, count, count, problem
    )  # fmt: skip


def test_a_follower_that_refuses_tells_whoever_waits(views):
    runner_of(log_of(1, *orders(1, 3)), views).run_to_head()
    other = runner_of(log_of(2, *orders(1, 9)), views)
    other.start()

    with pytest.raises(ViewsOfAnotherLogError):
        other.wait_for(9, timeout_seconds=30.0)
    with pytest.raises(ViewsOfAnotherLogError):
        other.stop()


def test_a_rebuild_makes_them_rows_of_the_log_that_is_open(views):
    runner_of(log_of(1, *orders(1, 10)), views).run_to_head()
    other = runner_of(log_of(2, *orders(21, 25)), views)

    assert other.rebuild("orders")[:2] == (5, 5)
    other.wait_for(5)
    assert sorted(row.order_id for row in views.query(ORDERS)) == [f"o{n}" for n in range(21, 26)]
    assert other.run_to_head() == (0, 5, 0)
    assert [found.problem for found in other.status()] == [None]


def test_a_log_restored_from_a_backup_is_noticed_also_when_it_has_grown_again(tmp_path):
    file, backup = tmp_path / "shop.db", tmp_path / "backup.db"
    with closing(SQLiteLog(file)) as log:
        record(log, 1, *orders(1, 5))
    shutil.copy(file, backup)
    views = SQLiteViews(tmp_path / "views.db")
    with closing(SQLiteLog(file)) as log:
        record(log, 1, *orders(6, 10))
        runner_of(log, views).run_to_head()

    with closing(SQLiteLog(backup)) as restored:
        runner = runner_of(restored, views)
        with pytest.raises(ViewsOfAnotherLogError, match="at position 10, the log ends at 5"):
            runner.run_to_head()
        record(restored, 2, *orders(11, 16))
        with pytest.raises(ViewsOfAnotherLogError, match="the event at position 10 is another"):
            runner.run_to_head()
    views.close()


def test_a_copy_of_the_log_is_the_same_log(views):
    runner_of(log_of(1, *orders(1, 10)), views).run_to_head()

    assert runner_of(log_of(1, *orders(1, 12)), views).run_to_head() == (2, 12, 0)


def test_a_checkpoint_past_an_event_that_meets_no_handler_stands_on_that_event(views):
    log = log_of(1, *orders(1, 2), SessionStarted(session_id="s1"))
    runner_of(log, views).run_to_head()
    assert views.checkpoint("orders").anchor == Anchor(3, str(UUID(int=1_000_002)))

    other = log_of(1, *orders(1, 2))
    record(other, 2, SessionStarted(session_id="s1"), *orders(3, 3))
    with pytest.raises(ViewsOfAnotherLogError, match="the event at position 3 is another"):
        runner_of(other, views).run_to_head()


def test_what_a_follower_applied_is_known_by_its_event_too(views):
    log = log_of(1, *orders(1, 2))
    runner = runner_of(log, views)
    runner.start()
    runner.wait_for(record(log, 1, *orders(3, 3)), timeout_seconds=30.0)
    runner.wait_for(record(log, 1, SessionStarted(session_id="s1")), timeout_seconds=30.0)
    runner.stop()

    assert views.checkpoint("orders").anchor == Anchor(4, str(UUID(int=1_000_003)))


def test_one_projection_of_another_log_stops_the_run_before_any_goes_on(views):
    runner_of(log_of(1, *orders(1, 3)), views).run_to_head()
    both = ProjectionRunner(log_of(2, *orders(1, 3)), views, [Users(), Orders()])

    with pytest.raises(ViewsOfAnotherLogError, match="projection orders"):
        both.run_to_head()
    assert views.checkpoint("users").position == 0


class NoteRow(NamedTuple):
    note: str


class Fragile(Projection):
    name = "fragile"
    tables = (Table("notes", NoteRow, key=["note"]),)

    @on(OrderCreated, key=lambda event: event.id)
    def note(self, row, event):
        if event.id == "o3":
            raise LookupError
        return NoteRow(event.id)


class FragilePages(Projection):
    name = "fragile"
    tables = Fragile.tables
    listens = (OrderCreated,)

    @override
    def apply_page(self, events, transaction):
        if any(event.id == "o3" for event in events):
            raise LookupError


@pytest.mark.usefixtures("nothing_is_parked")
@pytest.mark.parametrize("projection", [Fragile(), FragilePages()], ids=["handlers", "pages"])
def test_a_projection_that_failed_stands_on_the_event_before(views, projection):
    log = log_of(1, order("o1"), SessionStarted(session_id="s1"), order("o3"))
    with pytest.raises(ProjectionFailedError):
        ProjectionRunner(log, views, [projection]).run_to_head()

    kept = views.checkpoint("fragile")
    assert kept.anchor is not None
    assert kept.anchor.position == kept.position
    other = log_of(2, order("o1"), SessionStarted(session_id="s1"), order("o2"))
    with pytest.raises(ViewsOfAnotherLogError):
        ProjectionRunner(other, views, [projection]).run_to_head()


def test_an_engine_without_a_log_stands_on_the_events_it_was_given(views):
    log = log_of(1, *orders(1, 2), SessionStarted(session_id="s1"))
    engine = Engine(views, [Orders()])
    engine.apply(log.read_page(0, 10, engine.where()))

    assert views.checkpoint("orders").anchor == Anchor(2, str(UUID(int=1_000_001)))
    # Known well enough: the event at position 2 is this log's, and the log reaches position 3.
    assert runner_of(log, views).run_to_head() == (0, 3, 0)


def test_a_checkpoint_without_an_event_is_refused_only_beyond_the_head(views):
    views.ensure(Orders())
    with views.transaction() as transaction:
        transaction.advance("orders", views.checkpoint("orders"), 2)

    with pytest.raises(ViewsOfAnotherLogError, match="at position 2, the log ends at 1"):
        runner_of(log_of(1, *orders(1, 1)), views).run_to_head()
    assert runner_of(log_of(1, *orders(1, 3)), views).run_to_head() == (1, 3, 0)


def test_a_damaged_event_can_be_stood_on(views):
    log = MemoryLog()
    record(log, 1, order("o1"))
    broken = log.codec.encode(
        NewEvent(payload=SessionStarted(session_id="s1"), event_id=UUID(int=7), timestamp=moment(2))
    )
    log.append([StreamAppend("session-s1", ANY_VERSION, [broken._replace(state=b"{")])])
    runner_of(log, views).run_to_head()

    assert views.checkpoint("orders").anchor == Anchor(2, "session-s1@1")
    assert runner_of(log, views).run_to_head() == (0, 2, 0)


def test_going_on_reads_one_row_to_be_sure_of_the_log(views, monkeypatch):
    log = log_of(1, *orders(1, 300))
    projections = [Orders(), Users()]
    ProjectionRunner(log, views, projections).run_to_head()
    asked = []
    read_page = log.read_page

    def counting(after, limit, *where):
        asked.append((after, limit))
        return read_page(after, limit, *where)

    monkeypatch.setattr(log, "read_page", counting)
    ProjectionRunner(log, views, projections).run_to_head()
    assert asked == [(299, 1)]


def test_readers_may_wait_while_many_events_come(views):
    log = log_of(1, *orders(1, 1))
    runner = runner_of(log, views)
    runner.start()
    seen = threading.Event()

    def write() -> None:
        record(log, 1, *orders(2, 60))
        seen.set()

    thread = threading.Thread(target=write)
    thread.start()
    for position in (10, 30, 60):
        runner.wait_for(position, timeout_seconds=30.0)
    thread.join(30.0)
    runner.stop()

    assert views.count(ORDERS) == 60
