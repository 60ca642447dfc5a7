"""Comparing read models row by row, by digest, and naming the rows that differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

import orjson

from eventcore.projections.projection import AnyTable
from eventcore.projections.views import Views

KEYS_SHOWN_MAX: Final = 3
"""Differing rows that are named; the others are counted."""


class TableDigest(NamedTuple):
    """What a table holds.

    Attributes:
        table: Its name.
        digest: Of all rows, hexadecimal.
        rows: Digest of each row, by its key as JSON.
    """

    table: str
    digest: str
    rows: dict[str, str]


class Comparison(NamedTuple):
    """One table in two places.

    Attributes:
        table: Its name.
        expected: How it should be.
        found: How it is.
        differing: Keys of rows that are missing, surplus or different, sorted.
    """

    table: str
    expected: TableDigest
    found: TableDigest
    differing: list[str]

    @property
    def equal(self) -> bool:
        """Whether every row is."""
        return not self.differing and self.expected.digest == self.found.digest

    @property
    def problem(self) -> str:
        """What differs, in words."""
        named = ", ".join(self.differing[:KEYS_SHOWN_MAX])
        more = len(self.differing) - KEYS_SHOWN_MAX
        also = f" and {more} more" if more > 0 else ""
        return f"table {self.table} differs at {named}{also}"


def digest_tables(views: Views, tables: Iterable[AnyTable]) -> dict[str, TableDigest]:
    """Digests of all rows of the tables, columns that are not printed included."""
    return {table.name: _digest(views, table) for table in tables}


def _digest(views: Views, table: AnyTable) -> TableDigest:
    found = list(views.query(table))
    places = [[column.name for column in table.columns].index(name) for name in table.key]
    rows = {
        orjson.dumps([row[place] for place in places]).decode(): hashlib.sha256(
            orjson.dumps(tuple(row))
        ).hexdigest()
        for row in table.encode(found)
    }
    whole = hashlib.sha256()
    for key in sorted(rows):
        whole.update(f"{key}\n{rows[key]}\n".encode())
    return TableDigest(table.name, whole.hexdigest(), rows)


def compare(expected: dict[str, TableDigest], found: dict[str, TableDigest]) -> list[Comparison]:
    """Table by table; both have the same tables."""
    return [
        Comparison(name, wanted, found[name], _differing(wanted.rows, found[name].rows))
        for name, wanted in expected.items()
    ]


def _differing(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(
        key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
    )
