"""What the tests of the SQLite persistence module write to a file and read from it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from eventsourcing.persistence import StoredEvent

OURS = "eventcore.stores.sqlite"
THEIRS = "eventsourcing.sqlite"


def stored(version: int, topic: str = "counted", originator_id: str = "counter-1") -> StoredEvent:
    return StoredEvent(originator_id, version, topic, b"{}")


def rows_of_tracking(path: str) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT * FROM tracking"))
