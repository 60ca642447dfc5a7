"""Notes in a Postgres schema that say whose a table is, as a plan makes them.

A projection never keeps rows in a table that was not made for it. Who runs a plan by hand therefore
has to write down, with the table, for whom it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from psycopg import sql

from eventcore.projections.checkpoint_rows import (
    CHECKPOINTS,
    checkpoint_of,
    declared,
    noted,
    tables_of,
)
from eventcore.projections.definitions import is_other_definition
from eventcore.projections.projection import Projection
from eventcore.projections.transactions import Checkpoint
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.statements import load_statements

_SQL: Final = load_statements("eventcore.cli", "sql/inspect_postgres.sql")


class Planned(NamedTuple):
    """A projection whose tables are to be made.

    Attributes:
        projection: Which.
        made: Tables that were made for it before, with their columns.
    """

    projection: Projection
    made: dict[str, list[str]]

    def note(self, schema: str) -> tuple[str, str]:
        """A name, and the statement that notes that its tables are its own."""
        name, version, tables, fingerprint = noted(
            self.projection, {**self.made, **declared(self.projection)}
        )
        text = sql.SQL(_SQL["note_tables"]).format(
            schema=sql.Identifier(schema),
            projection=sql.Literal(name),
            version=sql.Literal(version),
            tables=sql.Literal(tables),
            fingerprint=sql.Literal(fingerprint),
        )
        return f"note of {name}", text.as_string()


class Plans(NamedTuple):
    """What a plan does for projections.

    Attributes:
        begun: Those that may be begun or given further tables, as opening them would.
        strangers: Tables of their names that are somebody else's, or of another form.
    """

    begun: list[Planned]
    strangers: set[str]


def plans_of(
    connections: PostgresConnections, projections: Sequence[Projection], present: set[str]
) -> Plans:
    """What is to be planned.

    Args:
        connections: To the schema.
        projections: Of which.
        present: Names of the tables that are there.
    """
    found = _kept(connections) if CHECKPOINTS in present else {}
    plans = Plans([], set())
    for projection in projections:
        made, fingerprint, checkpoint = found.get(projection.name, ({}, None, None))
        if is_other_definition(checkpoint, projection, fingerprint):
            continue  # it is to be rebuilt, which makes tables of other names
        wanted = declared(projection)
        there = wanted.keys() & present
        strangers = {name for name in there if made.get(name) != wanted[name]}
        if strangers:
            plans.strangers.update(strangers)  # opening it says so
        elif fingerprint is None or there != wanted.keys():
            plans.begun.append(Planned(projection, made))
    return plans


def _kept(
    connections: PostgresConnections,
) -> dict[str, tuple[dict[str, list[str]], str | None, Checkpoint | None]]:
    """By projection: its tables with their columns, its fingerprint, its checkpoint."""
    statement = connections.formatted({"select_kept": _SQL["select_kept"]})["select_kept"]
    return {
        name: (tables_of((tables,)) or {}, fingerprint, checkpoint_of(place))
        for name, tables, fingerprint, *place in connections.fetch(statement)
    }
