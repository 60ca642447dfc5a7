"""Every log behaves like a plain dict of lists, whatever is done to it, and SQLite like memory."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typing_extensions import override

from eventcore.errors import ConcurrencyConflictError, EventIdReusedError, StoreError
from eventcore.events.recorded import EncodedEvent, Recorded
from eventcore.events.times import to_text
from eventcore.stores.log import ANY_VERSION, Log, LogFilter, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker
from eventcore.testing.scenarios import START

STREAMS = ["order-1", "order-2", "orders-1", "user-1", "day-Zoë/-"]
TYPES = ["order.paid", "order.created", "user.moved"]
streams = st.sampled_from(STREAMS)
filters = st.builds(
    LogFilter,
    types=st.none() | st.frozensets(st.sampled_from([*TYPES, "no.such"]), max_size=3),
    categories=st.none() | st.frozensets(st.sampled_from(["order", "user", "none"]), max_size=2),
)
# What an event is to be: new, one that is stored already, or its id with another content.
origins = st.sampled_from(["new", "new", "new", "new", "new", "stored", "altered"])
events = st.tuples(origins, st.sampled_from(TYPES), st.integers(0, 5))
new_events = st.tuples(st.just("new"), st.sampled_from(TYPES), st.integers(0, 5))
expectations = st.sampled_from(["current", "current", "any", "stale", "ahead"])
good_expectations = st.sampled_from(["current", "any"])


def appends_of(its_events: Any, its_expectations: Any) -> Any:
    append = st.tuples(streams, its_expectations, st.lists(its_events, min_size=1, max_size=4))
    return st.lists(append, min_size=1, max_size=3)


Row = tuple[str, int, EncodedEvent]
Places = list[tuple[int, int]]
Refusal = tuple[type[StoreError], dict[str, Any]]


class Model:
    """The log in the plainest words: one list of (stream, version, event)."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def stream(self, name: str) -> list[Row]:
        return [row for row in self.rows if row[0] == name]

    def append(self, appends: list[StreamAppend]) -> tuple[str, Places] | Refusal:
        """What must come of it: stored or repeated and where, or an error and its facts."""
        ids = [event.event_id for append in appends for event in append.events]
        if len(set(ids)) < len(ids):
            return StoreError, {}
        repeated = self._repeated(appends)
        if repeated is not None:
            return "repeated", repeated
        refusal = self._moved(appends) or self._reused(ids)
        if refusal:
            return refusal
        places = []
        for name, _, its_events in appends:
            for event in its_events:
                self.rows.append((name, len(self.stream(name)) + 1, event))
                places.append((len(self.rows), self.rows[-1][1]))
        return "stored", places

    def _moved(self, appends: list[StreamAppend]) -> Refusal | None:
        version = {append.stream: len(self.stream(append.stream)) for append in appends}
        for name, expected, its_events in appends:
            if expected not in (ANY_VERSION, version[name]):
                return ConcurrencyConflictError, {
                    "stream": name,
                    "expected_version": expected,
                    "actual_version": version[name],
                }
            version[name] += len(its_events)
        return None

    def _reused(self, ids: list[str]) -> Refusal | None:
        by_id = {row[2].event_id: row for row in self.rows}
        for id_ in ids:
            if id_ in by_id:
                name, version, _ = by_id[id_]
                return EventIdReusedError, {"event_id": id_, "stream": name, "version": version}
        return None

    def _repeated(self, appends: list[StreamAppend]) -> Places | None:
        places = []
        for name, expected, its_events in appends:
            for ordinal, event in enumerate(its_events, start=1):
                found = [
                    (position, row[1])
                    for position, row in enumerate(self.rows, start=1)
                    if row[0] == name and row[2] == event
                ]
                if not found or (expected != ANY_VERSION and found[0][1] != expected + ordinal):
                    return None
                places.append(found[0])
        return places


class LogMachine(RuleBasedStateMachine):
    """Runs a history against a log and the model."""

    def open(self) -> Log:
        raise NotImplementedError

    @initialize()
    def start(self):
        self.log = self.open()
        self.model = Model()
        self.make = EventMaker()
        self.last: list[StreamAppend] | None = None
        self.followed: list[Recorded[Any]] = []
        self.subscription = self.log.subscribe()

    @override
    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.subscription.close()
            self.log.close()

    def _append(self, appends: list[StreamAppend]) -> None:
        kind, facts = self.model.append(appends)
        if isinstance(kind, str):
            result = self.log.append(appends)
            assert list(zip(result.positions, result.versions, strict=True)) == facts
            assert result.repeated is (kind == "repeated")
            return
        assert isinstance(facts, dict)
        with pytest.raises(StoreError) as caught:
            self.log.append(appends)
        assert type(caught.value) is kind
        assert {name: caught.value.facts[name] for name in facts} == facts

    def _event(self, origin: str, type_: str, second: int) -> EncodedEvent:
        rows = self.model.rows
        if origin == "new" or not rows:
            return self.make(type_, at=START + timedelta(seconds=second))
        stored = rows[second % len(rows)][2]
        return stored if origin == "stored" else stored._replace(state=stored.state + b" ")

    def _append_drawn(self, drawn: Any) -> None:
        chosen = []
        reached: dict[str, int] = {}
        for name, expectation, its_events in drawn:
            current = reached.get(name, len(self.model.stream(name)))
            versions = {"any": ANY_VERSION, "stale": max(current - 1, 0), "ahead": current + 2}
            made = [self._event(*event) for event in its_events]
            chosen.append(StreamAppend(name, versions.get(expectation, current), made))
            reached[name] = current + len(its_events)
        self.last = chosen
        self._append(chosen)

    @rule(drawn=appends_of(new_events, good_expectations))
    def append_what_fits(self, drawn):
        before = len(self.model.rows)
        self._append_drawn(drawn)
        assert len(self.model.rows) > before

    @rule(drawn=appends_of(events, expectations))
    def append_anything(self, drawn):
        self._append_drawn(drawn)

    @rule()
    def repeat_the_last_append(self):
        if self.last is not None:
            self._append(self.last)

    @rule(
        name=streams,
        after=st.integers(-1, 8),
        until=st.none() | st.integers(-1, 8),
        second=st.none() | st.integers(-1, 6),
        backwards=st.booleans(),
        limit=st.none() | st.integers(0, 4),
    )
    def read_stream(self, name, after, until, second, backwards, limit):  # noqa: PLR0917
        moment = None if second is None else to_text(START + timedelta(seconds=second))
        rows = self.model.stream(name)
        if moment is not None:
            later = [row[1] for row in rows if row[2].timestamp > moment]
            rows = rows[: later[0] - 1] if later else rows
        rows = [row for row in rows if row[1] > after and (until is None or row[1] <= until)]
        rows = (rows[::-1] if backwards else rows)[:limit]

        found = self.log.read_stream(
            name, after=after, until=until, until_time=moment, backwards=backwards, limit=limit
        )

        assert [(event.stream, event.version, event.type, event.state) for event in found] == [
            (stream, version, event.type, event.state) for stream, version, event in rows
        ]

    def _matching(self, after: int, where: LogFilter) -> list[int]:
        return [
            position
            for position, (name, _, event) in enumerate(self.model.rows, start=1)
            if position > after
            and (where.types is None or event.type in where.types)
            and (where.categories is None or name.split("-")[0] in where.categories)
        ]

    @rule(after=st.integers(-1, 20), limit=st.integers(1, 5), where=filters)
    def read_page(self, after, limit, where):
        matching = self._matching(after, where)
        page = self.log.read_page(after, limit, where)

        assert [event.position for event in page.events] == matching[:limit]
        everything = where == LogFilter()
        if len(matching) >= limit or (everything and matching):
            assert page.end == page.events[-1].position
        elif everything:
            assert page.end == max(after, 0)
        else:
            assert page.end == max(after, len(self.model.rows), 0)

    @rule(after=st.integers(0, 20), until=st.none() | st.integers(0, 20), where=filters)
    def read(self, after, until, where):
        expected = [p for p in self._matching(after, where) if until is None or p <= until]

        found = self.log.read(after, until=until, where=where)

        assert [event.position for event in found] == expected

    @rule(numbers=st.lists(st.integers(0, 20), max_size=6))
    def locate(self, numbers):
        stored = {row[2].event_id: row for row in self.model.rows}
        ids = [str(UUID(int=number)) for number in numbers]
        ids += [id_ for number, id_ in enumerate(stored) if number in numbers]

        found = self.log.locate(ids)

        assert {
            id_: (event.stream, event.version, event.state) for id_, event in found.items()
        } == {id_: (row[0], row[1], row[2].state) for id_, row in stored.items() if id_ in ids}

    @rule()
    def drain_the_subscription(self):
        page = self.subscription.next_page(0)
        assert page is not None
        self.followed.extend(page.events)
        assert [event.position for event in self.followed] == list(
            range(1, len(self.model.rows) + 1)
        )

    @rule(where=filters, after=st.integers(0, 20))
    def follow_a_filter_from_somewhere(self, where, after):
        with self.log.subscribe(after, where) as subscription:
            page = subscription.next_page(0)
        assert page is not None
        assert [event.position for event in page.events] == self._matching(after, where)

    @invariant()
    def heads_and_versions_agree(self):
        if not hasattr(self, "log"):
            return
        assert self.log.head() == len(self.model.rows)
        expected = {name: len(self.model.stream(name)) for name in STREAMS}
        assert dict(self.log.stream_versions(STREAMS)) == expected
        assert {name: self.log.stream_version(name) for name in STREAMS} == expected


class MemoryMachine(LogMachine):
    @override
    def open(self) -> Log:
        return MemoryLog()


class SQLiteMachine(LogMachine):
    @override
    def open(self) -> Log:
        self.folder = Path(tempfile.mkdtemp())
        return SQLiteLog(self.folder / "log.db", synchronous="NORMAL")

    @rule()
    def close_and_open_again(self):
        self.subscription.close()
        self.log.close()
        self.log = SQLiteLog(self.folder / "log.db", synchronous="NORMAL")
        # A follower goes on from where it was.
        self.subscription = self.log.subscribe(len(self.followed))

    @override
    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestMemoryMachine = MemoryMachine.TestCase
TestSQLiteMachine = SQLiteMachine.TestCase
TestMemoryMachine.settings = settings(max_examples=40, stateful_step_count=40)
TestSQLiteMachine.settings = settings(max_examples=25, stateful_step_count=30)
