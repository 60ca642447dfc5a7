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


def start(log: Path | str, folder: Path, work: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.archivers", str(log), str(folder), work],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Not before it begins: a kill during the start-up of the interpreter proves nothing.
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def kill_in_the_middle(child: subprocess.Popen[str], seconds: float) -> bool:
    """Whether it was still at work."""
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    return child.returncode == -signal.SIGKILL


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    with closing(SQLiteLog(path, synchronous="NORMAL")) as log:
        fill(log, EVENTS, hours=1)
    return path


def test_archivers_that_are_killed_leave_what_the_next_one_finishes(filled: Path, tmp_path: Path):
    folder, moments, killed = tmp_path / "lake", random.Random(SEED), 0
    published: dict[str, bytes] = {}

    for _ in range(KILLS):
        killed += kill_in_the_middle(start(filled, folder, "archive"), moments.uniform(0, 0.25))
        now = contents(folder)
        assert {name: now[name] for name in published} == published
        published = now

    assert killed > KILLS // 2, "most of them ended before they could be killed"
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
    folder, moments, killed = tmp_path / "lake", random.Random(SEED), 0
    with closing(SQLiteLog(filled)) as log:
        events = list(log.read())
        run(open_archive(str(folder)), log, events_max=500)

    for _ in range(KILLS):
        killed += kill_in_the_middle(start(filled, folder, "trim"), moments.uniform(0, 0.08))
        with closing(SQLiteLog(filled)) as log:
            both = ArchivedLog(open_archive(str(folder)), log)
            assert list(both.read()) == events

    assert killed > 0, "none of them could be killed"
    with closing(SQLiteLog(filled)) as log:
        both = ArchivedLog(open_archive(str(folder)), log)
        trim_until(both, EVENTS)
        assert list(both.read()) == events
        assert len(log.trimmed_positions([str(e.event_id) for e in events])) == EVENTS - 12
