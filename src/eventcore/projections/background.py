"""Background: following in a thread of its own, and why that ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from eventcore.errors import ConfigurationError


class Background:
    """One thread that follows until it is stopped; it never keeps the process alive.

    Args:
        stopping: Set to end what follows; cleared again when it has ended.

    Attributes:
        failure: Why it ended by itself; None if it did not.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self.failure: BaseException | None = None
        self._stopping = stopping
        self._thread: threading.Thread | None = None

    def start(self, follow: Callable[[], None]) -> None:
        """Follow from now on.

        Raises:
            ConfigurationError: It is following already.
        """
        if self._thread is not None:
            raise ConfigurationError(message="This runner is following already")
        self._stopping.clear()
        self.failure = None
        self._thread = threading.Thread(
            target=self._follow, args=(follow,), name="eventcore-projections", daemon=True
        )
        self._thread.start()

    def _follow(self, follow: Callable[[], None]) -> None:
        try:
            follow()
        except BaseException as error:  # noqa: BLE001 - kept, and raised to whoever waits or stops
            self.failure = error

    def stop(self, wake: Callable[[], None]) -> None:
        """End following, wait for the page at hand, and raise what had ended it before.

        Args:
            wake: Makes what follows look whether it is stopped.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping.set()
        wake()
        thread.join()
        self._stopping.clear()
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
