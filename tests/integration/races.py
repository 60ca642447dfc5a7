"""Races that have to be lost, since a bug was planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RACES_MAX = 5
"""Chance decides whether a bug is met: a race that is won by one proves little, so many in a row
prove that nobody looks."""


def lost_race(race: Callable[[int], Any], violation: type[AssertionError]) -> AssertionError:
    """Hold races until one is lost.

    Args:
        race: Holds the race with a number, each in places of its own.
        violation: What it raises if it is lost.

    Returns:
        What was raised.

    Raises:
        AssertionError: All were won.
    """
    for number in range(RACES_MAX):
        try:
            race(number)
        except violation as found:
            return found
    raise AssertionError(f"The bug was not found in {RACES_MAX} races")
