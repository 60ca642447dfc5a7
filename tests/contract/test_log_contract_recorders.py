"""The log on recorders of ``eventsourcing`` keeps the contract too, whoever made the recorder."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from eventsourcing import persistence
from eventsourcing.popo import POPOApplicationRecorder
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from typing_extensions import override

from eventcore.errors import (
    ConcurrencyConflictError,
    ConfigurationError,
    EventIdReusedError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.stores.log import ANY_VERSION, AppendResult, Log, LogFilter, Page, StreamAppend
from eventcore.stores.recorders import RecorderLog
from eventcore.stores.recorders.log import ATTEMPTS_MAX, TOPICS_MAX
from eventcore.testing import EventMaker, LogContract
from eventcore.testing.log_cases import run_threads


class RecorderLogContract(LogContract):
    """Logs of one test share a recorder; the recorder refuses versions taken, and no ids."""

    has_unique_event_ids = False

    recorder: persistence.ApplicationRecorder

    @override
    def open_log(self) -> Log:
        return RecorderLog(self.recorder)


class TestOnPOPO(RecorderLogContract):
    @pytest.fixture(autouse=True)
    def _make_recorder(self) -> None:
        self.recorder = POPOApplicationRecorder()


class TestOnBaseSQLite(RecorderLogContract):
    @pytest.fixture(autouse=True)
    def _make_recorder(self, tmp_path: Path) -> Iterator[None]:
        datastore = SQLiteDatastore(str(tmp_path / "log.db"), originator_id_type="text")
        recorder = SQLiteApplicationRecorder(datastore)
        recorder.create_table()
        self.recorder = recorder
        yield
        datastore.close()


class TestOnOurMemoryModule(RecorderLogContract):
    @pytest.fixture(autouse=True)
    def _make_recorder(self) -> Iterator[None]:
        with factory({"PERSISTENCE_MODULE": "eventcore.stores.memory"}) as made:
            self.recorder = made.application_recorder()
            yield


class TestOnOurSQLiteModule(RecorderLogContract):
    """Each log has a recorder and connections of its own, as those of several processes have."""

    @pytest.fixture(autouse=True)
    def _choose_file(self, tmp_path: Path) -> Iterator[None]:
        self.env = sqlite_env(tmp_path / "log.db")
        self.factories: list[persistence.InfrastructureFactory[Any]] = []
        yield
        for made in self.factories:
            made.close()

    @override
    def open_log(self) -> Log:
        self.factories.append(factory(self.env))
        return RecorderLog(self.factories[-1].application_recorder())


def sqlite_env(path: Path) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": "eventcore.stores.sqlite",
        "SQLITE_DBNAME": str(path),
        "ORIGINATOR_ID_TYPE": "text",
    }


def factory(env: dict[str, str]) -> persistence.InfrastructureFactory[Any]:
    return persistence.InfrastructureFactory.construct(env)


class Interrupted(POPOApplicationRecorder):
    """Does something else first when it is told to insert."""

    def __init__(self) -> None:
        super().__init__()
        self.before_insert: list[Any] = []

    @override
    def insert_events(
        self, stored_events: Sequence[persistence.StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        if self.before_insert:
            self.before_insert.pop(0)()
        return super().insert_events(stored_events, **kwargs)


def one(stream: str, version: int, event: Any) -> list[StreamAppend]:
    return [StreamAppend(stream, version, [event])]


def test_a_reader_of_the_base_library_sees_the_same_rows(tmp_path):
    make = EventMaker()
    events = make.many(2, "order.paid")
    env = sqlite_env(tmp_path / "log.db")
    with factory(env) as made:
        RecorderLog(made.application_recorder()).append([StreamAppend("order-1", 0, events)])

    with factory(env | {"PERSISTENCE_MODULE": "eventsourcing.sqlite"}) as made:
        recorder = made.application_recorder()
        rows = recorder.select_events("order-1")
        notifications = recorder.select_notifications(None, 10)

    assert rows == [
        persistence.StoredEvent("order-1", 1, "order.paid", events[0].state),
        persistence.StoredEvent("order-1", 2, "order.paid", events[1].state),
    ]
    assert [(row.id, row.originator_version) for row in notifications] == [(1, 1), (2, 2)]


def test_a_recorder_of_uuids_is_refused(tmp_path):
    env = sqlite_env(tmp_path / "log.db") | {"ORIGINATOR_ID_TYPE": "uuid"}
    with factory(env) as made, pytest.raises(ConfigurationError, match="ORIGINATOR_ID_TYPE=text"):
        RecorderLog(made.application_recorder())


def test_a_writer_that_comes_in_between_makes_a_conflict_and_no_gap():
    recorder, make = Interrupted(), EventMaker()
    log, other = RecorderLog(recorder), RecorderLog(recorder)
    recorder.before_insert = [lambda: other.append(one("order-1", 0, make()))]

    with pytest.raises(ConcurrencyConflictError) as caught:
        log.append(one("order-1", 0, make()))

    assert (caught.value.expected_version, caught.value.actual_version) == (0, 1)
    assert [event.version for event in log.read_stream("order-1")] == [1]


def test_at_any_version_a_writer_that_comes_in_between_is_followed():
    recorder, make = Interrupted(), EventMaker()
    log, other = RecorderLog(recorder), RecorderLog(recorder)
    recorder.before_insert = [lambda: other.append(one("day-1", ANY_VERSION, make()))]

    assert log.append(one("day-1", ANY_VERSION, make())).versions == (2,)


def test_at_any_version_there_is_an_end_to_trying():
    recorder, make = Interrupted(), EventMaker()
    log, other = RecorderLog(recorder), RecorderLog(recorder)

    def faster():
        recorder.before_insert = []
        other.append(one("day-1", ANY_VERSION, make()))
        recorder.before_insert = [faster]

    recorder.before_insert = [faster]
    with pytest.raises(StoreUnavailableError, match=f"{ATTEMPTS_MAX} times"):
        log.append(one("day-1", ANY_VERSION, make()))

    assert log.stream_version("day-1") == ATTEMPTS_MAX


@pytest.mark.parametrize("version", [0, ANY_VERSION])
def test_the_same_append_by_another_log_in_between_is_written_once(version):
    recorder, make = Interrupted(), EventMaker()
    log, other = RecorderLog(recorder), RecorderLog(recorder)
    append = one("order-1", version, make())
    recorder.before_insert = [lambda: other.append(append)]

    assert log.append(append) == AppendResult((1,), (1,), repeated=True)
    assert log.head() == 1


def test_one_id_stored_by_two_logs_in_two_streams_at_once_is_there_twice_and_found_once():
    recorder, make = Interrupted(), EventMaker()
    log, other = RecorderLog(recorder), RecorderLog(recorder)
    event = make()
    recorder.before_insert = [lambda: other.append(one("order-1", 0, event))]

    log.append(one("order-2", 0, event))

    assert [stored.stream for stored in log.read()] == ["order-1", "order-2"]
    for each in (log, other):
        assert each.locate([event.event_id])[event.event_id].stream == "order-1"
        with pytest.raises(EventIdReusedError):
            each.append(one("order-3", 0, event))


def test_an_answer_that_got_lost_is_given_again():
    class LosesOneAnswer(POPOApplicationRecorder):
        has_lost = False

        @override
        def insert_events(self, stored_events, **kwargs):
            places = super().insert_events(stored_events, **kwargs)
            if not self.has_lost:
                self.has_lost = True
                raise persistence.OperationalError("connection lost")
            return places

    log, append = RecorderLog(LosesOneAnswer()), one("order-1", ANY_VERSION, EventMaker()())
    with pytest.raises(StoreUnavailableError, match="connection lost"):
        log.append(append)

    assert log.append(append) == AppendResult((1,), (1,), repeated=True)


def test_a_refusal_that_the_log_does_not_explain_is_an_error_without_the_event():
    class Refuses(POPOApplicationRecorder):
        @override
        def insert_events(self, stored_events, **kwargs):
            raise persistence.IntegrityError(f"refused: {stored_events}")

    event = EventMaker()(data={"email": "ada@example.com"})
    with pytest.raises(StoreError, match="refused events that are not there") as caught:
        RecorderLog(Refuses()).append(one("order-1", 0, event))

    assert "ada" not in "".join(traceback.format_exception(caught.value))


def test_other_errors_of_a_recorder_become_those_of_the_store():
    class Fails(POPOApplicationRecorder):
        error: Exception = persistence.ProgrammingError("no such table")

        @override
        def max_notification_id(self):
            raise self.error

        @override
        def insert_events(self, stored_events, **kwargs):
            return None

    recorder = Fails()
    log = RecorderLog(recorder)
    with pytest.raises(StoreError, match="no such table"):
        log.head()
    recorder.error = persistence.ConnectionPoolClosedError()
    with pytest.raises(StoreClosedError):
        log.head()
    with log.subscribe() as subscription:
        assert subscription.next_page(0) == Page([], 0)


def test_a_recorder_that_gives_no_positions_is_refused():
    class Silent(POPOApplicationRecorder):
        @override
        def insert_events(self, stored_events, **kwargs):
            super().insert_events(stored_events, **kwargs)

    with pytest.raises(StoreError, match="does not say where"):
        RecorderLog(Silent()).append(one("order-1", 0, EventMaker()()))


@pytest.mark.parametrize(
    "foreign",
    [
        persistence.StoredEvent("order-2", 1, "module:Class", b"no JSON"),
        persistence.StoredEvent("order-2", 1, "module:Class", b"[1]"),
        persistence.StoredEvent("order-2", 1, "module:Class", b'{"id":5}'),
        persistence.StoredEvent("order-1", 3, "order.paid", EventMaker(series=9)().state),
        persistence.StoredEvent("order-2", 0, "order.paid", EventMaker(series=9)().state),
    ],
)
def test_what_something_else_wrote_into_the_recorder_is_named(foreign):
    recorder, make = POPOApplicationRecorder(), EventMaker()
    log = RecorderLog(recorder)
    log.append(one("order-1", 0, make()))
    recorder.insert_events([foreign])

    for _ in range(2):
        with pytest.raises(StoreError, match="position 2 was written by something else"):
            log.append(one("order-1", 1, make()))
    assert log.head() == 2


def test_a_state_that_begins_otherwise_is_indexed_all_the_same():
    id_ = "00000000-0000-7000-8000-000000000007"
    event = EventMaker()()._replace(event_id=id_, state=b'{"id":"%b","v":1}' % id_.encode())
    recorder = POPOApplicationRecorder()
    RecorderLog(recorder).append(one("order-1", 0, event))

    assert RecorderLog(recorder).locate([id_])[id_].state == event.state


def test_a_state_with_another_id_inside_is_refused():
    make = EventMaker()
    log = RecorderLog(POPOApplicationRecorder())

    with pytest.raises(StoreError, match="has another id in it"):
        log.append(one("order-1", 0, make()._replace(state=make().state)))

    assert log.head() == 0


def test_a_new_log_finds_what_is_far_apart_in_a_large_recorder():
    recorder, make = POPOApplicationRecorder(), EventMaker()
    events = make.many(3 * READ_PAGE_EVENTS)
    RecorderLog(recorder).append([StreamAppend("order-1", 0, events)])
    wanted = [events[index] for index in (0, 16, 33, 51, 2000, 2999)]

    found = RecorderLog(recorder).locate([event.event_id for event in wanted])

    assert [event.position for event in found.values()] == [1, 17, 34, 52, 2001, 3000]
    assert [event.state for event in found.values()] == [event.state for event in wanted]


def test_more_types_than_a_recorder_is_asked_for_by_name_are_sifted():
    log, make = RecorderLog(POPOApplicationRecorder()), EventMaker()
    log.append([StreamAppend("order-1", 0, [make("a.0"), make("b.0"), make("a.1")])])
    where = LogFilter(types=frozenset(f"a.{number}" for number in range(TOPICS_MAX + 1)))

    page = log.read_page(0, 10, where)

    assert ([event.position for event in page.events], page.end) == ([1, 3], 3)


class WithHoles(POPOApplicationRecorder):
    """Numbers its events 10, 20, ..., as a sequence does of which most inserts were undone."""

    @override
    def insert_events(self, stored_events, **kwargs):
        return [10 * place for place in super().insert_events(stored_events, **kwargs) or ()]

    @override
    def max_notification_id(self):
        return 10 * (super().max_notification_id() or 0)

    @override
    def select_notifications(self, start, limit, stop=None, topics=(), *, inclusive_of_start=True):
        rows = super().select_notifications(None, 2**62, None, topics)
        spread = [persistence.Notification(**{**vars(row), "id": 10 * row.id}) for row in rows]
        return [row for row in spread if start < row.id <= (stop or 2**62)][:limit]


def test_positions_with_holes_are_kept_as_the_recorder_gives_them():
    recorder, make = WithHoles(), EventMaker()
    log, other = RecorderLog(recorder), RecorderLog(recorder)
    events = make.many(3)

    assert log.append([StreamAppend("order-1", 0, events)]).positions == (10, 20, 30)
    assert other.append(one("order-1", 3, make())).positions == (40,)

    assert [event.position for event in log.read_stream("order-1")] == [10, 20, 30, 40]
    assert [event.position for event in other.read(10, until=30)] == [20, 30]
    assert log.append([StreamAppend("order-1", 0, events)]).repeated
    assert other.read_page(40, 5) == Page([], 40)


def test_many_logs_on_one_file_leave_no_gap_and_agree(tmp_path):
    env, writers, each = sqlite_env(tmp_path / "log.db"), 4, 15
    factories = [factory(env) for _ in range(writers)]
    logs = [RecorderLog(made.application_recorder()) for made in factories]
    barrier = threading.Barrier(writers)

    def write(number: int) -> None:
        make = EventMaker(series=number + 1)
        barrier.wait(60)
        for _ in range(each):
            logs[number].append(
                [
                    StreamAppend("shared-1", ANY_VERSION, make.many(2)),
                    StreamAppend(f"own-{number}", ANY_VERSION, [make()]),
                ]
            )

    run_threads(*(lambda n=number: write(n) for number in range(writers)))

    contents = [list(log.read_stream("shared-1")) for log in logs]
    assert [event.version for event in contents[0]] == list(range(1, 2 * writers * each + 1))
    assert contents == [contents[0]] * writers
    assert logs[0].head() == 3 * writers * each
    for made in factories:
        made.close()
