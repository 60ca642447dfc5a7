"""One SQLite log, many processes: complete, ordered, and whole after kill -9."""

import json
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventcore.errors import StoreError, StoreUnavailableError
from eventcore.stores.log import AppendResult, StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker
from tests.backends import REPOSITORY
from tests.integration.sqlite_writers import EVENTS_EACH

HANG_SECONDS = 60.0


@contextmanager
def child(task: str, path: Path, *numbers: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.integration.sqlite_writers", task, str(path)]
    with subprocess.Popen(
        [*command, *map(str, numbers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def told(process: subprocess.Popen[str]) -> list[Any]:
    """Everything not read yet; also ends the child's standard input."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    # Not communicate(): that passes over what readline() has buffered.
    lines = process.stdout.read().splitlines()
    process.wait(HANG_SECONDS)
    return [json.loads(text) for text in lines]


def line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_a_follower_in_a_third_process_sees_everything_two_writers_append_in_order(tmp_path):
    path, appends = tmp_path / "log.db", 60
    SQLiteLog(path).close()
    total = 2 * appends * EVENTS_EACH

    with child("follow", path, total) as follower:
        assert line(follower) == "following"
        with child("write", path, 1, appends) as one, child("write", path, 2, appends) as two:
            placed = [told(one), told(two)]
            followed = told(follower)

    log = SQLiteLog(path)
    stored = [[event.position, event.stream, event.version] for event in log.read()]
    log.close()
    assert [position for position, _, _ in followed] == list(range(1, total + 1))
    assert followed == stored
    assert sorted(position for each in placed for append in each for position in append) == list(
        range(1, total + 1)
    )
    for stream in ("own-1", "own-2", "shared-1"):
        versions = [version for _, name, version in stored if name == stream]
        assert versions == list(range(1, 2 * appends + 1))


@pytest.mark.parametrize("seed", range(5))
def test_what_a_killed_writer_had_acknowledged_is_there_and_nothing_is_half_written(tmp_path, seed):
    path = tmp_path / "log.db"
    acknowledged = random.Random(seed).randrange(1, 120)

    with child("write", path, 1, 1_000_000) as writer:
        lines = [line(writer) for _ in range(acknowledged)]
        time.sleep(random.Random(seed).random() / 100)  # another moment of the next appends
        writer.send_signal(signal.SIGKILL)
        lines += told(writer)

    log = SQLiteLog(path)
    stored = list(log.read())
    places = {event.position for event in stored}
    assert {position for append in lines for position in append} <= places
    # At most the append whose answer was under way when the writer died.
    assert len(stored) - EVENTS_EACH * len(lines) in (0, EVENTS_EACH)
    assert sorted(places) == list(range(1, len(stored) + 1))
    assert log.stream_version("own-1") == 2 * log.stream_version("shared-1")
    result = log.append([StreamAppend("order-1", 0, [EventMaker(series=9)()])])
    assert result == AppendResult((len(stored) + 1,), (1,), repeated=False)
    log.close()


def test_a_new_file_opened_by_many_processes_at_once_becomes_one_log(tmp_path):
    path = tmp_path / "log.db"

    with (
        child("open", path) as first,
        child("open", path) as second,
        child("open", path) as third,
        child("open", path) as fourth,
    ):
        processes = (first, second, third, fourth)
        assert [line(process) for process in processes] == ["ready"] * 4
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        answers = [told(process) for process in processes]

    assert answers == [[0]] * 4


def test_a_lock_held_too_long_is_unavailable_and_the_same_append_succeeds_after_it(tmp_path):
    path, make = tmp_path / "log.db", EventMaker()
    log = SQLiteLog(path, busy_timeout_seconds=0.05)
    append = [StreamAppend("order-1", 0, make.many(2))]

    with child("hold", path) as holder:
        assert line(holder) == "locked"
        with pytest.raises(StoreUnavailableError) as caught:
            log.append(append)
        assert log.head() == 0  # reading never waits
        assert told(holder) == []
    result = log.append(append)

    assert caught.value.facts == {"store": f"SQLite file {path}", "problem": "database is locked"}
    assert result == AppendResult((1, 2), (1, 2), repeated=False)
    log.close()


def _use(log: SQLiteLog, answers) -> None:
    problems = []
    for use in (log.head, lambda: log.append([StreamAppend("order-1", 0, [EventMaker()()])])):
        try:
            use()
        except StoreError as error:
            problems.append((type(error).__name__, error.facts["problem"]))
    log.close()
    answers.put(problems)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_log_is_refused_in_a_forked_child_and_the_parents_goes_on(tmp_path):
    log = SQLiteLog(tmp_path / "log.db")
    make = EventMaker(series=1)
    log.append([StreamAppend("user-1", 0, [make()])])
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    process = context.Process(target=_use, args=(log, answers), daemon=True)
    process.start()
    problems = answers.get(timeout=HANG_SECONDS)
    process.join(HANG_SECONDS)

    refusal = ("StoreError", "opened before a fork; open it again in the child process")
    assert problems == [refusal, refusal]
    assert log.append([StreamAppend("user-1", 1, [make()])]).positions == (2,)
    log.close()
