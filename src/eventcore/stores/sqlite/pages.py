"""Pages of the log, read from SQLite in one step.

Row by row, a thread that reads asks for Python's lock once a row, and gets it when the thread that
has it has had its time (5 ms): beside a thread that calculates it reads a row in that time. Packed
into one row, a page is read while others calculate, and in less time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

import orjson

from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.stores.statements import load_statements

PACKED_EVENTS_MIN: Final = 64
"""Smaller pages are read row by row: there is little to gain, and followers ask for them often."""

_SEPARATOR: Final = b"\x1f"
_make: Callable[..., Recorded[Any]] = Recorded
_SQL = load_statements("eventcore.stores.sqlite", "sql/log.sql")


class Fetched(NamedTuple):
    """Events as they were read: what a thread of its own can do while others calculate.

    Attributes:
        rows: A row for each; empty if they are packed.
        packed: All in one row: positions, streams, versions, types, states, bytes of the states.
    """

    rows: Sequence[tuple[Any, ...]] = ()
    packed: tuple[Any, ...] | None = None

    def events(self, codec: Codec) -> list[Recorded[Any]] | None:
        """The events; None if they are packed in a way that does not say what the rows do."""
        if self.packed is None:
            return [_make(*row, codec) for row in self.rows]
        *packed, joined, state_bytes = self.packed
        if joined is None:
            return []
        columns: list[list[Any]] = [orjson.loads(column) for column in packed]
        positions, states = columns[0], joined.split(_SEPARATOR)
        # A state that is no JSON may hold the separator, and a file of another encoding than UTF-8
        # joins other bytes. In which order values are gathered, SQLite does not promise.
        if (
            len(states) != len(positions)
            or len(joined) != state_bytes + len(states) - 1
            or positions != sorted(positions)
        ):
            return None
        return list(map(_make, *columns, states, repeat(codec)))


def fetch(
    connection: sqlite3.Connection, statement: str, parameters: tuple[Any, ...], *, packed: bool
) -> Fetched:
    """Read the events that a statement selects.

    Args:
        connection: Reads.
        statement: Its name; there is another that ends in ``_packed``.
        parameters: Of both; the second is the page's size.
        packed: Unless there are few.
    """
    if packed and parameters[1] >= PACKED_EVENTS_MIN:
        try:
            found = connection.execute(_SQL[f"{statement}_packed"], parameters).fetchone()
        except sqlite3.DataError:
            pass  # all of it together is larger than a value may be
        else:
            return Fetched(packed=found)
    return Fetched(connection.execute(_SQL[statement], parameters).fetchall())
