"""Whatever bytes a log stores, an archive gives back those bytes."""

import re
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given

from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.lake.columns import events_of, table_of
from eventcore.lake.files import parquet_of, table_in
from eventcore.lake.rows import recorded_of

CODEC = Codec()

moments = st.datetimes().map(lambda at: at.isoformat(timespec="microseconds") + "Z")
odd_moments = st.from_regex(
    re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{15}Z", re.ASCII), fullmatch=True
)
ids = st.uuids().map(str) | st.uuids().map(lambda one: str(one).upper())
states = st.builds(
    lambda version, id_, at, rest: f'{{"v":{version},"id":"{id_}","at":"{at}"{rest}'.encode(),
    st.integers(0, 12),
    ids | st.text(max_size=40),
    moments | odd_moments | st.text(max_size=30),
    st.sampled_from([',"data":{}}', "}", ',"data":{"a":[1,2]},"meta":{}}', ",", ""]),
)
events = st.lists(
    st.tuples(
        st.sampled_from(["order-1", "user-é/-", "a-b"]),
        st.integers(1, 2**62),
        st.sampled_from(["order.paid", "t.x"]),
        states | st.binary(max_size=120),
    ),
    max_size=12,
)


@given(events)
@example([("a-b", 1, "t.x", b"")])
@example(
    [
        (
            "a-b",
            1,
            "t.x",
            b'{"v":1,"id":"00000000-0000-7000-8000-000000000000","at":"0000-01-01T00:00:00.000000Z",',
        )
    ]
)
def test_events_come_back_as_they_were_stored(rows):
    recorded: list[Recorded[Any]] = [
        Recorded(position, row[0], row[1], row[2], row[3], CODEC)
        for position, row in enumerate(rows, start=1)
    ]

    table = table_of(recorded)
    packed = table_in(parquet_of(table))

    assert packed.equals(table)
    for one in (table, packed):
        batches = events_of(one).to_batches()
        assert [event for batch in batches for event in recorded_of(batch, CODEC)] == recorded


@given(st.lists(st.tuples(st.integers(1, 9), st.uuids(), st.datetimes()), min_size=1, max_size=9))
def test_what_the_codec_writes_is_split_into_columns(heads):
    rows = [
        f'{{"v":{version},"id":"{id_}","at":"{at.isoformat(timespec="microseconds")}Z","data":{{}}}}'
        for version, id_, at in heads
    ]
    recorded: list[Recorded[Any]] = [
        Recorded(position, "a-b", position, "t.x", row.encode(), CODEC)
        for position, row in enumerate(rows, start=1)
    ]

    table = table_of(recorded)

    assert table["schema_version"].to_pylist() == [version for version, _, _ in heads]
    assert table["event_id"].to_pylist() == [id_ for _, id_, _ in heads]
    assert [at.replace(tzinfo=None) for at in table["timestamp"].to_pylist()] == [
        at for _, _, at in heads
    ]
    assert set(table["body"].to_pylist()) == {b'{"data":{}}'}
