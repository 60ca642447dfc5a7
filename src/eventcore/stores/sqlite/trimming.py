"""Trimming a log in SQLite: what leaves is noted first, and only what is noted can leave."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from eventcore.errors import TrimRefusedError
from eventcore.events.recorded import Recorded
from eventcore.stores.sqlite.memories import json_array
from eventcore.stores.statements import load_statements
from eventcore.stores.trimming import TrimRecord, check_trim, refuse_trimmed

_SQL = load_statements("eventcore.stores.sqlite", "sql/trimming.sql")
_DOOR = [name for name in _SQL if name.startswith(("create_", "drop_"))]


def trim(  # noqa: PLR0917 - what is done to what
    connection: sqlite3.Connection, store: str, events: Sequence[Recorded[Any]], archive: str
) -> int:
    """Remove events in a transaction that is under way; gives how many.

    Raises:
        TrimRefusedError: One of them must stay. The transaction has to be rolled back.
    """
    check_trim(store, events)
    if not _has_trims(connection):
        for name in _DOOR:
            connection.execute(_SQL[name])
    ids = [str(event.event_id) for event in events]
    gone = trimmed_positions(connection, ids)
    left = [(id_, one) for id_, one in zip(ids, events, strict=True) if id_ not in gone]
    if not left:
        return 0
    try:
        connection.executemany(
            _SQL["insert_trimmed"], [(id_, event.position) for id_, event in left]
        )
        deleted = connection.executemany(
            _SQL["delete_event"],
            [(e.position, e.stream, e.version, e.type, id_, e.state) for id_, e in left],
        ).rowcount
    except sqlite3.IntegrityError as error:
        problem = "one of the events is the newest of its stream, or would leave an older one"
        raise TrimRefusedError(store=store, problem=problem) from error
    if deleted != len(left):
        problem = f"{len(left) - deleted} of the events are others than in the archive, or absent"
        raise TrimRefusedError(store=store, problem=problem)
    connection.execute(_SQL["upsert_trims"], (left[-1][1].position, archive))
    return deleted


def trim_record(connection: sqlite3.Connection) -> TrimRecord | None:
    """How far the log was trimmed, if ever."""
    if not _has_trims(connection):
        return None
    row = connection.execute(_SQL["select_trims"]).fetchone()
    return None if row is None else TrimRecord(*row)


def trimmed_positions(
    connection: sqlite3.Connection, event_ids: Sequence[str]
) -> Mapping[str, int]:
    """Those of the ids whose events were removed."""
    if not _has_trims(connection):
        return {}
    return dict(connection.execute(_SQL["select_trimmed"], (json_array(event_ids),)).fetchall())


def check_page_whole(connection: sqlite3.Connection, store: str, after: int, end: int) -> None:  # noqa: PLR0917 - a page's bounds
    """Check that nothing between two positions was trimmed. Asked after they were read.

    Raises:
        TrimmedHistoryError: Something may have been.
    """
    if after < end:
        record = trim_record(connection)
        if record is not None and after < record.until:
            refuse_trimmed(store, record, f"what is above position {after}")


def check_none_trimmed(
    connection: sqlite3.Connection, store: str, event_ids: Sequence[str]
) -> None:
    """Check that no event of these ids was trimmed.

    Raises:
        TrimmedHistoryError: One was.
    """
    for event_id in trimmed_positions(connection, event_ids):
        refuse_trimmed(store, trim_record(connection), f"event {event_id}")


def _has_trims(connection: sqlite3.Connection) -> bool:
    return connection.execute(_SQL["select_trims_table"]).fetchone() is not None
