"""What lies beside the log in Postgres: snapshots, and what imports refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import event_id_of
from eventcore.stores.integrity import Problem
from eventcore.stores.limits import PLACE_MAX, is_storable
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.refusals import Refusal
from eventcore.stores.snapshots import Snapshot
from eventcore.stores.statements import load_statements


class Memories:
    """The tables beside the log. Losing them costs time or repeated judgement, never truth.

    Attributes:
        connections: Where they are.
    """

    def __init__(self, connections: PostgresConnections) -> None:
        self.connections = connections
        self._texts = load_statements("eventcore.stores.postgres", "sql/log.sql")
        self._sql = connections.formatted(self._texts)

    def problems(self, head: int) -> Iterator[Problem]:
        """See :meth:`eventcore.stores.integrity.SelfChecking.problems`."""
        after = 0
        while rows := self.connections.fetch(
            self._sql["select_indexed"], (after, min(head, PLACE_MAX), READ_PAGE_EVENTS)
        ):
            for position, by_stream, by_id, event_id, state in rows:
                if by_stream != position:
                    yield Problem("read by its stream it is another event, or none", position)
                if by_id != position:
                    yield Problem("looked up by its id it is another event, or none", position)
                if event_id_of(state) != event_id:
                    yield Problem("the id in its column is not the one in its state", position)
            after = rows[-1][0]

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.load_snapshot`."""
        rows = self.connections.fetch(self._sql["select_snapshot"], (stream,))
        return Snapshot(*rows[0]) if rows else None

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.save_snapshot`."""
        with self.connections.using() as connection:
            connection.execute(self._sql["upsert_snapshot"], snapshot)

    def find_refusals(self, event_ids: Sequence[str]) -> Mapping[tuple[str, str], Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.find_refusals`."""
        known = [id_ for id_ in event_ids if is_storable(id_)]
        rows = self.connections.fetch(self._sql["select_refusals"], (known,))
        return {(row[0], row[1]): Refusal(*row) for row in rows}

    def remember_refusals(self, refusals: Sequence[Refusal]) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.remember_refusals`."""
        if not refusals:
            return  # no transaction, no flush
        with self.connections.using() as connection:
            connection.execute(self._sql["upsert_refusals"], refusal_columns(refusals))

    def all_refusals(self) -> Iterator[Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.all_refusals`."""
        after = ("", "")
        rows: list[Any] | None = None
        while rows is None or len(rows) == READ_PAGE_EVENTS:
            rows = self.connections.fetch(
                self._sql["select_refusals_after"], (*after, READ_PAGE_EVENTS)
            )
            for row in rows:
                yield Refusal(*row)
            after = rows[-1][:2] if rows else after


def refusal_columns(refusals: Sequence[Refusal]) -> list[list[str]]:
    """Refusals as one list a column, as the statement takes them."""
    return [list(column) for column in zip(*refusals, strict=True)]
