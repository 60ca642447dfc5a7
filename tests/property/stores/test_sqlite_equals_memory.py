"""The two embedded logs answer alike: same places, same events, same errors down to the facts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
from hypothesis import example, given

from eventcore.errors import EventCoreError
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.log import LogFilter, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog

# Names and ids from outside: any text, good and bad.
names = st.one_of(
    st.sampled_from(["order-1", "order-2", "user-1", "order-", "-", "a-\0"]),
    st.text(max_size=12).map(lambda text: f"order-{text}"),
    st.text(alphabet=st.characters(), max_size=6),
)
event_ids = st.one_of(
    st.uuids().map(str),
    st.sampled_from([f"00000000-0000-7000-8000-00000000000{n}" for n in range(9)]),
    st.sampled_from(["", "X", "00000000-0000-7000-8000-00000000000A"]),
)
event_lists = st.lists(
    st.builds(
        EncodedEvent,
        event_ids,
        st.sampled_from(["order.paid", "order.paid", "user.moved"]) | st.text(max_size=8),
        st.just("2026-01-01T00:00:00.000000Z"),
        st.sampled_from([b'{"v":1}', b'{"v":2}', b""]),
    ),
    max_size=3,
)
append_lists = st.lists(st.builds(StreamAppend, names, st.integers(-2, 4), event_lists), max_size=3)


def outcome(act: Callable[[], object]) -> object:
    try:
        return act()
    except EventCoreError as error:
        facts = {name: value for name, value in error.facts.items() if name != "store"}
        return type(error), facts


@given(history=st.lists(append_lists, max_size=12), filtered=st.sampled_from(["order", "user", ""]))
@example(history=[[StreamAppend("a-\ud800", 0, [])]], filtered="")
def test_the_same_history_has_the_same_outcome(history, filtered):
    where = LogFilter(categories=frozenset({filtered}))
    with TemporaryDirectory() as folder:
        memory, sqlite = MemoryLog(), SQLiteLog(Path(folder) / "log.db", synchronous="NORMAL")
        try:
            for appends in history:
                expected = outcome(partial(memory.append, appends))
                assert outcome(partial(sqlite.append, appends)) == expected
                for stream, _, _ in appends:
                    assert list(sqlite.read_stream(stream)) == list(memory.read_stream(stream))
            assert list(sqlite.read()) == list(memory.read())
            assert sqlite.read_page(0, 100, where) == memory.read_page(0, 100, where)
            ids = [
                event.event_id for appends in history for append in appends for event in append[2]
            ]
            assert dict(sqlite.locate(ids)) == dict(memory.locate(ids))
        finally:
            sqlite.close()
            memory.close()
