"""What an engine keeps of a projection: all of it, or those of its shares that are at one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eventcore.errors import ProjectionFailedError
from eventcore.events.recorded import Recorded
from eventcore.projections.anchors import Anchor
from eventcore.projections.fold import Gate, PageFold
from eventcore.projections.parking import Parking
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.projections.shares import (
    in_groups,
    share_checkpoint,
    share_name,
    share_of_stream,
    shares_of,
)
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.units import share_of
from eventcore.projections.views import Views

Held = Callable[[str, int], Iterable[int]]
"""Which shares of a projection to keep, of so many that there are."""


def all_shares(_projection: str, shares: int) -> Iterable[int]:
    """For whoever keeps everything."""
    return range(shares)


@dataclass(slots=True)
class Kept:
    """A projection, or a group of its shares that are at one place: folded as one.

    Attributes:
        projection: Which.
        plan: Its handlers.
        fold: Folds its pages.
        checkpoints: By name, in the order in which they are moved; all at one position.
        shares: Those of the group, and how many there are; None if the projection is not split.
        failure: Why it stopped.
        parking: What is parked of it; None until the engine has looked.
    """

    projection: Projection
    plan: Plan
    fold: PageFold
    checkpoints: dict[str, Checkpoint]
    shares: tuple[frozenset[int], int] | None = None
    failure: ProjectionFailedError | None = None
    parking: Parking | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """One of its checkpoints: of position and anchor they are all the same."""
        return next(iter(self.checkpoints.values()))

    @property
    def position(self) -> int:
        """Where all of its checkpoints are."""
        return self.checkpoint.position

    @property
    def divides_streams(self) -> bool:
        """Whether it looks at some streams only: with ``share_by = "stream"``, the group's own."""
        if self.shares is None or self.projection.share_by != "stream":
            return False
        held, shares = self.shares
        return len(held) < shares

    def own(self, events: Sequence[Recorded[Any]]) -> Sequence[Recorded[Any]]:
        """The events that are to be looked at."""
        if self.shares is None or not self.divides_streams:
            return events
        held, shares = self.shares
        return [event for event in events if share_of_stream(event.stream, shares) in held]

    def move(self, position: int, anchor: Anchor | None) -> None:
        """Note where its checkpoints are now."""
        self.checkpoints = {
            name: before._replace(position=position, anchor=anchor or before.anchor)
            for name, before in self.checkpoints.items()
        }


def kept_of(views: Views, plan: Plan, held: Held) -> tuple[Checkpoint, list[Kept]]:
    """What there is to keep of a projection: one group for each place that shares are at.

    Returns:
        The checkpoint of the whole, which a split one leaves behind, and the groups.

    Raises:
        SchemaMismatchError: A table exists with other columns, or is not this projection's.
    """
    projection = plan.projection
    whole = views.ensure(projection)
    shares = shares_of(views, projection.name)
    if shares is None:
        return whole, [_kept(views, projection, plan, checkpoints={projection.name: whole})]
    found = {
        share: share_checkpoint(views, projection, share) for share in held(projection.name, shares)
    }
    return whole, [
        _kept(
            views,
            projection,
            plan,
            checkpoints={share_name(projection.name, share): group[share] for share in group},
            shares=(frozenset(group), shares),
        )
        for group in in_groups(found)
    ]


def joined(views: Views, groups: Sequence[Kept]) -> list[Kept]:
    """The same with groups of a projection made one where they have come to one place."""
    places: dict[tuple[str, int], list[Kept]] = {}
    for kept in groups:
        places.setdefault((kept.projection.name, kept.position), []).append(kept)
    return [same[0] if len(same) == 1 else _join(views, same) for same in places.values()]


def _join(views: Views, groups: Sequence[Kept]) -> Kept:
    first = groups[0]
    assert first.shares is not None
    joined = _kept(
        views,
        first.projection,
        first.plan,
        checkpoints={n: one for kept in groups for n, one in kept.checkpoints.items()},
        shares=(
            frozenset().union(*(kept.shares[0] for kept in groups if kept.shares)),
            first.shares[1],
        ),
    )
    joined.failure = next((kept.failure for kept in groups if kept.failure), None)
    return joined


def _kept(
    views: Views,
    projection: Projection,
    plan: Plan,
    *,
    checkpoints: dict[str, Checkpoint],
    shares: tuple[frozenset[int], int] | None = None,
) -> Kept:
    # In one order everywhere: of two who move the same ones, one waits for the other.
    in_order = dict(sorted(checkpoints.items()))
    fold = PageFold(plan, views, _gate(projection, shares))
    kept = Kept(projection, plan, fold, in_order, shares)
    kept.fold.forget(empty=kept.position == 0)
    return kept


def _gate(projection: Projection, shares: tuple[frozenset[int], int] | None) -> Gate | None:
    """Lets through the work of the group's shares, if that is not all and not told by streams."""
    if shares is None or projection.share_by == "stream":
        return None
    held, count = shares
    if len(held) == count:
        return None
    # Several units only where it cannot be told what is touched: then the first is the stream.
    return lambda _event, units: share_of(units[0], count) in held
