"""What the child processes of the SQLite tests run; everything they tell, they print."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker

EVENTS_EACH = 3


def say(value: object) -> None:
    # One write: a line is there as a whole or not at all.
    os.write(sys.stdout.fileno(), f"{json.dumps(value)}\n".encode())


def write(path: Path, writer: int, count: int) -> None:
    """Append so many times, three events to two streams, and tell where each append is."""
    log = SQLiteLog(path)
    make = EventMaker(series=writer)
    for number in range(count):
        appends = [
            StreamAppend(f"own-{writer}", 2 * number, make.many(2)),
            StreamAppend("shared-1", ANY_VERSION, [make()]),
        ]
        say(list(log.append(appends).positions))
    log.close()


def follow(path: Path, count: int) -> None:
    """Tell every event that a subscription yields, from the beginning, up to so many."""
    log = SQLiteLog(path)
    say("following")
    with log.subscribe() as subscription:
        for seen, event in enumerate(subscription, start=1):
            say([event.position, event.stream, event.version])
            if seen == count:
                break
    log.close()


def hold(path: Path) -> None:
    """Keep the file's write lock until standard input ends."""
    log = SQLiteLog(path)
    with log.connections.writing():
        say("locked")
        sys.stdin.read()
    log.close()


def open_only(path: Path) -> None:
    """Open the log when standard input ends, at the same time as others."""
    say("ready")
    sys.stdin.read()
    log = SQLiteLog(path)
    say(log.head())
    log.close()


if __name__ == "__main__":
    task, file, *numbers = sys.argv[1:]
    tasks: dict[str, Callable[..., None]] = {
        "write": write,
        "follow": follow,
        "hold": hold,
        "open": open_only,
    }
    tasks[task](Path(file), *map(int, numbers))
