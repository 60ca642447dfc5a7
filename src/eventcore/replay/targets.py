"""Targets: where replayed rows go, apart from everything that a live runner keeps.

A replayed ``orders`` has the table ``orders`` and the checkpoint ``orders@replay``. So its rows are
queried like any others, while a runner that comes upon them finds a table that was not made for it,
and refuses: rows of the past are never carried on by accident. The other way round a replay finds
what a runner keeps, and refuses that.

Beside the rows it is noted what they are: until when, and of which log. Whoever repeats a replay
goes on with the same one, or is told that it is another.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import ClassVar, Final, NamedTuple

from eventcore.errors import CheckpointMovedError, ReplayRefusedError, StoreUnavailableError
from eventcore.projections.anchors import Anchor, anchor_at, other_log
from eventcore.projections.definitions import is_other_definition
from eventcore.projections.parking import UNITS, WORK, ParkingLot
from eventcore.projections.projection import Projection
from eventcore.projections.tables import Table
from eventcore.projections.views import Views
from eventcore.replay.cuts import Cut
from eventcore.stores.log import Log

ATTEMPTS_MAX: Final = 20
"""Of noting a replay that is begun, while others begin theirs in the same place."""

SUFFIX: Final = "@replay"
"""Ends the names of checkpoints of replayed rows."""


class ReplayRow(NamedTuple):
    """What the rows of a projection are.

    Attributes:
        projection: Which.
        until: What was asked for: ``position 1234``, a time, or ``the head``.
        position: No event above it is in them.
        time: See :class:`eventcore.replay.cuts.Cut`.
        anchor_position: Of the last event at or below that position, if there is one.
        anchor_event: Its id.
        division: How they are made in shards, see
            :class:`eventcore.replay.shards.ShardSource`; empty: as a whole.
    """

    projection: str
    until: str
    position: int
    time: str | None
    anchor_position: int | None
    anchor_event: str | None
    division: str

    @property
    def cut(self) -> Cut:
        """Where they end."""
        return Cut(self.position, self.time)

    @property
    def anchor(self) -> Anchor | None:
        """The event they stand on, which tells their log from others."""
        if self.anchor_position is None or self.anchor_event is None:
            return None
        return Anchor(self.anchor_position, self.anchor_event)


REPLAYS: Final = Table("eventcore_replays", ReplayRow, key=["projection"], internal=True)


class ShardDoneRow(NamedTuple):
    """A shard whose rows are all written.

    Attributes:
        projection: Whose rows.
        shard: Its number.
        events: How many events its task looked at; 0 for the others of one task.
    """

    projection: str
    shard: int
    events: int


SHARDS_DONE: Final = Table(
    "eventcore_replayed_shards",
    ShardDoneRow,
    key=["projection", "shard"],
    group=["projection"],
    internal=True,
)


class Replays(Projection):
    """Owns the tables; no event changes them."""

    name = "eventcore_replays"
    tables = (REPLAYS, SHARDS_DONE)
    fingerprint: ClassVar[str] = "1"


def as_replayed(projection: Projection) -> Projection:
    """The projection under the name that its replayed rows are kept by."""
    other = copy.copy(projection)
    # Its class has one for all; this one is kept under a name of its own.
    vars(other)["name"] = f"{projection.name}{SUFFIX}"
    return other


class Target:
    """Views that replayed rows go into.

    Args:
        views: Which.
        log: Where the events are.
        projections: What is replayed, under their own names.
    """

    def __init__(self, views: Views, log: Log, projections: Sequence[Projection]) -> None:
        self.views = views
        self._log = log
        self._projections = projections
        self.resumed = False

    def begin(
        self, cut: Cut, until: str, *, apart: Collection[str], division: str
    ) -> list[ReplayRow]:
        """Note what is about to be replayed; what is noted already is checked instead.

        Args:
            cut: Where it ends, as of now.
            until: What was asked for: equal texts go on with each other.
            apart: Names of projections that are to be made in shards.
            division: How shards can be read; empty: not at all.

        Returns:
            One row a projection, in their order: of one that was begun, where it ends was settled
            then.

        Raises:
            ReplayRefusedError: The target holds something else.
            SchemaMismatchError: A table of the name is somebody else's.
            StoreUnavailableError: Others began replays there every time; try again.
        """
        self._check_beside()
        for _ in range(ATTEMPTS_MAX):
            with suppress(CheckpointMovedError):
                return self._begin(cut, until, apart=apart, division=division)
        problem = "others keep beginning replays there"
        raise StoreUnavailableError(store=self.views.name, problem=problem)

    def _begin(
        self, cut: Cut, until: str, *, apart: Collection[str], division: str
    ) -> list[ReplayRow]:
        # Moved on with every note: of two who begin at once, one looks again and joins the other.
        before = self.views.ensure(Replays())
        noted = {row.projection: row for row in self.views.query(REPLAYS)}
        for projection in self._projections:
            found = noted.get(projection.name)
            if found is None:
                self._check_free(projection)
                self.views.ensure(as_replayed(projection))
            else:
                self._check_same(projection, found, until)
                self._check_division(projection, found, division)
        fresh = [one.name for one in self._projections if one.name not in noted]
        self.resumed = len(fresh) < len(self._projections)
        if fresh:
            # Where the log has a hole at the end there is none; then the head alone tells.
            anchor = anchor_at(self._log, cut.position)
            rows = [
                ReplayRow(
                    name,
                    until,
                    cut.position,
                    cut.time,
                    anchor and anchor.position,
                    anchor and anchor.event,
                    division if name in apart else "",
                )
                for name in fresh
            ]
            with self.views.transaction() as transaction:
                transaction.advance(Replays.name, before, before.position + 1)
                transaction.upsert(REPLAYS, rows)
            noted.update((row.projection, row) for row in rows)
        return [noted[projection.name] for projection in self._projections]

    def _check_beside(self) -> None:
        """Refuse projections that change tables of others which are not replayed with them."""
        here = {table.name for one in self._projections for table in one.tables}
        for projection in self._projections:
            for table in projection.beside:
                if table.name not in here:
                    self._refuse(
                        projection,
                        f"it changes the table {table.name} of another projection",
                        "Replay the two together",
                    )

    def _check_free(self, projection: Projection) -> None:
        if self.views.checkpoint(projection.name) is not None:
            self._refuse(
                projection,
                "its rows there are kept up to date, and a replay would end in the past",
                "Name another target, such as an empty file",
            )

    def _check_same(self, projection: Projection, found: ReplayRow, until: str) -> None:
        name = f"{projection.name}{SUFFIX}"
        again = "Name another target, or drop those rows first (--drop)"
        if found.until != until:
            self._refuse(projection, f"its rows there are those until {found.until}", again)
        kept, fingerprint = self.views.checkpoint(name), self.views.fingerprint(name)
        if is_other_definition(kept, projection, fingerprint):
            problem = "its rows there were made by other handlers or tables than this code has"
            self._refuse(projection, problem, again)
        problem_of_log = other_log(self._log, found.position, found.anchor)
        if problem_of_log is not None:
            self._refuse(projection, f"its rows there are of another log: {problem_of_log}", again)

    def _check_division(self, projection: Projection, found: ReplayRow, division: str) -> None:
        if found.division in {"", division}:
            return
        self._refuse(
            projection,
            f"its rows there are being made in shards ({found.division}), which this source does "
            "not have",
            "Go on with the log and the archive it was begun with, or drop those rows (--drop)",
        )

    def _refuse(self, projection: Projection, problem: str, action: str) -> None:
        raise ReplayRefusedError(
            projection=projection.name, database=self.views.name, problem=problem, action=action
        )


def drop_replays(views: Views, projections: Iterable[Projection]) -> list[str]:
    """Drop replayed rows, and nothing that a runner keeps; gives whose there were.

    Args:
        views: Where they are.
        projections: Whose.
    """
    noted = {row.projection for row in views.query(REPLAYS)}
    names = [projection.name for projection in projections if projection.name in noted]
    lot = ParkingLot(views, None)
    for name in names:
        kept = f"{name}{SUFFIX}"
        views.drop(kept)
        with views.transaction() as transaction:
            for unit in lot.units(kept):
                transaction.delete(WORK, list(map(WORK.key_of, lot.work(kept, unit.unit))))
                transaction.delete(UNITS, [UNITS.key_of(unit)])
            shards = views.query(SHARDS_DONE, {"projection": name})
            transaction.delete(SHARDS_DONE, list(map(SHARDS_DONE.key_of, shards)))
            transaction.delete(REPLAYS, [name])
    return names
