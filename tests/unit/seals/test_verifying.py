"""Verifying names the first event that is not as it was, and what became of it."""

from datetime import UTC, datetime

import pytest
from typing_extensions import override

from eventcore.errors import LogAlteredError, StoreUnavailableError
from eventcore.seals import Checks, Sealer, SealFile, SealWriter, verify_log
from eventcore.seals.digests import event_digest
from eventcore.seals.findings import Kind
from eventcore.seals.seal import MARK_BYTES
from eventcore.testing import EventMaker
from tests.unit.seals.logs import Row, RowLog, fill, found, memory_log, rows_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STREAMS = ["a-1", "b-1", "a-1", "b-1", "c-1", "a-1", "d-1", "b-1"]


@pytest.fixture
def rows():
    return rows_of(STREAMS, apart=10)


@pytest.fixture
def checks(tmp_path, rows):
    """Three seals: of three rows, of three more, and of the last two."""
    log, path = RowLog(), tmp_path / "seals"
    for end in (3, 6, 8):
        log.rows = rows[:end]
        Sealer(log, SealWriter(path), clock=lambda: NOW).seal()
    return Checks(seals=SealFile(path))


def first(rows: list[Row], checks: Checks) -> tuple[Kind, int | None] | None:
    finding = verify_log(RowLog(sorted(rows)), checks).finding
    return None if finding is None else (finding.kind, finding.position)


def moved(row: Row, position: int) -> Row:
    return (position, *row[1:])


def test_a_log_that_is_as_it_was_sealed_is_fine(rows, checks):
    verdict = verify_log(RowLog(rows), checks)

    assert verdict.ok
    assert (verdict.events, verdict.sealed, verdict.unsealed) == (8, 8, 0)
    assert (verdict.seals, verdict.streams, verdict.position) == (3, 4, 80)


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("column", [1, 2, 3, 4])
def test_an_event_that_was_altered_in_any_column_is_named(rows, checks, *, at, column):
    value = rows[at][column]
    changed = {1: "z-1", 2: 99, 3: f"{value}d", 4: b"{}"}[column]
    rows[at] = (*rows[at][:column], changed, *rows[at][column + 1 :])

    assert first(rows, checks) == (Kind.ALTERED, rows[at][0])


@pytest.mark.parametrize("at", range(7))
def test_an_event_that_is_gone_is_named(rows, checks, at):
    position = rows.pop(at)[0]

    assert first(rows, checks) == (Kind.MISSING, position)


@pytest.mark.parametrize("end", range(8))
def test_a_log_that_was_restored_to_an_earlier_point_is_named_as_that(rows, checks, end):
    assert first(rows[:end], checks) == (Kind.RESTORED, (end + 1) * 10)


def test_a_log_that_was_restored_and_written_again_says_so(rows, checks):
    again = rows_of(STREAMS, apart=10)
    for at in range(4, 8):
        again[at] = (*again[at][:4], again[at][4].replace(b'"v":1', b'"v":2'))

    finding = found(RowLog(again), checks)

    assert (finding.kind, finding.position) == (Kind.ALTERED, 50)
    assert "nor is any that follows it" in finding.problem


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (2, 3), (0, 7), (4, 6)])
def test_events_that_changed_places_are_named_by_the_first_place(rows, checks, *, one, other):
    rows[one], rows[other] = moved(rows[other], rows[one][0]), moved(rows[one], rows[other][0])

    assert first(rows, checks) == (Kind.REORDERED, rows[one][0])


@pytest.mark.parametrize(("one", "to"), [(0, 35), (1, 65), (2, 85), (5, 15)])
def test_an_event_that_was_moved_is_named_where_it_was_or_is(rows, checks, *, one, to):
    place = rows[one][0]
    rows[one] = moved(rows[one], to)

    assert first(rows, checks) == (Kind.REORDERED, min(place, to))


@pytest.mark.parametrize(("one", "to"), [(0, 5), (0, 15), (0, 45), (7, 5), (3, 75), (3, 85)])
def test_an_event_that_is_there_twice_is_named_by_its_second_place(rows, checks, *, one, to):
    assert first([*rows, moved(rows[one], to)], checks) == (Kind.DOUBLED, to)


@pytest.mark.parametrize("to", [5, 25, 75])
def test_an_event_that_was_put_between_sealed_ones_is_named(rows, checks, to):
    assert first([*rows, (to, "n-1", 1, "new", b"{}")], checks) == (Kind.ADDED, to)


def test_an_event_in_the_place_of_another_one_that_is_still_there_is_doubled(rows, checks):
    rows[4] = moved(rows[1], rows[4][0])

    assert first(rows, checks) == (Kind.DOUBLED, 50)


def test_only_the_first_of_several_changes_is_named(rows, checks):
    rows[6] = (*rows[6][:4], b"{}")
    rows[2] = (*rows[2][:4], b"{}")
    del rows[4]

    assert first(rows, checks) == (Kind.ALTERED, 30)


def test_events_behind_the_last_seal_are_counted_and_in_order(rows, checks):
    more = rows_of([*STREAMS, "a-1", "e-1"], apart=10)

    verdict = verify_log(RowLog(more), checks)

    assert (verdict.ok, verdict.sealed, verdict.unsealed) == (True, 8, 2)


def test_without_seals_a_stream_that_lacks_or_repeats_a_version_is_noticed(rows):
    without = [row for row in rows if row[0] != 30]

    assert verify_log(RowLog(rows)).ok
    assert first(without, Checks()) == (Kind.MISSING, 60)
    assert first([*rows, moved(rows[0], 85)], Checks()) == (Kind.DOUBLED, 85)


def test_a_crafted_event_with_the_mark_of_another_is_noticed_by_the_digest_of_the_log(
    rows, checks, monkeypatch
):
    def collides(event):
        # As if somebody had found a state whose digest begins like that of the sealed one.
        digest = event_digest(event)
        return digest[:MARK_BYTES] + bytes(24) if event.position == 40 else digest

    monkeypatch.setattr("eventcore.seals.verifying.event_digest", collides)

    finding = found(RowLog(rows), checks)

    assert (finding.kind, finding.position) == (Kind.ALTERED, 40)
    assert "only the digest of the log tells" in finding.problem


def test_a_sealer_never_seals_a_history_of_which_the_sealed_one_is_no_part(rows, tmp_path):
    path = tmp_path / "seals"
    log = RowLog(rows[:4])
    Sealer(log, SealWriter(path), clock=lambda: NOW).seal()
    before = path.read_bytes()

    for other in (rows[:3], [*rows[:3], (*rows[3][:4], b"{}"), *rows[4:]], []):
        log.rows = other
        with pytest.raises(LogAlteredError, match="at position 40"):
            Sealer(log, SealWriter(path), clock=lambda: NOW).seal()

    assert path.read_bytes() == before


def test_what_a_store_cannot_read_is_named_behind_what_it_can(rows, checks):
    class Damaged(RowLog):
        @override
        def read_page(self, after, limit):
            page = super().read_page(after, limit)
            if any(event.position == 50 for event in page.events):
                raise ValueError("invalid start byte")
            return page

    finding = found(Damaged(rows), checks)

    assert (finding.kind, finding.position) == (Kind.UNREADABLE, 50)
    assert "invalid start byte" in finding.problem
    rows[1] = (*rows[1][:4], b"{}")
    assert found(Damaged(rows), checks).position == 20


def test_a_store_that_does_not_answer_is_not_called_damaged(rows, checks):
    class Away(RowLog):
        @override
        def read_page(self, after, limit):
            raise StoreUnavailableError(store="shop.db", problem="locked")

    with pytest.raises(StoreUnavailableError):
        verify_log(Away(rows), checks)


def test_a_log_whose_end_is_beyond_its_last_event_is_noticed(rows):
    class Longer(RowLog):
        @override
        def head(self):
            return 99

    finding = found(Longer(rows))

    assert (finding.kind, finding.position) == (Kind.MISSING, 81)


def test_a_stream_that_reads_otherwise_than_the_log_is_noticed():
    log = memory_log(STREAMS)
    assert verify_log(log).ok
    rows = log._streams["a-1"]
    assert rows[1] is not None
    rows[1] = (*rows[1][:4], rows[1][4] + b" ")

    finding = found(log)

    assert (finding.kind, finding.stream, finding.version) == (Kind.INDEX, "a-1", 2)
    assert verify_log(log, Checks(indexes=False)).ok


def test_a_stream_with_events_that_the_log_lacks_is_noticed():
    log = memory_log(STREAMS)
    rows = log._streams["a-1"]
    rows.append((8, "a-1", 4, "test.happened", b"{}"))

    finding = found(log)

    assert (finding.kind, finding.stream, finding.position) == (Kind.INDEX, "a-1", 8)


@pytest.mark.parametrize("other", [None, 2])
def test_an_id_that_leads_nowhere_or_elsewhere_is_noticed(other):
    log = memory_log(STREAMS)
    id_ = next(id_ for id_, row in log._by_id.items() if row[0] == 5)
    row = log._by_id.pop(id_)
    if other is not None:
        log._by_id[id_] = (other, *row[1:])

    finding = found(log)

    assert (finding.kind, finding.position) == (Kind.DOUBLED if other else Kind.INDEX, 5)


def test_events_that_are_appended_meanwhile_are_left_for_the_next_time(monkeypatch):
    log = memory_log(STREAMS)
    real, meanwhile = log.read_page, EventMaker(series=1)

    def read_page(after, limit, *where):
        page = real(after, limit, *where)
        if after == 0:
            fill(log, ["n-1", "a-1"], make=meanwhile)
        return page

    monkeypatch.setattr(log, "read_page", read_page)

    verdict = verify_log(log)

    assert (verdict.ok, verdict.events, log.head()) == (True, 8, 10)
