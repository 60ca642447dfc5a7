"""SQL for declared tables: the one place where statements are built, their names come from code.

Every name is quoted, and was checked by :class:`~eventcore.projections.tables.Table`; values are
always bound, never part of the text.
"""
# ruff: noqa: S608 - names are quoted identifiers from declarations; see above

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from eventcore.projections.columns import Column, Kind
from eventcore.projections.tables import AnyTable

UPSERT_PARAMETERS_MAX: Final = 4_000
"""Values in one statement. SQLite takes 32,766 (SQLite, "Implementation Limits",
SQLITE_MAX_VARIABLE_NUMBER); more gain nothing."""


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def drop_table(name: str) -> str:
    """Drops a table and its indexes."""
    return f"DROP TABLE IF EXISTS {quote(name)}"


def rename_table(name: str, becomes: str) -> str:
    """Gives a table another name."""
    return f"ALTER TABLE {quote(name)} RENAME TO {quote(becomes)}"


def table_info(name: str) -> str:
    """One row a column, its name second; none if there is no such table."""
    return f"PRAGMA table_info({quote(name)})"


def _quote_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(quote, names))


def _define(column: Column) -> str:
    name = quote(column.name)
    kind = "INTEGER" if column.kind in {Kind.INTEGER, Kind.FLAG} else "TEXT"
    words = [name, kind]
    if not column.optional:
        words.append("NOT NULL")
    if column.choices is not None:
        words.append(f"CHECK ({name} IN ({', '.join(map(_quote_text, column.choices))}))")
    elif column.kind is Kind.FLAG:
        words.append(f"CHECK ({name} IN (0, 1))")
    if column.minimum is not None:
        # An amount is text here; exactness is checked before it is sent.
        number = f"CAST({name} AS REAL)" if column.kind is Kind.DECIMAL else name
        words.append(f"CHECK ({number} >= {column.minimum})")
    return " ".join(words)


class TableStatements:
    """The statements of one table.

    Attributes:
        create: Creates the table.
        indexes: Names of its indexes, to what they are on.
        upsert: Inserts a row or replaces the one with its key; one parameter a column.
        rows_at_once: How many rows ``upsert_many`` takes.
        upsert_many: The same of many rows; SQLite does it in one step, and meanwhile nobody waits
            for Python's lock.
        delete: Deletes by key; one parameter a key column.
        select_all: All rows, by key.
        select: All rows, to which conditions, order and limit may be added.
        select_keys: Rows whose keys are in a JSON array.
        select_groups: Rows whose groups are in a JSON array, by key.
        count: How many rows there are.
    """

    def __init__(self, table: AnyTable) -> None:
        self._table = table
        name, columns = quote(table.name), [column.name for column in table.columns]
        key = _list(table.key)
        definitions = ", ".join(map(_define, table.columns))
        self.create = (
            f"CREATE TABLE IF NOT EXISTS {name} ({definitions}, PRIMARY KEY ({key})) "
            f"STRICT{_layout(table)}"
        )
        self.indexes: dict[str, str] = {}
        for index in _indexes(table):
            self.indexes.setdefault(f"{table.name}_by_{'_'.join(index[0])}", _on(table, index))
        rest = [quote(column) for column in columns if column not in table.key]
        assign = ", ".join(f"{column} = excluded.{column}" for column in rest)
        values = f"({', '.join('?' * len(columns))})"
        into = f"INSERT INTO {name} ({_list(columns)}) VALUES "
        replace = f" ON CONFLICT ({key}) DO " + (f"UPDATE SET {assign}" if rest else "NOTHING")
        self.upsert = f"{into}{values}{replace}"
        self.rows_at_once = max(1, UPSERT_PARAMETERS_MAX // len(columns))
        self.upsert_many = f"{into}{', '.join([values] * self.rows_at_once)}{replace}"
        self.delete = f"DELETE FROM {name} WHERE {_equals(table.key)}"
        self.select_all = f"SELECT {_list(columns)} FROM {name} ORDER BY {key}"
        self.select = f"SELECT {_list(columns)} FROM {name}"
        self.count = f"SELECT count(*) FROM {name}"
        self.select_keys = self._select_in(table.key)
        self.select_groups = (
            self._select_in(table.group) + f" ORDER BY {key}" if table.group else ""
        )

    def _select_in(self, names: Sequence[str]) -> str:
        # CROSS JOIN keeps the order: for each wanted key a look-up, never a scan of the table.
        columns = ", ".join("t." + quote(column.name) for column in self._table.columns)
        on = " AND ".join(
            f"t.{quote(n)} = json_extract(w.value, '$[{i}]')" for i, n in enumerate(names)
        )
        table = quote(self._table.name)
        return f"SELECT {columns} FROM json_each(?) AS w CROSS JOIN {table} AS t ON {on}"

    def query(self, equal: Iterable[str], absent: Iterable[str]) -> str:
        """Rows by key, some columns equal to parameters, others NULL; the last one is the limit."""
        conditions = [f"{quote(n)} = ?" for n in equal] + [f"{quote(n)} IS NULL" for n in absent]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"{self.select}{where} ORDER BY {_list(self._table.key)} LIMIT ?"

    def query_sorted(self, column: str, by: str, *, bounded: bool) -> str:
        """Rows with a value in a column, by another, from a bound of that on, and by key.

        The parameters are the value, the bound if there is one, and the limit.
        """
        order = _list(dict.fromkeys((by, *self._table.key)))
        bound = ">= ?" if bounded else "IS NOT NULL"
        return (
            f"{self.select} WHERE {quote(column)} = ? AND {quote(by)} {bound} "
            f"ORDER BY {order} LIMIT ?"
        )

    def expire(self) -> str:
        """Deletes rows whose TTL column sorts below a text, cut to the column's length."""
        table, column = quote(self._table.name), quote(self._table.ttl_column or "")
        return f"DELETE FROM {table} WHERE {column} < substr(?, 1, length({column}))"


def _equals(names: Sequence[str]) -> str:
    return " AND ".join(f"{quote(name)} = ?" for name in names)


def _layout(table: AnyTable) -> str:
    # Rows lie in the order of a key that groups them. A single key is an id, often random: there a
    # narrow index of its own is cheaper to fill than a wide table in random order (25 % measured).
    return ", WITHOUT ROWID" if len(table.key) > 1 else ""


def _indexes(table: AnyTable) -> list[tuple[tuple[str, ...], bool]]:
    indexes = [(index.columns, index.present) for index in table.indexes]
    if table.group and table.group != table.key[: len(table.group)]:
        indexes.append((table.group, False))
    return list(dict.fromkeys(indexes))


def _on(table: AnyTable, index: tuple[tuple[str, ...], bool]) -> str:
    columns, present = index
    where = f" WHERE {quote(columns[0])} IS NOT NULL" if present else ""
    return f"{quote(table.name)} ({_list(columns)}){where}"


def create_index(name: str, on: str) -> str:
    """Creates one of :attr:`TableStatements.indexes`."""
    return f"CREATE INDEX IF NOT EXISTS {quote(name)} ON {on}"
