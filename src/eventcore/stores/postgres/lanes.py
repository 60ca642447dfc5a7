"""A connection of the log's own that sends one statement at a time and can fetch its answer later.

It speaks to libpq directly (``psycopg.pq``): an append is one prepared statement with binary
parameters and one small answer, and half of what a cursor does for it would be overhead.
"""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import pq
from psycopg.pq import ExecStatus

from eventcore.stores.postgres.connections import PostgresConnections

Parameters = Sequence[bytes | None]
Answer = list[tuple[int, int, bytes]]
"""Rows as returned: position, version and, where the statement returns it, the event id."""


class Lane:
    """One connection for appending. Used by one thread at a time.

    Args:
        connections: Where to.
        statements: By name, with ``$1`` for parameters; prepared when first used.
        lock_timeout_ms: How long a statement waits for a lock before it fails; 0: for ever.

    Attributes:
        connection: The driver's own; not while a statement is on its way.
    """

    def __init__(
        self,
        connections: PostgresConnections,
        statements: Mapping[str, bytes],
        *,
        lock_timeout_ms: int = 0,
    ) -> None:
        self.connection = connections.connect()
        # The driver would deallocate all statements of the session after a rollback, and with its
        # own those of this lane.
        self.connection.prepare_threshold = None
        self._pgconn = self.connection.pgconn
        self._statements = statements
        self._prepared: set[str] | None = set() if connections.prepare else None
        if connections.prepare:
            # Session state, which is fine here: nobody else ever has this connection. Through a
            # proxy that shares connections it might be somebody else's.
            self.connection.execute(
                # A plan made while the table was small is kept while it grows: it must not be one
                # that reads the whole table.
                b"SELECT set_config('lock_timeout', %s, false),"
                b" set_config('plan_cache_mode', 'force_generic_plan', false),"
                b" set_config('enable_seqscan', 'off', false)",
                (str(lock_timeout_ms),),
            )
        self._pgconn.nonblocking = 1
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)

    @property
    def is_idle(self) -> bool:
        """Whether it can take another statement: its connection stands, and nothing is open."""
        return self._pgconn.transaction_status == pq.TransactionStatus.IDLE

    def send(self, name: str, parameters: Parameters) -> None:
        """Send a statement without waiting for its answer.

        Raises:
            psycopg.Error: It was not sent, or not all of it.
        """
        pgconn = self._pgconn
        formats = [pq.Format.BINARY] * len(parameters)
        if self._prepared is None:
            pgconn.send_query_params(
                self._statements[name], parameters, None, formats, pq.Format.BINARY
            )
        else:
            if name not in self._prepared:
                self._prepare(name)
            pgconn.send_query_prepared(name.encode(), parameters, formats, pq.Format.BINARY)
        while pgconn.flush():
            # The server's buffer is full; it may have to get rid of a notice first.
            select.select([pgconn.socket], [pgconn.socket], [])
            pgconn.consume_input()

    def receive(self) -> Answer:
        """Wait for the answer.

        Raises:
            psycopg.Error: What the server refused, or that it went away.
        """
        result = self._next_result()
        assert result is not None
        while self._next_result() is not None:
            pass
        if result.status != ExecStatus.TUPLES_OK:
            raise self._error(result)
        value, has_id, integer = result.get_value, result.nfields > 2, int.from_bytes  # noqa: PLR2004 - columns
        return [
            (
                integer(value(row, 0) or b"", "big"),
                integer(value(row, 1) or b"", "big"),
                value(row, 2) or b"" if has_id else b"",
            )
            for row in range(result.ntuples)
        ]

    def _next_result(self) -> pq.abc.PGresult | None:
        pgconn = self._pgconn
        while pgconn.is_busy():
            self._poll.poll()
            pgconn.consume_input()
        return pgconn.get_result()

    def _prepare(self, name: str) -> None:
        assert self._prepared is not None
        self._pgconn.send_prepare(name.encode(), self._statements[name])
        while self._pgconn.flush():
            select.select([], [self._pgconn.socket], [])
        while (result := self._next_result()) is not None:
            if result.status != ExecStatus.COMMAND_OK:
                raise self._error(result)
        self._prepared.add(name)

    def _error(self, result: pq.abc.PGresult) -> psycopg.Error:
        if self._pgconn.status != pq.ConnStatus.OK and not result.error_field(
            pq.DiagnosticField.SQLSTATE
        ):
            # libpq's own words, which have no code: the connection was cut.
            return psycopg.OperationalError(result.get_error_message("utf-8"))
        return psycopg.errors.error_from_result(result)

    def close(self) -> None:
        """Close the connection; what it was doing is rolled back unless it was committed."""
        self.connection.close()
