"""Waking threads of this process, also when one of them is interrupted at any moment.

An interrupt (Ctrl-C, or a time limit that raises in a thread) may come between any two steps of
Python code. ``threading.Condition``, ``Event`` and ``Semaphore`` take their lock inside a method
written in Python: one that comes there leaves the lock taken for ever, and everybody after it
waits. Locks taken by ``with`` themselves are never left behind, and nothing else is used here.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress


class LocalSignal:
    """See :class:`eventcore.stores.following.CommitSignal`; hears of nothing elsewhere.

    Any method may be called in a signal handler, or while the garbage collector runs.
    """

    def __init__(self) -> None:
        # Re-entrant, for a handler that runs while its own thread holds it.
        self._lock = threading.RLock()
        self._changes = 0
        self._sleepers: list[threading.Lock] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def token(self) -> int:
        """A mark of now."""
        return self._changes

    def wait(self, token: int, timeout_seconds: float) -> bool:
        """Sleep until something changed since ``token``; False if the time ran out.

        Once closed it is True at once.
        """
        sleeper = threading.Lock()
        sleeper.acquire()
        try:
            with self._lock:
                # Before the look: a handler that notifies between the two wakes this one.
                self._sleepers.append(sleeper)
                is_over = self._changes != token or self._closed
            if not is_over:
                sleeper.acquire(timeout=min(max(timeout_seconds, 0.0), threading.TIMEOUT_MAX))
        finally:
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
        return self._changes != token or self._closed

    def notify(self) -> None:
        """Wake everybody who waits."""
        with self._lock:
            self._changes += 1
            self._wake()

    def close(self) -> None:
        """Wake everybody who waits, now and from now on. Closing twice is fine."""
        with self._lock:
            self._closed = True
            self._wake()

    def _wake(self) -> None:
        """Under the lock."""
        # Released before they leave the list: whoever is interrupted here is made up for by the
        # next one.
        for sleeper in self._sleepers:
            with suppress(RuntimeError):  # a handler that came in between released it
                sleeper.release()
        self._sleepers.clear()


class Slots:
    """A number of slots that threads take and give back; a semaphore.

    A thread that is interrupted in the very moment it took one may lose it; nobody is held up.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        # Written in C, so that no interrupt comes in between.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    def take(self, timeout_seconds: float) -> bool:
        """Take one; False if none was free in that time."""
        try:
            self._free.get(timeout=timeout_seconds)
        except queue.Empty:
            return False
        return True

    def give_back(self) -> None:
        """Give one back."""
        self._free.put(None)
