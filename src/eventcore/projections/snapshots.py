"""Snapshots: what views hold at one moment, read while everybody goes on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final, Protocol

from eventcore.errors import StoreError
from eventcore.projections.tables import AnyTable, StoredRow
from eventcore.projections.transactions import Checkpoint

SNAPSHOT_ROWS: Final = 2_000
"""Rows read at a time: bounds memory, not what can be read."""


class UnreadableRowsError(StoreError):
    """Rows cannot be read as what a table declares now; never leaves a comparison."""

    template = "{table} holds rows that are not as declared now"


class Snapshot(Protocol):
    """Rows in stored form, and checkpoints."""

    @property
    def steady(self) -> bool:
        """Whether all of it is of one moment; else each answer is of its own."""

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """How far a projection is; None if it is not kept."""

    def columns(self, table: AnyTable) -> list[str]:
        """Names of the columns there; none if the table is absent."""

    def pages(self, table: AnyTable) -> Generator[list[StoredRow]]:
        """All rows, :data:`SNAPSHOT_ROWS` at a time, by key where the database keeps an order."""

    def at(self, table: AnyTable, keys: Sequence[StoredRow]) -> list[StoredRow]:
        """Those of the rows with these keys that are there, in no particular order."""

    def count(self, table: AnyTable) -> int:
        """How many rows there are."""
