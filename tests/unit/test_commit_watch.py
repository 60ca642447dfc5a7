"""A commit watch wakes whoever waits for one SQLite file, and can lose no commit."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from eventcore.stores.sqlite.wakeup import CommitWatch, database_key

LONG_SECONDS = 60.0


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "watched.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE n (n INTEGER)")
    return path


@pytest.fixture
def watch(path):
    with closing(CommitWatch(path)) as watch:
        yield watch


def commit(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO n VALUES (1)")


def test_nothing_committed_is_no_wake(watch):
    token = watch.token()

    assert watch.wait(token, 0.05) is False
    assert watch.wait(token, 0) is False


def test_a_commit_announced_after_the_token_ends_the_wait_at_once(watch):
    token = watch.token()
    watch.notify()

    assert watch.wait(token, 0) is True
    assert watch.wait(watch.token(), 0) is False


def test_a_commit_nobody_announced_after_the_token_ends_the_wait_at_once(path, watch):
    token = watch.token()
    commit(path)

    assert watch.wait(token, 0) is True


def test_a_commit_before_the_token_does_not(path, watch):
    watch.token()
    commit(path)
    token = watch.token()

    assert watch.wait(token, 0) is False


def test_a_commit_found_by_another_watch_still_ends_a_wait_for_an_older_token(path, watch):
    token = watch.token()
    commit(path)
    with closing(CommitWatch(path)) as other:
        other.token()

    assert watch.wait(token, 0) is True


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_sleeping_wait_is_woken_by_an_unannounced_commit(path, watch, mode):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
    token = watch.token()
    threading.Timer(0.1, commit, args=(path,)).start()

    assert watch.wait(token, LONG_SECONDS) is True


def test_all_waiters_are_woken_whichever_watch_they_use(path):
    watches = [CommitWatch(path) for _ in range(3)]
    woken = []
    all_ready = threading.Barrier(7, timeout=LONG_SECONDS)

    def wait(watch):
        token = watch.token()
        all_ready.wait()
        woken.append(watch.wait(token, LONG_SECONDS))

    threads = [threading.Thread(target=wait, args=(watch,)) for watch in watches for _ in range(2)]
    for thread in threads:
        thread.start()
    all_ready.wait()
    commit(path)
    for thread in threads:
        thread.join()
    for watch in watches:
        watch.close()

    assert woken == [True] * 6


def test_when_the_waiter_that_looks_gives_up_another_one_looks(path, watch):
    token = watch.token()
    gave_up, woken = [], []
    impatient = threading.Thread(target=lambda: gave_up.append(watch.wait(token, 0.1)))
    patient = threading.Thread(target=lambda: woken.append(watch.wait(token, LONG_SECONDS)))
    impatient.start()
    patient.start()
    impatient.join()

    commit(path)
    patient.join()

    assert (gave_up, woken) == ([False], [True])


def test_closing_wakes_its_own_waiters_and_no_other(path, watch):
    closed = CommitWatch(path)
    ended = []
    own = threading.Thread(target=lambda: ended.append(closed.wait(closed.token(), LONG_SECONDS)))
    own.start()
    token = watch.token()

    closed.close()
    own.join()

    assert ended == [False]
    assert watch.wait(token, 0) is False
    assert closed.wait(closed.token() - 1, LONG_SECONDS) is False


def test_the_last_watch_closed_lets_go_of_the_file_and_a_new_one_works(path, watch):
    watch.token()
    watch.close()
    watch.close()
    watch.notify()

    assert watch._shared._connection is None
    with closing(CommitWatch(path)) as again:
        token = again.token()
        commit(path)
        assert again.wait(token, 0) is True


def test_a_watch_collected_as_garbage_is_closed(path, watch):
    other = CommitWatch(path)
    shared = watch._shared
    assert shared.handles == 2

    del other

    assert shared.handles == 1


def test_announcing_opens_no_file(tmp_path):
    path = tmp_path / "absent.db"
    with closing(CommitWatch(path)) as watch:
        watch.notify()

    assert not path.exists()


def test_an_own_commit_announced_while_somebody_waits_counts_as_one_change(path, watch):
    token = watch.token()
    watch._shared.waiters += 1
    commit(path)
    watch.notify()

    assert watch.token() == token + 1


def test_a_watch_of_memory_is_woken_by_announcement_alone():
    with closing(CommitWatch("file:watched?mode=memory&cache=shared")) as watch:
        token = watch.token()
        threading.Timer(0.05, watch.notify).start()

        assert watch.wait(token, LONG_SECONDS) is True


def test_a_file_that_is_no_database_is_an_error_not_an_endless_wait(tmp_path):
    path = tmp_path / "text.db"
    path.write_text("not a database, and long enough to have a header" * 10)
    with (
        closing(CommitWatch(path)) as watch,
        pytest.raises(sqlite3.DatabaseError, match="not a database"),
    ):
        watch.token()


def test_a_lock_held_by_another_connection_delays_a_look_and_loses_nothing(path):
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("PRAGMA journal_mode=DELETE")
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("INSERT INTO n VALUES (1)")
        with closing(CommitWatch(path)) as watch:
            token = watch.token()
            assert watch.wait(token, 0) is False

            threading.Timer(0.1, writer.execute, args=("COMMIT",)).start()
            writer_done = watch.wait(token, LONG_SECONDS)

    assert writer_done is True


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("file:{0}", "{0}"),
        ("file:{0}?mode=rw", "{0}"),
        ("file://{0}", "{0}"),
        ("{0}/../{1}", "{0}"),
    ],
)
def test_a_file_has_one_key_however_it_is_spelled(tmp_path, spelling, name):
    path = tmp_path / "one two.db"
    spelled = spelling.format(path.parent if "{1}" in spelling else path, path.name)
    if "{1}" in spelling:
        spelled = f"{path.parent}/../{path.parent.name}/{path.name}"

    assert database_key(spelled) == (str(path), False)


@pytest.mark.parametrize(
    "spelling", [":memory:", "file::memory:?cache=shared", "file:some?mode=memory&cache=shared"]
)
def test_a_database_in_memory_is_recognised(spelling):
    assert database_key(spelling)[1] is True


def test_every_commit_of_another_process_is_seen_by_a_reader_that_waits_between_reads(path, watch):
    script = (
        "import sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
        "for n in range(2, 202):\n"
        "    connection.execute('INSERT INTO n VALUES (?)', (n,))\n"
        "    if n % 20 == 0:\n"
        "        time.sleep(0.02)\n"
        "connection.close()\n"
    )
    seen: list[int] = []
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as reader,
        subprocess.Popen([sys.executable, "-c", script, str(path)]) as writer,
    ):
        woken = True
        while len(seen) < 200 and woken:
            token = watch.token()
            rows = reader.execute("SELECT n FROM n WHERE n > ? ORDER BY n", (max(seen, default=1),))
            page = [n for (n,) in rows]
            seen += page
            if not page:
                # A lost commit would be one nobody repeats: the last wait would time out.
                woken = watch.wait(token, LONG_SECONDS)
        writer.wait()

    assert seen == list(range(2, 202))


def _wait_in_child(path, inherited, queues) -> None:
    ready, answers = queues
    with closing(CommitWatch(path)) as watch:
        tokens = [watch.token(), inherited.token()]
        ready.put(True)
        # Each for itself, and without the waiter that looked in the parent.
        answers.put(
            [w.wait(t, LONG_SECONDS) for w, t in zip((watch, inherited), tokens, strict=True)]
        )


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_looks_for_itself_while_the_parent_waits(path, watch):
    context = multiprocessing.get_context("fork")
    ready, answers = context.Queue(), context.Queue()
    waiter = threading.Thread(target=lambda: watch.wait(watch.token(), LONG_SECONDS), daemon=True)
    waiter.start()
    while not watch._shared.is_polled:
        time.sleep(0.001)
    parents = watch._shared._connection

    process = context.Process(
        target=_wait_in_child, args=(path, watch, (ready, answers)), daemon=True
    )
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with watch._shared.lock:  # which the child could never have
            held.set()
            forked.wait(LONG_SECONDS)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert held.wait(LONG_SECONDS)
    process.start()
    forked.set()
    holder.join(LONG_SECONDS)
    ready.get(timeout=LONG_SECONDS)
    commit(path)

    assert answers.get(timeout=LONG_SECONDS) == [True, True]
    process.join(LONG_SECONDS)
    assert process.exitcode == 0
    assert watch._shared._connection is parents
    waiter.join(LONG_SECONDS)
