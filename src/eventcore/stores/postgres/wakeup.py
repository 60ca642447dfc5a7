"""Wake whoever waits for a commit: LISTEN and NOTIFY, never inside a writing transaction.

A NOTIFY takes a lock over the whole server until its transaction has committed, so one inside
every append would make all writers commit one after another. Here a thread of its own sends it,
after the commit and at most once every :data:`NOTIFY_PAUSE_SECONDS`, for all appends of the
process since the last one. A notification is a hint: it can be lost with its process or its
connection, so whoever waits looks by itself as well (:mod:`eventcore.stores.following`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import pq, sql

from eventcore.errors import EventCoreError
from eventcore.stores.postgres.connections import Connection, PostgresConnections
from eventcore.stores.signals import LocalSignal

CHANNEL: Final = "eventcore"
"""One channel a database; the payload says the topic and the schema."""

NOTIFY_PAUSE_SECONDS: Final = 0.002
"""Time between two notifications of a process: what is committed meanwhile shares the next one."""

BUSY_PAUSE_SECONDS: Final = 0.01
"""The same while commits come so fast that followers never sleep anyway."""

BUSY_COMMITS: Final = 4
"""So many commits between two notifications, of all processes together, are fast."""

CROWD_PAUSE_SECONDS_MAX: Final = 0.1
"""The longest such pause of a process among many that write: together they notify about as often
as one would alone, or notifications would cost the server as much as the commits do."""

LISTEN_CHECK_SECONDS: Final = 1.0
"""How often the listening thread looks whether it is still needed."""

RECONNECT_PAUSE_SECONDS_MAX: Final = 5.0
"""Longest pause between attempts to listen again after the connection was lost."""


class Pace:
    """How long a process waits between two notifications, from what is committed meanwhile.

    How many others write shows in the positions that its own commits get. All of it is a guess that
    decides when followers wake up, never what they see; threads may count at once and lose one.
    """

    def __init__(self) -> None:
        self._commits = 0
        self._events = 0
        self._position = 0
        self._notified_at = 0

    def committed(self, positions: Sequence[int]) -> None:
        """Count a commit of this process, and the positions it wrote."""
        self._commits += 1
        if positions:
            self._events += len(positions)
            self._position = positions[-1]

    def pause_seconds(self) -> float:
        """The pause after a notification that is sent now."""
        moved = self._position - self._notified_at
        crowd = max(1.0, moved / self._events) if self._events and self._notified_at else 1.0
        is_busy = self._commits * crowd >= BUSY_COMMITS
        self._commits = self._events = 0
        self._notified_at = self._position
        pause = BUSY_PAUSE_SECONDS if is_busy else NOTIFY_PAUSE_SECONDS
        return min(pause * crowd, CROWD_PAUSE_SECONDS_MAX)


class PostgresWakeup:
    """Tells threads of this process that something was committed, here or elsewhere.

    Nothing is opened before somebody waits or notifies. Its threads never keep a process alive.

    Args:
        connections: Where to.
        topic: What is announced; others on the same schema with the same topic hear it.
        notify: Send and receive notifications. Without, only commits of this process wake.
        channel: Of somebody else's instead, on which the payload says nothing.
    """

    def __init__(
        self,
        connections: PostgresConnections,
        topic: str,
        *,
        notify: bool = True,
        channel: str | None = None,
    ) -> None:
        self._connections = connections
        self._channel = channel or CHANNEL
        self._payload = "" if channel else f"{topic}:{connections.schema}"
        self._enabled = notify
        self._signal = LocalSignal()
        self._starting = threading.RLock()
        self._listener: threading.Thread | None = None
        self._is_listening = False
        self._sender: threading.Thread | None = None
        self._due = LocalSignal()
        self._taken = self._due.token()
        self._over = LocalSignal()
        self._pace = Pace()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._over.closed

    @property
    def is_listening(self) -> bool:
        """Whether commits of other processes wake at once just now."""
        return self._is_listening

    def token(self) -> int:
        """A mark of now; see :class:`eventcore.stores.following.CommitSignal`."""
        return self._signal.token()

    def wait(self, token: int, timeout_seconds: float) -> bool:
        """Sleep until something was committed since ``token``; False if the time ran out."""
        # Through a proxy the session that listens would be somebody else's at the next transaction.
        if self._enabled and self._listener is None and not self._connections.is_pooled:
            self._start_listening()
        return self._signal.wait(token, timeout_seconds)

    def wake(self) -> None:
        """Wake everybody who waits in this process."""
        self._signal.notify()

    def notify(self, positions: Sequence[int] = ()) -> None:
        """Wake everybody who waits, in this process at once, in others by NOTIFY.

        Args:
            positions: Those that the commit wrote, in order; they tell how many others write.
        """
        self.wake()
        self._pace.committed(positions)
        if not self._enabled or self._due.token() != self._taken:
            return
        if self._sender is None:
            self._start_sending()
        self._due.notify()

    def close(self) -> None:
        """Wake everybody and end the threads. Closing twice is fine."""
        self._over.close()
        self._signal.close()
        self._due.close()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the sending thread to have sent what is due; call it after :meth:`close`."""
        sender = self._sender
        if sender is not None and sender is not threading.current_thread():
            sender.join(timeout_seconds)

    def _start_listening(self) -> None:
        with self._starting:
            if self._listener is None and not self.closed:
                listener = threading.Thread(
                    target=self._listen, name="eventcore-listen", daemon=True
                )
                listener.start()
                self._listener = listener

    def _start_sending(self) -> None:
        with self._starting:
            if self._sender is None and not self.closed:
                sender = threading.Thread(target=self._send, name="eventcore-notify", daemon=True)
                sender.start()
                self._sender = sender

    def _send(self) -> None:
        connection: Connection | None = None
        while True:
            self._due.wait(self._taken, threading.TIMEOUT_MAX)
            is_last, due = self.closed, self._due.token()
            if due != self._taken:
                # Taken first: what is committed from here on asks for another one.
                self._taken = due
                connection = self._send_one(connection)
            if is_last:
                _closed(connection)
                return
            if not self.closed:
                time.sleep(self._pace.pause_seconds())

    def _send_one(self, connection: Connection | None) -> Connection | None:
        """Send a notification; gives the connection to send the next one on, if there is one."""
        try:
            if connection is None or connection.closed:
                connection = self._open_sender()
            # Through libpq directly: a cursor would cost several times more, in the way of those
            # who append.
            result = connection.pgconn.exec_params(
                b"SELECT pg_catalog.pg_notify($1, $2)",
                [self._channel.encode(), self._payload.encode()],
            )
        except psycopg.Error:
            # Who waits elsewhere looks by itself; the next append tries again.
            _closed(connection)
            return None
        if result.status != pq.ExecStatus.TUPLES_OK:
            _closed(connection)
        return connection

    def _open_sender(self) -> Connection:
        connection = self._connections.connect()
        if self._connections.prepare:
            # Its transaction writes nothing that a crash could lose, yet would wait for the disk.
            # Not through a proxy, where the session may be somebody else's next.
            connection.execute(b"SET synchronous_commit = off")
        return connection

    def _listen(self) -> None:
        pause_seconds = 0.1
        while not self.closed:
            try:
                with self._connections.connect() as connection:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    self._is_listening = True
                    # Commits from before this moment were announced to nobody.
                    self.wake()
                    pause_seconds = 0.1
                    self._hear(connection)
            except (psycopg.Error, EventCoreError):
                self._is_listening = False
                self._over.wait(self._over.token(), pause_seconds)
                pause_seconds = min(pause_seconds * 2, RECONNECT_PAUSE_SECONDS_MAX)

    def _hear(self, connection: Connection) -> None:
        while not self.closed:
            for notification in connection.notifies(timeout=LISTEN_CHECK_SECONDS, stop_after=1):
                if notification.payload == self._payload:
                    self.wake()


def _closed(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
