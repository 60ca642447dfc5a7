"""SQL for declared tables on Postgres: types a person would choose, values in their stored form.

=================== ============ ===============================================================
column holds        type         sent and read as
=================== ============ ===============================================================
text, choices       text         itself; ordered byte by byte (``COLLATE "C"``), as everywhere else
whole number        bigint       itself
flag                boolean      0 or 1
amount              numeric      text, in the form it was sent
time                timestamptz  fixed-width UTC text
object, list        json         text; ``jsonb`` would refuse the character U+0000 and reorder keys
=================== ============ ===============================================================

Every name is quoted, and was checked by :class:`~eventcore.projections.tables.Table`; values are
always bound, never part of the text.
"""
# ruff: noqa: S608 - names are quoted identifiers from declarations; see above

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from psycopg import sql

from eventcore.projections.columns import Column, Kind
from eventcore.projections.tables import AnyTable
from eventcore.stores.postgres.arrays import BigintArray, TextArray, bigints, texts

NAME_BYTES_MAX: Final = 63
"""Bytes in a name; longer ones are cut without a word (PostgreSQL manual, "Identifiers")."""

_TYPES: Final = {
    Kind.TEXT: 'text COLLATE "C"',
    Kind.INTEGER: "bigint",
    Kind.FLAG: "boolean",
    Kind.DECIMAL: "numeric",
    Kind.TIME: "timestamptz",
    Kind.TIME_TEXT: "timestamptz",
    Kind.OBJECT: "json",
    Kind.ARRAY: "json",
}
_TIME_FORM: Final = '\'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\''
_NUMBERS: Final = frozenset({Kind.INTEGER, Kind.FLAG})
_TIMES: Final = frozenset({Kind.TIME, Kind.TIME_TEXT})
_JSON: Final = frozenset({Kind.OBJECT, Kind.ARRAY})


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return sql.Identifier(name).as_string()


def qualified(schema: str, name: str) -> str:
    """A table's name with its schema."""
    return sql.Identifier(schema, name).as_string()


def _cast(column: Column, value: str) -> str:
    """A stored value, text or number, as the column's type."""
    match column.kind:
        case Kind.TEXT | Kind.INTEGER:
            return value
        case Kind.FLAG:
            return f"{value}::int::boolean"
        case _:
            return f"{value}::{_TYPES[column.kind]}"


def _read(column: Column, name: str) -> str:
    """A column as its stored value."""
    match column.kind:
        case Kind.TEXT | Kind.INTEGER:
            return name
        case Kind.FLAG:
            return f"{name}::int"
        case Kind.DECIMAL if column.digits is not None:
            return f"pg_catalog.trim_scale({name})::text"
        case Kind.TIME | Kind.TIME_TEXT:
            return f"pg_catalog.to_char({name} AT TIME ZONE 'UTC', {_TIME_FORM})"
        case _:
            return f"{name}::text"


def _parameter(column: Column) -> str:
    return _cast(column, "%s::bigint" if column.kind in _NUMBERS else "%s::text")


def _define(column: Column) -> str:
    name = quote(column.name)
    words = [name, _type(column)]
    if not column.optional:
        words.append("NOT NULL")
    if column.choices is not None:
        choices = ", ".join(sql.Literal(choice).as_string() for choice in column.choices)
        words.append(f"CHECK ({name} IN ({choices}))")
    if column.minimum is not None:
        words.append(f"CHECK ({name} >= {column.minimum})")
    return " ".join(words)


def _type(column: Column) -> str:
    if column.digits is None:
        return _TYPES[column.kind]
    return f"numeric({column.digits.whole + column.digits.places}, {column.digits.places})"


def packed(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Stored rows as one array a column, for the statements that take many at once."""
    return [
        BigintArray(bigints(values)) if column.kind in _NUMBERS else TextArray(texts(values))
        for column, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]


class TableStatements:
    """The statements of one table in one schema.

    Attributes:
        name: Of the table, qualified and quoted.
        create: Statements that create the table and its indexes.
        indexes: Those of the indexes alone.
        upsert: Inserts rows or replaces those with their keys; one array a column, see
            :func:`packed`.
        delete: Deletes by key; one array a key column.
        select_all: All rows, by key.
        select_keys: Rows by key; one array a key column.
        select_groups: Rows of groups, by key; one array a group column.
        count: How many rows there are.
    """

    def __init__(self, schema: str, table: AnyTable) -> None:
        self._table = table
        self.name = qualified(schema, table.name)
        columns = table.columns
        names = [quote(column.name) for column in columns]
        key = ", ".join(map(quote, table.key))
        definitions = ", ".join(map(_define, columns))
        self.indexes = [self._index(columns, present) for columns, present in _indexes(table)]
        self.create = [
            f"CREATE TABLE IF NOT EXISTS {self.name} ({definitions}, PRIMARY KEY ({key}))",
            *self.indexes,
        ]
        assign = ", ".join(
            f"{quote(column.name)} = excluded.{quote(column.name)}"
            for column in columns
            if column.name not in table.key
        )
        cast = ", ".join(
            _cast(column, f"w.{name}") for column, name in zip(columns, names, strict=True)
        )
        self.upsert = (
            f"INSERT INTO {self.name} ({', '.join(names)}) SELECT {cast} "
            f"FROM {_wanted(columns)} ON CONFLICT ({key}) DO "
            + (f"UPDATE SET {assign}" if assign else "NOTHING")
        )
        self.delete = (
            f"DELETE FROM {self.name} AS t USING {_wanted(table.key_columns)} "
            f"WHERE {_meets(table.key_columns)}"
        )
        self._list = ", ".join(_read(c, f"t.{quote(c.name)}") for c in columns)
        self.count = f"SELECT pg_catalog.count(*) FROM {self.name}"
        self.select_all = f"SELECT {self._list} FROM {self.name} AS t ORDER BY {key}"
        self.select_keys = self._select_in(table.key_columns)
        order = ", ".join(f"t.{quote(name)}" for name in table.key)
        self.select_groups = (
            f"{self._select_in(table.group_columns)} ORDER BY {order}" if table.group else ""
        )

    def _select_in(self, columns: Sequence[Column]) -> str:
        # OFFSET 0 keeps the order: for each wanted key a look-up, never a scan of the table.
        return (
            f"SELECT {self._list} FROM {_wanted(columns)} CROSS JOIN LATERAL "
            f"(SELECT * FROM {self.name} AS t WHERE {_meets(columns)} OFFSET 0) AS t"
        )

    def order(self, by: str | None) -> list[Column]:
        """What a query sorts by: the key, or a column and then the key."""
        names = dict.fromkeys((*([] if by is None else [by]), *self._table.key))
        return [self._table.column(name) for name in names]

    def query(
        self,
        where: Mapping[str, Any],
        *,
        after: Sequence[Any] | None,
        by: str | None = None,
        since: Any = None,
    ) -> tuple[str, list[Any]]:
        """Rows in their :meth:`order`, each with its table's oid; the parameters but the limit.

        Args:
            where: Stored names to the stored values they equal.
            after: Stored values of the order's columns, behind which to go on.
            by: A column to sort by first.
            since: A stored value that is not above that column's.
        """
        conditions: list[str] = []
        parameters: list[Any] = []
        for name, value in where.items():
            column = self._table.column(name)
            quoted = f"t.{quote(name)}"
            if value is None:
                conditions.append(f"{quoted} IS NULL")
                continue
            parameters.append(value)
            # json has no equality of its own; stored objects have one spelling.
            conditions.append(
                f"{quoted}::text = %s::text"
                if column.kind in _JSON
                else f"{quoted} = {_parameter(column)}"
            )
        if by is not None:
            bound = "IS NOT NULL" if since is None else f">= {_parameter(self._table.column(by))}"
            conditions.append(f"t.{quote(by)} {bound}")
            parameters += [] if since is None else [since]
        keys = self.order(by)
        key = ", ".join(f"t.{quote(column.name)}" for column in keys)
        if after is not None:
            conditions.append(f"({key}) > ({', '.join(map(_parameter, keys))})")
            parameters += after
        found = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return (
            f"SELECT {self._list}, t.tableoid::bigint FROM {self.name} AS t{found} "
            f"ORDER BY {key} LIMIT %s",
            parameters,
        )

    def expire(self) -> str:
        """Deletes rows whose TTL column is below a time; text is compared as far as it goes."""
        column = self._table.column(self._table.ttl_column or "")
        name = quote(column.name)
        limit = (
            "%s::text::timestamptz"
            if column.kind in _TIMES
            else f'pg_catalog.substr(%s::text, 1, pg_catalog.length({name})) COLLATE "C"'
        )
        return f"DELETE FROM {self.name} WHERE {name} < {limit}"

    def _index(self, columns: Sequence[str], present: bool) -> str:  # noqa: FBT001 - from a pair
        name = fitting(f"{self._table.name}_by_{'_'.join(columns)}")
        where = f" WHERE {quote(columns[0])} IS NOT NULL" if present else ""
        listed = ", ".join(map(quote, columns))
        return f"CREATE INDEX IF NOT EXISTS {quote(name)} ON {self.name} ({listed}){where}"


def fitting(name: str) -> str:
    """A name that is not too long, with what was cut off in a digest: two long names stay two."""
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: NAME_BYTES_MAX - 9]}_{digest}"


def _wanted(columns: Sequence[Column]) -> str:
    arrays = ", ".join(
        f"%s::{'bigint' if column.kind in _NUMBERS else 'text'}[]" for column in columns
    )
    names = ", ".join(quote(column.name) for column in columns)
    # Of several arrays the parser itself takes the one of pg_catalog, and only without this name.
    function = "pg_catalog.unnest" if len(columns) == 1 else "unnest"
    return f"{function}({arrays}) AS w ({names})"


def _meets(columns: Sequence[Column]) -> str:
    return " AND ".join(
        f"t.{quote(column.name)} = {_cast(column, 'w.' + quote(column.name))}" for column in columns
    )


def _indexes(table: AnyTable) -> Iterable[tuple[tuple[str, ...], bool]]:
    indexes = [(index.columns, index.present) for index in table.indexes]
    if table.group and table.group != table.key[: len(table.group)]:
        indexes.append((table.group, False))
    return dict.fromkeys(indexes)
