"""What lies beside the log in its file: snapshots of aggregates, and refusals of imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import orjson

from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import event_id_of
from eventcore.stores.integrity import Problem
from eventcore.stores.limits import is_storable
from eventcore.stores.refusals import Refusal
from eventcore.stores.snapshots import Snapshot
from eventcore.stores.sqlite.connections import SQLiteConnections
from eventcore.stores.statements import load_statements

_SQL = load_statements("eventcore.stores.sqlite", "sql/log.sql")

_INDEXES: Final = frozenset({"eventcore_log_by_stream", "eventcore_log_by_event_id"})


class Memories:
    """Snapshots and refusals in a log's file.

    Attributes:
        connections: To the file.
    """

    connections: SQLiteConnections

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.load_snapshot`."""
        with self.connections.reading() as connection:
            row = connection.execute(_SQL["select_snapshot"], (stream,)).fetchone()
        return Snapshot(*row) if row else None

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.save_snapshot`."""
        with self.connections.writing() as connection:
            connection.execute(_SQL["upsert_snapshot"], snapshot)

    def find_refusals(self, event_ids: Sequence[str]) -> Mapping[tuple[str, str], Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.find_refusals`."""
        with self.connections.reading() as connection:
            rows = connection.execute(_SQL["select_refusals"], (json_array(event_ids),)).fetchall()
        return {(row[0], row[1]): Refusal(*row) for row in rows}

    def remember_refusals(self, refusals: Sequence[Refusal]) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.remember_refusals`."""
        if not refusals:
            return  # no transaction, no flush
        with self.connections.writing() as connection:
            connection.executemany(_SQL["upsert_refusal"], refusals)

    def all_refusals(self) -> Iterator[Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.all_refusals`."""
        after = ("", "")
        rows: list[tuple[str, str, str, str]] | None = None
        while rows is None or len(rows) == READ_PAGE_EVENTS:
            with self.connections.reading() as connection:
                rows = connection.execute(
                    _SQL["select_refusals_after"], (*after, READ_PAGE_EVENTS)
                ).fetchall()
            for row in rows:
                yield Refusal(*row)
            after = rows[-1][:2] if rows else after

    def problems(self, head: int) -> Iterator[Problem]:
        """See :meth:`eventcore.stores.integrity.SelfChecking.problems`."""
        with self.connections.reading() as connection:
            # Of everything in it, read models too: one page may hold rows of any table. Each index
            # is compared with its table.
            found = connection.execute("PRAGMA integrity_check").fetchall()
            yield from (Problem(row[0]) for row in found if row[0] != "ok")
            present = {row[0] for row in connection.execute(_SQL["select_log_indexes"])}
            for name in sorted(_INDEXES - present):
                yield Problem(f"the index {name} is missing: events may be there twice")
            for position, event_id, state in connection.execute(_SQL["select_ids"], (head,)):
                if event_id_of(state) != event_id:
                    yield Problem("the id in its column is not the one in its state", position)


def json_array(names: Iterable[str]) -> str:
    """Names as one parameter of a statement; what no name can be is left out."""
    # Half a surrogate pair has no UTF-8 form.
    return orjson.dumps([name for name in names if is_storable(name)]).decode()
