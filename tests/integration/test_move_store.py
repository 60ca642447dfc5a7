"""The example that moves a service to another store."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from eventcore.seals import digest_of
from eventcore.stores.log import StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker
from tests.backends import REPOSITORY
from tests.postgres import PostgresSchema

SCRIPT = REPOSITORY / "examples" / "move_store.py"


def move(source: str, target: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(SCRIPT), source, target, *options]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    with closing(SQLiteLog(tmp_path / "shop.db", synchronous="NORMAL")) as log:
        log.append([StreamAppend("order-1", 0, EventMaker().many(250))])
    return tmp_path / "shop.db"


@pytest.mark.postgres
def test_a_service_is_moved_to_postgres(shop: Path, postgres_schema: PostgresSchema):
    source, target = f"sqlite:///{shop}", postgres_schema.store_url

    while_it_runs = move(source, target)
    with closing(SQLiteLog(shop)) as log:
        log.append([StreamAppend("order-2", 0, EventMaker(series=1).many(20))])
        expected = digest_of(log.read()).hex()
    stopped = move(source, target, "--final")

    assert (while_it_runs.returncode, while_it_runs.stderr) == (0, "")
    assert while_it_runs.stdout.splitlines() == [
        "copied 250 events, 250 are there",
        "copied 0 events, 250 are there",
        "next to nothing is left: stop the writers, then run this with --final",
    ]
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert stopped.stdout.splitlines() == [
        "copied 20 events, 270 are there",
        f"moved: both have the digest {expected}",
    ]


def test_a_store_that_holds_something_else_is_not_moved_into(shop: Path, tmp_path: Path):
    with closing(SQLiteLog(tmp_path / "other.db")) as log:
        log.append([StreamAppend("order-1", 0, EventMaker(series=1).many(3))])

    done = move(f"sqlite:///{shop}", f"sqlite:///{tmp_path}/other.db", "--final")

    assert done.returncode == 1
    assert "NOT MOVED" in done.stderr
    assert "event number 1 of the target" in done.stderr
