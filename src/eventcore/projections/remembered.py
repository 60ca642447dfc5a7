"""Rows of a table that a runner remembers between pages, and what one page changed of them."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from eventcore.projections.tables import Key, StoredRow, Table
from eventcore.projections.transactions import TableChanges
from eventcore.projections.views import Views

ROWS_REMEMBERED_MAX: Final = 20_000
"""Rows (or groups) of a table remembered between pages: bounds memory, not what can be kept."""

KEYS_DROPPED_MAX: Final = 250_000
"""Keys of rows that were dropped from there, of which it is known that no others are in the
database: as long as there are no more, new rows are not looked for (some 20 MiB)."""


class Remembered:
    """Rows of one table, as of the position its projection is at.

    ``wanted``, ``rows`` and ``appended`` are the same objects for as long as this lives: the
    functions that fold hold on to them.

    Args:
        table: Whose rows.
        grouped: ``rows`` holds lists of rows by group rather than rows by key.
        complete: What is not here, and was not dropped from here, is not in the database either.
    """

    def __init__(self, table: Table[Any], *, grouped: bool, complete: bool) -> None:
        self.table = table
        self.grouped = grouped
        self.complete = complete
        self.wanted: list[Key] = []
        self.rows: dict[Key, Any] = {}
        self.appended: list[Any] = []
        self._before: dict[Key, Any] = {}
        # Hashes: of two keys that share one, the other is looked for in vain.
        self._dropped: set[int] = set()

    def load(self, views: Views) -> None:
        """Have the wanted rows here, and note what they are.

        Raises:
            StoreError: A key does not fit its columns, or the database failed.
        """
        self._before = before = {}
        rows = self.rows
        wanted = dict.fromkeys(self.wanted)
        self.wanted.clear()
        if not self.complete or self._dropped:
            missing = [key for key in wanted if key not in rows]
            if self.complete:
                dropped = self._dropped
                missing = [key for key in missing if hash(key) in dropped]
            if missing:
                self._load_missing(views, missing)
        for key in wanted:
            before[key] = rows.get(key)

    def _load_missing(self, views: Views, missing: list[Key]) -> None:
        rows = self.rows
        if self.grouped:
            group_of = self.table.group_of
            groups: dict[Key, list[Any]] = {key: [] for key in missing}
            for row in views.load_groups(self.table, missing):
                groups[group_of(row)].append(row)
            rows.update(groups)
            return
        loaded = views.load_rows(self.table, missing)
        # That a row is absent is remembered too; but only once the database has said so.
        rows.update(dict.fromkeys(missing))
        key_of = self.table.key_of
        rows.update((key_of(row), row) for row in loaded)

    def restore(self) -> None:
        """Undo what was folded since the last load."""
        self.wanted.clear()
        self.appended.clear()
        self.rows.update(self._before)
        self._before = {}

    def changes(self) -> TableChanges | None:
        """What was folded since the last load; None if nothing changed.

        Raises:
            StoreError: A row does not fit its table.
        """
        upserts, deletes = self._group_changes() if self.grouped else self._row_changes()
        if not upserts and not deletes:
            return None
        table = self.table
        return TableChanges(table, upserts, table.encode_keys(deletes, table.key_columns))

    def _row_changes(self) -> tuple[list[StoredRow], list[Key]]:
        rows = self.rows
        changed = [key for key, before in self._before.items() if rows.get(key) is not before]
        upserts = [row for key in changed if (row := rows[key]) is not None]
        upserts += self.appended
        return self.table.encode(upserts), [key for key in changed if rows[key] is None]

    def _group_changes(self) -> tuple[list[StoredRow], list[Key]]:
        key_of = self.table.key_of
        added: list[Any] = []
        before_and_after: list[tuple[Any, Any]] = []
        deletes: list[Key] = []
        for group, before in self._before.items():
            old = {key_of(row): row for row in before or ()}
            for row in self.rows.get(group) or ():
                present = old.pop(key_of(row), None)
                if present is None:
                    added.append(row)
                elif present is not row:
                    before_and_after.append((present, row))
            deletes += old
        return self.table.encode(added) + self._rewritten(before_and_after), deletes

    def _rewritten(self, before_and_after: list[tuple[Any, Any]]) -> list[StoredRow]:
        """Those that are stored differently: for Python 1, 1.0 and True in JSON would be equal."""
        if not before_and_after:
            return []
        before, after = map(self.table.encode, zip(*before_and_after, strict=True))
        return [new for old, new in zip(before, after, strict=True) if old != new]

    def committed(self) -> None:
        """What was folded is kept now. Stay within bounds, dropping what has been here longest."""
        self._before = {}
        self.appended.clear()
        surplus = len(self.rows) - ROWS_REMEMBERED_MAX
        if surplus > 0:
            for key in list(islice(self.rows, surplus + ROWS_REMEMBERED_MAX // 2)):
                self._dropped.add(hash(key))
                del self.rows[key]
            if not self.complete or len(self._dropped) > KEYS_DROPPED_MAX:
                self.complete = False
                self._dropped.clear()

    def check(self, key: Key) -> None:
        """Refuse at once a row, or a group, that would be refused when the page is written.

        Raises:
            StoreError: It does not fit its table.
        """
        row = self.rows.get(key)
        if row is not None:
            self.table.encode(row if self.grouped else [row])
