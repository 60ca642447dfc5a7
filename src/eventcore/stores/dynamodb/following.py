"""Waking followers: at once by appends of this process, by looking now and then for all others."""

from __future__ import annotations

from typing import Final

from eventcore.stores.signals import LocalSignal

LOOK_FIRST_SECONDS: Final = 0.01
LOOK_SECONDS_MAX: Final = 0.5
"""Bounds of the pause between two looks at the end of the log. It doubles while nothing comes: two
small reads a second when nothing happens, a delay of milliseconds when something does."""


class TailWatch:
    """When one follower looks again; see :class:`eventcore.stores.following.CommitSignal`.

    Args:
        bell: Rung by appends to the log it follows.
    """

    def __init__(self, bell: LocalSignal) -> None:
        self._bell = bell
        self._pause_seconds = LOOK_FIRST_SECONDS
        self._has_waited = True

    def token(self) -> int:
        """A mark of now. Asked for without a wait since, something had come."""
        if not self._has_waited:
            self._pause_seconds = LOOK_FIRST_SECONDS
        self._has_waited = False
        return self._bell.token()

    def wait(self, token: int, timeout_seconds: float) -> bool:
        """Sleep until something was appended here, or it is time to look."""
        self._has_waited = True
        pause = min(self._pause_seconds, timeout_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, LOOK_SECONDS_MAX)
        return self._bell.wait(token, pause)

    def notify(self) -> None:
        """Wake everybody who follows."""
        self._bell.notify()
