"""Standings: how far a projection is, as a whole or in shares, live or at one moment."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from eventcore.projections.shares import count_name, share_name
from eventcore.projections.transactions import Checkpoint


class Standing(NamedTuple):
    """How far a projection is, as a whole or in shares.

    Attributes:
        whole: Its own checkpoint.
        shares: Those of its shares; empty if it is not split.
    """

    whole: Checkpoint
    shares: tuple[Checkpoint, ...] = ()

    @property
    def all(self) -> tuple[Checkpoint, ...]:
        """The checkpoints that say how far its rows are."""
        return self.shares or (self.whole,)

    @property
    def highest(self) -> int:
        """No event above is applied to any of its rows."""
        return max(one.position for one in self.all)

    @property
    def lowest(self) -> int:
        """Every event up to here is applied to all of its rows."""
        return min(one.position for one in self.all)

    @property
    def position(self) -> int | None:
        """Where all of it is; None if its shares are apart."""
        return self.lowest if self.lowest == self.highest else None


class _Checkpoints(Protocol):
    """Views, or a snapshot of them."""

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """How far a projection is."""


def standing_of(views: _Checkpoints, projection: str) -> Standing | None:
    """How far a projection is; None if it was never kept."""
    count = views.checkpoint(count_name(projection))
    whole = views.checkpoint(projection)
    if whole is None:
        return None
    shares = range(0 if count is None else count.position)
    found = [views.checkpoint(share_name(projection, share)) for share in shares]
    return Standing(whole, tuple(one for one in found if one is not None))
