"""Which transactions hold the feed for long, also where their age is not shown."""

from __future__ import annotations

import time
from itertools import chain, repeat

from eventcore.stores.holders import Holder, lasting_holders

OLD, NEW = (Holder(pid, f"3/{pid}", age, None, None, None) for pid, age in ((1, 9.0), (2, 0.1)))
HIDDEN, GONE = (Holder(pid, f"3/{pid}", None, None, None, None) for pid in (3, 4))
LATER = Holder(3, "3/99", None, None, None, None)
"""The next transaction of the session of HIDDEN."""


class Watch:
    """Gives one answer after another, and the last one for ever."""

    def __init__(self, *answers: list[Holder]) -> None:
        self._answers = chain(answers, repeat(answers[-1]))

    def feed_holders(self) -> list[Holder]:
        return next(self._answers)


def test_where_ages_are_shown_nobody_waits():
    assert lasting_holders(Watch([OLD, NEW], []), 1.0) == [OLD]


def test_one_without_an_age_that_stays_is_lasting_and_one_that_ends_is_not():
    before = time.monotonic()

    found = lasting_holders(Watch([HIDDEN, GONE, OLD, NEW], [HIDDEN]), 0.2)

    assert found == [HIDDEN, OLD]
    assert time.monotonic() - before >= 0.2


def test_those_without_an_age_are_looked_after_no_longer_than_they_last():
    before = time.monotonic()

    assert lasting_holders(Watch([HIDDEN], [HIDDEN], [LATER]), 60.0) == []
    assert time.monotonic() - before < 30.0


def test_an_age_that_is_not_shown_is_said_with_what_shows_it():
    assert HIDDEN.who == "pid 3 (age not shown without pg_read_all_stats)"
