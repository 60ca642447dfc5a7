"""Backoff: how long to wait before a database that is away is asked again."""

from __future__ import annotations

import logging
import random  # noqa: TID251 - spreads attempts in time, decides nothing that is stored
import threading
from collections.abc import Callable
from typing import Final

from eventcore.errors import StoreUnavailableError

BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_SECONDS_MAX: Final = 15.0
"""Bounds of the wait, which doubles with each failure that follows another."""

_logger = logging.getLogger("eventcore.projections")


class Backoff:
    """Waits that double up to a bound, each drawn at random from the upper half of its step.

    So a database that comes back is not met by everybody who waits for it at one moment.

    Args:
        draw: Gives a number between two bounds.
    """

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many there were since the last success."""
        return self._failures

    def failed(self) -> float:
        """Seconds to wait now."""
        bound = min(BACKOFF_FIRST_SECONDS * 2.0**self._failures, BACKOFF_SECONDS_MAX)
        self._failures = min(self._failures + 1, 1_000)
        return self._draw(bound / 2, bound)

    def succeeded(self) -> bool:
        """Begin anew; gives whether there were failures before."""
        had_failed, self._failures = self._failures > 0, 0
        return had_failed


def while_unavailable(action: Callable[[], None], stop: threading.Event) -> None:
    """Do something; again, after a pause, for as long as a store is not available.

    Args:
        action: What to do.
        stop: Ends it.

    Raises:
        BaseException: Whatever else the action raises.
    """
    backoff = Backoff()
    while not stop.is_set():
        try:
            action()
        except StoreUnavailableError as error:
            stop.wait(say_unavailable(error, backoff))
        else:
            return


def say_unavailable(error: StoreUnavailableError, backoff: Backoff) -> float:
    """Log that a store is away; gives the seconds to wait now."""
    seconds = backoff.failed()
    _logger.warning(
        "a database is away, trying again in %.1f s: %s",
        seconds,
        error,
        extra={"attempt": backoff.failures, "retry_seconds": round(seconds, 3)},
    )
    return seconds
