"""The tables of a race: a textbook's, and our log. Those made after a user's are in ``copies``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import sql

from eventcore.stores.postgres.connections import Connection
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.postgres.migrations import all_migrations
from eventcore.stores.statements import load_statements

SQL: Final = load_statements("eventcore.cli", "sql/race.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A table that is written to and read.

    Attributes:
        title: What a person calls it.
        table: Its name.
        position: The column that a poller goes by.
        insert: Inserts rows of the numbers in ``$1``, a ``bigint[]``.
        log: Our log on that table, if it is one.
        is_users: Whether it is made after a table of the user's.
        remarks: What a person should know of it.
    """

    title: str
    table: sql.Identifier
    position: str
    insert: bytes
    log: PostgresLog | None = None
    is_users: bool = False
    remarks: tuple[str, ...] = ()

    def statement(self, name: str) -> bytes:
        """One of ``sql/race.sql`` for this table."""
        return statement(name, table=self.table, position=sql.Identifier(self.position))


def statement(name: str, **names: sql.Composable) -> bytes:
    """A statement of ``sql/race.sql`` with these names in it."""
    return sql.SQL(SQL[name]).format(**names).as_bytes()


def textbook(connection: Connection, schema: str) -> Entry:
    """Make the table that most event logs on Postgres begin as."""
    connection.execute(statement("create_textbook", schema=sql.Identifier(schema)))
    return Entry(
        title="textbook bigserial table",
        table=sql.Identifier(schema, "textbook"),
        position="id",
        insert=statement("insert_textbook", schema=sql.Identifier(schema)),
    )


def create_log(connection: Connection, schema: str) -> None:
    """Make the tables of our log, in one transaction, as a migration would but unlogged."""
    with connection.transaction():
        for migration in all_migrations():
            text = migration.statements(schema).replace("CREATE TABLE ", "CREATE UNLOGGED TABLE ")
            connection.execute(text.encode(), prepare=False)


def our_log(log: PostgresLog) -> Entry:
    """An open log, which programs also write to that know only its table."""
    schema = log.connections.schema
    return Entry(
        title="eventcore's log",
        table=sql.Identifier(schema, "eventcore_log"),
        position="position",
        insert=statement("insert_log", schema=sql.Identifier(schema)),
        log=log,
    )
