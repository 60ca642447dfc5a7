"""Shares: a projection's work in parts that several workers keep side by side.

A projection that is split has a checkpoint for each share (``orders/0``, ``orders/1``, …), and one
more, ``orders/shares``, whose position is how many shares there are. Its own checkpoint stays where
it was split, and no page moves it on while there are shares.

Which share a piece of work is in is a stable hash, the same in every process: of what the work
touches, or of the event's stream if the projection says ``share_by = "stream"``.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from eventcore.errors import CheckpointMovedError, StoreUnavailableError
from eventcore.projections.plan import Plan
from eventcore.projections.projection import REGISTER_FINGERPRINT, Fold, Projection
from eventcore.projections.transactions import Checkpoint, Transaction
from eventcore.projections.views import Views
from eventcore.settings import SHARES_DEFAULT

SPLIT_ATTEMPTS_MAX: Final = 100
"""Of splitting a projection that a runner keeps moving: an attempt takes milliseconds."""

STREAMS_REMEMBERED_MAX: Final = 65_536


class Register(Projection, rowless=True):
    """A checkpoint without tables, kept beside those of projections."""

    name = "eventcore_register"
    fingerprint = REGISTER_FINGERPRINT

    def __init__(self, name: str, version: int) -> None:
        self.name = name  # type: ignore[misc]  # one class serves them all
        self.version = version  # type: ignore[misc]  # likewise


def share_name(projection: str, share: int) -> str:
    """Name of a share's checkpoint."""
    return f"{projection}/{share}"


def count_name(projection: str) -> str:
    """Name of the checkpoint whose position is how many shares there are."""
    return f"{projection}/shares"


@lru_cache(STREAMS_REMEMBERED_MAX)
def share_of_stream(stream: str, shares: int) -> int:
    """The share that a stream's events are in, of a projection that is shared by stream.

    By the id in its name: rows that are found by that id alone are of one share, whatever category
    their events are in.
    """
    id_ = stream.partition("-")[2]
    return int.from_bytes(blake2b(id_.encode(), digest_size=8).digest()) % shares


def may_be_split(plan: Plan) -> bool:
    """Whether a projection can be kept in shares.

    One work of ``touches=`` may change rows of several shares, and :meth:`Projection.apply_page`
    changes what it likes: then only the author knows that a stream's events stay among themselves.
    """
    if plan.projection.share_by == "stream":
        return True
    return not plan.by_page and Fold.TOUCHES not in plan.folds


def shares_of(views: Views, projection: str) -> int | None:
    """In how many shares a projection is kept; None if it is not split."""
    count = views.checkpoint(count_name(projection))
    return count.position if count is not None and count.position else None


def share_checkpoint(views: Views, projection: Projection, share: int) -> Checkpoint:
    """How far a share is; what was under way in it is finished first."""
    return views.ensure(Register(share_name(projection.name, share), projection.version))


def reached(views: Views, projection: str) -> Checkpoint | None:
    """How far a projection is as a whole: the lowest of its shares. None if it was never kept."""
    # Before anything else: what is split or merged in between is then seen where it was.
    shares = shares_of(views, projection)
    if shares is None:
        return views.checkpoint(projection)
    found = [views.checkpoint(share_name(projection, share)) for share in range(shares)]
    return min((one for one in found if one is not None), key=_position_of)


def _position_of(checkpoint: Checkpoint) -> int:
    return checkpoint.position


def split(views: Views, projection: Projection, shares: int = SHARES_DEFAULT) -> int:
    """Keep a projection in shares from where it is; gives in how many it is kept.

    In one transaction, which runners of the whole notice: their next page is refused, they read
    again. One that is split already stays as it is.

    Raises:
        StoreUnavailableError: A runner was faster every time; try again.
        ConfigurationError: These views are to create nothing.
    """
    names = sorted(share_name(projection.name, share) for share in range(shares))
    for _ in range(SPLIT_ATTEMPTS_MAX):
        # In this order: a split in between is either found, or makes our checkpoint an old one.
        whole = views.ensure(projection)
        found = shares_of(views, projection.name)
        if found is not None:
            return found
        try:
            with views.transaction() as transaction:
                _revise(transaction, projection.name, whole, to=whole)
                for name in names:
                    _revise(transaction, name, transaction.begin(name, whole.version), to=whole)
                count = transaction.begin(count_name(projection.name), whole.version)
                transaction.advance(count_name(projection.name), count, shares, revise=True)
        except CheckpointMovedError:
            continue
        return shares
    problem = f"projection {projection.name} kept moving while it was to be split"
    raise StoreUnavailableError(store=views.name, problem=problem)


def merge(views: Views, projection: Projection) -> Checkpoint | None:
    """Keep a projection as a whole again, if all of its shares are at one place.

    In one transaction, which the workers notice. One that is not split stays as it is.

    Returns:
        Its checkpoint; None if the shares are apart, or moved meanwhile.
    """
    whole = views.ensure(projection)
    shares = shares_of(views, projection.name)
    if shares is None:
        return whole
    kept = {
        share_name(projection.name, share): share_checkpoint(views, projection, share)
        for share in range(shares)
    }
    place = next(iter(kept.values()))
    if any(one.position != place.position for one in kept.values()):
        return None
    try:
        with views.transaction() as transaction:
            _revise(transaction, projection.name, whole, to=place)
            for name in sorted(kept):
                _revise(transaction, name, kept[name], to=place)
            count = transaction.begin(count_name(projection.name), whole.version)
            transaction.advance(count_name(projection.name), count, 0, revise=True)
    except CheckpointMovedError:
        return None
    return views.checkpoint(projection.name)


def _revise(transaction: Transaction, name: str, before: Checkpoint, *, to: Checkpoint) -> None:
    """Set a checkpoint where another is, so that nobody goes on who remembers it."""
    transaction.advance(name, before, to.position, anchor=to.anchor, revise=True)


def in_groups(checkpoints: dict[int, Checkpoint]) -> list[dict[int, Checkpoint]]:
    """Shares by the place they are at, the lowest first."""
    groups: dict[int, dict[int, Checkpoint]] = {}
    for share, checkpoint in sorted(checkpoints.items()):
        groups.setdefault(checkpoint.position, {})[share] = checkpoint
    return [groups[position] for position in sorted(groups)]
