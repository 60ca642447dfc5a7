"""Timers: when one is due, that is recorded as an event, and the process reacts to that event.

The clock decides when something is recorded, never what is true: the event says which timer of
which instance came due and the time it was set to, has an id derived from what set the timer, and
stands in a stream of its own. So a timer comes due once, whoever looks, and a clock that steps back
or ahead can only make it be recorded later or earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from typing import Final
from uuid import UUID

from eventcore.errors import ConcurrencyConflictError, EventIdReusedError
from eventcore.events.catalogue.processes import ProcessTimedOut
from eventcore.events.event import stream_of
from eventcore.events.recorded import NewEvent
from eventcore.events.times import to_text
from eventcore.processes.folding import Folding
from eventcore.processes.tables import DueRow, timers_in
from eventcore.projections.views import Views
from eventcore.stores.log import Log, StreamAppend

TIMERS_AT_ONCE: Final = 40
"""Timers recorded in one append: on DynamoDB each is an item of its own, of 100 at most."""


class Timers:
    """Records what came due for one process manager.

    Args:
        folding: The process manager with its tables.
        views: Where they are kept.
        log: Where it is recorded.
    """

    def __init__(self, folding: Folding, views: Views, log: Log) -> None:
        self._tables = folding.tables
        self._name = folding.process.name
        self._views = views
        self._log = log

    def record(self, now: datetime) -> int:
        """Record every timer that is due; gives how many that were.

        Raises:
            StoreError: The log or the views failed. Do it again later.
        """
        recorded = 0
        while due := self._due(now):
            armed, dropped = self._judged(due)
            self._append(armed)
            recorded += len(armed)
            with self._views.transaction() as transaction:
                keys = [(row.process, row.due_at, row.timer_id) for row in (*armed, *dropped)]
                transaction.delete(self._tables.due, keys)
        return recorded

    def next_due(self) -> datetime | None:
        """When the next one is due; None if none is set."""
        rows = self._views.query(self._tables.due, {"process": self._name}, 1)
        return next((row.due_at for row in rows), None)

    def _due(self, now: datetime) -> list[DueRow]:
        rows = self._views.query(self._tables.due, {"process": self._name}, TIMERS_AT_ONCE)
        return list(takewhile(lambda row: row.due_at <= now, rows))

    def _judged(self, due: Sequence[DueRow]) -> tuple[list[DueRow], list[DueRow]]:
        """Those that count still, and those that were given up or replaced.

        In a rebuild one may be dropped whose event was not seen again yet: it is set once more when
        it is.
        """
        instances = list(dict.fromkeys(row.instance for row in due))
        rows = self._views.load_rows(self._tables.armed, instances)
        timers = {row.instance: timers_in(row) for row in rows}
        armed: list[DueRow] = []
        dropped: list[DueRow] = []
        for row in due:
            set_to = {"id": row.timer_id, "due": to_text(row.due_at)}
            is_armed = timers.get(row.instance, {}).get(row.timer) == set_to
            (armed if is_armed else dropped).append(row)
        return armed, dropped

    def _append(self, rows: Sequence[DueRow]) -> None:
        appends = [self._append_of(row) for row in rows]
        if not appends:
            return
        try:
            self._log.append(appends)
        except (ConcurrencyConflictError, EventIdReusedError):
            # Some were recorded before: by another runner, or by this one before it broke off.
            for append in appends:
                self._append_one(append)

    def _append_one(self, append: StreamAppend) -> None:
        try:
            self._log.append([append])
        except (ConcurrencyConflictError, EventIdReusedError):
            if not self._log.stream_version(append.stream):
                raise

    def _append_of(self, row: DueRow) -> StreamAppend:
        payload = ProcessTimedOut(
            timer_id=row.timer_id, process=self._name, instance=row.instance, timer=row.timer
        )
        event = NewEvent(
            payload=payload,
            event_id=UUID(row.timer_id),
            timestamp=row.due_at,
            correlation_id=row.correlation_id,
            causation_id=row.event_id,
        )
        return StreamAppend(stream_of(payload), 0, [self._log.codec.encode(event)])
