"""What an SQLite file says of its projections: their checkpoints, and the tables made for them.

Each function reads as the connection sees the file, inside a transaction or outside of one.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from eventcore.projections.checkpoint_rows import checkpoint_of, declared, tables_of
from eventcore.projections.projection import Projection
from eventcore.projections.sqlite.statements import table_info
from eventcore.projections.tables import AnyTable
from eventcore.projections.transactions import Checkpoint
from eventcore.stores.statements import load_statements

CHECKPOINT_SQL: Final = load_statements("eventcore.projections.sqlite", "sql/checkpoints.sql")
"""The statements about checkpoints, by their names."""


def kept_checkpoint(connection: sqlite3.Connection, projection: str) -> Checkpoint | None:
    """How far a projection is; None if it is not kept."""
    row = connection.execute(CHECKPOINT_SQL["select_checkpoint"], (projection,)).fetchone()
    return checkpoint_of(row)


def kept_fingerprint(connection: sqlite3.Connection, projection: str) -> str | None:
    """Of the definition that made the rows; None if it is not known."""
    row = connection.execute(CHECKPOINT_SQL["select_fingerprint"], (projection,)).fetchone()
    return None if row is None else row[0]


def kept_tables(connection: sqlite3.Connection, projection: str) -> dict[str, list[str]] | None:
    """The tables that a checkpoint notes, with their columns; None if it notes none."""
    row = connection.execute(CHECKPOINT_SQL["select_tables"], (projection,)).fetchone()
    return tables_of(row)


def made_tables(connection: sqlite3.Connection, projection: Projection) -> dict[str, list[str]]:
    """The tables that were made for a projection, with their columns; none if it is not kept."""
    row = connection.execute(CHECKPOINT_SQL["select_tables"], (projection.name,)).fetchone()
    if row is None:
        return {}
    made = tables_of(row)
    return declared(projection) if made is None else made  # begun when that was not noted yet


def free_index_name(connection: sqlite3.Connection, name: str, table: AnyTable) -> str:
    """A name for an index: a table that was renamed keeps the names of its indexes."""
    free, number = name, 1
    while True:
        row = connection.execute(CHECKPOINT_SQL["select_index_table"], (free,)).fetchone()
        if row is None or row[0] == table.name:
            return free
        number += 1
        free = f"{name}_{number}"


def column_names(connection: sqlite3.Connection, table: str) -> list[str]:
    """Names of a table's columns; none if it is absent."""
    return [row[1] for row in connection.execute(table_info(table))]


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether there is a table of that name."""
    return bool(connection.execute(CHECKPOINT_SQL["select_table"], (name,)).fetchone()[0])
