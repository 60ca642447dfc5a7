"""Units: what an event's work touches, as one name that every process spells alike.

A unit is a row, or a group of rows, of one table. Rows that are appended unseen have no key before
their handler is called: their unit is the event's stream within that table. An event of which it
cannot even be told what it touches is the unit of its stream as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from eventcore.errors import StoreError
from eventcore.projections.columns import Column
from eventcore.projections.tables import Key, StoredRow, Table

_SHARE_BYTES = 8


class Unit(NamedTuple):
    """What one piece of work touches.

    Attributes:
        table: Name of the table; empty for a stream as a whole.
        key: Stored values of the row's key or the group's columns; the name of a stream.
    """

    table: str
    key: StoredRow


def stream_unit(stream: str) -> Unit:
    """The unit of everything that a stream's events touch."""
    return Unit("", (stream,))


def key_unit(table: Table[Any], columns: Sequence[Column], key: Key) -> Unit:
    """The unit of a row or a group.

    Args:
        table: Whose.
        columns: Those of its key, or of its group.
        key: As a handler's ``key=`` or ``group=`` gave it.

    Raises:
        StoreError: The key does not fit the columns.
    """
    try:
        if len(columns) == 1:
            return Unit(table.name, tuple(columns[0].encode((key,))))
        [stored] = table.encode_keys((key,), columns)
        return Unit(table.name, stored)
    except (ValueError, TypeError) as error:
        raise StoreError(store=f"Table {table.name}", problem=f"a key: {error}") from error


def unit_text(unit: Unit) -> str:
    """A unit as text, the same in every process and release: ``["orders","o-1"]``."""
    return orjson.dumps([unit.table, *unit.key]).decode()


def unit_of_text(text: str) -> Unit:
    """The unit that :func:`unit_text` wrote."""
    table, *key = orjson.loads(text)
    return Unit(table, tuple(key))


def share_of(unit: Unit, shares: int) -> int:
    """Which of so many shares a unit falls to, from 0; the same in every process and release."""
    digest = blake2b(unit_text(unit).encode(), digest_size=_SHARE_BYTES).digest()
    return int.from_bytes(digest, "big") % shares
