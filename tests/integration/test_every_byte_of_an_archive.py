"""Every byte of a small archive is changed, one at a time: each is found, events are named."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eventcore.cli.verifying_archives import verify_archive
from eventcore.errors import ArchiveDamagedError
from eventcore.lake.archiving import Archiver
from eventcore.lake.checking import first_damage
from eventcore.lake.reading import open_archive
from eventcore.seals import Checks, Finding, Sealer, SealFile, SealWriter
from eventcore.testing.histories import example_history, log_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Lake:
    """An archive of the example history, whose seals and log are there, too."""

    def __init__(self, folder: Path) -> None:
        self.url = str(folder / "lake")
        self.log = log_of(example_history([])[:8])
        Archiver(open_archive(self.url), shards=1).run(self.log)
        Sealer(self.log, SealWriter(folder / "seals"), clock=lambda: NOW).seal()
        self.checks = Checks(seals=SealFile(folder / "seals"), is_backup=True, indexes=False)

    def files(self, pattern: str) -> list[Path]:
        return sorted(Path(self.url).rglob(pattern))

    def finding(self) -> Finding | None:
        return verify_archive(open_archive(self.url), self.checks, self.log, 0).finding


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_an_archive_as_it_was_written_is_fine(lake):
    assert lake.finding() is None
    assert first_damage(open_archive(lake.url)) is None


@pytest.mark.slow
def test_every_byte_of_a_parquet_file(lake):
    path = max(lake.files("*.parquet"), key=lambda found: found.stat().st_size)
    data = path.read_bytes()
    kinds: Counter[str] = Counter()

    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        finding = lake.finding()
        assert finding is not None, at
        assert finding.position is not None
        kinds[finding.kind] += 1

    assert sum(kinds.values()) == len(data)


@pytest.mark.slow
def test_every_byte_of_a_manifest(lake):
    [path] = lake.files("_manifests/*.json")
    data = path.read_bytes()

    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 7)
        path.write_bytes(changed)
        try:
            damage = first_damage(open_archive(lake.url))
        except ArchiveDamagedError:
            continue
        assert damage is not None, at


def test_an_event_that_was_archived_otherwise_is_named_although_every_digest_is_right(
    tmp_path, lake
):
    # As somebody would who writes the archive anew from a log that he altered.
    history = example_history([])[:8]
    history[4] = history[7]
    other = log_of(history)
    Archiver(open_archive(str(tmp_path / "other")), shards=1).run(other)
    lake.url = str(tmp_path / "other")

    by_seals = lake.finding()
    lake.checks = Checks(is_backup=True, indexes=False)
    by_log = lake.finding()

    assert first_damage(open_archive(lake.url)) is None
    assert by_seals is not None
    assert by_log is not None
    assert by_seals.position == by_log.position == 5
