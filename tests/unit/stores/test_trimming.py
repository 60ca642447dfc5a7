"""Trimming: what leaves is in an archive, what stays says so, and nothing else can be removed."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from eventcore.errors import EventIdReusedError, TrimmedHistoryError, TrimRefusedError
from eventcore.events.recorded import EncodedEvent, Recorded
from eventcore.opening import open_log
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import ANY_VERSION, LogFilter, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.stores.trimming import TRIM_EVENTS_MAX, TrimmableLog, TrimRecord
from eventcore.testing import EventMaker
from tests.dynamodb import DynamoDBPlace
from tests.model_dynamodb import ModelTables
from tests.postgres import PostgresSchema

ARCHIVE = "s3://bucket/lake"


def a_log(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if kind == "postgres":
        place: PostgresSchema = request.getfixturevalue("postgres_schema")
        return PostgresLog(place.url, schema=place.schema)
    if kind == "dynamodb-model":
        return DynamoDBLog(DynamoDBCalls(ModelTables()), "log-table")
    if kind == "dynamodb":
        there: DynamoDBPlace = request.getfixturevalue("dynamodb")
        return open_log(there.store_url)
    return MemoryLog() if kind == "memory" else SQLiteLog(tmp_path / "log.db")


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        "dynamodb-model",
        pytest.param("dynamodb", marks=pytest.mark.dynamodb),
    ]
)
def log(request, tmp_path):
    log = a_log(request.param, request, tmp_path)
    make = EventMaker()
    for number in range(12):
        stream = f"order-{number % 3}"
        log.append([StreamAppend(stream, ANY_VERSION, [make(data={"n": number})])])
    yield log
    log.close()


def test_a_log_that_was_never_trimmed_says_so(log):
    is_trimmable = isinstance(log, TrimmableLog)
    assert is_trimmable
    assert log.trim_record() is None
    assert log.trimmed_positions([str(next(log.read()).event_id)]) == {}


def test_what_was_trimmed_is_refused_and_the_rest_is_read(log):
    events = list(log.read())

    assert log.trim(events[:6], archive=ARCHIVE) == 6

    assert log.trim_record() == TrimRecord(6, ARCHIVE)
    assert list(log.read(6)) == events[6:]
    assert list(log.read_stream("order-1", after=2)) == [events[7], events[10]]
    assert [event.version for event in log.read_stream("order-1", backwards=True, limit=2)] == [
        4,
        3,
    ]
    assert log.stream_version("order-1") == 4
    assert log.head() == 12
    paid = LogFilter(types=frozenset({"order.paid"}))
    for read in (
        lambda: log.read_page(0, 10),
        lambda: log.read_page(5, 10),
        lambda: log.read_page(0, 10, paid),
        lambda: list(log.read()),
        lambda: list(log.read_stream("order-1")),
        lambda: list(log.read_stream("order-1", after=1)),
        lambda: list(log.read_stream("order-1", until=1)),
        lambda: list(log.read_stream("order-1", until=2, backwards=True)),
        lambda: list(log.read_stream("order-1", backwards=True)),
        lambda: list(log.read_stream("order-1", until_time="2026-01-01T09:00:01.000000Z")),
        lambda: log.locate([str(events[7].event_id), str(events[0].event_id)]),
    ):
        with pytest.raises(TrimmedHistoryError, match=ARCHIVE):
            read()
    assert log.read_page(6, 10, paid).events == []
    assert log.locate([str(events[7].event_id)]) == {str(events[7].event_id): events[7]}


def test_the_newest_events_of_a_stream_are_told_before_what_was_trimmed_is_missed(log):
    events = list(log.read())
    log.trim(events[:6], archive=ARCHIVE)

    found: list[Recorded[Any]] = []
    with pytest.raises(TrimmedHistoryError):
        found.extend(event for event in log.read_stream("order-1", backwards=True))
    newest = log.read_stream("order-1", backwards=True)

    assert [next(newest), next(newest)] == [events[10], events[7]]


def test_streams_go_on_and_ids_stay_taken(log):
    events = list(log.read())
    log.trim(events[:6], archive=ARCHIVE)
    make = EventMaker(series=9)

    result = log.append([StreamAppend("order-1", 4, [make()])])

    assert (result.versions, result.positions) == ((5,), (13,))
    old, kept = (
        EncodedEvent(str(event.event_id), event.type, event.timestamp_text, event.state)
        for event in (events[0], events[8])
    )
    for expected in (0, 5, ANY_VERSION):
        with pytest.raises(TrimmedHistoryError, match="event 0"):
            log.append([StreamAppend("order-1", expected, [old])])
    with pytest.raises(EventIdReusedError):
        log.append([StreamAppend("order-9", 0, [kept])])
    assert log.head() == 13


def test_positions_of_trimmed_events_are_known_by_id(log):
    events = list(log.read())
    log.trim(events[:6], archive=ARCHIVE)

    ids = [str(event.event_id) for event in events]
    assert log.trimmed_positions([*ids, "no id"]) == dict(zip(ids[:6], range(1, 7), strict=True))


def test_trimming_again_passes_over_what_is_gone(log):
    events = list(log.read())
    log.trim(events[:4], archive=ARCHIVE)

    assert log.trim(events[:7], archive="elsewhere") == 3
    assert log.trim_record() == TrimRecord(7, "elsewhere")
    assert log.trim(events[:7], archive="nowhere") == 0
    assert log.trim_record() == TrimRecord(7, "elsewhere")
    assert log.trim([], archive="nowhere") == 0


def changed(event: Recorded[Any]) -> Recorded[Any]:
    state = event.state.replace(b'"n"', b'"m"')
    return Recorded(event.position, event.stream, event.version, event.type, state, event._codec)


@pytest.mark.parametrize(
    "chosen",
    [
        lambda events: [events[0], changed(events[1])],
        lambda events: [*events[:6], events[11]],  # the newest of its stream
        lambda events: [events[3]],  # an older one of its stream would stay
        lambda events: [events[1], events[0]],  # not in order
        lambda events: [
            Recorded(99, "order-1", 1, "t.x", EventMaker(series=5)().state, events[0]._codec)
        ],
        lambda events: [
            Recorded(1, "order-0", 2, events[0].type, events[0].state, events[0]._codec)
        ],
        lambda events: events[:1] * (TRIM_EVENTS_MAX + 1),
    ],
)
def test_what_must_stay_is_not_removed(log, chosen):
    events = list(log.read())

    with pytest.raises(TrimRefusedError, match="Nothing was removed"):
        log.trim(chosen(events), archive=ARCHIVE)

    assert list(log.read()) == events
    assert log.trim_record() is None


def test_the_file_itself_lets_nothing_through_but_trimming(tmp_path):
    log = SQLiteLog(tmp_path / "log.db")
    make = EventMaker()
    log.append([StreamAppend("order-1", 0, make.many(5))])
    events = list(log.read())
    log.trim(events[:2], archive=ARCHIVE)
    other = sqlite3.connect(tmp_path / "log.db")

    for statement in (
        "DELETE FROM eventcore_log WHERE position = 3",
        "DELETE FROM eventcore_log",
        "UPDATE eventcore_log SET type = 'x' WHERE position = 3",
        "DELETE FROM eventcore_log_trimmed",
        "UPDATE eventcore_log_trimmed SET position = 9",
        f"INSERT INTO eventcore_log VALUES (99, 'order-2', 1, 't', '{events[0].event_id}', x'00')",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="eventcore_log"):
            other.execute(statement)
    # Noted as trimmed, the newest event of a stream stays nevertheless, and so does one in between.
    other.execute(f"INSERT INTO eventcore_log_trimmed VALUES ('{events[4].event_id}', 5)")
    other.execute(f"INSERT INTO eventcore_log_trimmed VALUES ('{events[3].event_id}', 4)")
    for position in (5, 4):
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            other.execute("DELETE FROM eventcore_log WHERE position = ?", (position,))
    other.close()
    log.close()
    assert list(SQLiteLog(tmp_path / "log.db", create=False).read(2)) == events[2:]


def test_another_handle_on_the_file_knows_at_once(tmp_path):
    log, other = SQLiteLog(tmp_path / "log.db"), SQLiteLog(tmp_path / "log.db")
    log.append([StreamAppend("order-1", 0, EventMaker().many(5))])
    events = list(other.read())

    log.trim(events[:2], archive=ARCHIVE)

    for read in (lambda: other.read_page(0, 5), lambda: list(other.read_stream("order-1"))):
        with pytest.raises(TrimmedHistoryError):
            read()
    log.close()
    other.close()
