"""Handing shards out and taking them back: what is done is done, whatever ends in between."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
from typing_extensions import override

from eventcore.errors import ConfigurationError, ReplayBrokenOffError, ReplayRefusedError
from eventcore.projections import MemoryViews
from eventcore.projections.read_models import OrderItems, Orders, Users
from eventcore.replay import Cut, drop_replays, replay
from eventcore.replay.gathering import TASKS_AHEAD_MAX, WRITTEN_ROWS, Gathering
from eventcore.replay.pools import processes
from eventcore.replay.shards import ShardRows, Shards, ShardTask, fold_shard
from eventcore.replay.targets import SHARDS_DONE
from eventcore.stores.memory.log import MemoryLog
from tests.replaying import MemoryShards, expected_rows, fill, random_history, rows_in
from tests.unit.projections.shops import DailySales

OF = [Orders(), OrderItems(), Users()]


class FailingShards(MemoryShards):
    """One shard cannot be read."""

    def __init__(self, log: Any, failing: int) -> None:
        super().__init__(log, shards=6)
        self.failing = failing

    @override
    def read(self, shards: Shards, *, until: int, types: Any) -> Any:
        if self.failing in shards:
            msg = "this one"
            raise OSError(msg)
        return super().read(shards, until=until, types=types)


class BrokenExecutor(Executor):
    """A pool whose second process ended by itself."""

    def __init__(self) -> None:
        self.submitted = 0

    @override
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.submitted += 1
        future: Future[Any] = Future()
        if self.submitted == 1:
            future.set_result(fn(*args))
        else:
            future.set_exception(BrokenProcessPool("it was killed"))
        return future


@pytest.fixture
def log():
    log = MemoryLog()
    fill(log, random_history(1, 60))
    return log


def test_what_is_done_is_not_folded_again(log):
    views, source = MemoryViews(), FailingShards(log, failing=3)
    with pytest.raises(OSError, match="this one"):
        replay(log, OF, views, source=source, processes=1)
    assert source.reads == [(0,), (1,), (2,)]
    source.failing = -1

    done = replay(log, OF, views, source=source)

    assert source.reads[3:] == [(3,), (4,), (5,)]
    assert done.resumed
    assert done.apart == ("orders", "order_items", "users")
    assert rows_in(views, OF) == expected_rows(log, None, OF)
    assert replay(log, OF, views, source=source).events == 0


def test_a_process_that_ends_by_itself_ends_the_replay_and_keeps_what_is_written(log):
    views, source = MemoryViews(), MemoryShards(log)

    with pytest.raises(ReplayBrokenOffError, match="Repeat the command"):
        replay(log, OF, views, source=source, executor=BrokenExecutor())
    done = replay(log, OF, views, source=source, processes=1)

    assert done.resumed
    assert rows_in(views, OF) == expected_rows(log, None, OF)


def test_shards_of_another_kind_do_not_go_on_with_a_replay(log):
    views = MemoryViews()
    with pytest.raises(OSError, match="this one"):
        replay(log, OF, views, source=FailingShards(log, failing=5), processes=1)

    for source in (MemoryShards(log, shards=2), None):
        with pytest.raises(ReplayRefusedError, match=r"made in shards \(6 of a test\)"):
            replay(log, OF, views, source=source)


def test_a_dropped_replay_begins_anew(log):
    views, source = MemoryViews(), MemoryShards(log)
    replay(log, OF, views, until=20, source=source, processes=1)

    drop_replays(views, OF)
    done = replay(log, OF, views, until=40, source=source, processes=1)

    assert (done.resumed, done.position) == (False, 40)
    assert rows_in(views, OF) == expected_rows(log, 40, OF)


def test_only_what_belongs_to_one_stream_is_divided(log):
    views, source = MemoryViews(), MemoryShards(log)
    told: list[tuple[int, int]] = []

    done = replay(
        log,
        [*OF, DailySales()],
        views,
        source=source,
        processes=1,
        on_progress=lambda at, end: told.append((at, end)),
    )

    assert done.together == ("daily_sales",)
    assert done.apart == ("orders", "order_items", "users")
    assert told == sorted(told)
    assert told[-1] == (60, 60)
    assert rows_in(views, [DailySales()]) == expected_rows(log, None, [DailySales()])


def test_no_more_tasks_are_out_than_rows_may_wait(log):
    views, source = MemoryViews(), MemoryShards(log, shards=TASKS_AHEAD_MAX + 10)

    class Counting(ThreadPoolExecutor):
        out = most = 0

        @override
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.out += 1
            written = sum(1 for _ in views.query(SHARDS_DONE))
            self.most = max(self.most, self.out - written)
            return super().submit(fn, *args, **kwargs)

    with Counting(2) as executor:
        replay(log, [Users()], views, source=source, executor=executor)

    assert executor.out == TASKS_AHEAD_MAX + 10
    assert executor.most == TASKS_AHEAD_MAX + 1  # one is about to be written
    assert rows_in(views, [Users()]) == expected_rows(log, None, [Users()])


def test_many_rows_are_written_in_parts(log):
    views = MemoryViews()
    replay(log, OF, views, until=0, source=MemoryShards(log), processes=1)
    task = ShardTask(MemoryShards(log, 1), (0,), (Users(),), Cut(log.head()))
    [row] = fold_shard(task).rows["users"][:1]
    many = [(f"u{number}", *row[1:]) for number in range(2 * WRITTEN_ROWS + 1)]

    Gathering(views, [Users()], [task]).write(ShardRows((0,), 1, {"users": many}))

    assert views.count(Users.tables[0]) == 2 * WRITTEN_ROWS + 1


def test_what_cannot_be_sent_is_refused_before_a_process_is_made(log):
    class Nested(Users):
        """Defined where no other process finds it."""

    views, source = MemoryViews(), MemoryShards(log)

    with pytest.raises(ConfigurationError, match="cannot be sent to other processes"):
        replay(log, [Nested()], views, source=source, processes=2)
    done = replay(log, [Nested()], views, source=source, processes=1)

    assert done.resumed
    assert rows_in(views, [Nested()]) == expected_rows(log, None, [Nested()])


def test_what_cannot_be_divided_is_refused(log):
    with pytest.raises(ConfigurationError, match="not both"), ThreadPoolExecutor(1) as executor:
        replay(log, OF, MemoryViews(), executor=executor, processes=2)
    with pytest.raises(ConfigurationError, match="has no URL"):
        replay(log, OF, MemoryViews(), processes=2)
    for count in (0, 257):
        with pytest.raises(ConfigurationError, match="1 to 256 processes"), processes(count):
            pass
