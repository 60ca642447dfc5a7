"""Whatever is done to whichever event of any history: verifying names the first one."""

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
from hypothesis import given

from eventcore.seals import Checks, Sealer, SealFile, SealWriter, verify_log
from eventcore.seals.findings import Kind
from tests.unit.seals.logs import Row, RowLog, rows_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)

histories = st.lists(st.sampled_from(["a-1", "a-2", "b-1", "c-1"]), min_size=2, max_size=30)


Expected = tuple[Kind, int] | None


def alter(rows: list[Row], data: st.DataObject) -> Expected:
    one = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(1, 4))
    row = rows[one]
    value = {1: "z-9", 2: row[2] + 1, 3: "other", 4: row[4] + b" "}[column]
    rows[one] = (*row[:column], value, *row[column + 1 :])  # type: ignore[assignment]
    return Kind.ALTERED, row[0]


def remove(rows: list[Row], data: st.DataObject) -> Expected:
    one = data.draw(st.integers(0, len(rows) - 1))
    is_last = one == len(rows) - 1
    return Kind.RESTORED if is_last else Kind.MISSING, rows.pop(one)[0]


def cut(rows: list[Row], data: st.DataObject) -> Expected:
    one = data.draw(st.integers(0, len(rows) - 1))
    position = rows[one][0]
    del rows[one:]
    return Kind.RESTORED, position


def swap(rows: list[Row], data: st.DataObject) -> Expected:
    one, other = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=2, max_size=2)))
    places = rows[one][0], rows[other][0]
    rows[one], rows[other] = (places[0], *rows[other][1:]), (places[1], *rows[one][1:])
    return Kind.REORDERED, places[0]


def double(rows: list[Row], data: st.DataObject) -> Expected:
    one = data.draw(st.integers(0, len(rows) - 1))
    position = data.draw(st.sampled_from(rows))[0] + 1
    rows.append((position, *rows[one][1:]))
    return Kind.DOUBLED, position


def nothing(rows: list[Row], data: st.DataObject) -> Expected:
    return None


@given(
    data=st.data(),
    streams=histories,
    apart=st.integers(2, 5),
    act=st.sampled_from([nothing, alter, remove, cut, swap, double]),
)
def test_the_first_event_that_is_not_as_it_was_is_named(data, streams, *, apart, act):
    rows = rows_of(streams, apart)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows)), max_size=4)) | {len(rows)})
    with TemporaryDirectory() as folder:
        path, log = Path(folder) / "seals", RowLog()
        for end in cuts:
            log.rows = rows[:end]
            Sealer(log, SealWriter(path), clock=lambda: NOW).seal()

        changed = list(rows)
        expected = act(changed, data)
        log.rows = sorted(changed)
        finding = verify_log(log, Checks(seals=SealFile(path))).finding

    assert (finding and (finding.kind, finding.position)) == expected
