"""The log's tables, made and changed by numbered SQL files that a DBA can read beforehand.

Opening a log creates its tables where there are none. Tables that exist are only ever changed by
``eventcore db apply``, or by whoever runs what ``eventcore db plan`` prints.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Final, Literal, NamedTuple, NoReturn

from psycopg import sql

from eventcore.errors import SchemaMismatchError
from eventcore.stores.postgres.connections import Connection, PostgresConnections
from eventcore.stores.statements import load_statements

_SQL: Final = load_statements("eventcore.stores.postgres", "sql/schema.sql")
_FILE: Final = re.compile(r"(\d{4}_(pre|post)_\w+)\.sql")
_COLUMNS: Final = [
    "position bigint",
    "stream text",
    "version bigint",
    "type text",
    "event_id uuid",
    "state bytea",
]
_BODY: Final = re.compile(r"\$function\$(.*?)\$function\$", re.DOTALL)
_TRIGGERS: Final = frozenset({"eventcore_log_refuses_change", "eventcore_log_refuses_truncate"})

Phase = Literal["pre", "post"]


class Migration(NamedTuple):
    """One file.

    Attributes:
        name: Of the file without its suffix; they are applied in this order.
        phase: ``pre``: before a new version of eventcore starts; what runs goes on working.
            ``post``: after the last process of the old version has ended.
        text: Its statements, with ``{schema}`` and ``{position_sequence}``.
    """

    name: str
    phase: Phase
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, schema: str) -> str:
        """What a DBA runs: the text for a schema, and the note that it was applied."""
        sequence = sql.Identifier(schema, "eventcore_log_position").as_string()
        text = (
            sql.SQL(self.text)
            .format(schema=sql.Identifier(schema), position_sequence=sql.Literal(sequence))
            .as_string()
        )
        noted = sql.SQL(
            "INSERT INTO {schema}.eventcore_migrations (name, digest) VALUES ({name}, {digest});"
        ).format(
            schema=sql.Identifier(schema),
            name=sql.Literal(self.name),
            digest=sql.Literal(self.digest),
        )
        return f"{text.rstrip()}\n\n{noted.as_string()}\n"


@cache
def all_migrations() -> tuple[Migration, ...]:
    """Every migration of this version, in order."""
    found = []
    folder = resources.files("eventcore.stores.postgres") / "schema"
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        match = _FILE.fullmatch(file.name)
        if match:
            phase: Phase = "pre" if match[2] == "pre" else "post"
            found.append(Migration(match[1], phase, file.read_text(encoding="utf-8")))
    return tuple(found)


def pending_migrations(
    connections: PostgresConnections, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """Those that were not applied yet.

    Raises:
        SchemaMismatchError: One was applied from a file of another content.
    """
    with connections.using() as connection:
        return _pending(connections, connection, migrations or all_migrations())


def apply_migrations(
    connections: PostgresConnections,
    phases: Sequence[Phase] = ("pre", "post"),
    migrations: Sequence[Migration] | None = None,
) -> list[Migration]:
    """Apply what is pending, all of it or nothing; gives what was applied."""
    statements = connections.formatted(_SQL)
    with connections.transaction() as connection:
        connection.execute(statements["lock_migrations"], (connections.schema,))
        row = connection.execute(statements["select_schema"], (connections.schema,)).fetchone()
        if row == (0,):
            connection.execute(statements["create_schema"])
        # Once more: another process may have been faster.
        pending = [
            one
            for one in _pending(connections, connection, migrations or all_migrations())
            if one.phase in phases
        ]
        for migration in pending:
            # Several statements at once: not to be prepared.
            connection.execute(migration.statements(connections.schema).encode(), prepare=False)
    return pending


def ensure_schema(
    connections: PostgresConnections,
    *,
    create: bool,
    migrations: Sequence[Migration] | None = None,
) -> None:
    """Make sure that the log's tables are there and are ours.

    Raises:
        SchemaMismatchError: They are absent and not to be created, have another shape, lack the
            triggers that keep events immutable, wait for a migration, or have a sequence that is
            behind the events, as after a restore of rows alone.
    """
    connections.check_encoding()
    columns, triggers, has_migrations = _found(connections)
    if columns is None and not has_migrations:
        if not create:
            _refuse(connections, "not been created", ", ".join(_COLUMNS), _ABSENT)
        apply_migrations(connections, migrations=migrations)
        columns, triggers, has_migrations = _found(connections)
    if columns is None or not has_migrations or columns != _COLUMNS:
        found = f"the columns {', '.join(columns)}" if columns else "not been created"
        if columns == _COLUMNS:
            found = "been made by someone else"
        _refuse(connections, found, ", ".join(_COLUMNS), "Name another schema with schema=NAME")
    if missing := sorted(_TRIGGERS - set(triggers or ())):
        _refuse(
            connections,
            f"no active trigger {', '.join(missing)}",
            "it, to keep events immutable",
            "See `eventcore db check`",
        )
    waiting = [
        one.name for one in pending_migrations(connections, migrations) if one.phase == "pre"
    ]
    if waiting:
        _refuse(
            connections,
            f"not had the migrations {', '.join(waiting)}",
            "them",
            "Run `eventcore db apply`, or have `eventcore db plan` run by a DBA",
        )
    _check_sequence(connections)


def _check_sequence(connections: PostgresConnections) -> None:
    """Refuse a sequence that is behind the log: it would fill gaps that readers have passed."""
    sequence = sql.Identifier(connections.schema, "eventcore_log_position").as_string()
    statement = connections.formatted(_SQL)["select_places"]
    ((head, given_out),) = connections.fetch(statement, (sequence,))
    if given_out < head:
        _refuse(
            connections,
            f"events up to position {head}, and a sequence that is at {given_out}: it came with its"
            " rows alone, from a backup or a replication",
            "the sequence to be at or beyond the last event",
            "While nobody writes, run "
            + sql.SQL("SELECT setval({sequence}, {head}); and rebuild what was read since")
            .format(sequence=sql.Literal(sequence), head=sql.Literal(head))
            .as_string(),
        )


_ABSENT: Final = "Open it without create=no, or run `eventcore db apply`"


def _found(
    connections: PostgresConnections,
) -> tuple[list[str] | None, list[str] | None, bool]:
    columns, triggers, has_migrations = connections.fetch(
        _SQL["select_log"].encode(), _asked(connections)
    )[0]
    return columns, triggers, has_migrations


def _asked(connections: PostgresConnections) -> list[str]:
    """What the function of the triggers does, and the names of the tables."""
    (body,) = _BODY.findall("".join(migration.text for migration in all_migrations()))
    names = ("eventcore_migrations", "eventcore_log")
    return [body, *(sql.Identifier(connections.schema, name).as_string() for name in names)]


def _pending(
    connections: PostgresConnections, connection: Connection, migrations: Sequence[Migration]
) -> list[Migration]:
    *_, has_migrations = connection.execute(
        _SQL["select_log"].encode(), _asked(connections)
    ).fetchall()[0]
    if not has_migrations:
        return list(migrations)
    statement = connections.formatted(_SQL)["select_applied"]
    applied: dict[str, str] = dict(connection.execute(statement).fetchall())
    for migration in migrations:
        if applied.get(migration.name, migration.digest) != migration.digest:
            _refuse(
                connections,
                f"had the migration {migration.name} applied with another content",
                f"that of digest {migration.digest[:12]}…",
                "Compare it with the file of this version: one of them was edited",
            )
    return [one for one in migrations if one.name not in applied]


def _refuse(connections: PostgresConnections, found: str, expected: str, action: str) -> NoReturn:  # noqa: PLR0917 - a sentence
    raise SchemaMismatchError(
        table="eventcore_log",
        database=connections.name,
        found=found,
        expected=expected,
        action=action,
    )
