"""Columns of a user's table, and how rows are made up for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from eventcore.errors import ConfigurationError

NUMBERS: Final = "N"
TIMES: Final = "D"
"""Categories of types (PostgreSQL manual, "pg_type": typcategory)."""


class Column(NamedTuple):
    """One column, as the statement ``select_columns`` describes it.

    Attributes:
        name, type, default: As Postgres writes them; a type with its schema.
        category: Of the type, a letter.
        is_required: Whether a row needs a value.
        is_key: Whether it is in the primary key.
        is_default_harmless: Whether there is a default, and it does nothing but compute.
        increment, cache: Of the sequence that fills it, if one does.
        made: Expression for the value of row number ``given.n``; None: we know of none.
    """

    name: str
    type: str
    category: str
    is_required: bool
    is_key: bool
    default: str | None
    is_default_harmless: bool
    increment: int | None
    cache: int | None
    made: str | None

    @property
    def value(self) -> str | None:
        """What stands for it in an INSERT of made-up rows."""
        return self.default if self.is_default_harmless else self.made


class Position(NamedTuple):
    """The column that a poller goes by, and how it is filled in a race.

    Attributes:
        column: The column.
        value: Expression that fills it; None: a sequence does.
        remark: What differs from the original.
    """

    column: Column
    value: str | None = None
    remark: str = ""


def choose_position(table: str, columns: Sequence[Column], wanted: str | None) -> Position:
    """Find the column that readers go by.

    Args:
        table: For messages.
        columns: All that are not generated.
        wanted: Its name; None: the one that a sequence fills, else the key if it is a number.

    Raises:
        ConfigurationError: There is none, or it is not known how it comes about.
    """
    if wanted is not None:
        named = next((column for column in columns if column.name == wanted), None)
        if named is None:
            raise ConfigurationError(
                message=f"{table} has no column {wanted!r} that rows could be given a value for. "
                f"It has {', '.join(column.name for column in columns) or 'none'}"
            )
        return _filled(table, named)
    found = [column for column in columns if column.increment is not None]
    if len(found) > 1:
        found = [column for column in found if column.is_key] or found
    if not found:
        keys = [column for column in columns if column.is_key]
        found = [column for column in keys if column.category == NUMBERS and len(keys) == 1]
    if len(found) != 1:
        able = [column.name for column in columns if column.category in {NUMBERS, TIMES}]
        raise ConfigurationError(
            message=f"By which column do readers of {table} go on? "
            + (
                f"Name it with --position: {', '.join(able)}"
                if able
                else "None of them is a number or a time"
            )
        )
    return _filled(table, found[0])


def _filled(table: str, column: Column) -> Position:
    name = column.name
    if column.category not in {NUMBERS, TIMES}:
        raise ConfigurationError(
            message=f"{name} of {table} is a {column.type}: a race can go by numbers and times"
        )
    if column.increment is not None:
        if column.increment < 0:
            raise ConfigurationError(
                message=f"{name} of {table} counts downwards: no reader can go on from there"
            )
        return Position(column)
    if column.default is not None and not column.is_default_harmless:
        raise ConfigurationError(
            message=f"{name} of {table} is filled by {column.default}, which may do more than "
            "compute, so a race does not run it. Name a table of the same form that takes "
            "plain numbers from a sequence"
        )
    if column.category == NUMBERS:
        return Position(column, remark=f"{name} is filled by a sequence here")
    if column.default is not None:
        return Position(column, column.default)
    remark = f"{name} is filled by the clock here"
    return Position(column, f"clock_timestamp()::{column.type}", remark)
