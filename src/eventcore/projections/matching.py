"""Matching: compares a generation that is built with the live one, which moves on meanwhile.

Where the database can show one moment of itself, the live rows are read from that, and the new
generation is brought to exactly the position they are at. DynamoDB cannot: there the new rows are
read where the live one was before its rows were read, and where it was after.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final, Protocol

from eventcore.errors import CheckpointMovedError, StoreUnavailableError
from eventcore.events.registry import EventRegistry
from eventcore.projections.building import Builder
from eventcore.projections.comparing import Comparison, Pair, Rows, compare_tables
from eventcore.projections.definitions import is_other_definition
from eventcore.projections.engine import Engine
from eventcore.projections.projection import Projection
from eventcore.projections.shares import merge
from eventcore.projections.snapshots import Snapshot
from eventcore.projections.standings import Standing, standing_of
from eventcore.projections.tables import AnyTable, StoredRow
from eventcore.projections.views import Views
from eventcore.stores.log import Log

STEADY_ATTEMPTS_MAX: Final = 200
"""Of finding all shares of the live one at one position."""

LOOKS_MAX: Final = 10
"""At a row that is neither as it was before nor as after: then it differs."""

DISTURB_EVERY: Final = 5
"""After so many attempts of a swap in vain the live one's runner is made to load its rows anew,
which takes it longer than the swap takes us. It loses nothing."""

APART_PAUSE_SECONDS: Final = 0.1
"""Between two looks at shares that other code keeps, and that are not at one position."""


_AFTER_ALL: Final = chr(0x10FFFF)
"""Sorts above every text that begins with a time."""


_Found = dict[StoredRow, StoredRow]


class Renamed(Protocol):
    """Knows the new generation's tables, as the views of a generation do."""

    def table(self, table: AnyTable) -> AnyTable:
        """The table of the new generation."""


class Matcher:
    """Compares.

    Args:
        log: Where the events are.
        views: Where both generations are.
        projection: Whose.
        registry: Tells which class an event's stored name belongs to.
        builder: Brings the new generation to a position.
        generation: The new generation.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        log: Log,
        views: Views,
        projection: Projection,
        *,
        registry: EventRegistry,
        builder: Builder,
        generation: Renamed,
    ) -> None:
        self._log = log
        self._views = views
        self._projection = projection
        self._name = projection.name
        self._registry = registry
        self._builder = builder
        self._generation = generation

    def compare(self, now: datetime | None) -> Comparison | None:
        """Compare all tables; None if the live one is behind the new one.

        Args:
            now: Rows whose time to live has passed by then are not missed in the live one;
                None: none of a table with a time to live is.

        Raises:
            StoreUnavailableError: The live one never stood still long enough.
        """
        for _ in range(STEADY_ATTEMPTS_MAX):
            with self._views.snapshot() as live:
                found = standing_of(live, self._name)
                if found is None:
                    return None
                position = found.position
                if position is not None and position < self._builder.position:
                    return None
                if position is not None:
                    self._builder.to(position)
                    with self.new_snapshot(live) as new:
                        return self._compare_at(position, live, new, now=now)
            self.bring_together()
        problem = "its shares are never at one position"
        raise too_busy(self._views, self._name, problem)

    def new_snapshot(self, live: Snapshot) -> AbstractContextManager[Snapshot]:  # noqa: ARG002 - of who is elsewhere
        """Where the new generation is read, while the live one is read from its own snapshot."""
        return self._views.snapshot()

    def bring_together(self) -> None:
        """Have the shares of a split projection at one place for a moment, if this code may."""
        kept, fingerprint = (
            self._views.checkpoint(self._name),
            self._views.fingerprint(self._name),
        )
        if is_other_definition(kept, self._projection, fingerprint):
            time.sleep(APART_PAUSE_SECONDS)
            return
        engine = Engine(self._views, [self._projection], self._registry, log=self._log)
        highest = max(one.position for one in engine.checkpoints.values())
        while engine.position < highest:
            page = self._log.read_page(engine.position, 1_000, engine.where())
            if engine.apply(page).moved or page.end == engine.position:
                return
        merge(self._views, self._projection)

    def _compare_at(
        self, position: int, live: Snapshot, new: Snapshot, *, now: datetime | None
    ) -> Comparison:
        read = None if live.steady and new.steady else self._read
        tables = [
            compare_tables(
                Pair(
                    live,
                    new,
                    table,
                    self._generation.table(table),
                    expiry=_expiry(table, now),
                    read=read,
                )
            )
            for table in self._projection.tables
        ]
        declared = {table.name for table in self._projection.tables}
        dropped = set(self._views.tables_of(self._name)) - declared
        return Comparison(position, tuple(tables), tuple(sorted(dropped)))

    def _read(self, pair: Pair, keys: Rows) -> tuple[Rows, Rows]:
        """Rows of both, although the live one moves on.

        The new rows are read where the live one was before its rows were read, and again where it
        was after. What did not change in between is to be the same there; what did is to be one
        of the two. Where it is neither, it is looked at again: it may have changed twice.
        """
        rows: dict[StoredRow, StoredRow] = {}
        others: dict[StoredRow, StoredRow] = {}
        suspect: Rows = keys
        for _ in range(LOOKS_MAX):
            first, found, last = self._look(pair, suspect)
            again = []
            for key in suspect:
                row, before, after = found.get(key), first.get(key), last.get(key)
                if row not in (before, after):
                    again.append(key)
                _note(rows, key, row)
                _note(others, key, row if row == before else after)
            if not again:
                break
            suspect = again
        return list(rows.values()), list(others.values())

    def _look(self, pair: Pair, keys: Rows) -> tuple[_Found, _Found, _Found]:
        """New rows, live rows, new rows again, by key."""
        self._builder.to(self._standing(pair.live).lowest)
        first = _by_key(pair.renamed, pair.new.at(pair.renamed, keys))
        found = _by_key(pair.table, pair.live.at(pair.table, keys))
        self._builder.to(self._standing(pair.live).highest)
        return first, found, _by_key(pair.renamed, pair.new.at(pair.renamed, keys))

    def _standing(self, live: Snapshot) -> Standing:
        for _ in range(STEADY_ATTEMPTS_MAX):
            found = standing_of(live, self._name)
            if found is not None and found.lowest >= self._builder.position:
                return found
            self.bring_together()
        problem = "its shares are never at one position"
        raise too_busy(self._views, self._name, problem)


def _by_key(table: AnyTable, rows: Rows) -> _Found:
    names = [column.name for column in table.columns]
    places = [names.index(name) for name in table.key]
    return {tuple(row[place] for place in places): row for row in rows}


def _note(rows: dict[StoredRow, StoredRow], key: StoredRow, row: StoredRow | None) -> None:
    rows.pop(key, None)
    if row is not None:
        rows[key] = row


def _expiry(table: AnyTable, now: datetime | None) -> str | None:
    if now is not None:
        return table.expiry(now)
    return None if table.ttl_days is None else _AFTER_ALL


def disturb(views: Views, projection: str) -> Standing | None:
    """Have the live one's runner load its rows anew; gives where that is, None if it moved."""
    found = standing_of(views, projection)
    if found is None or found.shares:
        return found
    whole = found.whole
    try:
        with views.transaction() as transaction:
            transaction.advance(projection, whole, whole.position, anchor=whole.anchor, revise=True)
    except CheckpointMovedError:
        return None
    return standing_of(views, projection)


def too_busy(views: Views, projection: str, problem: str) -> StoreUnavailableError:
    """To be tried again later."""
    return StoreUnavailableError(
        store=views.name,
        problem=f"projection {projection}: {problem}; what is rebuilt is kept, try again",
    )
