"""Archivers and trims that are killed are finished by the next run, and nothing is lost."""

import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker
from tests.archived import trim_until
from tests.backends import REPOSITORY
from tests.unit.lake.logs import contents, fill, run

EVENTS = 1_500
KILLS = 8
SEED = 20_261_129


def start(
    log: Path | str, folder: Path, work: str, *, steps: int, first: int = 0
) -> subprocess.Popen[str]:
    """Let it do so many steps; before one more it waits, however late it is killed."""
    command = [sys.executable, "-m", "tests.integration.archivers", str(log), str(folder), work]
    child = subprocess.Popen(
        [*command, str(first)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    child.stdin.write("\n" * steps)
    child.stdin.flush()
    return child


def kill_in_the_middle(child: subprocess.Popen[str], *, step: int, seconds: float) -> None:
    """Kill it so long after that step began."""
    assert child.stdout is not None
    assert [child.stdout.readline() for _ in range(step)] == ["step\n"] * step
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    with closing(SQLiteLog(path, synchronous="NORMAL")) as log:
        fill(log, EVENTS, hours=1)
    return path


def test_archivers_that_are_killed_leave_what_the_next_one_finishes(filled: Path, tmp_path: Path):
    folder, moments = tmp_path / "lake", random.Random(SEED)
    published: dict[str, bytes] = {}

    for _ in range(KILLS):
        steps = moments.randint(1, 3)
        child = start(filled, folder, "archive", steps=steps)
        kill_in_the_middle(child, step=steps, seconds=moments.uniform(0, 0.05))
        now = contents(folder)
        assert {name: now[name] for name in published} == published
        published = now

    assert published
    with closing(SQLiteLog(filled)) as log:
        fill(log, 50, make=EventMaker(series=2), hours=1)
        archive = open_archive(str(folder))
        run(archive, log, events_max=60)
        now = contents(folder)
        assert {name: now[name] for name in published} == published
        assert archive.verify() == EVENTS + 50
        assert list(archive.read(codec=log.codec)) == list(log.read())
        named = {file.name for file in archive.files()}
        assert {name for name in now if name.endswith(".parquet")} == named


def test_trims_that_are_killed_leave_a_log_that_is_whole_with_its_archive(
    filled: Path, tmp_path: Path
):
    folder, moments = tmp_path / "lake", random.Random(SEED)
    with closing(SQLiteLog(filled)) as log:
        events = list(log.read())
        run(open_archive(str(folder)), log, events_max=500)

    for number in range(KILLS):
        child = start(filled, folder, "trim", steps=1, first=number)
        kill_in_the_middle(child, step=1, seconds=moments.uniform(0, 0.03))
        with closing(SQLiteLog(filled)) as log:
            both = ArchivedLog(open_archive(str(folder)), log)
            assert list(both.read()) == events

    with closing(SQLiteLog(filled)) as log:
        both = ArchivedLog(open_archive(str(folder)), log)
        trim_until(both, EVENTS)
        assert list(both.read()) == events
        assert len(log.trimmed_positions([str(e.event_id) for e in events])) == EVENTS - 12
