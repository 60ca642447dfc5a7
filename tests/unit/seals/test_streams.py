"""One stream is verified without reading the rest of the log."""

from datetime import UTC, datetime

import pytest

from eventcore.seals import Checks, Kind, Sealer, SealFile, SealWriter, digest_of, verify_stream
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing import EventMaker
from tests.unit.seals.logs import fill, memory_log

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STREAMS = ["a-1", "b-1", "a-1", "b-1", "c-1", "a-1", "d-1", "b-1"]


@pytest.fixture
def log() -> MemoryLog:
    return memory_log(STREAMS)


@pytest.fixture
def checks(log, tmp_path):
    Sealer(log, SealWriter(tmp_path / "seals"), clock=lambda: NOW).seal()
    fill(log, ["a-1", "z-1"], make=EventMaker(series=1))
    return Checks(seals=SealFile(tmp_path / "seals"))


def change(log: MemoryLog, version: int, *columns: object) -> None:
    """Change a row of the stream ``b-1``: position, stream, version, type, state."""
    rows = log._streams["b-1"]
    row = list(rows[version - 1] or ())
    for at, value in enumerate(columns):
        row[at] = value if value is not None else row[at]
    rows[version - 1] = tuple(row)  # type: ignore[assignment]


def test_a_stream_that_is_as_it_was_sealed_is_fine_and_has_a_digest(log, checks):
    of_a = verify_stream(log, "a-1", checks)
    of_b = verify_stream(log, "b-1", checks)

    assert (of_a.finding, of_a.events, of_a.sealed, of_a.unsealed) == (None, 4, 3, 1)
    assert (of_b.finding, of_b.events, of_b.sealed, of_b.position) == (None, 3, 3, 8)
    assert of_b.log == digest_of(log.read_stream("b-1")).hex()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_event_of_it_that_was_altered_is_named(log, checks, version):
    change(log, version, None, None, None, None, b"{}")

    finding = verify_stream(log, "b-1", checks).finding

    assert finding is not None
    assert (finding.kind, finding.stream, finding.version) == (Kind.ALTERED, "b-1", version)
    assert verify_stream(log, "a-1", checks).ok


def test_a_version_that_is_gone_and_a_position_of_another_event_are_noticed(log, checks):
    before = list(log._streams["b-1"])
    change(log, 2, 5)
    moved = verify_stream(log, "b-1", checks).finding
    log._streams["b-1"] = [before[0], before[2]]
    gone = verify_stream(log, "b-1", checks).finding

    assert (moved and (moved.kind, moved.position)) == (Kind.ALTERED, 5)
    assert (gone and (gone.kind, gone.version)) == (Kind.MISSING, 3)


def test_seals_that_were_changed_are_noticed_by_it_too(log, checks):
    path = checks.seals.path
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":2'))

    finding = verify_stream(log, "a-1", checks).finding

    assert finding is not None
    assert finding.kind is Kind.SEAL


def test_a_stream_without_events_has_none(log, checks):
    verdict = verify_stream(log, "nobody-1", checks)

    assert (verdict.ok, verdict.events, verdict.streams) == (True, 0, 0)
