"""Integrity: what a store can say of its own tables beyond the events it hands out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class SelfChecking(Protocol):
    """A log that holds more than its events in order: indexes, second copies."""

    def problems(self, head: int) -> Iterator[str]:
        """Where what is kept besides does not fit the events up to a position; none if it does.

        Reads everything. Others may go on writing.

        Raises:
            StoreUnavailableError: The store does not answer.
        """
