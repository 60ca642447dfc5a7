"""``eventcore doctor --race``: from the URL to what is printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from eventcore.cli.racing.copies import copy_table
from eventcore.cli.racing.entries import create_log, our_log, textbook
from eventcore.cli.racing.plans import Plan
from eventcore.cli.racing.race import Result, race
from eventcore.cli.racing.scratch import drop_leftovers, scratch_schema
from eventcore.cli.racing.telling import Report
from eventcore.cli.signals import terminable
from eventcore.errors import ConfigurationError
from eventcore.settings import parse_store_url
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.postgres.log import PostgresLog


def hold_race(url: str, plan: Plan, *, table: str | None, position: str | None) -> Report:
    """Race a textbook's table, the user's if one is named, and our log on a server.

    Everything happens in a scratch schema, which is dropped afterwards; those that killed races
    left behind are dropped first.

    Args:
        url: Of a Postgres store, or any database on the server.
        plan: How to write.
        table: Name of a table of the user's to make one like it.
        position: The column that its readers go by.

    Raises:
        ConfigurationError: Not a Postgres URL, the role may not create a schema, or the table
            cannot be raced.
        StoreUnavailableError: The server cannot be reached, is a replica, or went away.
    """
    location = parse_store_url(url)
    if location.scheme != "postgresql":
        raise ConfigurationError(
            message=f"A race is held on a Postgres server, and the store is {location.scheme}://. "
            "Name one: eventcore doctor --race postgresql://user:password@host/database"
        )
    connections = PostgresConnections(
        location.conninfo, schema=location.schema, prepare=location.prepare
    )
    with terminable(), closing(connections):
        removed = drop_leftovers(connections)
        with scratch_schema(connections) as schema:
            results = list(
                _results(
                    connections,
                    schema,
                    plan,
                    table=table,
                    position=position,
                    notify=location.notify,
                )
            )
            return Report(_server(connections), plan, results, removed)


def _server(connections: PostgresConnections) -> str:
    with connections.using() as connection:
        version = connection.info.parameter_status("server_version")
    name = connections.name.removesuffix(f", schema {connections.schema}")
    return f"{name}, version {version}"


def _results(
    connections: PostgresConnections,
    schema: str,
    plan: Plan,
    *,
    table: str | None,
    position: str | None,
    notify: bool,
) -> Iterator[Result]:
    # Before anything takes time: it may be refused.
    copied = None if table is None else copy_table(connections, schema, table, position)
    with connections.using() as connection:
        first = textbook(connection, schema)
        create_log(connection, schema)
    result = race(first, connections, plan)
    yield result
    plan = replace(plan, steps_each=result.steps_each)
    if copied is not None:
        yield race(copied, connections, plan)
    theirs = PostgresConnections(connections.conninfo, schema=schema, prepare=connections.prepare)
    with closing(PostgresLog(theirs, create=False, notify=notify)) as log:
        yield race(our_log(log), connections, plan)
