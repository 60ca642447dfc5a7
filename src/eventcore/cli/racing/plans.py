"""What the writers of a race do: the same steps for every table."""

from __future__ import annotations

import itertools
import random  # noqa: TID251 - nothing of this is ever rebuilt
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

WRITERS: Final = 8
"""Connections that write at once."""

SECONDS_DEFAULT: Final = 0.5
"""How long they write to the first table: two tables and what is around them take two seconds,
besides the start of the program."""

PATIENCE: Final = 10
"""Times as long as the first table the same transactions may take at another, then they end."""

PAUSE_SECONDS_MAX: Final = 0.02
"""Longest pause inside a transaction: what a call of another service or a slow disk costs."""

EVENTS_MAX: Final = 5
"""Events in one INSERT at most."""

_SEED: Final = 41


class Kind(Enum):
    """How a step ends."""

    APPEND = auto()
    """One INSERT that commits at once."""
    COMMIT = auto()
    """Two INSERTs in a transaction, with a pause after each."""
    ROLL_BACK = auto()
    """An INSERT, a pause, and a rollback."""
    VIOLATE = auto()
    """The same rows twice: what is unique refuses the second time."""


_WEIGHTS: Final = {Kind.APPEND: 45, Kind.COMMIT: 35, Kind.ROLL_BACK: 10, Kind.VIOLATE: 10}


class Step(NamedTuple):
    """One transaction.

    Attributes:
        kind: How it ends.
        counts: Events of its INSERTs.
        pauses_seconds: The pauses after them.
    """

    kind: Kind
    counts: tuple[int, int]
    pauses_seconds: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a table is written to.

    Attributes:
        seconds: How long.
        is_locking: Whether each transaction locks other writers out first, but of our log.
        writers: Connections.
        steps_each: How many steps each writer takes, as it did at another table; None: as many as
            it can.
    """

    seconds: float = SECONDS_DEFAULT
    is_locking: bool = False
    writers: int = WRITERS
    steps_each: tuple[int, ...] | None = None

    def steps(self, writer: int) -> Iterator[Step]:
        """What one writer does; always the same."""
        steps = None if self.steps_each is None else self.steps_each[writer]
        return itertools.islice(_draw_steps(writer), steps)

    @property
    def seconds_max(self) -> float:
        """When a writer ends, however many steps are left."""
        return self.seconds * (1 if self.steps_each is None else PATIENCE)


def _draw_steps(writer: int) -> Iterator[Step]:
    draw = random.Random(_SEED + writer)  # noqa: S311 - not for secrets
    kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    while True:
        (kind,) = draw.choices(kinds, weights)
        counts = draw.randint(1, EVENTS_MAX), draw.randint(1, EVENTS_MAX)
        pauses = draw.random() * PAUSE_SECONDS_MAX, draw.random() * PAUSE_SECONDS_MAX
        yield Step(kind, counts, pauses)
