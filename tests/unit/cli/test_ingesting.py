"""ingest --dead-letters: what was refused is kept, and nothing else is ever written over."""

import json
import os
import stat
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from eventcore.cli.ingesting import BATCH_MAX
from eventcore.ingestion.pipeline import BATCH_LINES_MAX, Ingestion
from tests.unit.cli.conftest import ORDER, USER, Call, write_lines


def lines_in(path: Path) -> list[int]:
    return [json.loads(text)["line"] for text in path.read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but those that SQLite keeps beside a database that is open."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_dead_letters_keep_line_reason_and_bytes(call: Call, folder: Path):
    write_lines(folder / "in.jsonl", USER, "not json")

    answer = call("ingest", "in.jsonl", "--dead-letters", "dead.jsonl")

    [letter] = [json.loads(line) for line in (folder / "dead.jsonl").read_text().splitlines()]
    assert (letter["line"], letter["reason"], letter["raw"]) == (2, "not-json", "not json")
    assert answer.err == ""
    assert stat.S_IMODE((folder / "dead.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name",
    [
        "in.jsonl",
        "./in.jsonl",
        "shop.db",
        "shop.db-wal",
        "shop.db-shm",
        "shop.db-journal",
        "views.db",
        "views.db-wal",
        "linked.db",
        "hard.db",
        "soft.db",
    ],
)
def test_files_in_use_are_never_taken_for_the_dead_letters(call: Call, folder: Path, name: str):
    write_lines(folder / "in.jsonl", USER, "not json")
    (folder / "linked.db").symlink_to("shop.db")
    urls = ("--store", "sqlite:///linked.db", "--views", "sqlite:///views.db")
    call("ingest", "in.jsonl", *urls)
    call("projections", "run", "--once", *urls)
    (folder / "hard.db").hardlink_to(folder / "shop.db")
    (folder / "soft.db").symlink_to("views.db")
    before = contents(folder)

    answer = call("ingest", "in.jsonl", *urls, "--dead-letters", name)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"error  --dead-letters {Path(name)}: ")
    assert contents(folder) == before


def test_letters_of_a_broken_run_can_be_the_input_of_one_with_another_file_only(
    call: Call, folder: Path
):
    path = write_lines(folder / "dead.jsonl.partial", USER, "not json")
    before = path.read_bytes()

    answer = call("ingest", "dead.jsonl.partial", "--dead-letters", "dead.jsonl")

    assert (answer.code, "dead.jsonl.partial is the input" in answer.err) == (2, True)
    assert path.read_bytes() == before


def test_a_refused_place_for_dead_letters_creates_no_store(call: Call, folder: Path):
    write_lines(folder / "in.jsonl", USER)

    in_store = call("ingest", "in.jsonl", "--dead-letters", "eventcore.db", "--json")
    views = ("--views", "sqlite:///views.db")
    in_views = call("ingest", "in.jsonl", *views, "--dead-letters", "views.db", "--json")

    assert "the file of the store" in in_store.error["message"]
    assert "the file of the read models" in in_views.error["message"]
    assert [path.name for path in folder.iterdir()] == ["in.jsonl"]


def test_what_standard_input_is_read_from_is_not_written(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_lines(folder / "in.jsonl", *["not json"] * 400)
    before = path.read_bytes()

    with path.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        answer = call("ingest", "-", "--dead-letters", "in.jsonl")

    assert (answer.code, "is the input itself" in answer.err) == (2, True)
    assert path.read_bytes() == before


def test_what_standard_output_goes_to_is_not_written(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    write_lines(folder / "in.jsonl", "not json")

    with (folder / "out.txt").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        answer = call("ingest", "in.jsonl", "--dead-letters", "out.txt")

    assert (answer.code, "is standard output" in answer.err) == (2, True)


def test_a_run_that_breaks_off_leaves_the_letters_of_the_last_one_and_its_own_beside_them(
    call: Call, folder: Path
):
    write_lines(folder / "old.jsonl", USER, "not json")
    call("ingest", "old.jsonl", "--dead-letters", "dead.jsonl")
    write_lines(folder / "in.jsonl", "not json", ORDER, "not json", ORDER)
    batches = Ingestion._take
    taken = iter([False, True])

    def interrupted(self: Ingestion, *arguments: object) -> object:
        if next(taken):
            raise KeyboardInterrupt
        return batches(self, *arguments)  # type: ignore[arg-type]

    with patch.object(Ingestion, "_take", interrupted):
        answer = call("ingest", "in.jsonl", "--dead-letters", "dead.jsonl", "--batch", "2")

    assert answer.code == 130
    assert (answer.records[0]["read"], answer.records[0]["rejected"]) == (2, 1)
    assert lines_in(folder / "dead.jsonl") == [2]
    assert lines_in(folder / "dead.jsonl.partial") == [1]
    partial = os.path.realpath(folder / "dead.jsonl.partial")
    assert answer.err == f"what was refused so far is in {partial}\ninterrupted\n"
    call("ingest", "in.jsonl", "--dead-letters", "dead.jsonl")
    assert lines_in(folder / "dead.jsonl") == [1, 3]
    assert not (folder / "dead.jsonl.partial").exists()


def test_letters_that_cannot_be_written_end_a_run_that_says_what_is_stored(
    call: Call, folder: Path
):
    write_lines(folder / "in.jsonl", USER, "not json", ORDER)

    answer = call("ingest", "in.jsonl", "--dead-letters", "/dev/full", "--batch", "2", "--json")

    assert answer.code == 2
    assert answer.error == {
        "type": "InputError",
        "message": "/dev/full: No space left on device",
    }
    [report] = answer.records
    assert (report["read"], report["accepted"], report["rejected"]) == (2, 1, 1)
    assert len(call("events", "read", "--json").records) == 2  # with the address it reserves


def test_dead_letters_may_go_to_a_device(call: Call, folder: Path):
    write_lines(folder / "in.jsonl", "not json")

    assert call("ingest", "in.jsonl", "--dead-letters", "/dev/null").code == 0
    assert not Path("/dev/null.partial").exists()


def test_a_batch_is_never_larger_than_what_an_append_takes(call: Call, folder: Path):
    write_lines(folder / "in.jsonl", USER)

    assert BATCH_MAX == BATCH_LINES_MAX
    assert call("ingest", "in.jsonl", "--batch", str(BATCH_MAX)).code == 0
    answer = call("ingest", "in.jsonl", "--batch", str(BATCH_MAX + 1))
    assert (answer.code, "--batch" in answer.err) == (2, True)
