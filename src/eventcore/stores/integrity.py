"""Integrity: what a store can say of its own tables beyond the events it hands out in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable


class Problem(NamedTuple):
    """Something that does not fit.

    Attributes:
        text: What, in words.
        position: Of the first event that it is about; None if it is about none.
    """

    text: str
    position: int | None = None


@runtime_checkable
class SelfChecking(Protocol):
    """A log that compares by itself what it keeps besides: indexes by stream and id, copies.

    Whoever verifies a log need not read each stream, nor look up each id, where this is done.
    """

    def problems(self, head: int) -> Iterator[Problem]:
        """Where what is kept besides does not fit the events up to a position; none if it does.

        Reads everything, writes nothing. Others may go on writing.

        Raises:
            StoreUnavailableError: The store does not answer.
        """
