"""A table made after one of the user's: same columns and indexes, a sequence and rows of its own.

The original is looked at as a SELECT would, and never written to. Its sequences are not asked for
numbers, and of the user's functions only those are called that indexes and generated columns
compute with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from eventcore.cli.racing.columns import Column, Position, choose_position
from eventcore.cli.racing.entries import Entry, statement
from eventcore.errors import ConfigurationError
from eventcore.stores.postgres.connections import Connection, PostgresConnections, describe

_COPY: Final = "copied"
_SEQUENCE: Final = "copied_position"


def copy_table(
    connections: PostgresConnections, schema: str, table: str, position: str | None
) -> Entry:
    """Make a table like the user's in a scratch schema.

    Args:
        connections: To the database.
        schema: The scratch schema.
        table: Name of the original, as in SQL: in quotes where it needs them.
        position: The column that its readers go by; None: see :func:`choose_position`.

    Raises:
        ConfigurationError: There is no such table or column, the role may not read it, or it is
            not known how the position comes about.
        StoreUnavailableError: Somebody keeps the table locked.
    """
    copy, sequence = sql.Identifier(schema, _COPY), sql.Identifier(schema, _SEQUENCE)
    with connections.transaction() as connection:
        connection.execute(statement("limit_waiting"))
        origin, name = _find(connection, table)
        title = name.as_string().replace('"', "")
        # First, for its lock: from here on nobody alters the original under our hands.
        connection.execute(statement("create_copy", copy=copy, table=name))
        connection.execute(statement("qualify_names"))
        columns = [Column(*row) for row in _rows(connection, "select_columns", origin)]
        chosen = choose_position(title, columns, position)
        left_out = [one for one in columns if one.is_required and _value(one, chosen) is None]
        for column in left_out:
            identifier = sql.Identifier(column.name)
            connection.execute(statement("drop_copy_column", copy=copy, column=identifier))
        _create_sequence(connection, sequence, chosen.column)
        insert = _insert(copy, sequence, columns, chosen)
        _try(connection, insert, title)
        uncopied = [row[0] for row in _rows(connection, "select_not_copied", origin)]
    return Entry(
        title=title,
        table=copy,
        position=chosen.column.name,
        insert=insert,
        is_users=True,
        remarks=tuple(_remarks(chosen, left_out, uncopied)),
    )


def _find(connection: Connection, table: str) -> tuple[int, sql.Identifier]:
    try:
        cursor = psycopg.RawCursor(connection).execute(statement("select_table"), (table,))
        found = cursor.fetchone()
    except (psycopg.errors.InvalidName, psycopg.errors.SyntaxError, psycopg.NotSupportedError):
        found = None  # not in the form of a name
    if found is None:
        raise ConfigurationError(
            message=f"There is no table {table} here that this role can see. A table is named as "
            'in SQL: shop.events, or shop."Events"'
        )
    schema, name, origin, is_table = found
    if not is_table:
        raise ConfigurationError(message=f"{table} is not a table that rows are inserted into")
    return origin, sql.Identifier(schema, name)


def _rows(connection: Connection, name: str, origin: int) -> list[tuple[Any, ...]]:
    return psycopg.RawCursor(connection).execute(statement(name), (origin,)).fetchall()


def _value(column: Column, chosen: Position) -> str | None:
    """What fills it in the copy besides the sequence; empty for that."""
    if column is chosen.column:
        return chosen.value or ""
    return column.value


def _create_sequence(connection: Connection, sequence: sql.Identifier, column: Column) -> None:
    connection.execute(
        statement(
            "create_copy_position",
            sequence=sequence,
            increment=sql.Literal(column.increment or 1),
            cache=sql.Literal(column.cache or 1),
        )
    )


def _insert(
    copy: sql.Identifier, sequence: sql.Identifier, columns: Sequence[Column], chosen: Position
) -> bytes:
    # The server puts a default into an INSERT in the same way.
    drawn = sql.SQL("nextval({})").format(sql.Literal(sequence.as_string()))
    values = {
        column.name: sql.SQL(value) if value else drawn
        for column in columns
        if (value := _value(column, chosen)) is not None
    }
    return statement(
        "insert_copy",
        copy=copy,
        columns=sql.SQL(", ").join(map(sql.Identifier, values)),
        values=sql.SQL(", ").join(values.values()),
    )


def _try(connection: Connection, insert: bytes, title: str) -> None:
    """Make one row and undo it.

    Raises:
        ConfigurationError: It cannot be made.
    """
    try:
        with connection.transaction(force_rollback=True):
            psycopg.RawCursor(connection).execute(insert, ([1],))
    except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
        raise ConfigurationError(
            message=f"No row can be made up for a table like {title}: {describe(error)}. "
            "Make one without that column yourself, and name it instead"
        ) from error


def _remarks(chosen: Position, left_out: Sequence[Column], uncopied: Sequence[str]) -> list[str]:
    remarks = [chosen.remark] if chosen.remark else []
    if (chosen.column.cache or 1) > 1:
        remarks.append(
            f"its sequence has CACHE {chosen.column.cache}: each session keeps numbers for later"
        )
    if left_out:
        named = ", ".join(f"{column.name} ({column.type})" for column in left_out)
        remarks.append(f"left out of the copy, as no value is known for it: {named}")
    if uncopied:
        remarks.append(f"not copied: {', '.join(uncopied)}")
    if any(name.startswith(("trigger ", "rule ")) for name in uncopied):
        remarks.append(
            "if a trigger makes writers wait for each other, the copy is worse than the original: "
            "--with-lock shows what such a lock does"
        )
    return remarks
