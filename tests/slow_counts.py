"""A read model whose handler stands still while a file named ``slow`` is in the folder.

The file says after how many events that is, in each process.
"""

import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from eventcore.events import DomainEvent
from eventcore.projections import Projection, Table, on

PAUSE_SECONDS = 0.004
HANG_SECONDS = 240.0


_handled = count(1)


class SlowRow(NamedTuple):
    """So many events of a stream."""

    stream: str
    events: int
    last: str


SLOW = Table("slow_counts", SlowRow, key=["stream"])


class SlowCounts(Projection):
    """Counts the events of each stream, slowly, and for a while no further."""

    name = "slow_counts"
    tables = (SLOW,)
    share_by = "stream"

    @on(DomainEvent, key=lambda event: event.stream)
    def add(self, row, event):
        """One more."""
        _pause(next(_handled))
        return SlowRow(event.stream, (row.events if row else 0) + 1, event.timestamp_text)


def _pause(handled: int) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    with suppress(FileNotFoundError):
        time.sleep(PAUSE_SECONDS if (file := Path("slow")).exists() else 0)
        while handled > int(file.read_text()) and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)


PROJECTIONS = [SlowCounts()]
