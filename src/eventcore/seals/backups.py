"""Backups: does a restored log hold what the live one holds, as far as it goes?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Final, NamedTuple

from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.seals.digests import event_digest
from eventcore.seals.findings import Finding, Kind
from eventcore.seals.reading import Reader
from eventcore.seals.sources import Source

BEYOND: Final = 2**62
"""No position is there."""

OnCompared = Callable[[int, int], None]
"""Called with the position that was reached and that of the backup's head."""


class Backup(NamedTuple):
    """What came of comparing a backup with the live log.

    Attributes:
        events: Events that are the same in both, at the same positions.
        head: Where the backup ends.
        live_head: Where the live log ends.
        finding: The first event of the backup that the live log has not, or has otherwise.
    """

    events: int
    head: int
    live_head: int
    finding: Finding | None = None


def compare_backup(
    backup: Source, live: Source, *, after: int = 0, on_compared: OnCompared | None = None
) -> Backup:
    """Compare every event of a restored backup with the live log, up to the backup's head.

    An archive is compared in the same way.

    Args:
        backup: What was restored.
        live: The log that it is a backup of; others may go on writing to it.
        after: Only behind this position.
        on_compared: See :data:`OnCompared`.

    Raises:
        StoreUnavailableError: One of them does not answer.
    """
    head, live_head = backup.head(), live.head()
    ours, theirs = Reader(backup, head, after), Reader(live, min(head, live_head), after)
    events = 0
    while True:
        page = ours.up_to(BEYOND, READ_PAGE_EVENTS)
        last = page[-1].position if page else head
        others = theirs.up_to(last, READ_PAGE_EVENTS + len(page))
        for one, other in zip_longest(page, others):
            if one is None or other is None or one.position != other.position:
                position = min(event.position for event in (one, other) if event is not None)
                is_ours = one is not None and one.position == position
                problem = "only the backup has it" if is_ours else "the backup lacks it"
                return Backup(events, head, live_head, Finding(Kind.MISSING, problem, position))
            if event_digest(one) != event_digest(other):
                problem = "the backup and the live log have different events here"
                return Backup(events, head, live_head, Finding.at(one, Kind.ALTERED, problem))
            events += 1
        failure = ours.failure or theirs.failure
        if failure is not None or not page:
            return Backup(events, head, live_head, failure)
        if on_compared is not None:
            on_compared(last, head)
