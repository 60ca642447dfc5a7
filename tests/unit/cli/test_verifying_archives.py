"""verify --archive: what left the log is still as it was, and the archive is what it says."""

from pathlib import Path

import pytest

from tests.unit.cli.conftest import ORDER, PAID, USER, Call, write_lines
from tests.unit.cli.test_archiving import SHIPPED, save_snapshots
from tests.unit.cli.test_sealing import as_administrator


@pytest.fixture
def archived(call: Call, folder: Path) -> Call:
    """A shop of five events: sealed, archived, and gone where a saved state covers them."""
    write_lines(folder / "in.jsonl", USER, ORDER, PAID, SHIPPED)
    call("ingest", "in.jsonl")
    call("projections", "run", "--once")
    assert call("seal", "--to", "seals").code == 0
    save_snapshots(folder, "o1")
    assert call("archive", "--to", "lake", "--then-trim", "--older-than", "1d").code == 0
    return call


CHECK = ("verify", "--archive", "lake", "--seals", "seals")


def files(folder: Path) -> list[Path]:
    return sorted((folder / "lake").rglob("*.parquet"))


def test_an_archive_and_its_log_are_verified_each_and_together(archived: Call):
    answer = archived(*CHECK, "--json", "--views")

    archive, log, models = answer.records
    assert answer.code == 0
    assert (archive["events"], archive["sealed"], archive["finding"]) == (5, 5, None)
    assert (log["events"], log["sealed"], log["finding"]) == (5, 5, None)
    assert archive["log"] == log["log"]
    assert models["finding"] is None


def test_without_its_archive_a_log_that_was_trimmed_says_what_it_needs(archived: Call):
    answer = archived("verify", "--seals", "seals")

    assert answer.code == 3
    assert "was moved to the archive" in answer.err


@pytest.mark.parametrize("number", range(3))
def test_a_file_that_was_changed_is_named_with_the_positions_it_holds(
    archived: Call, folder: Path, number: int
):
    path = files(folder)[number % len(files(folder))]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    answer = archived(*CHECK, "--json")

    assert answer.code == 1
    assert answer.error["type"] == "ArchiveAltered"
    assert answer.error["message"].startswith("archive lake: position ")


def test_a_file_that_is_gone_is_named(archived: Call, folder: Path):
    [path, *_] = files(folder)
    path.unlink()

    answer = archived(*CHECK, "--json")

    assert answer.code == 1
    assert path.relative_to(folder / "lake").as_posix() in answer.error["message"]
    assert "is missing" in answer.error["message"]


def test_a_manifest_that_was_changed_or_is_gone_is_named(archived: Call, folder: Path):
    [manifest] = (folder / "lake").rglob("_manifests/*.json")
    manifest.write_bytes(manifest.read_bytes().replace(b'"events": 5', b'"events": 6'))

    answer = archived(*CHECK, "--json")

    assert (answer.code, answer.error["type"]) == (1, "ArchiveAltered")
    assert "contradicts itself" in answer.error["message"]


def test_an_event_that_the_log_has_otherwise_than_its_archive_is_named(
    archived: Call, folder: Path
):
    as_administrator(
        folder / "eventcore.db",
        "UPDATE eventcore_log SET state = CAST(state || ' ' AS BLOB)"
        " WHERE position = (SELECT max(position) FROM eventcore_log)",
    )

    answer = archived("verify", "--archive", "lake", "--json")

    assert (answer.code, answer.error["type"]) == (1, "ArchiveAltered")
    assert "position 5 (order.shipped of order-o1, version 3)" in answer.error["message"]
