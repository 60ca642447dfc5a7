"""Replays in other processes: killed ones go on, and every executor ends in the same rows."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from eventcore.app import open_app, open_views
from eventcore.opening import open_log, shard_source
from eventcore.projections import MemoryViews, Projection, built_in_projections
from eventcore.projections.read_models import ORDERS, Orders
from eventcore.replay import replay
from eventcore.settings import Settings
from eventcore.stores.log import Log
from tests.backends import REPOSITORY
from tests.replaying import fill, moment, random_history, rows_in
from tests.slow_counts import SlowCounts
from tests.unit.lake.logs import archived
from tests.unit.projections.shops import Baskets, DailySales, Stock

EVENTCORE = Path(sys.executable).with_name("eventcore")
EVENTS = 1_200
STANDS_STILL = str(EVENTS // 3)
"""After so many events of each process: what is to be killed does not end before."""
DEADLINE_SECONDS = 120
OF: list[Projection] = [*built_in_projections(), DailySales(), Stock(), Baskets(), SlowCounts()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("EVENTCORE_STORE", "EVENTCORE_VIEWS", "EVENTCORE_IMPORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> str:
    """URL of a log of :data:`EVENTS` events."""
    url = f"sqlite:///{folder}/eventcore.db"
    with closing(open_log(f"{url}?synchronous=normal")) as log:
        fill(log, random_history(1, EVENTS, ids=[str(number) for number in range(200)]))
    return url


def command(*arguments: str) -> list[str]:
    return [
        str(EVENTCORE),
        "replay",
        "--json",
        "--import",
        "tests.slow_counts",
        "--projection",
        "slow_counts",
        *arguments,
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def run(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def begin(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def until(happened: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.02)
    raise AssertionError


def children_of(pid: int) -> list[int]:
    return [int(one) for one in _ps("pid=", "--ppid", str(pid)).split()]


def is_running(pid: int) -> bool:
    state = _ps("stat=", "-p", str(pid)).strip()
    return bool(state) and not state.startswith("Z")


def _ps(*arguments: str) -> str:
    done = subprocess.run(["ps", "-o", *arguments], capture_output=True, text=True, check=False)
    return done.stdout


def shards_done(path: Path) -> int:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path)) as connection:
        [[count]] = connection.execute("SELECT count(*) FROM eventcore_replayed_shards").fetchall()
        return int(count)
    return 0


def rows(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT * FROM slow_counts").fetchall())


@pytest.mark.slow
@pytest.mark.parametrize("processes", [[], ["--processes", "2"]])
def test_a_killed_replay_goes_on_and_ends_in_the_same_rows(
    folder: Path, store: str, processes: list[str]
):
    assert run("--into", "sqlite:///whole.db")["rows"] == {
        "slow_counts": len(rows(folder / "whole.db"))
    }
    (folder / "slow").write_text(STANDS_STILL)
    killed = begin("--into", "sqlite:///past.db", *processes)
    try:
        if processes:
            until(lambda: shards_done(folder / "past.db"))
        else:
            until(lambda: _position(folder / "past.db"))
        workers = children_of(killed.pid)
    finally:
        killed.kill()
        killed.communicate()
    (folder / "slow").unlink()

    assert len(workers) >= (2 if processes else 0)
    until(lambda: not any(map(is_running, workers)))
    report = run("--into", "sqlite:///past.db", *processes)

    assert report["resumed"]
    assert 0 < report["events"] < EVENTS
    assert rows(folder / "past.db") == rows(folder / "whole.db")


def _position(path: Path) -> int:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT position FROM eventcore_checkpoints WHERE projection = 'slow_counts@replay'"
        ).fetchall()
        return int(found[0][0]) if found else 0
    return 0


@pytest.mark.slow
def test_a_killed_worker_ends_the_command_with_a_word(folder: Path, store: str):
    run("--into", "sqlite:///whole.db")
    (folder / "slow").write_text(STANDS_STILL)
    replaying = begin("--into", "sqlite:///past.db", "--processes", "2")
    try:
        workers = until(lambda: _two_workers(replaying.pid))
        until(lambda: shards_done(folder / "past.db"))
        os.kill(workers[-1], signal.SIGKILL)
        _, told = replaying.communicate(timeout=DEADLINE_SECONDS)
    finally:
        replaying.kill()
        replaying.wait()
    (folder / "slow").unlink()

    assert replaying.returncode == 1
    assert json.loads(told)["error"]["type"] == "ReplayBrokenOffError"
    assert run("--into", "sqlite:///past.db", "--processes", "2")["resumed"]
    assert rows(folder / "past.db") == rows(folder / "whole.db")


def _two_workers(pid: int) -> list[int]:
    """The two youngest children: the first is the one that watches over shared memory."""
    found = children_of(pid)
    return found[-2:] if len(found) > 2 else []


@pytest.fixture
def log(store: str) -> Iterator[Log]:
    with closing(open_log(store)) as log:
        yield log


@pytest.mark.slow
@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("when", [None, 700, moment(4_000)])
def test_a_pool_of_processes_ends_in_the_rows_of_one(
    folder: Path, store: str, log: Log, *, when: Any, archive: bool
):
    url = None
    if archive:
        url = archived(log, folder / "archive", events_max=500, shards=4).url
        fill(log, random_history(2, 40))
    source = shard_source(Settings(store=store, archive=url), log.codec)
    whole, apart = MemoryViews(), MemoryViews()
    replay(log, OF, whole, until=when)

    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        done = replay(log, OF, apart, until=when, source=source, executor=executor)

    assert rows_in(apart, OF) == rows_in(whole, OF)
    assert set(done.apart) == {one.name for one in OF if one.share_by == "stream"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # distributed and tornado have warnings of their own
@pytest.mark.parametrize("archive", [False, True])
def test_dask_ends_in_the_same_rows_although_a_worker_is_killed(
    folder: Path, store: str, log: Log, *, archive: bool
):
    whole, apart = MemoryViews(), MemoryViews()
    replay(log, OF, whole)
    url = archived(log, folder / "archive", events_max=500, shards=8).url if archive else None
    source = shard_source(Settings(store=store, archive=url), log.codec)
    (folder / "slow").write_text(str(EVENTS))
    killed: list[int] = []

    def kill_one(_at: int, _end: int) -> None:
        if not killed:
            pids = list(client.run(os.getpid).values())
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

    with _cluster() as cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]  # no types
        executor = client.get_executor()
        replay(log, OF, apart, source=source, executor=executor, on_progress=kill_one)

    assert len(killed) == 1
    assert rows_in(apart, OF) == rows_in(whole, OF)


@pytest.mark.slow
def test_the_script_for_clusters_makes_the_rows_of_one_process(folder: Path, store: str):
    whole = MemoryViews()
    with open_app(store) as app:
        app.replay(whole, ["orders"])
    script = str(REPOSITORY / "examples" / "replay_on_a_cluster.py")
    arguments = ["--store", store, "--into", "sqlite:///past.db"]
    told = []
    with _cluster() as cluster:
        for _ in range(2):  # the second time there is nothing to do
            done = subprocess.run(
                [sys.executable, script, "--on", "dask", "--address", cluster, *arguments],
                capture_output=True,
                text=True,
                check=False,
                env=environment(),
            )
            assert done.returncode == 0, done.stderr
            told.append(done.stdout)

    orders = whole.count(ORDERS)
    assert told[0].startswith(f"{orders} orders from ")
    assert told[1] == f"{orders} orders from 0 events\n"
    with open_app(store) as app, closing(open_views("sqlite:///past.db", app.log)) as past:
        assert rows_in(past, [Orders()]) == rows_in(whole, [Orders()])


@contextmanager
def _cluster() -> Iterator[str]:
    """Address of two workers."""
    with LocalCluster(  # type: ignore[no-untyped-call]  # it has no types
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_an_application_replays_in_processes(folder: Path, store: str):
    whole, apart = MemoryViews(), MemoryViews()
    with open_app(store) as app:
        app.replay(whole, ["orders", "analytics"], until=900)
        done = app.replay(apart, ["orders", "analytics"], until=900, processes=2)

    assert (done.apart, done.together) == (("orders",), ("analytics",))
    of = [one for one in built_in_projections() if one.name in {"orders", "analytics"}]
    assert rows_in(apart, of) == rows_in(whole, of)
