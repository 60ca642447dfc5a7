"""Reading the log: a chain of records, each of which says where the next one begins.

A reader passes a position only after it has read what is there, and what a record covers never
changes (its events may be trimmed, which it says then). So every reader walks the same chain. Where
nothing is yet, although something is further on, a writer is late or dead: the reader waits a
little, then puts a tombstone there, on the condition that nothing is. Either it succeeds, and the
writer's transaction can never be done; or it meets what the writer wrote, and reads that. Time
decides only when that is tried.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from eventcore.errors import LogDamagedError, LogRestoredError
from eventcore.stores.dynamodb.ahead import ReadAhead
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item
from eventcore.stores.dynamodb.layout import Keys, Record, number, record_of, tombstone
from eventcore.stores.dynamodb.limits import SEGMENT_POSITIONS
from eventcore.stores.dynamodb.writing import Writing

FENCE_SECONDS: Final = 1.0
"""How long a position may be empty before it is fenced. A transaction takes some milliseconds."""

FENCE_PATIENCE_MAX: Final = 4.0
"""How many times as long it may become: the wait doubles with each fence that succeeds, since then
the table may be slow, and fencing makes slow writers begin anew. Followers wait no longer than that
for a writer that died."""

CALM_RECORDS: Final = 100
"""After so many records without a fence the wait is what it was at first."""

LOOK_FIRST_SECONDS: Final = 0.002
LOOK_SECONDS_MAX: Final = 0.05
"""Bounds of the pause before an empty position is looked at again."""

HINTS_MAX: Final = 1_024
"""Places where readers stopped that are remembered, so that they need not look for the record that
covers them."""

BACK_PAGE: Final = 16
"""Records read at once while looking for the newest event."""


class Chain:
    """Walks the records of one log. May be used from any thread.

    Args:
        calls: To the service.
        keys: Of the log.
        writing: Puts the tombstones.
        fence_seconds: How long a position may be empty before it is fenced. None: for ever, the
            reader only waits: for one that may not write.
        segments_ahead: How many segments at most are read before they are wanted. 0: none, and no
            threads.
    """

    def __init__(
        self,
        calls: DynamoDBCalls,
        keys: Keys,
        writing: Writing,
        *,
        fence_seconds: float | None = FENCE_SECONDS,
        segments_ahead: int = 0,
    ) -> None:
        self._calls = calls
        self._keys = keys
        self._writing = writing
        self._fence_seconds_first = fence_seconds
        self._fence_seconds = fence_seconds
        self._lock = threading.Lock()
        self._hints: OrderedDict[int, int] = OrderedDict()
        self._empty_since: OrderedDict[int, float] = OrderedDict()
        self._calm = 0
        self._is_idle = False
        self._ahead = ReadAhead(
            lambda segment, start: self._query(segment, "sk >= :bound", start),
            calls.clock,
            segments_ahead,
        )

    def close(self) -> None:
        """End the threads that read ahead."""
        self._ahead.close()

    def reserved(self) -> int:
        """The last position that was reserved, 0 if none was."""
        answer = self._calls.call(
            "GetItem",
            {
                "TableName": self._keys.table,
                "Key": self._keys.sequencer,
                "ConsistentRead": True,
                "ProjectionExpression": "c",
            },
        )
        return number(answer["Item"], "c") if answer.get("Item") else 0

    def start_for(self, after: int) -> int:
        """Where the record begins that holds what comes next behind a position."""
        if after <= 0:
            return 1
        with self._lock:
            if after in self._hints:
                return self._hints[after]
        segment = (after + 1) // SEGMENT_POSITIONS
        found = self._query(segment, "sk <= :bound", after + 1, backwards=True, limit=1)
        # Nothing is above what was reserved, however far beyond it somebody asks.
        reserved = 0 if found else self.reserved() // SEGMENT_POSITIONS
        for back in range(min(segment - 1, reserved), -1, -1):
            if found:
                break
            found = self._query(back, "sk <= :bound", after + 1, backwards=True, limit=1)
        if not found:
            return 1
        record = record_of(found[0])
        return record.first if record.end > after else record.end + 1

    def remember(self, after: int, start: int, left: Sequence[Record] = ()) -> None:
        """Keep in mind what :meth:`start_for` would find for a place where a reader stopped.

        Args:
            after: The place.
            start: Where the record begins that holds what comes next.
            left: That record and those behind it, if they were read already.
        """
        if left:
            self._ahead.keep(start, [record.body for record in left])
        with self._lock:
            self._hints[after] = start
            self._hints.move_to_end(after)
            if len(self._hints) > HINTS_MAX:
                self._hints.popitem(last=False)

    def forget(self) -> None:
        """Forget where readers stopped: it was another log."""
        with self._lock:
            self._hints.clear()
            self._empty_since.clear()
            self._is_idle = False
        self._ahead.forget()

    def records_from(
        self, start: int, *, waits: bool = True, is_catching_up: bool = False
    ) -> list[Record]:
        """Some records from a place of the chain on, without a gap; none: it ends there, for now.

        Where nothing is although something is further on, it waits, and fences when it is time.

        Args:
            start: A place that a record begins at, or will.
            waits: Else it gives none instead of waiting: call it again soon.
            is_catching_up: Whether who reads goes on reading: then what comes next may be asked for
                early.

        Raises:
            LogDamagedError: Two records overlap.
        """
        while True:
            # While nothing happens, the sequencer alone tells so, with one small read.
            if self._is_idle and self.reserved() < start:
                return []
            items = self._ahead.take(start)
            records = self._linked(items, start)
            if not records:
                # Nothing was asked for early, or it was not there yet: only now can that be said.
                items = self._query(start // SEGMENT_POSITIONS, "sk >= :bound", start)
                records = self._linked(items, start)
            self._is_idle = not records
            if records:
                if is_catching_up:
                    self._ahead.note_read(start, records[-1].end)
                return records
            above = record_of(items[0]).first if items else self._first_above(start)
            if above is None or not (waits or self._is_overdue(start)):
                return []
            self._await_record(start, above)

    def newest_event(self) -> int:
        """Position of the newest event, 0 if there is none."""
        reserved = self.reserved()
        for segment in range(reserved // SEGMENT_POSITIONS, -1, -1):
            bound: int | None = reserved
            limit = 1  # nearly always the last record is a cell, and a cell may be large
            while bound is not None:
                items = self._query(segment, "sk <= :bound", bound, backwards=True, limit=limit)
                records = [record_of(item) for item in items]
                for record in records:
                    if not record.is_tombstone:
                        return record.end
                bound = records[-1].first - 1 if len(records) == limit else None
                limit = BACK_PAGE
        return 0

    def record_at(self, position: int) -> Record | None:
        """The record that covers a position, if there is one yet."""
        segment = position // SEGMENT_POSITIONS
        for back in range(segment, max(segment - 2, -1), -1):
            found = self._query(back, "sk <= :bound", position, backwards=True, limit=1)
            if found:
                record = record_of(found[0])
                return record if record.end >= position else None
        return None

    def records_between(self, first: int, last: int) -> Iterator[Record]:
        """The records that cover positions from one to another; where none is yet, none."""
        record = self.record_at(first)
        if record is not None:
            yield record
        bound = first if record is None else record.end + 1
        while bound <= last:
            segment = bound // SEGMENT_POSITIONS
            items = self._query(segment, "sk >= :bound", bound)
            if not items:
                bound = (segment + 1) * SEGMENT_POSITIONS
            for item in items:
                record = record_of(item)
                if record.first > last:
                    return
                yield record
                bound = record.end + 1

    def _linked(self, items: list[Item], start: int) -> list[Record]:
        """Those of the records that follow each other from ``start`` on."""
        linked: list[Record] = []
        is_linked = True
        for item in items:
            record = record_of(item)
            if record.first < start:
                raise LogDamagedError(store=self._calls.name, position=record.first)
            if record.first > start:
                is_linked = False
                # Several holes are waited for at once: the clock of this one starts now.
                self._note_empty(start)
            if is_linked:
                linked.append(record)
            start = record.end + 1
        if linked:
            self._keep_calm(len(linked))
        return linked

    def _first_above(self, start: int) -> int | None:
        """Where the first record above an empty place begins, in the segments behind its own."""
        reserved = self.reserved()
        first = start // SEGMENT_POSITIONS + 1
        for segment in range(first, reserved // SEGMENT_POSITIONS + 1):
            items = self._query(segment, "sk >= :bound", start, limit=1)
            if items:
                return number(items[0], "sk")
        return None

    def _await_record(self, start: int, above: int) -> None:
        """Wait until something is at an empty place; at last see to it."""
        pause = LOOK_FIRST_SECONDS
        self._note_empty(start)
        while not self._is_written(start):
            if self._is_overdue(start):
                self._fence(start, above)
                return
            self._calls.sleep(pause)
            pause = min(2 * pause, LOOK_SECONDS_MAX)
        with self._lock:
            self._empty_since.pop(start, None)

    def _is_overdue(self, start: int) -> bool:
        wait = self._fence_seconds
        return wait is not None and self._calls.clock() - self._note_empty(start) >= wait

    def _fence(self, start: int, above: int) -> None:
        """Make sure that something is at each place below ``above``, upwards, one by one.

        One by one, because each may be where some writer's cell belongs: a single tombstone for all
        would leave those behind its first position free, and readers would pass them. Upwards,
        because only the place that readers stand at is known to begin a record. That was seen in
        the table that the log was opened in: in another one it may be within a record, or be where
        a repair has yet to put what a restore tore off.
        """
        self._check_current()
        position = start
        fenced = 0
        while position < above:
            found = self._writing.put_once(tombstone(self._keys, position, 1))
            if found is None:
                position, fenced = position + 1, fenced + 1
                continue
            record = record_of(found)
            if not record.is_tombstone:
                break  # the writer was only late, and so may others be
            position = record.end + 1
        with self._lock:
            self._empty_since.pop(start, None)
            first = self._fence_seconds_first
            if self._fence_seconds is not None and first is not None and fenced:
                self._fence_seconds = min(2 * self._fence_seconds, FENCE_PATIENCE_MAX * first)
                self._calm = 0

    def _check_current(self) -> None:
        try:
            self._writing.check_current()
        except LogRestoredError:
            self.forget()
            raise

    def _keep_calm(self, records: int) -> None:
        if self._fence_seconds == self._fence_seconds_first:
            return
        with self._lock:
            self._calm += records
            if self._calm >= CALM_RECORDS:
                self._fence_seconds = self._fence_seconds_first

    def _note_empty(self, start: int) -> float:
        with self._lock:
            since = self._empty_since.setdefault(start, self._calls.clock())
            if len(self._empty_since) > HINTS_MAX:
                self._empty_since.popitem(last=False)
            return since

    def _is_written(self, position: int) -> bool:
        answer = self._calls.call(
            "GetItem",
            {
                "TableName": self._keys.table,
                "Key": self._keys.record(position),
                "ConsistentRead": True,
                "ProjectionExpression": "sk",
            },
        )
        return bool(answer.get("Item"))

    def _query(
        self,
        segment: int,
        condition: str,
        bound: int,
        *,
        backwards: bool = False,
        limit: int | None = None,
    ) -> list[Item]:
        """One page of a segment's records."""
        request: dict[str, Any] = {
            "TableName": self._keys.table,
            "KeyConditionExpression": f"pk = :pk AND {condition}",
            "ExpressionAttributeValues": {
                ":pk": {"S": self._keys.segment_numbered(segment)},
                ":bound": {"N": str(bound)},
            },
            "ConsistentRead": True,
            "ScanIndexForward": not backwards,
        }
        if limit is not None:
            request["Limit"] = limit
        items: list[Item] = self._calls.call("Query", request)["Items"]
        return items
