"""Transient failures: parked work that may well be done by now is retried, ever more rarely."""

from __future__ import annotations

import random  # noqa: TID251 - spreads attempts in time, decides nothing that is stored
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from eventcore.projections.parking import UnitRow
from eventcore.projections.units import Unit

RETRY_FIRST_SECONDS: Final = 1.0
RETRY_SECONDS_MAX: Final = 300.0
"""Bounds of the wait before a retry, which doubles with each attempt."""

ATTEMPTS_MAX: Final = 12
"""Attempts before it is left to people: after about 20 minutes."""


class TransientRetries:
    """Says when which parked units are to be retried.

    It goes by its own clock and forgets: whoever starts anew waits anew. Of several who keep the
    same projections the first to try is seen by the others, who then wait for the next attempt.

    Args:
        monotonic: Gives seconds.
        draw: Gives a number between two bounds.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._monotonic = monotonic
        self._draw = draw
        self._due: dict[tuple[str, Unit, int, int], float] = {}

    def due(self, parked: Mapping[tuple[str, Unit], UnitRow]) -> dict[str, list[Unit]]:
        """Which of these to retry now, by projection; those seen the first time wait."""
        if not parked and not self._due:
            return {}
        now = self._monotonic()
        due: dict[tuple[str, Unit, int, int], float] = {}
        found: dict[str, list[Unit]] = {}
        for (name, unit), row in retryable(parked):
            attempt = (name, unit, row.position, row.attempts)
            at = self._due.get(attempt)
            if at is None:
                at = now + self._pause(row.attempts)
            if at <= now:
                found.setdefault(name, []).append(unit)
                at = now + self._pause(row.attempts + 1)
            due[attempt] = at
        self._due = due
        return found

    def _pause(self, attempts: int) -> float:
        bound = min(RETRY_FIRST_SECONDS * 2.0 ** (max(attempts, 1) - 1), RETRY_SECONDS_MAX)
        return self._draw(bound / 2, bound)


def retryable(
    parked: Mapping[tuple[str, Unit], UnitRow],
) -> Iterable[tuple[tuple[str, Unit], UnitRow]]:
    """Those that were not tried too often yet."""
    return [(name, row) for name, row in parked.items() if row.attempts < ATTEMPTS_MAX]
