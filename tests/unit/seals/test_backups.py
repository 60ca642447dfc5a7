"""A backup is compared with the live log, as far as it goes."""

from datetime import UTC, datetime

import pytest

from eventcore.seals import Checks, Sealer, SealFile, SealWriter, verify_log
from eventcore.seals.backups import compare_backup
from eventcore.seals.findings import Kind
from tests.unit.seals.logs import RowLog, found, rows_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STREAMS = ["a-1", "b-1", "a-1", "b-1", "c-1", "a-1", "d-1", "b-1"]


@pytest.fixture
def rows():
    return rows_of(STREAMS, apart=10)


@pytest.mark.parametrize("end", range(9))
def test_a_backup_that_the_live_log_went_on_from_is_the_same_up_to_its_head(rows, end):
    backup = compare_backup(RowLog(rows[:end]), RowLog(rows))

    assert (backup.events, backup.finding) == (end, None)
    assert (backup.head, backup.live_head) == (end * 10, 80)


@pytest.mark.parametrize("at", range(5))
def test_an_event_that_one_of_them_lacks_is_named(rows, at):
    without = [row for row in rows[:5] if row[0] != (at + 1) * 10]

    lacking = compare_backup(RowLog(without), RowLog(rows)).finding
    more = compare_backup(RowLog(rows[:5]), RowLog([*without, *rows[5:]])).finding

    assert (more and (more.kind, more.position)) == (Kind.MISSING, (at + 1) * 10)
    expected = None if at == 4 else (Kind.MISSING, (at + 1) * 10)
    assert (lacking and (lacking.kind, lacking.position)) == expected


@pytest.mark.parametrize("at", range(5))
def test_an_event_that_is_another_is_named(rows, at):
    other = [*rows]
    other[at] = (*rows[at][:4], b"{}")

    finding = compare_backup(RowLog(other[:5]), RowLog(rows)).finding

    assert (finding and (finding.kind, finding.position)) == (Kind.ALTERED, (at + 1) * 10)


def test_a_backup_that_is_longer_than_the_live_log_is_not_of_it(rows):
    finding = compare_backup(RowLog(rows), RowLog(rows[:6])).finding

    assert (finding and (finding.kind, finding.position)) == (Kind.MISSING, 70)


def test_pages_of_many_events_are_compared_one_by_one():
    rows = rows_of([f"s-{number % 7}" for number in range(2_500)])
    other = [*rows]
    other[2_100] = (*rows[2_100][:4], b"{}")

    assert compare_backup(RowLog(rows[:2_400]), RowLog(rows)).events == 2_400
    finding = compare_backup(RowLog(rows[:2_400]), RowLog(other)).finding
    assert finding is not None
    assert finding.position == 2_101


@pytest.fixture
def seals(tmp_path, rows):
    log = RowLog()
    for end in (3, 6, 8):
        log.rows = rows[:end]
        Sealer(log, SealWriter(tmp_path / "seals"), clock=lambda: NOW).seal()
    return SealFile(tmp_path / "seals")


@pytest.mark.parametrize("end", range(9))
def test_a_backup_may_end_before_the_seals_do_and_is_checked_as_far_as_it_goes(rows, seals, end):
    checks = Checks(seals=seals, is_backup=True)

    verdict = verify_log(RowLog(rows[:end]), checks)

    assert (verdict.ok, verdict.events, verdict.sealed) == (True, end, end)
    for at in range(end):
        other = rows[:end]
        other[at] = (*rows[at][:4], b"{}")
        finding = found(RowLog(other), checks)
        assert (finding.kind, finding.position) == (Kind.ALTERED, (at + 1) * 10)


def test_an_anchor_behind_the_end_of_a_backup_has_to_be_in_the_file_too(rows, seals):
    *_, last = seals.read()

    assert verify_log(RowLog(rows[:2]), Checks(seals=seals, is_backup=True, anchor=last.digest)).ok
    assert not verify_log(RowLog(rows[:2]), Checks(seals=seals, is_backup=True, anchor="0" * 64)).ok
