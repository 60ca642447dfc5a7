"""The nightly check of the examples, night after night."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends import REPOSITORY
from tests.unit.cli.conftest import ORDER, PAID, USER, write_lines
from tests.unit.cli.test_sealing import as_administrator

EVENTCORE = Path(sys.executable).with_name("eventcore")
SCRIPT = REPOSITORY / "examples" / "nightly_check.py"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a shop in it: its log, read models and seals, and a backup."""
    write_lines(tmp_path / "shop.jsonl", USER, ORDER)
    for arguments in (
        ["ingest", "shop.jsonl"],
        ["projections", "run", "--once"],
        ["seal", "--to", "seals.jsonl"],
    ):
        run(tmp_path, str(EVENTCORE), *arguments)
    shutil.copy(tmp_path / "eventcore.db", tmp_path / "backup.db")
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


def night(folder: Path) -> subprocess.CompletedProcess[str]:
    options = ["--store", "sqlite:///eventcore.db", "--seals", "seals.jsonl"]
    options += ["--anchors", "anchors.txt", "--backup", "backup.db"]
    return run(folder, sys.executable, "-W", "error", str(SCRIPT), *options)


def test_a_night_on_which_all_is_well_says_so_and_notes_the_last_seal(shop):
    first = night(shop)
    write_lines(shop / "more.jsonl", PAID)
    run(shop, str(EVENTCORE), "ingest", "more.jsonl")
    run(shop, str(EVENTCORE), "seal", "--to", "seals.jsonl")
    second = night(shop)

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines()[0] == "log: 3 events, 3 as they were sealed"
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.splitlines() == [
        "log: 4 events, 4 as they were sealed",
        first.stdout.splitlines()[1],
        "backup: it can be restored, and is as the log was",
    ]
    assert len(set((shop / "anchors.txt").read_text().split())) == 2


def test_seals_that_were_cut_off_since_the_night_before_are_noticed(shop):
    write_lines(shop / "more.jsonl", PAID)
    run(shop, str(EVENTCORE), "ingest", "more.jsonl")
    run(shop, str(EVENTCORE), "seal", "--to", "seals.jsonl")
    night(shop)
    lines = (shop / "seals.jsonl").read_bytes().splitlines(keepends=True)
    (shop / "seals.jsonl").write_bytes(lines[0])

    done = night(shop)

    assert done.returncode == 1
    assert "the file was cut off or written anew" in done.stderr


def test_an_altered_event_a_changed_row_and_a_bad_backup_end_the_night_with_1(shop):
    as_administrator(
        shop / "backup.db",
        "UPDATE eventcore_log SET state = CAST(state || ' ' AS BLOB) WHERE position = 1",
    )
    backup = night(shop)
    as_administrator(shop / "eventcore.db", "UPDATE users SET status = 'closed'")
    row = night(shop)
    as_administrator(
        shop / "eventcore.db",
        "UPDATE eventcore_log SET state = CAST(state || ' ' AS BLOB) WHERE position = 2",
    )
    event = night(shop)

    assert [done.returncode for done in (backup, row, event)] == [1, 1, 1]
    assert "backup.db: position 1 (user.registered of user-u1" in backup.stderr
    assert "NOT RIGHT: users (user_id u1): its column status" in row.stderr
    assert "NOT RIGHT: position 2 (" in event.stderr
