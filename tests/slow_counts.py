"""A read model whose handler takes its time while a file named ``slow`` is in the folder."""

import time
from pathlib import Path
from typing import NamedTuple

from eventcore.events import DomainEvent
from eventcore.projections import Projection, Table, on

PAUSE_SECONDS = 0.004


class SlowRow(NamedTuple):
    """So many events of a stream."""

    stream: str
    events: int
    last: str


SLOW = Table("slow_counts", SlowRow, key=["stream"])


class SlowCounts(Projection):
    """Counts the events of each stream, slowly."""

    name = "slow_counts"
    tables = (SLOW,)
    share_by = "stream"

    @on(DomainEvent, key=lambda event: event.stream)
    def add(self, row, event):
        """One more."""
        if Path("slow").exists():
            time.sleep(PAUSE_SECONDS)
        return SlowRow(event.stream, (row.events if row else 0) + 1, event.timestamp_text)


PROJECTIONS = [SlowCounts()]
