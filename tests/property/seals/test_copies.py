"""Whatever the history, and wherever a copy was broken off: the digests are equal in the end."""

from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from typing_extensions import override

from eventcore.errors import LogsDifferError
from eventcore.seals import copy_log, digest_of, verify_log
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.limits import LogLimits
from eventcore.stores.log import EVERYTHING, Log, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables
from tests.unit.seals.logs import fill, memory_log

NAMES = ("source", "target")

streams = st.sampled_from(["a-1", "a-2", "b-1", "c-é", "d-4", "e-5"])
# An append names streams one after the other, and may come back to one.
histories = st.lists(st.lists(streams, min_size=1, max_size=8), min_size=1, max_size=12)


def write(log: Log, history: list[list[str]]) -> None:
    make = EventMaker()
    versions: dict[str, int] = {}
    for names in history:
        appends = []
        for name in names:
            event = make(data={"text": "x" * (len(versions) * 40)})
            appends.append(StreamAppend(name, versions.get(name, 0), [event]))
            versions[name] = versions.get(name, 0) + 1
        log.append(appends)


def contents(log: Log) -> list[tuple[str, int, str, bytes]]:
    return [(one.stream, one.version, one.type, one.state) for one in log.read()]


@settings(max_examples=30)
@given(history=histories, cuts=st.lists(st.integers(0, 12), max_size=3))
def test_a_log_goes_through_every_kind_of_store_and_back(history, cuts):
    with TemporaryDirectory() as folder, ExitStack() as stack:
        source = MemoryLog()
        logs: list[Log] = [
            SQLiteLog(Path(folder) / "log.db", synchronous="NORMAL"),
            DynamoDBLog(DynamoDBCalls(ModelTables()), "log-table"),
            MemoryLog(limits=LogLimits(streams_per_append_max=2, events_per_append_max=3)),
        ]
        for log in logs:
            stack.enter_context(closing(log))
        # What the first copy finds of the source each time it is broken off.
        for end in sorted(cuts):
            part = MemoryLog()
            write(part, history[:end])
            copy_log(part, logs[0], names=NAMES)
        write(source, history)
        before: Log = source
        for log in logs:
            copied = copy_log(before, log, names=NAMES)
            assert copied.log == digest_of(source.read()).hex()
            assert contents(log) == contents(source)
            assert verify_log(log).ok
            before = log
        again = copy_log(source, logs[-1], names=NAMES)
        assert (again.copied, again.present) == (0, sum(map(len, history)))


@given(history=histories, other=st.integers(0, 5), data=st.data())
def test_a_target_that_holds_something_else_is_refused_and_not_touched(history, other, *, data):
    source, target = MemoryLog(), MemoryLog()
    write(source, history)
    kept = history[: data.draw(st.integers(0, len(history) - 1))]
    write(target, kept)
    fill(target, ["z-1"] * (other + 1), make=EventMaker(series=1))
    before = contents(target)

    with pytest.raises(LogsDifferError, match=f"event number {sum(map(len, kept)) + 1:,} of the"):
        copy_log(source, target, names=NAMES)

    assert contents(target) == before


def test_what_writes_to_the_target_meanwhile_is_noticed():
    class Busy(MemoryLog):
        """Somebody else appends between two appends of the copy."""

        @override
        def read_page(self, after, limit, where=EVERYTHING):
            if after == 1_000:
                fill(target, ["z-1"], make=EventMaker(series=1))
            return super().read_page(after, limit, where)

    source, target = Busy(), MemoryLog()
    write(source, [["a-1"] * 1_000, ["a-1"] * 1_000])

    with pytest.raises(LogsDifferError, match="something else writes to one of them"):
        copy_log(source, target, names=NAMES)


def test_what_took_a_stream_of_the_target_meanwhile_is_noticed():
    source, target = memory_log(["a-1", "a-1"]), MemoryLog()
    real = target.append

    def append(appends):
        target.append = real  # type: ignore[method-assign]
        fill(target, ["a-1"], make=EventMaker(series=1))
        return real(appends)

    target.append = append  # type: ignore[method-assign]

    with pytest.raises(LogsDifferError, match="something else wrote to it"):
        copy_log(source, target, names=NAMES)
