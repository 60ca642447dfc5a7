"""The SQLite log when things go wrong: full, foreign, missing, damaged, interrupted."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from eventcore.errors import (
    ConcurrencyConflictError,
    ConfigurationError,
    SchemaMismatchError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.stores.log import AppendResult, StreamAppend
from eventcore.stores.sqlite.connections import LOCK_PAUSE_SECONDS_MAX, READERS_IDLE_MAX
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker

COLUMNS = "stream, version, type, event_id, state"


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path):
    log = SQLiteLog(path)
    yield log
    log.close()


@pytest.fixture
def make() -> EventMaker:
    return EventMaker()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE eventcore_log SET type = 'order.cancelled'",
        "UPDATE OR REPLACE eventcore_log SET position = 2 WHERE position = 1",
        "DELETE FROM eventcore_log",
        "DELETE FROM eventcore_log WHERE position = 2",
        # In the way of the new row: the same position, event id, or stream and version.
        f"INSERT OR REPLACE INTO eventcore_log (position, {COLUMNS})"
        f" VALUES (1, 'x-1', 1, 'a.b', 'new-id', x'00')",
        f"INSERT OR REPLACE INTO eventcore_log ({COLUMNS})"
        " SELECT 'x-1', 1, 'a.b', event_id, x'00' FROM eventcore_log WHERE position = 1",
        f"REPLACE INTO eventcore_log ({COLUMNS}) VALUES ('order-1', 1, 'a.b', 'new-id', x'00')",
        "INSERT INTO eventcore_log SELECT * FROM eventcore_log WHERE true"
        " ON CONFLICT (position) DO UPDATE SET type = 'a.b'",
        f"INSERT INTO eventcore_log (position, {COLUMNS})"
        f" VALUES (0, 'x-1', 1, 'a.b', 'new-id', x'00')",
    ],
)
@pytest.mark.parametrize("recursive_triggers", [False, True])
def test_the_file_itself_refuses_to_change_an_event(  # noqa: PLR0917 - fixtures
    log, path, make, statement, recursive_triggers
):
    log.append([StreamAppend("order-1", 0, make.many(3))])
    before = list(log.read())
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA recursive_triggers = {recursive_triggers}")

    with pytest.raises(sqlite3.IntegrityError):
        other.execute(statement)
    other.commit()
    other.close()

    assert list(log.read()) == before


def test_a_log_whose_triggers_were_dropped_is_not_opened(log, path):
    log.close()
    other = sqlite3.connect(path)
    other.execute("DROP TRIGGER eventcore_log_refuses_delete")
    other.close()

    with pytest.raises(SchemaMismatchError) as caught:
        SQLiteLog(path)

    assert caught.value.found == "no trigger eventcore_log_refuses_delete"


def test_a_full_disk_writes_nothing_and_the_same_append_succeeds_with_space(log, make):
    log.append([StreamAppend("order-1", 0, make.many(2))])
    big = [make(data={"text": "x" * 200_000}) for _ in range(3)]
    appends = [StreamAppend("user-1", 0, [make()]), StreamAppend("order-1", 2, big)]
    with log.connections.writing() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 60}")

    with pytest.raises(StoreUnavailableError) as caught:
        log.append(appends)
    assert caught.value.problem == "database or disk is full"
    assert (log.head(), log.stream_version("user-1")) == (2, 0)
    # What is small enough still goes in.
    assert log.append([StreamAppend("model-1", 0, [make()])]).positions == (3,)

    with log.connections.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    assert log.append(appends) == AppendResult((4, 5, 6, 7), (1, 3, 4, 5), repeated=False)


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path):
    content = b"position,stream,version\n1,order-1,1\n" * 100
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        SQLiteLog(path)

    assert caught.value.message == f"SQLite file {path} cannot be used: file is not a database"
    assert path.read_bytes() == content
    assert names(path.parent) == [path.name]


def test_a_table_with_other_columns_is_refused_and_left_as_it_is(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE eventcore_log (id INTEGER, payload TEXT)")
    other.close()

    with pytest.raises(SchemaMismatchError) as caught:
        SQLiteLog(path)

    assert caught.value.table == "eventcore_log"
    assert caught.value.found == "the columns id, payload"
    other = sqlite3.connect(path)
    tables = [name for (name,) in other.execute("SELECT name FROM sqlite_master")]
    other.close()
    assert tables == ["eventcore_log"]


def test_without_create_a_missing_file_is_an_error_and_stays_missing(path):
    with pytest.raises(StoreUnavailableError) as caught:
        SQLiteLog(path, create=False)

    assert caught.value.problem == "unable to open database file"
    assert names(path.parent) == []


def test_without_create_a_file_without_the_log_is_an_error_and_stays_without(path):
    sqlite3.connect(path).close()
    path.touch()

    with pytest.raises(SchemaMismatchError) as caught:
        SQLiteLog(path, create=False)

    assert caught.value.found == "not been created"
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    other.close()


def test_without_create_an_existing_log_is_opened(log, path, make):
    log.append([StreamAppend("order-1", 0, [make()])])

    again = SQLiteLog(path, create=False)

    assert again.head() == 1
    again.close()


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        SQLiteLog(tmp_path)

    assert caught.value.message == f"{tmp_path} is a folder, name a file in it"


def test_a_missing_folder_is_unavailable_and_not_created(tmp_path):
    with pytest.raises(StoreUnavailableError):
        SQLiteLog(tmp_path / "absent" / "log.db")

    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT TESTED: the superuser may write everywhere")
def test_a_folder_that_may_not_be_written_is_unavailable(tmp_path):
    tmp_path.chmod(0o555)

    with pytest.raises(StoreUnavailableError):
        SQLiteLog(tmp_path / "log.db")


@pytest.mark.parametrize("name", [":memory:", "file:log.db?mode=memory", "a\0b"])
def test_what_is_no_path_of_a_file_is_refused(name):
    with pytest.raises(ConfigurationError):
        SQLiteLog(name)


@pytest.mark.parametrize("name", ["a b.db", "50%.db", "a?mode=ro.db", "a#b.db", "größe.db", "~x"])
def test_any_file_name_is_taken_literally(tmp_path, make, name):
    log = SQLiteLog(str(tmp_path / name))
    log.append([StreamAppend("order-1", 0, [make()])])
    log.close()

    assert name in names(tmp_path)


def test_a_relative_path_stays_the_same_file_when_the_folder_changes(tmp_path, make, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    log = SQLiteLog("log.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    holders = [log.connections.reading() for _ in range(2)]

    for holder in holders:  # the second one has to be opened now
        holder.__enter__()
    for holder in holders:
        holder.__exit__(None, None, None)
    log.append([StreamAppend("order-1", 0, [make()])])
    with log.subscribe() as subscription:
        page = subscription.next_page(0)

    assert page is not None
    assert page.end == 1
    assert names(tmp_path / "elsewhere") == []
    log.close()


def _write_ahead_log_of_three_appends(path: Path, make: EventMaker) -> tuple[bytes, bytes]:
    log = SQLiteLog(path)
    for number in range(3):
        log.append([StreamAppend("order-1", 2 * number, make.many(2))])
    # Copied while open: closing would move everything into the file proper.
    files = path.read_bytes(), path.with_name(f"{path.name}-wal").read_bytes()
    log.close()
    return files


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "flipped"])
def test_a_damaged_write_ahead_log_gives_whole_appends_or_an_error(tmp_path, make, damage):
    database, wal = _write_ahead_log_of_three_appends(tmp_path / "log.db", make)
    for cut in range(0, len(wal), max(1, len(wal) // 40)):
        damaged = tmp_path / f"{cut}.db"
        damaged.write_bytes(database)
        changed = {
            "truncated": wal[:cut],
            "zeroed": wal[:cut] + bytes(len(wal) - cut),
            "flipped": wal[:cut] + bytes([wal[cut] ^ 0xFF]) + wal[cut + 1 :],
        }[damage]
        damaged.with_name(f"{damaged.name}-wal").write_bytes(changed)

        log = SQLiteLog(damaged)
        stored = list(log.read())
        log.close()

        # A prefix of the appends, each of them whole: SQLite ends at the first invalid frame.
        assert [event.position for event in stored] in (
            [],
            [1, 2],
            [1, 2, 3, 4],
            [1, 2, 3, 4, 5, 6],
        )
        assert [event.version for event in stored] == [event.position for event in stored]


def test_an_error_inside_a_transaction_rolls_it_back(log, make):
    def write_and_fail() -> None:
        with log.connections.writing() as connection:
            connection.execute("INSERT INTO eventcore_snapshots VALUES ('order-1', 1, 'f', x'00')")
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()

    assert log.load_snapshot("order-1") is None
    assert log.append([StreamAppend("order-1", 0, [make()])]).positions == (1,)


class Interrupting:
    """A connection on which Ctrl-C arrives right after a statement."""

    def __init__(self, connection: sqlite3.Connection, statement: str) -> None:
        self._connection = connection
        self._statement = statement

    def __getattr__(self, name: str):
        return getattr(self._connection, name)

    def execute(self, sql: str, *values):
        result = self._connection.execute(sql, *values)
        if sql.startswith(self._statement):
            raise KeyboardInterrupt
        return result


@pytest.mark.parametrize("statement", ["BEGIN", "SELECT version", "INSERT", "COMMIT"])
def test_an_interrupt_leaves_no_transaction_open(  # noqa: PLR0917 - fixtures
    log, path, make, monkeypatch, statement
):
    append = [StreamAppend("order-1", 0, [make()])]
    writer = log.connections._writer
    monkeypatch.setattr(log.connections, "_writer", Interrupting(writer, statement))

    with pytest.raises(KeyboardInterrupt):
        log.append(append)

    assert not writer.in_transaction
    # Another handle, as of another process, is not kept waiting.
    other = SQLiteLog(path, busy_timeout_seconds=0.0)
    assert other.append(append) == AppendResult((1,), (1,), repeated=statement == "COMMIT")
    other.close()


def test_a_transaction_that_an_interrupted_rollback_left_is_ended_by_the_next(
    log, make, monkeypatch
):
    writer = log.connections._writer
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO eventcore_snapshots VALUES ('order-1', 1, 'f', x'00')")

    result = log.append([StreamAppend("order-1", 0, [make()])])

    assert result.positions == (1,)
    assert log.load_snapshot("order-1") is None


def test_threads_that_come_and_go_leave_no_connections_behind(log, make):
    log.append([StreamAppend("order-1", 0, [make()])])
    barrier = threading.Barrier(3 * READERS_IDLE_MAX)

    def read() -> None:
        with log.connections.reading() as connection:
            barrier.wait(30)  # all of them have a connection at the same time
            connection.execute("SELECT 1").fetchone()

    for _ in range(3):
        threads = [threading.Thread(target=read) for _ in range(3 * READERS_IDLE_MAX)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(log.connections._idle) == READERS_IDLE_MAX


def test_a_connection_in_use_while_the_log_closes_is_closed_when_it_comes_back(log):
    with log.connections.reading() as connection:
        log.close()
        assert connection.execute("SELECT 1").fetchone() == (1,)

    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    with pytest.raises(StoreClosedError), log.connections.writing():
        pass


def test_a_table_dropped_under_an_open_log_is_named_and_not_called_unavailable(log, path, make):
    other = sqlite3.connect(path)
    other.execute("DROP TABLE eventcore_log")  # SQLite has no way to refuse this
    other.close()

    with pytest.raises(ConfigurationError) as caught:
        log.head()

    assert "no such table: eventcore_log" in str(caught.value)


def test_events_of_another_program_with_a_gap_in_versions_are_a_conflict_not_a_crash(
    log, path, make
):
    other = sqlite3.connect(path)
    id_ = str(make.ids())
    other.execute(
        f"INSERT INTO eventcore_log ({COLUMNS}) VALUES ('order-1', 5, 'a.b', ?, x'7b7d')", (id_,)
    )
    other.commit()
    other.close()

    with pytest.raises(ConcurrencyConflictError) as caught:
        log.append([StreamAppend("order-1", 1, [make()])])

    assert caught.value.actual_version == 5


@pytest.mark.parametrize(("synchronous", "level"), [("FULL", 2), ("NORMAL", 1)])
def test_commits_are_flushed_as_asked(path, synchronous, level):
    log = SQLiteLog(path, synchronous=synchronous)

    with log.connections.writing() as connection:
        (found,) = connection.execute("PRAGMA synchronous").fetchone()
        (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    log.close()

    assert (found, journal) == (level, "wal")


def test_events_can_be_read_as_json_in_the_sqlite_shell(log, path, make):
    event = make("order.paid", data={"amount": "1.00"})
    log.append([StreamAppend("order-1", 0, [event])])

    other = sqlite3.connect(path)
    rows = other.execute(
        "SELECT position, stream, version, type, json_extract(state, '$.data.amount')"
        " FROM eventcore_log_json"
    ).fetchall()
    other.close()

    assert rows == [(1, "order-1", 1, "order.paid", "1.00")]


def test_closing_ends_a_write_that_waits_for_another_process_and_every_subscription(
    path, log, make
):
    outcome: list[object] = []
    waiting = threading.Event()

    def write() -> None:
        waiting.set()
        try:
            outcome.append(log.append([StreamAppend("user-1", 0, [make()])]))
        except StoreClosedError as error:
            outcome.append(error)

    subscription = log.subscribe()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # and never ends: only closing can
        writer = threading.Thread(target=write)
        reader = threading.Thread(target=lambda: list(subscription))
        writer.start()
        reader.start()
        waiting.wait()

        log.close()
        writer.join()
        reader.join()
        other.execute("ROLLBACK")

    (refusal,) = outcome
    assert isinstance(refusal, StoreClosedError)
    with closing(SQLiteLog(path)) as again:
        assert again.head() == 0


def test_closing_wakes_subscriptions_before_it_waits_for_a_transaction_of_another_thread(path):
    log = SQLiteLog(path)
    begun, ended = threading.Event(), threading.Event()

    def write() -> None:
        with log.connections.writing():
            begun.set()
            ended.wait()

    subscription = log.subscribe()
    reader = threading.Thread(target=lambda: list(subscription))
    writer, closer = threading.Thread(target=write), threading.Thread(target=log.close)
    reader.start()
    writer.start()
    begun.wait()
    closer.start()

    reader.join()  # while the transaction goes on

    assert closer.is_alive()
    ended.set()
    closer.join()
    writer.join()


def test_a_write_gives_up_when_another_process_holds_the_lock_for_too_long(path, log, make):
    hasty = SQLiteLog(path, busy_timeout_seconds=0.15)
    with closing(hasty), closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailableError, match="database is locked"):
            hasty.append([StreamAppend("user-1", 0, [make()])])

        other.execute("ROLLBACK")
        assert hasty.append([StreamAppend("user-1", 0, [make()])]).positions == (1,)


def test_a_write_waits_for_another_process_as_long_as_it_is_told(path, log, make):
    positions: list[int] = []
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(300 * LOCK_PAUSE_SECONDS_MAX, lambda: other.execute("ROLLBACK"))
        release.start()

        positions += log.append([StreamAppend("user-1", 0, [make()])]).positions

        release.join()
    assert positions == [1]


def test_a_write_inside_a_transaction_of_the_same_thread_is_refused(log, make):
    with (
        pytest.raises(StoreError, match="inside its own transaction: do it after that block"),
        log.connections.writing(),
    ):
        log.append([StreamAppend("user-1", 0, [make()])])

    assert log.append([StreamAppend("user-1", 0, [make()])]).positions == (1,)


def test_closing_inside_a_transaction_of_the_same_thread_is_refused(log, make):
    with log.connections.writing(), pytest.raises(StoreError, match="inside a transaction"):
        log.close()

    assert log.append([StreamAppend("user-1", 0, [make()])]).positions == (1,)
