"""What races have in common: how their processes start, and that a planted bug loses them."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")
"""Starts the processes of a race: forked from one that has everything imported already, which takes
seconds on a busy machine. There is one such process for all races, whichever comes first."""

PROCESSES.set_forkserver_preload(
    [
        "tests.integration.dynamodb_racing",
        "tests.integration.postgres_racing",
        "tests.integration.projections_racing",
    ]
)

RACES_MAX = 5
"""Chance decides whether a bug is met: a race that is won by one proves little, so many in a row
prove that nobody looks."""


def lose_race(race: Callable[[int], Any], violation: type[AssertionError], words: str = "") -> None:
    """Hold races until one is lost, by what the bug does.

    Args:
        race: Holds the race with a number, each in places of its own.
        violation: What it raises if it is lost.
        words: What that says then, a regular expression.

    Raises:
        AssertionError: All were won, or lost by something else.
    """
    others: list[str] = []
    for number in range(RACES_MAX):
        try:
            race(number)
        except violation as found:
            if re.search(words, str(found)):
                return
            others.append(str(found))
    raise AssertionError(f"The bug was not found in {RACES_MAX} races; found: {others}")
