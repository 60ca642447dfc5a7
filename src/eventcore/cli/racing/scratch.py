"""Schemas for one race each: made, marked, dropped, and found again if a race was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import psycopg
from psycopg import sql

from eventcore.cli.racing.entries import statement
from eventcore.errors import ConfigurationError
from eventcore.stores.postgres.connections import PostgresConnections

MARK: Final = "scratch of eventcore doctor --race, safe to drop"
"""Comment on the schemas. One without exactly this comment is never dropped."""

_NAME: Final = "eventcore_race_"
_PATTERN: Final = "^eventcore_race_[0-9a-f]{12}$"


@contextmanager
def scratch_schema(connections: PostgresConnections) -> Iterator[str]:
    """A new schema, dropped when the block ends, in whatever way.

    Raises:
        ConfigurationError: The role may not create one.
    """
    name = f"{_NAME}{os.urandom(6).hex()}"
    with connections.translating_errors(), closing(connections.connect()) as keeper:
        cursor = psycopg.RawCursor(keeper)
        if cursor.execute(statement("select_right")).fetchone() != (True,):
            raise ConfigurationError(
                message=f"{connections.name}: a race needs a role that may CREATE in the database, "
                "for a scratch schema that is dropped when it is over: "
                "GRANT CREATE ON DATABASE ... TO ..., or name a database of your own"
            )
        # Left open: its lock ends with this process, however that ends.
        cursor.execute("BEGIN")
        cursor.execute(statement("keep_idle"))
        cursor.execute(statement("lock_scratch"), (name,))
        try:
            _create(connections, name)
            yield name
        finally:
            _drop(connections, name)


def leftovers(connections: PostgresConnections) -> list[str]:
    """Schemas that races left behind which were killed, and that this role may drop."""
    with connections.using() as connection:
        rows = psycopg.RawCursor(connection).execute(
            statement("select_leftovers"), (_PATTERN, MARK)
        )
        return [name for (name,) in rows.fetchall()]


def drop_leftovers(connections: PostgresConnections) -> list[str]:
    """Drop what :func:`leftovers` finds; gives the names."""
    found = leftovers(connections)
    for name in found:
        _drop(connections, name)
    return found


def _create(connections: PostgresConnections, name: str) -> None:
    schema = sql.Identifier(name)
    with connections.transaction() as connection:
        connection.execute(statement("create_scratch", schema=schema))
        connection.execute(statement("mark_scratch", schema=schema, mark=sql.Literal(MARK)))


def _drop(connections: PostgresConnections, name: str) -> None:
    # Not one of the pool's: they may have been cut, which may be why we are here.
    with (
        connections.translating_errors(),
        closing(connections.connect()) as connection,
        connection.transaction(),
    ):
        connection.execute(statement("limit_waiting"))
        connection.execute(statement("drop_scratch", schema=sql.Identifier(name)))
