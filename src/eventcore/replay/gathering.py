"""Gathering: hands shards out to an executor, and writes what comes back.

A shard's rows are final, and no other shard has rows of those keys: so writing them twice changes
nothing. That a shard is done is noted in the transaction of its last rows; a replay that is
repeated hands out the others alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final

from eventcore.errors import CheckpointMovedError, ReplayBrokenOffError
from eventcore.projections.anchors import anchor_at
from eventcore.projections.parking import UNITS, WORK, ParkingLot
from eventcore.projections.projection import Projection
from eventcore.projections.tables import AnyTable, StoredRow
from eventcore.projections.transactions import TableChanges
from eventcore.projections.views import Views
from eventcore.replay.shards import ShardRows, ShardTask, fold_shard
from eventcore.replay.targets import SHARDS_DONE, ShardDoneRow, as_replayed
from eventcore.stores.log import Log

TASKS_AHEAD_MAX: Final = 64
"""Tasks that an executor has at a time: bounds the rows that wait to be written."""

WRITTEN_ROWS: Final = 20_000
"""Rows of one transaction: more would hold the write lock for long and gain nothing."""

RowsOfTables = list[tuple[str, list[StoredRow]]]
"""Names of tables, and rows of each that are written together."""


class Gathering:
    """The rows of some projections, in shards.

    Args:
        views: Where they go.
        projections: Whose, under their own names; all begun with the same cut.
        tasks: One for each group of shards, done or not.

    Attributes:
        events: Events that the tasks looked at whose rows were written here.
    """

    def __init__(
        self, views: Views, projections: Sequence[Projection], tasks: Sequence[ShardTask]
    ) -> None:
        self._views = views
        self._projections = projections
        self._renamed = list(map(as_replayed, projections))
        self._tables: dict[str, AnyTable] = {
            table.name: table for one in projections for table in one.tables
        }
        self._tables.update({table.name: table for table in (UNITS, WORK)})
        self._all = tasks
        self._lot = ParkingLot(views, None)
        self._executor: Executor | None = None
        self._futures: set[Future[ShardRows]] = set()
        self._left: Iterator[ShardTask] = iter(())
        self._written = 0
        self.events = 0
        for projection in self._renamed:
            views.ensure(projection)

    @property
    def part_done(self) -> float:
        """How much of the tasks is written, 0 to 1."""
        return self._written / len(self._all) if self._all else 1.0

    def tasks(self) -> list[ShardTask]:
        """Those whose rows are not written yet."""
        noted = [
            {row.shard for row in self._views.query(SHARDS_DONE, {"projection": one.name})}
            for one in self._projections
        ]
        done = set.intersection(*noted) if noted else set()
        return [task for task in self._all if not done.issuperset(task.shards)]

    @contextmanager
    def handed_to(self, executor: Executor | None) -> Iterator[None]:
        """Hand out what is not done yet; at the end, call back what has not begun.

        Args:
            executor: To whom; None: each is folded here, when it is waited for.
        """
        tasks = self.tasks()
        self._written = len(self._all) - len(tasks)
        self._executor, self._left = executor, iter(tasks)
        try:
            self._hand_out()
            yield
        finally:
            for future in self._futures:
                future.cancel()
            self._futures.clear()

    def _hand_out(self) -> None:
        if self._executor is not None:
            for task in islice(self._left, TASKS_AHEAD_MAX - len(self._futures)):
                self._futures.add(self._executor.submit(fold_shard, task))

    def take(self, *, waiting: bool) -> bool:
        """Write what has come back; whether anything is still to come.

        Args:
            waiting: For the next to come back, if none has; or fold it here.

        Raises:
            ReplayBrokenOffError: A process ended by itself; what was written is kept.
            EventCoreError: A task failed; likewise.
        """
        if self._executor is None:
            task = next(self._left, None) if waiting else None
            if task is not None:
                self.write(fold_shard(task))
            return task is not None
        if not self._futures:
            return False
        done, _ = wait(self._futures, None if waiting else 0, FIRST_COMPLETED)
        try:
            for future in done:
                self._futures.remove(future)
                self._hand_out()
                self.write(future.result())
        except BrokenExecutor as error:
            raise ReplayBrokenOffError(problem=str(error)) from error
        return bool(self._futures)

    def write(self, rows: ShardRows) -> None:
        """Write a task's rows, and note that its shards are done.

        Raises:
            StoreError: The database failed; write them again.
        """
        if rows.rows.get(UNITS.name):
            self._lot.ensure()
        *first, last = parts_of(rows.rows)
        for part in first:
            self._write(part)
        self._write(last, done=rows)
        self._written += 1
        self.events += rows.events

    def _write(self, part: RowsOfTables, *, done: ShardRows | None = None) -> None:
        with self._views.transaction() as transaction:
            for name, stored in part:
                transaction.write(TableChanges(self._tables[name], stored, ()))
            if done is not None:
                transaction.upsert(SHARDS_DONE, self._notes(done))

    def _notes(self, done: ShardRows) -> list[ShardDoneRow]:
        return [
            ShardDoneRow(projection.name, shard, done.events if place == 0 else 0)
            for projection in self._projections
            for place, shard in enumerate(done.shards)
        ]

    def finish(self, log: Log, position: int) -> None:
        """Move the checkpoints to the end, since every shard is there."""
        anchor = anchor_at(log, position)
        for name in sorted(one.name for one in self._renamed):
            # One who did the same work at the same time may have been faster.
            with suppress(CheckpointMovedError), self._views.transaction() as transaction:
                before = self._views.checkpoint(name)
                if before is not None and before.position < position:
                    transaction.advance(name, before, position, anchor=anchor)


def parts_of(rows: dict[str, list[StoredRow]]) -> list[RowsOfTables]:
    """Rows by table in parts of at most :data:`WRITTEN_ROWS`; at least one part."""
    parts: list[RowsOfTables] = [[]]
    room = WRITTEN_ROWS
    for name, stored in rows.items():
        first = 0
        while first < len(stored):
            if not room:
                parts.append([])
                room = WRITTEN_ROWS
            taken = stored[first : first + room]
            parts[-1].append((name, taken))
            first += len(taken)
            room -= len(taken)
    return parts
