"""Connections to one SQLite file: one that writes, some that read, and errors in our own words."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from eventcore.errors import (
    ConfigurationError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)

BUSY_TIMEOUT_SECONDS: Final = 30.0
"""How long a writer waits for another process to finish its transaction."""

READERS_IDLE_MAX: Final = 8
"""Reading connections kept open while nobody uses them."""

CACHE_KIB: Final = 64 * 1024
"""Page cache of the writing connection."""

SQLITE_VERSION_MIN: Final = (3, 37, 0)
"""STRICT tables (SQLite 3.37.0, 2021-11-27, release notes)."""

LOCK_PAUSE_SECONDS_MIN: Final = 0.000_2
"""How soon another process's lock is asked for again; the pause doubles with each attempt. SQLite's
own wait begins with 1 ms and goes on with 2, 5, 10, 15, 20, 25 (``sqliteDefaultBusyCallback`` in
``main.c``): of two processes that write by turns each would sleep past most of the other's ends."""

LOCK_PAUSE_SECONDS_MAX: Final = 0.001
"""How long such a pause is at most. Closing the connections is seen after it."""

OPEN_RETRY_SECONDS: Final = 0.01
"""Pause between two attempts to switch a file to WAL: SQLite does not wait there by itself."""

PRIMARY_CODE: Final = 0xFF
"""The low byte of an extended result code is the primary one (SQLite, "Result and Error Codes")."""

Synchronous = Literal["FULL", "NORMAL"]


class SQLiteConnections:
    """Hands out connections to one file.

    Writing is one at a time by nature: :meth:`writing` holds a lock within the process and takes
    the file's write lock at once (``BEGIN IMMEDIATE``), so a transaction that read first can never
    fail on upgrading. Readers never wait for the writer (WAL).

    Connections do not survive a ``fork``: in the child, everything but :meth:`close` is refused.

    Args:
        path: The file. It stays the same one when the working directory changes.
        synchronous: ``FULL``: a commit survives power loss. ``NORMAL``: it may be lost with the
            power, never half-written; survives a crash of the process either way.
        create: Create the file if it is absent.
        busy_timeout_seconds: How long to wait for the lock of another process.

    Raises:
        ConfigurationError: The file is no database or a folder, ``path`` is no path of a file, or
            SQLite is too old.
        StoreUnavailableError: The file cannot be opened: it or its folder is absent or not
            writable.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        synchronous: Synchronous = "FULL",
        create: bool = True,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        _check_version()
        self.path = _checked_path(path)
        self.name = f"SQLite file {self.path}"
        self._synchronous = synchronous
        self._busy_timeout_seconds = busy_timeout_seconds
        self._write_lock = threading.Lock()
        self._pool_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._process = os.getpid()
        self._writing_thread: int | None = None
        self._writer = self._open("rwc" if create else "rw")
        with self.translating_errors():
            self._writer.execute("PRAGMA busy_timeout = 0")  # see _begin
            self._writer.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    def _open(self, mode: Literal["rw", "rwc"] = "rw") -> sqlite3.Connection:
        with self.translating_errors():
            connection = sqlite3.connect(
                # As a URI, for the mode: SQLite would create a file that is absent.
                f"{self.path.as_uri()}?mode={mode}",
                uri=True,
                timeout=self._busy_timeout_seconds,
                isolation_level=None,  # transactions are ours to begin
                check_same_thread=False,  # one thread at a time, but not always the same
                cached_statements=256,
            )
        try:
            with self.translating_errors():
                self._use_wal(connection)
                connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_timeout_seconds
        journal = ""
        while journal == "":
            try:
                (journal,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                # Another process is switching this new file just now: the busy timeout does not
                # apply where two upgrade a read lock.
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(OPEN_RETRY_SECONDS)
        if journal != "wal":
            raise ConfigurationError(
                message=f"{self.name} cannot use write-ahead logging, only {journal}: "
                "put it on a local file system"
            )

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, committed when the block ends well, rolled back when it raises.

        An interrupt (Ctrl-C) at any moment leaves no transaction open.

        Raises:
            StoreError: This thread is inside such a block already.
            StoreClosedError: They are closed, or were closed while another process held the lock.
            StoreUnavailableError: Another process held the lock for too long.
        """
        self._check_process()
        self._check_not_writing("start another write inside its own transaction")
        with self._write_lock:
            self._check_open()
            connection = self._writer
            # Not `with self.translating_errors()`: every append pays for a second context manager.
            try:
                self._writing_thread = threading.get_ident()
                if connection.in_transaction:
                    # Left by an interrupt that came while the one before was rolled back.
                    connection.execute("ROLLBACK")
                self._begin(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                # A full disk may have rolled back already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._raise_translated(error)
                raise
            finally:
                self._writing_thread = None

    def _begin(self, connection: sqlite3.Connection) -> None:
        deadline: float | None = None
        pause_seconds = LOCK_PAUSE_SECONDS_MIN
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY:
                    raise
                now = time.monotonic()
                deadline = deadline or now + self._busy_timeout_seconds
                self._check_open()
                if now >= deadline:
                    raise
                time.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, LOCK_PAUSE_SECONDS_MAX)
            else:
                return

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading; each statement sees one state of the file."""
        self._check_process()
        with self._pool_lock:
            self._check_open()
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._open()
        try:
            yield connection
        except BaseException as error:
            self._raise_translated(error)
            raise
        finally:
            self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._pool_lock:
            if self._closed or len(self._idle) >= READERS_IDLE_MAX:
                connection.close()
            else:
                self._idle.append(connection)

    @contextmanager
    def translating_errors(self) -> Iterator[None]:
        """Raise what SQLite reports in words of this library; conflicts of keys pass through."""
        try:
            yield
        except sqlite3.Error as error:
            self._raise_translated(error)
            raise
        except UnicodeDecodeError as error:
            # The driver's, of a message that quotes a damaged schema.
            message = f"{self.name} cannot be used: its schema is damaged"
            raise ConfigurationError(message=message) from error

    def _raise_translated(self, error: BaseException) -> None:
        match error:
            case sqlite3.IntegrityError():
                return
            case sqlite3.OperationalError() if _primary_code(error) != sqlite3.SQLITE_ERROR:
                problem = str(error)
                if (
                    _primary_code(error) == sqlite3.SQLITE_CANTOPEN
                    and not self.path.parent.is_dir()
                ):
                    problem = f"the folder {self.path.parent} does not exist"
                raise StoreUnavailableError(store=self.name, problem=problem) from error
            case sqlite3.DatabaseError():
                # Not its state but its kind, or the statement: a table that is not there.
                raise ConfigurationError(message=f"{self.name} cannot be used: {error}") from error
            case _:
                return

    def stop(self) -> None:
        """Refuse every further use. Who waits for another process's lock is refused promptly.

        Raises:
            StoreError: This thread is inside a transaction.
        """
        if os.getpid() != self._process:
            return  # The connections are the parent's, and so are the locks.
        self._check_not_writing("close its connections inside a transaction")
        self._closed = True

    def close(self) -> None:
        """Close every connection that is not in use, those that read when they come back.

        A transaction under way in another thread is waited for.

        Raises:
            StoreError: This thread is inside a transaction.
        """
        if os.getpid() != self._process:
            return
        self.stop()
        with self._write_lock, self._pool_lock:
            self._writer.close()
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(store=self.name)

    def _check_not_writing(self, what: str) -> None:
        # Not a lock that can be taken twice: the inner block would commit the outer one's half.
        if self._writing_thread == threading.get_ident():
            raise StoreError(
                store=self.name,
                problem=f"the thread that is writing cannot {what}: do it after that block, "
                "or write through the block's own connection",
            )

    def _check_process(self) -> None:
        # Before any lock: one held by another thread at the fork is never released in the child.
        if os.getpid() != self._process:
            raise StoreError(
                store=self.name, problem="opened before a fork; open it again in the child process"
            )


def _check_version() -> None:
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        raise ConfigurationError(
            message=f"SQLite {sqlite3.sqlite_version} is too old, {wanted} is needed"
        )


def _checked_path(path: Path | str) -> Path:
    text = os.fspath(path)
    if text == ":memory:" or text.startswith("file:") or "\0" in text:
        raise ConfigurationError(
            message=f"{text!r} is not the path of a file; for a log in memory use memory://"
        )
    # Absolute, so that connections opened later, after a chdir, are to the same file.
    absolute = Path(text).absolute()
    if absolute.is_dir():
        raise ConfigurationError(message=f"{absolute} is a folder, name a file in it")
    return absolute


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY_CODE
