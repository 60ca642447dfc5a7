"""Inline: appends whose transaction also holds work that belongs to them, such as rows of views.

One transaction at a time writes such appends in a process; the threads that come meanwhile share
the next one, as in :mod:`eventcore.stores.postgres.appending`. Between processes the work itself
says, by what it locks first, that one comes after the other.

There is no thread besides: whoever is let in next writes for all who wait.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Protocol

import psycopg

from eventcore.errors import EventCoreError
from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.stores.log import AppendResult
from eventcore.stores.postgres.appending import Appending, sharing
from eventcore.stores.postgres.connections import Connection, PostgresConnections
from eventcore.stores.postgres.requests import Request, distribute, statement_for

_position_of = attrgetter("position")


class InAppend(Protocol):
    """Called by a log for each transaction that appends, inside it and after its commit."""

    def lock(self, connection: Connection) -> None:
        """Keep everybody else from doing the same work until the transaction ends.

        Called before anything is appended. Positions are then given out in the order of commits
        among all who do so.

        Args:
            connection: Inside the transaction; not to be committed.
        """

    def apply(self, connection: Connection, events: Sequence[Recorded[Any]]) -> int:
        """Do what belongs to the appends; gives a number for :meth:`committed`.

        Args:
            connection: The same.
            events: What is appended, by position. Others may have come between them.
        """

    def committed(self, number: int) -> None:
        """The transaction of that number is committed. What is not said to be may not have been."""


class InlineAppending:
    """Writes the appends of any number of threads, each with what belongs to it.

    Args:
        appending: Has the connections.
        connections: Where to; the thread that writes joins the transaction with them.
        in_append: What belongs to the appends.
        codec: Reads the events.
    """

    def __init__(
        self,
        appending: Appending,
        connections: PostgresConnections,
        in_append: InAppend,
        *,
        codec: Codec,
    ) -> None:
        self._appending = appending
        self._connections = connections
        self._in_append = in_append
        self._codec = codec
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._queue: list[Request] = []

    def append(self, request: Request) -> AppendResult | None:
        """See :meth:`eventcore.stores.postgres.appending.Appending.append`."""
        with self._lock:
            self._queue.append(request)
        try:
            with self._turn:
                # Whoever came before may have written it.
                while not request.is_answered:
                    with self._lock:
                        batch, self._queue = sharing(self._queue)
                    self._write(batch)
        except BaseException:
            with self._lock:
                if request in self._queue:
                    self._queue.remove(request)
            raise
        return _outcome(request)

    def append_alone(self, request: Request) -> AppendResult | None:
        """Write an append in a transaction of its own; else as :meth:`append`."""
        with self._turn:
            self._write([request])
        return _outcome(request)

    def _write(self, batch: Sequence[Request]) -> None:
        number = None
        try:
            with self._appending.alone() as lane, lane.connection.transaction():
                self.lock(lane.connection)
                lane.send(*statement_for(batch))
                distribute(batch, lane.receive())
                number = self.apply(lane.connection, batch)
            self.committed(number)
        except BaseException as error:
            _tell(batch, error)
            if not isinstance(error, psycopg.Error):
                raise
        finally:
            for request in batch:
                request.is_answered = True

    def lock(self, connection: Connection) -> None:
        """See :meth:`InAppend.lock`."""
        self._in_append.lock(connection)

    def apply(self, connection: Connection, requests: Sequence[Request]) -> int | None:
        """See :meth:`InAppend.apply`, for the requests that were written; None: none was."""
        events = [event for one in requests for event in _recorded(one, self._codec)]
        if not events:
            return None
        events.sort(key=_position_of)
        with self._connections.joining(connection):
            return self._in_append.apply(connection, events)

    def committed(self, number: int | None) -> None:
        """See :meth:`InAppend.committed`."""
        if number is not None:
            self._in_append.committed(number)

    def alone(self) -> threading.Lock:
        """Held while a caller writes a transaction of its own."""
        return self._turn


def _recorded(request: Request, codec: Codec) -> list[Recorded[Any]]:
    if request.result is None:
        return []
    places = zip(request.result.positions, request.result.versions, request.events, strict=True)
    return [
        Recorded(position, request.heads[head].stream, version, event.type, event.state, codec)
        for position, version, (head, _, event) in places
    ]


def _tell(batch: Sequence[Request], error: BaseException) -> None:
    """What was written is not kept, as far as is known: each caller finds out by itself."""
    if not isinstance(error, psycopg.Error | EventCoreError):
        # One of them was interrupted; the others only lost the transaction they shared.
        error = psycopg.OperationalError("the thread that wrote the append was interrupted")
    for request in batch:
        request.result, request.error = None, error


def _outcome(request: Request) -> AppendResult | None:
    if request.error is not None:
        raise request.error
    return request.result
