"""What ``eventcore doctor`` looks at in a Postgres store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from eventcore.cli.findings import Finding
from eventcore.cli.postgres_schemas import SQL, PostgresSchema, connected
from eventcore.cli.racing.scratch import leftovers
from eventcore.errors import EventCoreError
from eventcore.projections.projection import Projection
from eventcore.settings import StoreLocation
from eventcore.stores.postgres.connections import PostgresConnections


def postgres_findings(
    location: StoreLocation, *, log: bool, projections: Sequence[Projection]
) -> Iterator[Finding]:
    """Look at the server and at the part of a store that is in one schema of it.

    Args:
        location: Where.
        log: Whether the log is in it.
        projections: The read models that are in it.
    """
    try:
        with connected(location) as connections:
            yield from _server(connections)
            if log:
                yield from _rights(connections)
                yield from _scratch(connections)
            yield from _tables(connections, log=log, projections=projections)
    except EventCoreError as error:
        action = "see the message; a replica is refused: name the primary, or all hosts of both"
        yield Finding("server", ok=False, detail=str(error), action=action)


def _server(connections: PostgresConnections) -> Iterator[Finding]:
    ((version, _, role),) = connections.fetch(SQL["select_server"].encode())
    detail = f"{connections.name}: version {version}, primary, role {role}, psycopg"
    yield Finding("server", ok=True, detail=f"{detail} {psycopg.__version__}")
    rows: list[Any] = connections.fetch(SQL["select_settings"].encode())
    settings: dict[str, str] = dict(rows)
    said = ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))
    if settings["fsync"] == "off" or settings["full_page_writes"] == "off":
        yield Finding(
            "durability",
            ok=False,
            detail=f"{said}: a crash of the machine may destroy the database",
            action="set fsync and full_page_writes to on",
        )
    elif settings["synchronous_commit"] == "off":
        yield Finding(
            "durability",
            ok=False,
            detail=f"{said}: a crash may take appends that were acknowledged",
            action="set synchronous_commit to on, for the role or the database",
        )
    else:
        detail = f"{said}: an acknowledged append survives a crash"
        yield Finding("durability", ok=True, detail=detail)


def _rights(connections: PostgresConnections) -> Iterator[Finding]:
    table = sql.Identifier(connections.schema, "eventcore_log").as_string()
    if connections.fetch(b"SELECT to_regclass(%s) IS NULL", (table,)) == [(True,)]:
        return
    ((rights, is_owner),) = connections.fetch(SQL["select_rights"].encode(), {"table": table})
    if is_owner:
        detail = "triggers refuse to change events; this role owns the table and could drop them"
        yield Finding("rights", ok=True, detail=f"{detail}: see `eventcore db grant`")
    elif rights:
        yield Finding(
            "rights",
            ok=False,
            detail=f"this role has {', '.join(rights)} on events; triggers refuse it all the same",
            action=f"REVOKE {', '.join(rights)} ON {table} FROM it",
        )
    else:
        detail = "this role may add and read events, and neither change nor remove them"
        yield Finding("rights", ok=True, detail=detail)


def _scratch(connections: PostgresConnections) -> Iterator[Finding]:
    for name in leftovers(connections):
        yield Finding(
            "scratch",
            ok=False,
            detail=f"the schema {name} was left behind by a race that was killed",
            action=f"eventcore doctor --race drops it, or: DROP SCHEMA {name} CASCADE",
        )


def _tables(
    connections: PostgresConnections, *, log: bool, projections: Sequence[Projection]
) -> Iterator[Finding]:
    schema = PostgresSchema(connections, log=log, projections=projections)
    try:
        found = schema.differences()
    except EventCoreError as error:
        yield Finding("tables", ok=True, detail=f"not compared. {error}")
        return
    if not found:
        yield Finding("tables", ok=True, detail="as this version of eventcore creates them")
    for one in found:
        action = "eventcore db apply"
        if one.present is not None:
            action = (
                "eventcore db check shows both; a read model's table: eventcore projections rebuild"
            )
        yield Finding("tables", ok=False, detail=one.problem, action=action)
