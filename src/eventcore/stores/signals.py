"""Waking threads of this process, also when one of them is interrupted at any moment.

An interrupt (Ctrl-C, or a time limit that raises in a thread) may come between any two steps of
Python code. ``threading.Condition``, ``Event`` and ``Semaphore`` take their lock inside a method
written in Python: one that comes there leaves the lock taken for ever, and everybody after it
waits. Locks taken by ``with`` themselves are never left behind, and nothing else is used here.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress


class LocalSignal:
    """See :class:`eventcore.stores.following.CommitSignal`; hears of nothing elsewhere.

    Any method but :meth:`wait` may be called in a signal handler, or while the garbage collector
    runs.
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
            # Counted last: an interrupt in between wakes somebody for nothing, and loses nothing.
            self._wake()
            self._changes += 1

    def close(self) -> None:
        """Wake everybody who waits, now and from now on. Closing twice is fine."""
        with self._lock:
            self._wake()
            self._closed = True

    def _wake(self) -> None:
        """Under the lock."""
        # Released before they leave the list: whoever is interrupted here is made up for by the
        # next one.
        for sleeper in self._sleepers:
            with suppress(RuntimeError):  # a handler that came in between released it
                sleeper.release()
        self._sleepers.clear()


class Slots:
    """A number of slots that threads take and give back, in the order in which they ask.

    A thread that is interrupted while it waits leaves the line, and what it was just given is given
    to the next one. Only in the very step from :meth:`take` to its caller one can get lost.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._lock = threading.RLock()
        self._free = count
        self._line: deque[_Place] = deque()

    def take(self, timeout_seconds: float) -> bool:
        """Take one; False if none was free in that time."""
        place = _Place()
        try:
            with self._lock:
                self._line.append(place)
                self._serve()
            place.turn.acquire(timeout=timeout_seconds)
            with self._lock:
                self._leave(place)
                return place.is_served
        except BaseException:
            with self._lock:
                self._leave(place)
                if place.is_served:
                    self.give_back()
            raise

    def give_back(self) -> None:
        """Give one back: to whoever waits for longest."""
        with self._lock:
            self._free += 1
            self._serve()

    def _leave(self, place: _Place) -> None:
        if place in self._line:
            self._line.remove(place)

    def _serve(self) -> None:
        while self._free and self._line:
            place = self._line[0]
            if not place.is_served:
                self._free -= 1
                place.is_served = True
            # Again for one who was left in line by an interrupt: its turn may not have come.
            if place.turn.locked():
                place.turn.release()
            self._line.popleft()


class _Place:
    """Of one thread in line.

    Attributes:
        turn: Released when it is served.
        is_served: A slot is its own.
    """

    __slots__ = ("is_served", "turn")

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.is_served = False
