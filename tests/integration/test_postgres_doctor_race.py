"""A race that is broken off, in every way there is, leaves nothing behind for long."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from eventcore.cli.racing.scratch import MARK, drop_leftovers, leftovers
from eventcore.stores.postgres.connections import PostgresConnections
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres

COMMAND = [sys.executable, "-c", "from eventcore.cli import main; main()", "doctor", "--json"]
LONG = ("--race", "--seconds", "60")
SHORT = ("--race", "--seconds", "0.1")
WAIT_SECONDS_MAX = 30.0

OTHERS = """
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
CHANGES = """
    SELECT data FROM pg_logical_slot_get_binary_changes(
        'subscriber', NULL, NULL, 'proto_version', '1', 'publication_names', 'everything')
"""
"""Messages to a subscriber; those of INSERTs begin with an I (manual, "Logical Replication Message
Formats")."""

Race = subprocess.Popen[str]


def start(server: PostgresServer, *arguments: str) -> Race:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Whoever runs the tests may ignore interrupts (`make test &`), and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread
        text=True,
        env={**os.environ, "EVENTCORE_STORE": server.url},
    )


def end(process: Race) -> tuple[int, list[Any], str]:
    """The exit code, the JSON lines on standard output, and standard error."""
    out, err = process.communicate(timeout=WAIT_SECONDS_MAX)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def fetch(server: PostgresServer, statement: str) -> list[Any]:
    with server.connect() as connection:
        return [row[0] for row in connection.execute(statement.encode()).fetchall()]


def schemas(server: PostgresServer) -> list[Any]:
    return fetch(server, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'eventcore%'")


def wait_until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rows_written(server: PostgresServer) -> bool:
    """Whether a race is on and its first table has rows."""
    for schema in schemas(server):
        try:
            return bool(fetch(server, f"SELECT 1 FROM {schema}.textbook LIMIT 1"))
        except psycopg.errors.UndefinedTable:
            return False
    return False


def begin(server: PostgresServer) -> Race:
    """A race that goes on for long and is in the midst of it."""
    process = start(server, *LONG)
    wait_until(lambda: process.poll() is not None or rows_written(server))
    assert process.poll() is None, process.communicate()
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_race_that_is_broken_off_removes_what_it_made(
    postgres_database: PostgresServer, *, number: int, code: int
):
    process = begin(postgres_database)

    process.send_signal(number)

    assert end(process) == (code, [], "")
    assert schemas(postgres_database) == []


def test_a_race_whose_sessions_are_ended_fails_and_removes_what_it_made(
    postgres_database: PostgresServer,
):
    process = begin(postgres_database)

    # Those of the writers and of the reader; whoever keeps the schema is ended as well.
    fetch(postgres_database, f"SELECT pg_terminate_backend(pid) FROM ({OTHERS}) AS others")

    code, records, err = end(process)
    assert (code, records) == (3, [])
    assert json.loads(err)["error"]["type"] == "StoreUnavailableError"
    assert schemas(postgres_database) == []


def test_what_a_killed_race_left_is_named_by_doctor_and_dropped_by_the_next_race(
    postgres_database: PostgresServer,
):
    process = begin(postgres_database)
    process.kill()
    process.communicate()
    (left,) = schemas(postgres_database)
    with postgres_database.connect() as connection:
        # The name without the mark, and the mark without the name.
        connection.execute("CREATE SCHEMA eventcore_race_0123456789ab")
        connection.execute("CREATE SCHEMA eventcore_race_mine")
        for name, mark in (("0123456789ab", f"{MARK}, but it is mine"), ("mine", MARK)):
            connection.execute(f"COMMENT ON SCHEMA eventcore_race_{name} IS '{mark}'")
    wait_until(lambda: not fetch(postgres_database, OTHERS))

    looked = end(start(postgres_database))
    again = end(start(postgres_database, *SHORT))

    found = [record for record in looked[1] if record["check"] == "scratch"]
    assert (looked[0], [record["ok"] for record in found]) == (1, [False])
    assert left in found[0]["detail"]
    assert "eventcore doctor --race" in found[0]["action"]
    assert (again[0], again[1][0]["removed"]) == (0, [left])
    assert sorted(schemas(postgres_database)) == [
        "eventcore_race_0123456789ab",
        "eventcore_race_mine",
    ]


def test_a_race_that_is_on_is_no_leftover(postgres_database: PostgresServer):
    process = begin(postgres_database)
    before = schemas(postgres_database)

    with closing(PostgresConnections(postgres_database.url)) as connections:
        found, dropped = leftovers(connections), drop_leftovers(connections)

    assert (found, dropped, len(before)) == ([], [], 1)
    assert schemas(postgres_database) == before
    process.send_signal(signal.SIGINT)
    end(process)


def test_nothing_of_a_race_is_replicated(own_postgres):
    server = PostgresServer.at(own_postgres(wal_level="logical").url)
    with server.connect() as connection:
        connection.execute("CREATE TABLE events (id bigserial, payload jsonb NOT NULL)")
        connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
        connection.execute("SELECT pg_create_logical_replication_slot('subscriber', 'pgoutput')")

    raced = end(start(server, *SHORT, "--table", "events"))
    replicated = fetch(server, CHANGES)
    with server.connect() as connection:
        connection.execute("INSERT INTO events (payload) VALUES ('{}')")

    assert (raced[0], len(raced[1][0]["tables"])) == (1, 3)
    assert [message for message in replicated if message[:1] == b"I"] == []
    assert [message[:1] for message in fetch(server, CHANGES)].count(b"I") == 1


def test_a_replica_is_refused(own_postgres):
    standby = own_postgres(standby_of=own_postgres())

    code, records, err = end(start(PostgresServer.at(standby.url), *SHORT))

    assert (code, records) == (3, [])
    assert "standby" in err or "read-only" in err
