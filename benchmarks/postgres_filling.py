"""Fills logs in the database itself, with rows as an application would have written them.

A thousand orders are open at a time and get ten events each, in turn; their ids and the events'
are of UUID version 7, so that neighbours in time are neighbours in the indexes.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from benchmarks.rivals_psycopg import DATA, TYPE

UUID7 = """
CREATE OR REPLACE FUNCTION {schema}.uuid7(milliseconds bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(t, 1, 8) || '-' || substr(t, 9, 4) || '-7' || substr(r, 1, 3) || '-8'
           || substr(r, 4, 3) || '-' || substr(r, 7, 10) || '00'
    FROM (SELECT lpad(to_hex(1767225600000 + milliseconds), 12, '0') AS t,
                 lpad(to_hex(hashint8extended(milliseconds, 7)), 16, '0') AS r) AS parts
$$
"""
ROWS = """
SELECT {schema}.uuid7(n / 10000 * 10000 + n % 1000) AS order_id, n / 1000 % 10 + 1 AS version,
       {schema}.uuid7(n) AS event_id
FROM generate_series(0, {count} - 1) AS n ORDER BY n
"""
FILL_LOG = (
    """
INSERT INTO {schema}.eventcore_log (stream, version, type, event_id, state)
SELECT 'order-' || order_id, version, {type}, event_id::uuid,
       convert_to('{{"v":1,"id":"' || event_id || {rest}, 'UTF8')
FROM ("""
    + ROWS
    + ") AS made"
)
FILL_RIVAL = (
    """
INSERT INTO {schema}.orders_events (originator_id, originator_version, topic, state)
SELECT order_id::uuid, version, {type}, {state} FROM ("""
    + ROWS
    + ") AS made"
)
REST = '","at":"2026-11-22T21:34:28.123456Z","data":' + DATA.decode() + "}"


def fill_log(url: str, schema: str, count: int) -> None:
    """Append so many events to an empty log of ours; their positions begin at 1."""
    _fill(url, schema, FILL_LOG, count=count, type=TYPE, rest=REST)


def fill_rival(url: str, schema: str, count: int, *, topic: str, state: bytes) -> None:
    """The same for an application of the base library, every event with the same state."""
    _fill(url, schema, FILL_RIVAL, count=count, type=topic, state=state)


def _fill(url: str, schema: str, statement: str, **values: object) -> None:
    name = sql.Identifier(schema)
    literals = {key: sql.Literal(value) for key, value in values.items()}
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL synchronous_commit = off")
        connection.execute(sql.SQL(UUID7).format(schema=name))
        connection.execute(sql.SQL(statement).format(schema=name, **literals))
