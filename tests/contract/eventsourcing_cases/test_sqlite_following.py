"""What the shipped cases do not check on SQLite: following, waking, durability."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from eventsourcing.persistence import (
    ConnectionPoolClosedError,
    InfrastructureFactoryError,
    IntegrityError,
    OperationalError,
    Tracking,
    WaitInterruptedError,
)
from eventsourcing.sqlite import SQLiteDatastore

from eventcore.stores import sqlite as module
from eventcore.stores.sqlite import SQLiteFactory
from eventcore.stores.sqlite.persistence import SQLiteApplicationRecorder
from tests.contract.eventsourcing_cases.sqlite_files import THEIRS, rows_of_tracking, stored
from tests.contract.eventsourcing_cases.views_written_for_sqlite import (
    Counters,
)

# --- the factory ---------------------------------------------------------------------------------


def test_the_module_holds_exactly_one_factory_class():
    factories = [value for value in vars(module).values() if isinstance(value, type)]

    assert factories == [SQLiteFactory]


@pytest.mark.parametrize(("value", "level"), [("", 2), ("FULL", 2), ("full", 2), ("NORMAL", 1)])
def test_every_connection_is_in_wal_mode_with_the_chosen_synchronous(  # noqa: PLR0917  # fixtures
    path, opened, value, level
):
    factory = opened(path, SQLITE_SYNCHRONOUS=value)

    for commit in (True, False):
        with factory.datastore.transaction(commit=commit) as cursor:
            cursor.execute("PRAGMA synchronous")
            assert cursor.fetchone()[0] == level
            cursor.execute("PRAGMA journal_mode")
            assert cursor.fetchone()[0] == "wal"


def test_an_unknown_synchronous_is_refused_by_name(path, opened):
    with pytest.raises(
        OSError, match=r"'SQLITE_SYNCHRONOUS' is invalid.*'FULL' or 'NORMAL'.*'OFF'"
    ):
        opened(path, SQLITE_SYNCHRONOUS="OFF")


def test_a_missing_database_name_is_refused_as_the_base_library_does(opened):
    with pytest.raises(OSError, match="SQLite database name not found"):
        opened("")


def test_a_class_that_is_no_recorder_of_the_kind_is_refused(path, opened):
    with pytest.raises(InfrastructureFactoryError, match="builtins:dict is not a subclass"):
        opened(path, TRACKING_RECORDER_TOPIC="builtins:dict").tracking_recorder()


def test_recorders_named_by_topic_and_written_for_the_base_library_can_be_followed(path, opened):
    factory = opened(path, APPLICATION_RECORDER_TOPIC=f"{THEIRS}:SQLiteApplicationRecorder")
    recorder = factory.application_recorder()
    recorder.insert_events([stored(1)])

    with recorder.subscribe() as subscription:
        assert next(subscription).id == 1


def test_two_private_memory_databases_do_not_see_each_other(opened):
    one, other = (opened(":memory:").application_recorder() for _ in range(2))

    one.insert_events([stored(1)])

    assert (one.max_notification_id(), other.max_notification_id()) == (1, None)


def test_a_recorder_needs_a_datastore_that_can_wake(path):
    with pytest.raises(TypeError, match=r"Expected eventcore\.stores\.sqlite\.datastore"):
        SQLiteApplicationRecorder(SQLiteDatastore(path))


# --- writing -------------------------------------------------------------------------------------


def test_a_write_transaction_holds_the_write_lock_before_its_first_statement(path, opened):
    factory = opened(path)
    factory.application_recorder()

    with (
        factory.datastore.transaction(commit=True),
        closing(sqlite3.connect(path, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


def test_a_lock_held_too_long_is_an_operational_error_and_later_writes_succeed(path, opened):
    recorder = opened(path, SQLITE_LOCK_TIMEOUT="1").application_recorder()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            recorder.insert_events([stored(1)])
        other.execute("ROLLBACK")

    assert recorder.insert_events([stored(1)]) == [1]


def test_a_repeated_insert_is_a_conflict_and_changes_nothing(path, opened):
    recorder = opened(path).application_recorder()
    recorder.insert_events([stored(1)])

    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(2), stored(1)])

    assert recorder.max_notification_id() == 1


def test_processes_that_start_together_on_a_new_file_all_create_it(path):
    script = (
        "import sys\n"
        "from eventcore.stores.sqlite import SQLiteFactory\n"
        "factory = SQLiteFactory({'SQLITE_DBNAME': sys.argv[1]})\n"
        "sys.stdin.readline()\n"
        "factory.process_recorder()\n"
        "factory.close()\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)

    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert rows_of_tracking(path) == {"__migration__": 1}


def test_a_table_created_by_another_process_while_this_one_starts_is_taken_as_it_is(path, opened):
    recorder = opened(path, CREATE_TABLE="no").tracking_recorder()

    def overtaken(application_name):
        opened(path).tracking_recorder()
        message = f"no such table: tracking, asked for {application_name}"
        raise OperationalError(message)

    recorder.max_tracking_id = overtaken
    recorder.create_table()

    assert rows_of_tracking(path) == {"__migration__": 1}


# --- following -----------------------------------------------------------------------------------


def test_a_subscriber_in_another_process_sees_every_event_of_four_writers_in_order(path, opened):
    script = (
        "import sys\n"
        "from eventcore.stores.sqlite import SQLiteFactory\n"
        "factory = SQLiteFactory({'SQLITE_DBNAME': sys.argv[1], 'ORIGINATOR_ID_TYPE': 'text'})\n"
        "with factory.application_recorder().subscribe() as subscription:\n"
        "    print('ready', flush=True)\n"
        "    for count, event in enumerate(subscription, start=1):\n"
        "        print(event.id, event.originator_id, event.originator_version, flush=True)\n"
        "        if count == 400:\n"
        "            break\n"
        "factory.close()\n"
    )
    recorder = opened(path).application_recorder()
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True
    ) as subscriber:
        assert subscriber.stdout is not None
        assert subscriber.stdout.readline() == "ready\n"

        def write(name):
            for version in range(100):
                recorder.insert_events([stored(version, originator_id=name)])

        threads = [threading.Thread(target=write, args=(f"counter-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        output, _ = subscriber.communicate(timeout=60)
        for thread in threads:
            thread.join()

    seen = [line.split() for line in output.splitlines()]
    assert [int(position) for position, _, _ in seen] == list(range(1, 401))
    for n in range(4):
        versions = [int(version) for _, name, version in seen if name == f"counter-{n}"]
        assert versions == list(range(100))


def test_a_subscription_sees_what_the_base_library_commits_to_the_same_file(path, opened):
    ours = opened(path).application_recorder()
    theirs = opened(path, THEIRS).application_recorder()

    with ours.subscribe() as subscription:
        threading.Timer(0.05, lambda: theirs.insert_events([stored(1)])).start()

        assert next(subscription).id == 1


def test_what_is_committed_between_reading_and_waiting_is_delivered(path, opened):
    recorder = opened(path).application_recorder()
    subscription = recorder.subscribe()
    select_page = subscription._select_page
    reads = []

    def read_then_be_overtaken():
        page = list(select_page())
        reads.append(len(page))
        if len(reads) == 1:
            recorder.insert_events([stored(1)])
        return page

    subscription._select_page = read_then_be_overtaken
    with subscription:
        assert next(subscription).id == 1

    assert reads == [0, 1]


def test_a_subscription_holds_at_most_one_page(path, opened):
    recorder = opened(path).application_recorder()
    recorder.insert_events([stored(version) for version in range(1_250)])

    with recorder.subscribe() as subscription:
        ids, held = [], []
        for notification in subscription:
            ids.append(notification.id)
            held.append(len(subscription._page))
            if notification.id == 1_250:
                break

    assert ids == list(range(1, 1_251))
    assert max(held) == 499


def test_a_filtered_subscription_passes_unwanted_events_once_and_loses_none(path, opened):
    recorder = opened(path).application_recorder()
    recorder.insert_events([stored(1, "wanted"), *(stored(v, "other") for v in range(2, 10))])
    starts = []
    select_notifications = recorder.select_notifications

    def noting_start(start, *args, **kwargs):
        starts.append(start)
        return select_notifications(start, *args, **kwargs)

    recorder.select_notifications = noting_start
    with recorder.subscribe(topics=["wanted"]) as subscription:
        first = next(subscription).id
        recorder.insert_events([stored(10, "wanted")])
        second = next(subscription).id

    assert (first, second) == (1, 10)
    assert starts == [0, 9]


@pytest.mark.parametrize("how", ["stop", "close the factory"])
def test_a_blocked_subscription_ends_without_error_when_told_from_another_thread(path, opened, how):
    factory = opened(path)
    recorder = factory.application_recorder()
    recorder.insert_events([stored(1)])
    subscription = recorder.subscribe()
    got_first = threading.Event()
    ended = []

    def consume():
        ids = []
        for notification in subscription:
            ids.append(notification.id)
            got_first.set()
        ended.append(ids)

    thread = threading.Thread(target=consume)
    thread.start()
    assert got_first.wait(60)

    if how == "stop":
        subscription.stop()
    else:
        factory.close()
    thread.join(60)

    assert ended == [[1]]


def test_an_error_of_reading_is_raised_to_the_consumer(path, opened):
    recorder = opened(path, CREATE_TABLE="no").application_recorder()

    with (
        recorder.subscribe() as subscription,
        pytest.raises(OperationalError, match="no such table"),
    ):
        next(subscription)


def test_an_unclosed_subscription_does_not_keep_the_process_alive(path):
    script = (
        "import sys, threading\n"
        "from eventcore.stores.sqlite import SQLiteFactory\n"
        "factory = SQLiteFactory({'SQLITE_DBNAME': sys.argv[1]})\n"
        "subscription = factory.application_recorder().subscribe()\n"
        "print(threading.active_count())\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, path], timeout=30, capture_output=True, text=True, check=True
    )

    assert (done.stdout, done.stderr) == ("1\n", "")


# --- waiting -------------------------------------------------------------------------------------


def test_a_wait_is_woken_by_the_commit_of_its_position_not_by_a_sleep(path, opened):
    view = opened(path, name="counting").tracking_recorder(Counters)
    reads = []
    has_tracking_id = view.has_tracking_id

    def noting(*args):
        found = has_tracking_id(*args)
        reads.append(found)
        if len(reads) == 1:
            threading.Timer(0.2, lambda: view.incr_created_event_counter(Tracking("up", 1))).start()
        return found

    view.has_tracking_id = noting
    view.wait("up", 1, timeout=60)

    assert reads == [False, True]


def test_a_wait_sees_a_position_recorded_by_another_process(path, opened):
    waiting = opened(path, name="counting").tracking_recorder()
    script = (
        "import sys\n"
        "from eventsourcing.persistence import Tracking\n"
        "from eventsourcing.utils import Environment\n"
        "from eventcore.stores.sqlite import SQLiteFactory\n"
        "factory = SQLiteFactory(Environment('counting', {'SQLITE_DBNAME': sys.argv[1]}))\n"
        "factory.tracking_recorder().insert_tracking(Tracking('up', 7))\n"
        "factory.close()\n"
    )

    with subprocess.Popen([sys.executable, "-c", script, path]):
        waiting.wait("up", 7, timeout=60)

    assert waiting.max_tracking_id("up") == 7


def test_a_wait_ends_when_its_interrupt_is_set_meanwhile(path, opened):
    recorder = opened(path).tracking_recorder()
    interrupt = threading.Event()
    threading.Timer(0.05, interrupt.set).start()

    with pytest.raises(WaitInterruptedError):
        recorder.wait("up", 1, timeout=60, interrupt=interrupt)


def test_a_wait_ends_when_the_factory_is_closed(path, opened):
    factory = opened(path)
    recorder = factory.tracking_recorder()
    threading.Timer(0.05, factory.close).start()

    with pytest.raises(ConnectionPoolClosedError):
        recorder.wait("up", 1, timeout=60)
