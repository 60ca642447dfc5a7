"""What a Postgres schema holds, what this version of eventcore expects there, the difference."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final

from psycopg import sql

from eventcore.cli.inspecting import Difference, SchemaObject, differences
from eventcore.cli.postgres_notes import plans_of
from eventcore.errors import ConfigurationError
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.postgres.statements import TableStatements
from eventcore.projections.projection import Projection
from eventcore.settings import StoreLocation
from eventcore.stores.postgres.connections import Connection, PostgresConnections
from eventcore.stores.postgres.migrations import (
    Migration,
    Phase,
    all_migrations,
    apply_migrations,
    pending_migrations,
)
from eventcore.stores.statements import load_statements

SQL: Final = load_statements("eventcore.cli", "sql/inspect_postgres.sql")
_CHECKPOINTS: Final = load_statements("eventcore.projections.postgres", "sql/checkpoints.sql")
_SCHEMA_MARK: Final = "{schema}."
_WHOLE: Final = {kind: kind for kind in ("view", "function", "sequence")}


@contextmanager
def connected(location: StoreLocation) -> Iterator[PostgresConnections]:
    """Connections to a store's schema."""
    with closing(
        PostgresConnections(
            location.conninfo, schema=location.schema, prepare=location.prepare, pool_size_max=2
        )
    ) as connections:
        yield connections


class PostgresSchema:
    """The part of a store that is in one Postgres schema.

    Args:
        connections: To it.
        log: Whether the log is in it.
        projections: The read models that are in it.
    """

    def __init__(
        self, connections: PostgresConnections, *, log: bool, projections: Sequence[Projection]
    ) -> None:
        self.connections = connections
        self.title = connections.name
        self._log = log
        self._projections = projections

    def pending(self) -> list[Migration]:
        """Migrations that were not applied yet."""
        return pending_migrations(self.connections) if self._log else []

    def planned(self, phases: Sequence[Phase]) -> list[tuple[str, str]]:
        """What ``apply`` would run, by name: complete statements, in order."""
        schema = self.connections.schema
        pending = [one for one in self.pending() if one.phase in phases]
        planned = [(one.name, one.statements(schema)) for one in pending]
        present = self._present()
        names = {one.table for one in present.values()}
        with self.connections.using() as connection:
            if not connection.execute(
                b"SELECT count(*) FROM pg_namespace WHERE nspname = %s", (schema,)
            ).fetchall()[0][0]:
                create = sql.SQL("CREATE SCHEMA {};").format(sql.Identifier(schema))
                planned.insert(0, (f"schema {schema}", create.as_string()))
        begun, strangers = plans_of(self.connections, self._projections, names)
        wanted = self._definitions(schema, [one.projection for one in begun])
        planned += [(name, f"{text};") for name, text in wanted if name not in names]
        will_be = {name for name, _ in planned} | set(names)
        planned += [
            (one.expected.name, f"{one.expected.sql};")
            for one in self._parts(present)
            if one.expected.table in (names & will_be) - strangers
        ]
        planned += [one.note(schema) for one in begun]
        return planned

    def apply(self, phases: Sequence[Phase]) -> list[str]:
        """Run it; gives the names of what was made."""
        created = (
            [one.name for one in apply_migrations(self.connections, phases)] if self._log else []
        )
        before = {one.table for one in self._present().values()}
        if self._projections:
            with closing(PostgresViews(self.connections)) as views:
                for projection in self._projections:
                    views.ensure(projection)
        created += sorted({one.table for one in self._present().values()} - before)
        parts = self._parts(self._present())
        with self.connections.transaction() as connection:
            for one in parts:
                connection.execute(one.expected.sql.encode(), prepare=False)
        return created + [one.expected.name for one in parts]

    def differences(self) -> list[Difference]:
        """Where the schema is not as this version would make it; others' tables do not matter."""
        present = self._present()
        tables = {one.table for one in present.values()}
        found: dict[str, Difference] = {}
        for one in differences(self._expected(), present):
            if one.expected.table in tables:
                found[f"{one.expected.kind} {one.expected.name}"] = one
            else:
                # All of it is missing: one word is enough.
                name = one.expected.table
                whole = SchemaObject(_WHOLE.get(one.expected.kind, "table"), name, name, "")
                found.setdefault(f"table {name}", Difference(whole, None))
        return list(found.values())

    def _parts(self, present: dict[str, SchemaObject]) -> list[Difference]:
        """Missing indexes and triggers of tables that are there: they can be made by themselves."""
        tables = {one.table for one in present.values() if one.kind == "column"}
        return [
            _runnable(one, self.connections.schema)
            for one in differences(self._expected(), present)
            if one.present is None
            and one.expected.kind in {"index", "trigger"}
            and one.expected.table in tables
            and f"constraint {one.expected.name}" not in self._expected()
        ]

    def _present(self) -> dict[str, SchemaObject]:
        with self.connections.using() as connection:
            return _objects(connection, self.connections.schema)

    def _expected(self) -> dict[str, SchemaObject]:
        """What this version makes in an empty schema: made in a transaction that is undone."""
        schema = f"eventcore_check_{os.getpid()}"
        with self.connections.using() as connection:
            may = connection.execute(
                b"SELECT has_database_privilege(current_database(), 'CREATE')"
            ).fetchall()[0][0]
            if not may:
                raise ConfigurationError(
                    message=f"{self.title}: comparing needs a role that may CREATE in the "
                    "database. It makes the tables anew, in a transaction that is undone"
                )
            with connection.transaction(force_rollback=True):
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
                if self._log:
                    for migration in all_migrations():
                        text = migration.statements(schema)
                        connection.execute(text.encode(), prepare=False)
                for _, text in self._definitions(schema, self._projections):
                    connection.execute(text.encode(), prepare=False)
                return _objects(connection, schema)

    def _definitions(
        self, schema: str, projections: Sequence[Projection]
    ) -> Iterator[tuple[str, str]]:
        """The statements that make the tables of read models, with the table's name."""
        if not projections:
            return
        identifier = sql.Identifier(schema)
        checkpoints = sql.SQL(_CHECKPOINTS["create_checkpoints"]).format(schema=identifier)
        yield "eventcore_checkpoints", checkpoints.as_string().rstrip(";\n ")
        for projection in projections:
            for table in projection.tables:
                for statement in TableStatements(schema, table).create:
                    yield table.name, statement


def _objects(connection: Connection, schema: str) -> dict[str, SchemaObject]:
    """By kind and name; the schema's name is taken out of their descriptions."""
    with connection.transaction():
        # So that every name in the descriptions comes with its schema.
        connection.execute(b"SET LOCAL search_path TO ''")
        rows = connection.execute(SQL["select_objects"].encode(), {"schema": schema}).fetchall()
    quoted = re.escape(sql.Identifier(schema).as_string())
    qualifier = re.compile(rf"(?<![\w.\"])(?:{quoted}|{re.escape(schema)})\.")
    found: dict[str, SchemaObject] = {}
    for kind, name, table, text in rows:
        plain = qualifier.sub(_SCHEMA_MARK, text)
        found[f"{kind} {name}"] = SchemaObject(kind, name, table, plain)
    return found


def _runnable(one: Difference, schema: str) -> Difference:
    """With a statement that makes it in the schema."""
    text = one.expected.sql.replace(_SCHEMA_MARK, f"{sql.Identifier(schema).as_string()}.")
    if text.endswith(" ALWAYS"):
        table = sql.Identifier(schema, one.expected.table).as_string()
        name = sql.Identifier(one.expected.name).as_string()
        text = f"{text.removesuffix(' ALWAYS')}; ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"
    return one._replace(expected=one.expected._replace(sql=text))


def grants(schema: str, role: str, projections: Sequence[Projection]) -> list[str]:
    """Statements that let a role use a store without being able to change an event.

    Args:
        schema: Where the tables are.
        role: Who.
        projections: Whose tables it may write, too.
    """
    names = {"schema": sql.Identifier(schema), "role": sql.Identifier(role)}
    texts = [
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT SELECT, INSERT ON {schema}.eventcore_log TO {role}",
        "GRANT USAGE ON SEQUENCE {schema}.eventcore_log_position TO {role}",
        "GRANT SELECT ON {schema}.eventcore_log_json, {schema}.eventcore_migrations TO {role}",
        "GRANT SELECT, INSERT, UPDATE ON {schema}.eventcore_snapshots, "
        "{schema}.eventcore_refusals TO {role}",
    ]
    statements = [sql.SQL(text).format(**names).as_string() for text in texts]
    tables = [table.name for projection in projections for table in projection.tables]
    change = sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}")
    statements += [
        change.format(table=sql.Identifier(schema, name), role=names["role"]).as_string()
        for name in (["eventcore_checkpoints", *tables] if projections else [])
    ]
    return statements
