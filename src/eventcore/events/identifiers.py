"""Identifiers: UUIDv7 from a clock and random bits of the caller, and ids derived from others.

Nothing here reads a clock or draws a random number by itself: the composition root hands both in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID, uuid5

COMMAND_NAMESPACE = UUID("6f1d0f0e-6c1a-5b0e-9a5e-2f6a2b1c7d10")
"""Namespace of event ids derived from a command id: the same command always makes the same ids."""

RESERVATION_NAMESPACE = UUID("b0a5c1f2-8a3d-5f47-9c1e-7d2e4f6a8b30")
"""Namespace of event ids of reservations. One of its own: a program may take the id of an event as
the id of the command that answers it."""

_RANDOM_BYTES = 8
_COUNTER_BITS = 12
_COUNTER_MAX = (1 << _COUNTER_BITS) - 1


class UUIDv7Generator:
    """Makes UUIDs of version 7 (RFC 9562, method 1: a counter in ``rand_a``), strictly increasing.

    Two ids made by one generator always sort in the order they were made, also within a
    millisecond and
    also when the clock steps back: the timestamp part never decreases. Safe under threads.

    Args:
        clock_ms: Milliseconds since 1970-01-01 UTC.
        random_bytes: ``random_bytes(n)`` gives n random bytes (``os.urandom``).
    """

    def __init__(self, clock_ms: Callable[[], int], random_bytes: Callable[[int], bytes]) -> None:
        self._clock_ms = clock_ms
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._last_ms = 0
        self._counter = 0

    def __call__(self) -> UUID:
        """Make the next id."""
        tail = int.from_bytes(self._random_bytes(_RANDOM_BYTES), "big") & ((1 << 62) - 1)
        with self._lock:
            now_ms = self._clock_ms()
            if now_ms > self._last_ms:
                self._last_ms = now_ms
                self._counter = 0
            elif self._counter < _COUNTER_MAX:
                self._counter += 1
            else:
                # 4,096 ids in one millisecond: borrow the next one rather than repeat or wait.
                self._last_ms += 1
                self._counter = 0
            head_ms, counter = self._last_ms, self._counter
        return UUID(int=(head_ms << 80) | (7 << 76) | (counter << 64) | (2 << 62) | tail)


def event_id_of_command(command_id: UUID, ordinal: int) -> UUID:
    """The id of the ``ordinal``-th event (from 0) of a command, the same on every attempt."""
    return uuid5(COMMAND_NAMESPACE, f"{command_id.hex}:{ordinal}")


def event_id_of_reservation(cause_id: UUID, ordinal: int) -> UUID:
    """The id of the ``ordinal``-th event (from 0) that reserves or frees what an event changed."""
    return uuid5(RESERVATION_NAMESPACE, f"{cause_id.hex}:{ordinal}")
