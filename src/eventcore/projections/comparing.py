"""Comparing two generations of a read model, row by row in stored form, at one position.

Rows are read page by page, each page a range of keys, and digested; only where the digests differ
are rows looked at. A bounded number of differing keys is kept, with the columns that differ, so
that a person can see what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final, NamedTuple

import orjson

from eventcore.events.garbage import collector_paused
from eventcore.projections.columns import StoredValue
from eventcore.projections.snapshots import Snapshot, UnreadableRowsError
from eventcore.projections.tables import AnyTable, StoredRow

DIFFERENCES_MAX: Final = 20
"""Differing rows of a table that are kept to be shown; all are counted."""

DIGEST_BYTES: Final = 16

Rows = Sequence[StoredRow]

Read = Callable[["Pair", Rows], tuple[Rows, Rows]]
"""Gives the live and the new rows with keys, both as of one position."""


class RowDifference(NamedTuple):
    """One row that is not the same in both.

    Attributes:
        key: Column names of the key to stored values.
        columns: Columns that differ, to the live and the new stored value; empty if the row is
            only on one side.
        only: ``"live"`` or ``"new"`` if it is only there; None if it is in both.
    """

    key: dict[str, StoredValue]
    columns: dict[str, tuple[StoredValue, StoredValue]]
    only: str | None = None


class TableComparison(NamedTuple):
    """What came of comparing a table.

    Attributes:
        table: Its name.
        live_rows: Rows of the live table.
        new_rows: Rows of the new one.
        differing: How many rows differ, or are on one side only.
        expired: Rows that only the new one has because their time to live has passed in the other.
        ranges: How many ranges of keys were digested.
        differing_ranges: In how many of them a row differs.
        live_digest: Of all rows of the live table, in the order in which they were read.
        new_digest: Of the new rows with the same keys; the same if none differs.
        rows: The first of the differing rows.
        left_out: Columns that only one of the two has.
        problem: Why rows could not be compared; None if they were.
    """

    table: str
    live_rows: int
    new_rows: int
    differing: int = 0
    expired: int = 0
    ranges: int = 0
    differing_ranges: int = 0
    live_digest: str = ""
    new_digest: str = ""
    rows: tuple[RowDifference, ...] = ()
    left_out: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def same(self) -> bool:
        """Whether nothing differs that was compared."""
        return not self.differing and self.problem is None


class Comparison(NamedTuple):
    """What came of comparing a read model with the one that is to take its place.

    Attributes:
        position: Where both stood.
        tables: One for each table of the new one.
        dropped: Tables that only the live one has.
    """

    position: int
    tables: tuple[TableComparison, ...]
    dropped: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs that was compared."""
        return all(table.same for table in self.tables)

    def in_words(self) -> str:
        """Where it differs, without values."""
        return ", ".join(
            (table.problem and f"{table.table} ({table.problem})")
            or f"{table.differing:,} rows of {table.table}"
            for table in self.tables
            if not table.same
        )


class _Tally:
    """What was found so far in one table."""

    def __init__(self, table: AnyTable, expiry: str | None) -> None:
        self._names = [column.name for column in table.columns]
        self._key = [self._names.index(name) for name in table.key]
        self._ttl = self._names.index(table.ttl_column) if table.ttl_column in self._names else -1
        self._expiry = expiry
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        # Of the new rows, from the first range on that differs: until then there is one of both.
        self._other_digest: hashlib.blake2b | None = None
        self.key_names = table.key
        self.live_rows = self.new_rows = 0
        self.differing = self.expired = self.ranges = self.differing_ranges = 0
        self.rows: list[RowDifference] = []

    def key_of(self, row: StoredRow) -> StoredRow:
        return tuple(row[place] for place in self._key)

    def add_range(self, live: Rows, new: Rows) -> None:
        """Compare the live rows of a range with the new ones of the same keys."""
        live_json = orjson.dumps(live)
        self.ranges += 1
        self.live_rows += len(live)
        if live == new:
            self.new_rows += len(live)
            self._add_to_digests(live_json, live_json)
            return
        found = {self.key_of(row): row for row in new}
        beside = [found.get(self.key_of(row)) for row in live]
        self.new_rows += len(beside) - beside.count(None)
        new_json = orjson.dumps([row for row in beside if row is not None])
        self._add_to_digests(live_json, new_json)
        if live_json == new_json:
            return
        before = self.differing
        for row, other in zip(live, beside, strict=True):
            if row != other:
                self._differs(row, other)
        self.differing_ranges += self.differing > before

    def _add_to_digests(self, live: bytes, new: bytes) -> None:
        if self._other_digest is None and live != new:
            self._other_digest = self._digest.copy()
        self._digest.update(live)
        if self._other_digest is not None:
            self._other_digest.update(new)

    def add_new(self, rows: Sequence[StoredRow]) -> None:
        """Take rows that the live table has not."""
        before = self.differing
        for row in rows:
            self.new_rows += 1
            if self._is_expired(row):
                self.expired += 1
            else:
                self._differs(None, row)
        self.differing_ranges += self.differing > before

    def _is_expired(self, row: StoredRow) -> bool:
        value = row[self._ttl] if self._ttl >= 0 else None
        return (
            self._expiry is not None
            and isinstance(value, str)
            and value < self._expiry[: len(value)]
        )

    def _differs(self, live: StoredRow | None, new: StoredRow | None) -> None:
        self.differing += 1
        if len(self.rows) == DIFFERENCES_MAX:
            return
        some = live or new
        assert some is not None
        key = dict(zip(self.key_names, self.key_of(some), strict=True))
        if live is None or new is None:
            self.rows.append(RowDifference(key, {}, "new" if live is None else "live"))
            return
        columns = {
            name: (a, b) for name, a, b in zip(self._names, live, new, strict=True) if a != b
        }
        self.rows.append(RowDifference(key, columns))

    def result(self, table: AnyTable, left_out: Sequence[str]) -> TableComparison:
        live = self._digest.hexdigest()
        new = live if self._other_digest is None else self._other_digest.hexdigest()
        return TableComparison(
            table.original.name,
            self.live_rows,
            self.new_rows,
            self.differing,
            self.expired,
            self.ranges,
            self.differing_ranges,
            live,
            new,
            tuple(self.rows),
            tuple(left_out),
        )


class Pair(NamedTuple):
    """A table that is live, and the one that is to take its place.

    Attributes:
        live: What the live rows are read from.
        new: What the new ones are read from.
        table: As it is declared, under its own name.
        renamed: The same, under the name of its generation.
        expiry: See :meth:`Table.expiry`: what is older may be missing in the live table.
        read: Reads both sides as of one position, where snapshots are not of one; else None.
    """

    live: Snapshot
    new: Snapshot
    table: AnyTable
    renamed: AnyTable
    expiry: str | None
    read: Read | None

    def narrowed(self, names: Sequence[str]) -> Pair:
        """The same with only these columns."""
        return self._replace(table=self.table.narrowed(names), renamed=self.renamed.narrowed(names))

    def counted(self, problem: str) -> TableComparison:
        """No comparison, only how many rows there are."""
        rows = (self.live.count(self.table), self.new.count(self.renamed))
        return TableComparison(self.table.name, *rows, problem=problem)


def compare_tables(pair: Pair) -> TableComparison:
    """Compare a table with its new generation.

    Raises:
        StoreError: The database failed.
    """
    there, here = pair.live.columns(pair.table), pair.new.columns(pair.renamed)
    if not there:
        return pair.counted("it is new")
    both = [name for name in here if name in there]
    if not set(pair.table.key) <= set(both):
        return pair.counted("its key is of other columns")
    narrowed = pair.narrowed(both)
    tally = _Tally(narrowed.table, pair.expiry)
    try:
        _compare(narrowed, tally)
    except UnreadableRowsError:
        return pair.counted("its keys or columns are of other kinds")
    return tally.result(pair.table, sorted({*there, *here} - {*both}))


def _compare_in_step(pair: Pair, tally: _Tally) -> None:
    """Compare page by page, as long as both have the same keys; then by looking each key up."""
    with closing(pair.new.pages(pair.renamed)) as others:
        pages, is_in_step = pair.live.pages(pair.table), True
        while True:
            with collector_paused():
                page = next(pages, None)
                if page is None:
                    return
                new = next(others, []) if is_in_step else []
                if new == page:
                    tally.add_range(page, new)
                    continue
                keys = list(map(tally.key_of, page))
                if is_in_step and list(map(tally.key_of, new)) != keys:
                    is_in_step = False
                    others.close()
                tally.add_range(page, new if is_in_step else pair.new.at(pair.renamed, keys))


def _compare(pair: Pair, tally: _Tally) -> None:
    if pair.read is None:
        _compare_in_step(pair, tally)
    else:
        for page in pair.live.pages(pair.table):
            tally.add_range(*pair.read(pair, list(map(tally.key_of, page))))
    if pair.read is None and pair.new.count(pair.renamed) == tally.new_rows:
        return
    for page in pair.new.pages(pair.renamed):
        keys = list(map(tally.key_of, page))
        rows: Rows = pair.live.at(pair.table, keys)
        others: Rows = page
        if pair.read is not None and len(rows) < len(page):
            rows, others = pair.read(pair, keys)
        known = set(map(tally.key_of, rows))
        tally.add_new([row for row in others if tally.key_of(row) not in known])
