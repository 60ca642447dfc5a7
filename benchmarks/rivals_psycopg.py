"""Plain psycopg 3: what a careful program without any library would do, at its fastest.

One connection a thread, autocommit, prepared, binary, one round trip, the position given back. The
table has the columns and indexes of ours, without its triggers; another has two indexes only, as
that of ``eventsourcing`` has. There is no promise to followers here at all: one that goes on from
the last position it saw loses events.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from benchmarks.postgres_server import new_schema

TYPE = "order.item_added"
AT = b"2026-11-22T21:34:28.123456Z"
DATA = (
    b'{"orderId":"01890a5d-ac96-774b-bcce-b302099a8057","productId":"product-7","quantity":3,'
    b'"price":"2.25"}'
)
STATE = b'{"v":1,"id":"%b","at":"' + AT + b'","data":' + DATA + b"}"

TABLE = """
CREATE TABLE {schema}.log (
    position bigserial PRIMARY KEY,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    event_id uuid NOT NULL,
    state bytea NOT NULL
);
CREATE UNIQUE INDEX log_by_stream ON {schema}.log (stream, version);
"""
EVENT_ID_INDEX = "CREATE UNIQUE INDEX log_by_event_id ON {schema}.log (event_id);"
INSERT_ONE = """
INSERT INTO {schema}.log (stream, version, type, event_id, state) VALUES (%s, %s, %s, %s, %s)
RETURNING position
"""
INSERT_MANY = """
INSERT INTO {schema}.log (stream, version, type, event_id, state)
SELECT %s, * FROM unnest(%s::bigint[], %s::text[], %s::uuid[], %s::bytea[]) RETURNING position
"""


class PlainInserts:
    """INSERTs into a table of its own."""

    def __init__(
        self, url: str, schema: str, *, create: bool = True, event_id_index: bool = True
    ) -> None:
        self._url, self._schema = url, sql.Identifier(schema)
        self._connections: list[psycopg.Connection[Any]] = []
        if create:
            new_schema(url, schema)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(self._filled(TABLE))
                if event_id_index:
                    connection.execute(self._filled(EVENT_ID_INDEX))

    def _filled(self, text: str) -> sql.Composed:
        return sql.SQL(text).format(schema=self._schema)

    def _cursor(self) -> psycopg.Cursor[Any]:
        connection = psycopg.connect(self._url, autocommit=True)
        self._connections.append(connection)
        return connection.cursor(binary=True)

    def writer(self, events: int) -> Callable[[], None]:
        return self._writer_of_one() if events == 1 else self._writer_of_many(events)

    def _writer_of_one(self) -> Callable[[], None]:
        cursor, stream, versions = self._cursor(), f"order-{uuid4()}", count(1)
        statement = self._filled(INSERT_ONE).as_bytes(cursor)

        def insert() -> None:
            event_id = uuid4()
            state = STATE % str(event_id).encode()
            cursor.execute(statement, (stream, next(versions), TYPE, event_id, state), prepare=True)
            cursor.fetchone()

        return insert

    def _writer_of_many(self, events: int) -> Callable[[], None]:
        cursor, stream, versions = self._cursor(), f"order-{uuid4()}", count(1)
        statement = self._filled(INSERT_MANY).as_bytes(cursor)

        def insert() -> None:
            ids: list[UUID] = [uuid4() for _ in range(events)]
            states = [STATE % str(event_id).encode() for event_id in ids]
            numbers = [next(versions) for _ in range(events)]
            cursor.execute(statement, (stream, numbers, [TYPE] * events, ids, states), prepare=True)
            cursor.fetchall()

        return insert

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
