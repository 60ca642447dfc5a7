"""Notice, within milliseconds and almost for free, that something was committed to an SQLite file.

SQLite has no ``LISTEN``. Inside one process a commit is announced by :meth:`CommitWatch.notify`
and wakes every waiter through a condition variable. Commits of other processes (and of code here
that announces nothing) are found by asking ``PRAGMA data_version`` on a connection kept for
nothing else: "the integer values returned by two invocations from the same connection will be
different if changes were committed to the database by any other connection in the interim"
(SQLite, "Pragma statements").

Nobody asks while nobody waits. Of all waiters for one file, one at a time does the asking, in its
own thread, so a watch never starts a thread and never keeps a process alive.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

POLL_SECONDS_MIN: Final = 0.001
"""How often another process's commits are looked for while commits keep coming."""

POLL_SECONDS_MAX: Final = 0.025
"""How often they are looked for in a quiet file; so long the first commit after it may go
unseen."""

QUIET_PER_POLL: Final = 16
"""The pause between looks is this fraction of the time that nothing has happened, within the
bounds: a commit 100 ms after the one before is seen at most about 6 ms late."""


def database_key(path: str | Path) -> tuple[str, bool]:
    """Name a database the same however its path is spelled.

    Args:
        path: A path, ``:memory:`` or an SQLite ``file:`` URI.

    Returns:
        The name, and whether the database lives in memory only.
    """
    text = os.fspath(path)
    name, query = text, ""
    if text.startswith("file:"):
        parts = urlsplit(text)
        name, query = unquote(parts.path), parts.query
    if ":memory:" in name or "mode=memory" in query:
        return f"memory:{name}", True
    return os.path.realpath(name), False


def is_busy(error: sqlite3.Error) -> bool:
    """Say whether SQLite refused only because somebody else holds a lock just now."""
    # The low byte is the primary code: SQLITE_BUSY_RECOVERY and its kin count as SQLITE_BUSY.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class _SharedWatch:
    """What all watches of one database in this process share. Guarded by :attr:`lock`."""

    def __init__(self, path: str, *, in_memory: bool) -> None:
        # Re-entrant: a watch collected as garbage may close inside it. Taken itself and not by its
        # condition, which would keep it if the thread were interrupted just then.
        self.lock = threading.RLock()
        self.condition = threading.Condition(self.lock)
        self.changes = 0
        self.waiters = 0
        self.handles = 0
        self.is_polled = False
        self._path = path
        self._in_memory = in_memory
        self._connection: sqlite3.Connection | None = None
        self._data_version: int | None = None
        self._changed_at = time.monotonic()

    def announce(self) -> None:
        self.changes += 1
        self._changed_at = time.monotonic()
        self.condition.notify_all()

    def look(self) -> None:
        """Announce a change if the file was committed to since the last look.

        A lock held by somebody else proves nothing, so the version last seen stays, and the next
        look tells.
        """
        if self._in_memory:
            return  # One process only: every commit is announced.
        try:
            version = self._read_data_version()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            return
        if version != self._data_version:
            # The first look that succeeds announces as well: a token may be older than it.
            self._data_version = version
            self.announce()

    def _read_data_version(self) -> int:
        if self._connection is None:
            self._connection = sqlite3.connect(
                self._path,
                uri=True,
                timeout=0,  # A look must not block those who announce.
                check_same_thread=False,
                isolation_level=None,
            )
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def pause_seconds(self) -> float | None:
        """How long to sleep before the next look; None where there is nothing to look at."""
        if self._in_memory:
            return None
        quiet_seconds = time.monotonic() - self._changed_at
        return min(max(quiet_seconds / QUIET_PER_POLL, POLL_SECONDS_MIN), POLL_SECONDS_MAX)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def begin_anew(self) -> None:
        """Forget what threads of the parent process were doing, and its handle, after a fork."""
        self.lock = threading.RLock()
        self.condition = threading.Condition(self.lock)
        self.waiters = 0
        self.is_polled = False
        self._data_version = None
        if self._connection is not None:
            _parents_connections.append(self._connection)
            self._connection = None


_registry: dict[str, _SharedWatch] = {}
# Never held while the lock of a watch is taken: a watch may be collected, and so closed, inside of
# any.
_registry_lock = threading.RLock()
# Never closed: that would be done to files and locks of the parent.
_parents_connections: list[sqlite3.Connection] = []


def _begin_anew_in_child() -> None:
    # Only the thread that forked goes on: a lock held by another would never be released, and the
    # waiter that was looking is gone.
    global _registry_lock  # noqa: PLW0603 - a lock cannot be reset
    _registry_lock = threading.RLock()
    for shared in _registry.values():
        shared.begin_anew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_begin_anew_in_child)


class CommitWatch:
    """Wakes whoever waits for the next commit to one SQLite database, by any thread or process.

    Use it in this order, and no commit can be lost between reading and waiting::

        token = watch.token()
        rows = read()
        if not rows:
            watch.wait(token, timeout_seconds=1.0)

    A wait may end without a commit of interest (a checkpoint, another table): read again and see.
    Any number of watches and threads may wait for one database; they share one connection, which a
    ``fork`` leaves to the parent. A replaced (not rewritten) file is not noticed.

    Args:
        path: The database, spelled as for ``sqlite3.connect(..., uri=True)``. The file is opened,
            and created if absent, by the first :meth:`token`, never by :meth:`notify`.
    """

    def __init__(self, path: str | Path) -> None:
        self._closed = False
        self._key, in_memory = database_key(path)
        text = os.fspath(path)
        # A plain path is opened by its absolute name: the first look may come after a chdir.
        database = text if text.startswith("file:") else self._key
        with _registry_lock:
            shared = _registry.get(self._key)
            if shared is None:
                shared = _SharedWatch(database, in_memory=in_memory)
                _registry[self._key] = shared
            shared.handles += 1
        self._shared = shared

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def notify(self) -> None:
        """Announce a commit of this process. Call it after the commit; it costs microseconds."""
        shared = self._shared
        with shared.lock:
            before = shared.changes
            if shared.waiters and not self._closed:
                # Take note of the own commit, or it would be found, and wake everybody, once more.
                shared.look()
            if shared.changes == before:
                shared.announce()

    def token(self) -> int:
        """Mark this moment. Take it before reading; hand it to :meth:`wait` after.

        Raises:
            sqlite3.Error: The database cannot be opened or read.
        """
        shared = self._shared
        with shared.lock:
            if not self._closed:
                shared.look()
            return shared.changes

    def wait(self, token: int, timeout_seconds: float) -> bool:
        """Block until something may have been committed since the token was taken.

        Args:
            token: What :meth:`token` returned before the caller read.
            timeout_seconds: The longest wait; 0 only looks.

        Returns: True at once when something was, or as soon as something is; False after the
            timeout, and at once when this watch is or becomes closed.

        Raises:
            sqlite3.Error: The database can no longer be read.
        """
        deadline = time.monotonic() + timeout_seconds
        shared = self._shared
        with shared.lock:
            shared.waiters += 1
            try:
                while not self._closed:
                    shared.look()
                    if shared.changes != token:
                        return True
                    remaining_seconds = deadline - time.monotonic()
                    if remaining_seconds <= 0:
                        return False
                    self._sleep(remaining_seconds)
                return False
            finally:
                shared.waiters -= 1
                if not shared.is_polled:
                    # This thread may have been the one that looked: another waiter must take over.
                    shared.condition.notify()

    def _sleep(self, remaining_seconds: float) -> None:
        """Sleep until notified, or until the next look is due if no other waiter looks."""
        shared = self._shared
        pause_seconds = shared.pause_seconds()
        if pause_seconds is None or shared.is_polled:
            shared.condition.wait(remaining_seconds)
            return
        shared.is_polled = True
        try:
            shared.condition.wait(min(remaining_seconds, pause_seconds))
        finally:
            shared.is_polled = False

    def close(self) -> None:
        """Wake this watch's waiters and let go of the database. Closing twice does nothing."""
        with _registry_lock:
            if self._closed:
                return
            self._closed = True
            self._shared.handles -= 1
            is_last = self._shared.handles == 0
            if is_last:
                del _registry[self._key]
        with self._shared.lock:
            self._shared.condition.notify_all()
            if is_last:
                self._shared.close()

    def __del__(self) -> None:
        if hasattr(self, "_shared"):
            self.close()
