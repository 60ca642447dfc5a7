"""Snapshots: an aggregate's state at a version, so that loading need not read every event."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


class Snapshot(NamedTuple):
    """A saved state.

    Attributes:
        stream: Whose state it is.
        version: Version of the stream it was taken at.
        fingerprint: Names the fold that made it; another fold ignores it.
        state: JSON of the aggregate.
    """

    stream: str
    version: int
    fingerprint: str
    state: bytes


@runtime_checkable
class SnapshotStore(Protocol):
    """Keeps the newest snapshot of each stream. A lost one costs time, never truth."""

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """The newest snapshot of a stream."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, unless a newer one of the same fold is there."""
