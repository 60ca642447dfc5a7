"""Rows dropped from memory are loaded again, and only those, while their keys are known."""

from typing import Any, NamedTuple

import pytest
from typing_extensions import override

from eventcore.projections import MemoryViews, Projection, Table
from eventcore.projections import remembered as remembered_module
from eventcore.projections.remembered import Remembered


class CountRow(NamedTuple):
    name: str
    kind: str
    events: int


COUNTS = Table("counts", CountRow, key=["name"], group=["kind"])


class Counts(Projection):
    name = "counts"
    tables = (COUNTS,)


class Watched(MemoryViews):
    """Notes which keys and groups are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    @override
    def load_rows(self, table: Any, keys: Any) -> Any:
        self.asked += keys
        return super().load_rows(table, keys)

    @override
    def load_groups(self, table: Any, groups: Any) -> Any:
        self.asked += groups
        return super().load_groups(table, groups)


@pytest.fixture
def views(monkeypatch):
    monkeypatch.setattr(remembered_module, "ROWS_REMEMBERED_MAX", 2)
    views = Watched()
    views.ensure(Counts())
    return views


def count(views: Watched, remembered: Remembered, *names: str) -> None:
    """One page: each name once more, in a group of its own."""
    remembered.wanted += names
    remembered.load(views)
    for name in names:
        if remembered.grouped:
            [before] = remembered.rows.get(name) or [CountRow(name, name, 0)]
            remembered.rows[name] = [before._replace(events=before.events + 1)]
        else:
            row = remembered.rows.get(name) or CountRow(name, name, 0)
            remembered.rows[name] = row._replace(events=row.events + 1)
    changes = remembered.changes()
    assert changes is not None
    with views.transaction() as transaction:
        transaction.write(changes)
    remembered.committed()


def counted(views: Watched) -> dict[str, int]:
    return {row.name: row.events for row in views.query(COUNTS)}


@pytest.mark.parametrize("grouped", [False, True])
def test_new_rows_are_not_looked_for_and_dropped_ones_are(views, grouped):
    remembered = Remembered(COUNTS, grouped=grouped, complete=True)
    for name in "abcdef":
        count(views, remembered, name)
    assert views.asked == []
    assert len(remembered.rows) <= 2

    count(views, remembered, "a", "g")

    assert views.asked == ["a"]
    assert counted(views) == {"a": 2, **dict.fromkeys("bcdefg", 1)}


@pytest.mark.parametrize("grouped", [False, True])
def test_once_more_were_dropped_than_are_known_every_row_is_looked_for(views, grouped, monkeypatch):
    monkeypatch.setattr(remembered_module, "KEYS_DROPPED_MAX", 3)
    remembered = Remembered(COUNTS, grouped=grouped, complete=True)
    for name in "abcdefgh":
        count(views, remembered, name)

    count(views, remembered, "x", "a")

    assert remembered.complete is False
    assert views.asked[-2:] == ["x", "a"]
    assert counted(views) == {"a": 2, "x": 1, **dict.fromkeys("bcdefgh", 1)}


def test_where_rows_were_before_every_one_is_looked_for(views):
    count(views, Remembered(COUNTS, grouped=False, complete=True), "a")
    remembered = Remembered(COUNTS, grouped=False, complete=False)

    for name in "bcdea":
        count(views, remembered, name)

    assert views.asked == list("bcdea")
    assert counted(views) == {"a": 2, **dict.fromkeys("bcde", 1)}
