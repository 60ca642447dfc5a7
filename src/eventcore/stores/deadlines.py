"""How long ``wait`` of a tracking recorder goes on, the same in every ``eventsourcing`` module."""

from __future__ import annotations

import time
from threading import Event
from typing import Final

from eventsourcing import persistence

INTERRUPT_SECONDS_MAX: Final = 0.025
"""How late an interrupt of ``wait`` is noticed: nothing wakes who sleeps when it is set."""


class TrackingDeadline:
    """When a wait for a projection's position ends, whether it was reached or not.

    Args:
        application_name: The application followed.
        notification_id: The position waited for.
        timeout: Seconds, from now.
        interrupt: Ends the wait when set.
    """

    def __init__(
        self,
        application_name: str,
        notification_id: int | None,
        *,
        timeout: float,
        interrupt: Event | None,
    ) -> None:
        self._application_name = application_name
        self._notification_id = notification_id
        self._interrupt = interrupt
        self._deadline = time.monotonic() + timeout

    def remaining(self) -> float:
        """Seconds that are left, more than 0.

        Raises:
            TimeoutError: None are.
            WaitInterruptedError: The interrupt was set.
        """
        if self._interrupt is not None and self._interrupt.is_set():
            raise persistence.WaitInterruptedError
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            message = (
                f"Timed out waiting for notification {self._notification_id} "
                f"from application '{self._application_name}' to be processed"
            )
            raise TimeoutError(message)
        return remaining

    def pause(self) -> float:
        """Seconds to sleep at most before :meth:`remaining` is asked again; raises as that does."""
        remaining = self.remaining()
        return remaining if self._interrupt is None else min(remaining, INTERRUPT_SECONDS_MAX)
