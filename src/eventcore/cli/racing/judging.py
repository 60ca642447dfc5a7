"""What a reader saw, compared with what is there."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Verdict(NamedTuple):
    """How far what a reader saw is from the truth; all zero: not at all.

    Attributes:
        missed: Committed, and never seen.
        doubled: Seen again.
        disordered: Seen after one that comes later.
        never_committed: Seen, and not there.
    """

    missed: int
    doubled: int
    disordered: int
    never_committed: int

    @property
    def is_exact(self) -> bool:
        """Whether everything was seen once, in order, and nothing else."""
        return not any(self)


def judge(seen: Sequence[Hashable], truth: Sequence[Hashable]) -> Verdict:
    """Compare what a reader saw, in its order, with the rows in theirs, each named once."""
    places = {row: place for place, row in enumerate(truth)}
    distinct = set(seen)
    order = [places[row] for row in seen if row in places]
    return Verdict(
        missed=len(places.keys() - distinct),
        doubled=len(seen) - len(distinct),
        disordered=sum(after < before for before, after in pairwise(order)),
        never_committed=len(distinct - places.keys()),
    )
