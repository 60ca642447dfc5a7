"""Inline: work that belongs to an append, done in its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

from eventcore.events.recorded import Recorded


class InAppend(Protocol):
    """Called by a log for each append, inside its transaction and after its commit."""

    def apply(self, connection: sqlite3.Connection, events: Sequence[Recorded[Any]]) -> int:
        """Do what belongs to the append; gives a number for :meth:`committed`.

        Args:
            connection: Inside the transaction; not to be committed.
            events: What is appended, by position; nothing is committed between them.
        """

    def committed(self, number: int) -> None:
        """The append of that number is committed. What is not said to be may not have been."""
