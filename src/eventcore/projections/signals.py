"""Waking those who wait for a change that was made in this process."""

from __future__ import annotations

import threading


class LocalSignal:
    """See :class:`eventcore.stores.following.CommitSignal`; hears of nothing elsewhere."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._changes = 0

    def token(self) -> int:
        """A mark of now."""
        with self._condition:
            return self._changes

    def wait(self, token: int, timeout_seconds: float) -> bool:
        """Sleep until something changed since ``token``; False if the time ran out."""
        with self._condition:
            return self._condition.wait_for(lambda: self._changes != token, timeout_seconds)

    def notify(self) -> None:
        """Wake everybody who waits."""
        with self._condition:
            self._changes += 1
            self._condition.notify_all()
