"""A page that SQLite gives in one row says what its rows say, whatever is stored."""

import sqlite3
import threading
from typing import Any

import pytest

from eventcore.projections.pages import PageReader
from eventcore.stores.log import LogFilter
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.stores.sqlite.pages import PACKED_EVENTS_MIN, Fetched
from tests.unit.projections.histories import order, record

EVENTS = 200


@pytest.fixture
def log(tmp_path):
    log = SQLiteLog(tmp_path / "log.db", synchronous="NORMAL")
    record(log, *(order(f"o{n}", user_id="\u00fc\u20ac") for n in range(EVENTS)))
    yield log
    log.close()


def insert(log: SQLiteLog, state: bytes, *, stream: str = "odd-1") -> None:
    """As another program might, which knows nothing of what a state is."""
    with log.connections.writing() as connection:
        connection.execute(
            "INSERT INTO eventcore_log (stream, version, type, event_id, state)"
            " VALUES (?, 1, 'order.created', ?, ?)",
            (stream, f"id-{stream}", state),
        )


def by_rows(log: SQLiteLog, limit: int = 10_000) -> list[Any]:
    with log.connections.reading() as connection:
        return connection.execute(
            "SELECT position, stream, version, type, state FROM eventcore_log"
            " ORDER BY position LIMIT ?",
            (limit,),
        ).fetchall()


def as_rows(events: Any) -> list[Any]:
    return [(e.position, e.stream, e.version, e.type, e.state) for e in events]


@pytest.mark.parametrize("limit", [1, PACKED_EVENTS_MIN - 1, PACKED_EVENTS_MIN, EVENTS, 5_000])
def test_a_page_is_what_the_rows_are(log, limit):
    page = log.read_page(0, limit)

    assert as_rows(page.events) == by_rows(log, limit)
    assert page.end == min(limit, EVENTS)


def test_a_page_of_some_types_ends_at_the_head(log):
    found = log.read_page(0, 1_000, LogFilter(types=frozenset({"order.paid"})))
    assert (list(found.events), found.end) == ([], EVENTS)

    found = log.read_page(0, 100, LogFilter(types=frozenset({"order.created"})))
    assert (len(found.events), found.end) == (100, 100)
    assert log.read_page(EVENTS, 1_000).end == EVENTS


@pytest.mark.parametrize(
    "state", [b"\x1f", b'{"a":"\x1f"}', b"", b"\x00\x1f\x00", b"\xff\xfe", b'{"a":"\x00"}']
)
def test_bytes_that_are_no_event_come_as_they_are(log, state):
    insert(log, state)

    assert as_rows(log.read_page(0, 1_000).events) == by_rows(log)


def test_a_file_of_another_encoding_is_read_row_by_row(tmp_path):
    file = tmp_path / "utf16.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16'")
        connection.execute("CREATE TABLE somebody_elses (x)")
    connection.close()
    log = SQLiteLog(file)
    record(log, *(order(f"o{n}", user_id="\u00fc") for n in range(EVENTS)))

    assert as_rows(log.read_page(0, 1_000).events) == by_rows(log)
    log.close()


def test_what_is_larger_than_a_value_may_be_is_read_row_by_row(log):
    with log.connections.reading() as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 20_000)

    assert as_rows(log.read_page(0, 1_000).events) == by_rows(log)


def test_events_are_made_by_the_thread_that_uses_them(log, monkeypatch):
    made_by = []
    events_of = Fetched.events

    def noting(self: Fetched, codec: Any) -> Any:
        made_by.append(threading.current_thread())
        return events_of(self, codec)

    monkeypatch.setattr(Fetched, "events", noting)
    position = 0
    with PageReader(log) as pages:
        while position < EVENTS:
            position = pages.page(position, LogFilter(), until=EVENTS).end

    assert len(made_by) > 1
    assert set(made_by) == {threading.current_thread()}
