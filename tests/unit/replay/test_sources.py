"""Where shards are read: each event in one shard, as far as the replay goes."""

import pickle
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventcore.app import open_app
from eventcore.errors import ConfigurationError
from eventcore.events.codec import Codec
from eventcore.opening import open_log, shard_source
from eventcore.projections import MemoryViews
from eventcore.projections.read_models import Users
from eventcore.replay.archives import ArchiveShards
from eventcore.replay.sources import LOG_GROUPS, LogShards, pages_until
from eventcore.settings import SHARES_DEFAULT, Settings
from eventcore.stores.log import LogFilter, Page
from eventcore.stores.memory.log import MemoryLog
from tests.replaying import fill, random_history
from tests.unit.lake.logs import archived

EVENTS = 60
IDS = [str(number) for number in range(30)]


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/shop.db?synchronous=normal"
    with closing(open_log(url)) as log:
        fill(log, random_history(1, EVENTS, IDS))
    return url


def settings(store: str, archive: Any = None) -> Settings:
    return Settings(store=store, archive=None if archive is None else str(archive))


def read(source: Any, workers: int | None = None, **bounds: Any) -> dict[int, list[int]]:
    """Positions by the first shard of each group."""
    bounds = {"until": EVENTS, "types": None, **bounds}
    return {
        shards[0]: [event.position for events in source.read(shards, **bounds) for event in events]
        for shards in source.groups(workers)
    }


@pytest.mark.parametrize(
    ("workers", "groups"), [(None, LOG_GROUPS), (1, 2), (3, 6), (64, SHARES_DEFAULT)]
)
def test_a_log_is_read_in_parts_for_so_many_workers(store: str, workers: Any, groups: int):
    found = read(shard_source(settings(store), Codec()), workers)

    assert len(found) == groups
    assert sorted(place for part in found.values() for place in part) == list(range(1, EVENTS + 1))
    assert all(part == sorted(part) for part in found.values())


@pytest.mark.parametrize("of_archive", [False, True])
def test_a_stream_is_in_one_shard_and_bounds_hold(tmp_path: Path, store: str, *, of_archive: bool):
    with closing(open_log(store)) as log:
        if of_archive:
            archived(log, tmp_path / "lake", events_max=25, shards=4)
            fill(log, random_history(2, 20, IDS))
        events = {event.position: event for event in log.read()}
    source = shard_source(settings(store, tmp_path / "lake" if of_archive else None), Codec())
    assert isinstance(source, ArchiveShards if of_archive else LogShards)
    source = pickle.loads(pickle.dumps(source))
    types = frozenset({"order.created", "order.paid"})

    parts = read(source, until=len(events) - 3)
    chosen = read(source, until=len(events) - 3, types=types)

    streams = [{events[place].stream for place in part} for part in parts.values()]
    assert max(Counter(one for group in streams for one in group).values()) == 1
    assert sorted(p for part in parts.values() for p in part) == list(range(1, len(events) - 2))
    assert chosen == {
        shard: [place for place in part if events[place].type in types]
        for shard, part in parts.items()
    }


def test_an_empty_archive_is_no_source_yet(tmp_path: Path, store: str):
    found = shard_source(settings(store, tmp_path / "nothing"), Codec())

    assert isinstance(found, LogShards)
    assert found.parquet() is None
    assert store not in repr(found)


def test_a_log_that_ends_too_early_is_another_one(store: str):
    source = shard_source(settings(store), Codec())

    with pytest.raises(ConfigurationError, match="The log ends at 60, its replay at 61"):
        read(source, until=EVENTS + 1)


def test_a_feed_that_is_held_is_waited_for():
    log = MemoryLog()
    fill(log, random_history(1, 10))
    held = [1, 1, 1]

    class Held:
        head = staticmethod(log.head)

        def read_page(self, after: int, limit: int, where: LogFilter) -> Page:
            if after == 4 and held:
                held.pop()
                return Page([], after)
            return log.read_page(after, 4, where)

    found: Any = pages_until(Held(), after=0, until=9, types=None)  # type: ignore[arg-type]  # a part

    assert [event.position for events in found for event in events] == list(range(1, 10))
    assert held == []


def test_a_log_in_memory_is_replayed_by_its_own_process():
    with open_app("memory://") as app:
        assert shard_source(app.settings, app.log.codec) is None
        with pytest.raises(ConfigurationError, match="has no URL"):
            app.replay(MemoryViews(), processes=2)
        assert app.replay(MemoryViews(), [Users.name]).position == 0
