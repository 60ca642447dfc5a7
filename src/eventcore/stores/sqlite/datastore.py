"""The connections under ``eventsourcing``'s recorders: durable, woken, never half in a transaction.

They replace those of ``eventsourcing.sqlite``. What is different:

- A writing transaction starts with ``BEGIN IMMEDIATE``. A plain ``BEGIN`` reads first and asks for
  the write lock later, which SQLite refuses at once, without waiting, if somebody wrote in between.
- ``PRAGMA synchronous`` is set on every connection; in WAL mode only ``FULL`` makes an acknowledged
  commit survive a power failure (SQLite, "Pragma statements", ``synchronous``).
- Every error is one of the library's, those of ``BEGIN`` and of opening included, and a failed
  commit is rolled back before its connection is used again.
- Every commit is announced to the :class:`~eventcore.stores.sqlite.wakeup.CommitWatch` of the
  database.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal, Protocol

from eventsourcing import persistence
from eventsourcing import sqlite as base
from typing_extensions import override

from eventcore.stores.sqlite.wakeup import CommitWatch, database_key, is_busy

Synchronous = Literal["FULL", "NORMAL"]

POOL_TIMEOUT_SECONDS: Final = 5.0
"""The longest wait for a connection, unless the lock timeout is longer (as in the base library)."""

CLOSE_TIMEOUT_SECONDS: Final = 1.0
"""How long closing waits for other threads to finish the statements they are in."""

WAL_RETRY_SECONDS: Final = 0.005
"""Pause between attempts to make a new file WAL: SQLite says "locked" there without waiting."""


class Stoppable(Protocol):
    """Something that reads from a datastore for ever and must end before the datastore closes."""

    def stop(self) -> None:
        """End it, from any thread."""


class _Turns:
    """A lock for all datastores of one in-memory database."""

    def __init__(self) -> None:
        self.lock = threading.RLock()


_private_memory_numbers = itertools.count(1)
_turns: weakref.WeakValueDictionary[str, _Turns] = weakref.WeakValueDictionary()
_turns_guard = threading.Lock()


def _turns_of(db_name: str) -> _Turns | None:
    key, in_memory = database_key(db_name)
    if not in_memory:
        return None
    with _turns_guard:
        return _turns.setdefault(key, _Turns())


def translated(error: sqlite3.Error) -> persistence.PersistenceError:
    """Return the library's error for one of the driver's; raise it ``from`` the original."""
    for cls in type(error).__mro__:
        match = getattr(persistence, cls.__name__, None)
        if isinstance(match, type) and issubclass(match, persistence.PersistenceError):
            return match(error)
    return persistence.PersistenceError(error)


class WriteFirstTransaction(base.SQLiteTransaction):
    """A transaction that takes the write lock up front if it is going to write."""

    @override
    def __enter__(self) -> base.SQLiteCursor:
        cursor = self.connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE" if self.commit else "BEGIN")
        except sqlite3.Error as error:
            cursor.sqlite_cursor.close()
            raise translated(error) from error
        return cursor

    @override
    def __exit__(self, *exc_info: Any) -> None:
        try:
            super().__exit__(*exc_info)
        except BaseException:
            # A commit that failed (disk full) leaves the transaction open: the next user of the
            # connection would find itself inside it. Closed meanwhile: nothing to roll back.
            with suppress(sqlite3.Error):
                self.connection.rollback()
            raise


class WriteFirstConnection(base.SQLiteConnection):
    """A connection whose transactions are :class:`WriteFirstTransaction`."""

    @override
    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[base.SQLiteCursor]:
        with WriteFirstTransaction(self, commit=commit) as cursor, cursor:
            yield cursor


class DurableConnectionPool(base.SQLiteConnectionPool):
    """Opens connections in WAL mode with the chosen ``synchronous``; pulls none away on closing."""

    def __init__(self, *, synchronous: Synchronous, **options: Any) -> None:
        self.synchronous = synchronous
        super().__init__(**options)

    @override
    def _create_connection(self) -> base.SQLiteConnection:
        timeout_seconds = self.lock_timeout or base.SQLITE3_DEFAULT_LOCK_TIMEOUT
        try:
            connection = sqlite3.connect(
                database=self.db_name,
                uri=True,
                check_same_thread=False,
                isolation_level=None,  # Transactions are begun by hand.
                timeout=timeout_seconds,
            )
        except (sqlite3.Error, TypeError) as error:
            raise persistence.InterfaceError(error) from error
        try:
            if not self.is_sqlite_memory_mode:
                self._enable_wal(connection, timeout_seconds)
                # A pragma takes no parameters; the value is one of two constants.
                connection.execute(f"PRAGMA synchronous={self.synchronous}").close()
        except sqlite3.Error as error:
            connection.close()
            raise translated(error) from error
        connection.row_factory = sqlite3.Row
        return WriteFirstConnection(sqlite_conn=connection, max_age=self.max_age)

    def _enable_wal(self, connection: sqlite3.Connection, timeout_seconds: float) -> None:
        if self.is_journal_mode_wal:
            return  # The mode is a property of the file.
        deadline = time.monotonic() + timeout_seconds
        while not self.is_journal_mode_wal:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
                if mode.lower() != "wal":
                    connection.execute("PRAGMA journal_mode=WAL").close()
                    self.journal_mode_was_changed_to_wal = True
                self.is_journal_mode_wal = True
            except sqlite3.OperationalError as error:
                # Several processes may open a new file at once.
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(WAL_RETRY_SECONDS)

    @override
    def _get_connection(self, timeout: float = 0.0) -> base.SQLiteConnection:
        with self._put_condition:
            # Asked again under the lock: a connection opened after closing would never be closed.
            if self._closed:
                raise persistence.ConnectionPoolClosedError
            return super()._get_connection(timeout)

    @override
    def close(self) -> None:
        # Closing a connection under a running statement of another thread is undefined in SQLite.
        with self._put_condition:
            deadline = time.monotonic() + CLOSE_TIMEOUT_SECONDS
            while self._in_use and not self._closed and time.monotonic() < deadline:
                self._put_condition.wait(0.01)
            super().close()


class SQLiteDatastore(base.SQLiteDatastore):
    """One SQLite database, as the recorders of this package use it.

    Args:
        db_name: A path, ``:memory:`` or a ``file:`` URI. ``:memory:`` is one private database of
            this datastore, whatever the number of threads.
        lock_timeout: Whole seconds to wait for a lock; None means 5.
        synchronous: ``FULL``: an acknowledged commit survives a power failure. ``NORMAL``: the last
            commits may be lost in one, nothing is ever corrupted, and commits are faster.
        single_row_tracking: One tracking row per position (default), or one per processed event.
        originator_id_type: ``uuid`` or ``text``.
        projection_name: Whose positions the tracking recorders keep, see
            :mod:`eventcore.stores.sqlite.positions`. Empty: as in the base library.
    """

    def __init__(  # noqa: PLR0913  # the base library's parameters, and two more
        self,
        db_name: str,
        *,
        lock_timeout: int | None = None,
        synchronous: Synchronous = "FULL",
        single_row_tracking: bool = True,
        originator_id_type: Literal["uuid", "text"] = "uuid",
        projection_name: str = "",
    ) -> None:
        self.projection_name = projection_name
        if db_name in (":memory:", "file::memory:"):
            # SQLite gives each connection a database of its own under this name.
            number = next(_private_memory_numbers)
            db_name = f"file:eventcore-private-{number}?mode=memory&cache=shared"
        self.commits = CommitWatch(db_name)
        self._turns = _turns_of(db_name)
        self._readers: weakref.WeakSet[Stoppable] = weakref.WeakSet()
        super().__init__(
            db_name,
            lock_timeout=lock_timeout,
            single_row_tracking=single_row_tracking,
            originator_id_type=originator_id_type,
        )
        self.pool = DurableConnectionPool(
            db_name=db_name,
            lock_timeout=lock_timeout,
            pool_timeout=max(POOL_TIMEOUT_SECONDS, lock_timeout or 0),
            synchronous=synchronous,
        )

    @override
    @contextmanager
    def get_connection(self, *, commit: bool) -> Iterator[base.SQLiteConnection]:
        with self._turn(), super().get_connection(commit=commit) as connection:
            yield connection
        if commit:
            self.commits.notify()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let the datastores of one in-memory database take turns.

        Connections that share a cache lock whole tables, and a refused one is not made to wait.
        """
        if self._turns is None:
            yield
            return
        if not self._turns.lock.acquire(timeout=self.pool.pool_timeout):
            message = f"database is locked: no turn in {self.pool.pool_timeout} seconds"
            raise persistence.ConnectionUnavailableError(message)
        try:
            yield
        finally:
            self._turns.lock.release()

    def stop_on_close(self, reader: Stoppable) -> None:
        """Have ``reader.stop()`` called when this datastore closes, if it still exists then."""
        self._readers.add(reader)

    @override
    def close(self) -> None:
        for reader in list(self._readers):
            reader.stop()
        self.commits.close()
        super().close()
