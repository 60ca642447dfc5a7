"""How the readers of a race learn that it is over."""

from __future__ import annotations

import threading


class Finish:
    """Says once, to all threads, that nothing more is going to be written."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self.head = 0
        """Position of the last event of the log, once it is over."""
        self.is_aborted = False
        """Whether somebody failed: the others need not go on."""

    @property
    def is_over(self) -> bool:
        """Whether it is."""
        return self._over.is_set()

    def reach(self, head: int = 0) -> None:
        """Say that everything is written."""
        self.head = head
        self._over.set()

    def abort(self) -> None:
        """Let everybody stop where they are."""
        self.is_aborted = True
        self._over.set()

    def wait(self, seconds: float) -> None:
        """Sleep, at most until it is over."""
        self._over.wait(seconds)
