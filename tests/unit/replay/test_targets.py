"""Where replayed rows go: noted once, whoever begins at the same time, and nowhere else."""

import threading
from typing import Any, NamedTuple

import pytest
from typing_extensions import override

from eventcore.errors import ReplayRefusedError, SchemaMismatchError
from eventcore.events.catalogue import OrderCreated
from eventcore.projections import MemoryViews, Projection, Table, on
from eventcore.projections.read_models import Orders, Users
from eventcore.projections.sqlite import SQLiteViews
from eventcore.replay import replay
from eventcore.replay.targets import REPLAYS, Target
from eventcore.stores.memory.log import MemoryLog
from tests.replaying import MemoryShards, expected_rows, fill, moment, random_history, rows_in
from tests.unit.projections.shops import STOCK, DailySales, Stock


class NoteRow(NamedTuple):
    order_id: str


NOTES = Table("notes", NoteRow, key=["order_id"])


class Beside(Projection):
    """Keeps notes, and counts in the table of another."""

    name = "beside"
    tables = (NOTES,)
    beside = (STOCK,)
    share_by = "stream"

    @on(OrderCreated, touches=lambda event: [(NOTES, event.id), (STOCK, "noted")])
    def note(self, rows: Any, event: Any) -> Any:
        stock = rows[1]
        return [
            NoteRow(event.id),
            (stock or STOCK.row("noted", 0))._replace(reserved=event.position),
        ]


@pytest.fixture
def log():
    log = MemoryLog()
    fill(log, random_history(1, 60))
    return log


def test_what_changes_tables_of_another_is_replayed_with_it(log):
    with pytest.raises(ReplayRefusedError, match="Replay the two together"):
        replay(log, [Beside()], MemoryViews())

    views = MemoryViews()
    done = replay(log, [Beside(), Stock()], views, source=MemoryShards(log), processes=1)

    assert done.together == ("beside", "stock")  # whatever it says of shares
    created = [event for event in log.read() if event.type == "order.created"]
    assert {row.order_id for row in views.query(NOTES)} == {event.id for event in created}
    assert list(views.query(STOCK, {"product_id": "noted"})) == [("noted", created[-1].position)]


def test_a_table_of_somebody_else_is_left_alone_and_nothing_is_noted(log, tmp_path):
    views = SQLiteViews(tmp_path / "app.db")
    with views.transaction() as transaction:
        transaction.connection.execute("CREATE TABLE orders (mine)")

    with pytest.raises(SchemaMismatchError):
        replay(log, [Orders()], views)

    assert list(views.query(REPLAYS)) == []
    views.close()


class SlowToNote(Target):
    """Meets another that begins between its look and its note."""

    other: Any = None

    @override
    def _check_free(self, projection: Projection) -> None:
        super()._check_free(projection)
        if self.other is not None:
            other, SlowToNote.other = self.other, None
            other()


@pytest.mark.parametrize("divided", [False, True])
def test_of_two_who_begin_at_once_one_joins_the_other(log, monkeypatch, *, divided: bool):
    views, until = MemoryViews(), moment(10_000)
    source = MemoryShards(log) if divided else None
    options: Any = {"until": until, "source": source, "processes": 1 if divided else None}

    def other() -> None:
        fill(log, [(payload, moment(1)) for payload, _ in random_history(2, 5)])
        replay(log, [Users(), DailySales()], views, **options)

    monkeypatch.setattr("eventcore.replay.replaying.Target", SlowToNote)
    SlowToNote.other = staticmethod(other)
    done = replay(log, [Users(), DailySales()], views, **options)

    assert (done.position, done.resumed, done.events) == (65, True, 0)
    both = [Users(), DailySales()]
    assert rows_in(views, both) == expected_rows(log, until, both)


def test_two_at_once_end_in_the_same_rows(log):
    views, of = MemoryViews(), [Users(), Orders(), DailySales()]
    failures: list[BaseException] = []

    def run() -> None:
        try:
            replay(log, of, views, source=MemoryShards(log), processes=1)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert rows_in(views, of) == expected_rows(log, None, of)
