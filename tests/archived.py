"""Logs that are archived and trimmed while a test uses them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from typing_extensions import override

from eventcore.events.recorded import Recorded
from eventcore.lake.archiving import Archiver, SegmentLimits
from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.stores.log import (
    EVERYTHING,
    AppendResult,
    Log,
    LogFilter,
    Page,
    StreamAppend,
    Subscription,
)
from eventcore.stores.trimming import TRIM_EVENTS_MAX, TrimmableLog

SEGMENT_EVENTS = 700
TIDIED_BEFORE_APPENDS = 30


def trim_until(log: ArchivedLog, until: int) -> int:
    """Trim all that may be trimmed up to a position, whatever snapshots there are."""
    assert isinstance(log.store, TrimmableLog)
    newest: dict[str, int] = {}
    removed = 0
    events = log.archive.read(until=until, codec=log.codec)
    while chunk := list(islice(events, TRIM_EVENTS_MAX)):
        newest |= log.store.stream_versions(list({e.stream for e in chunk} - newest.keys()))
        old = [event for event in chunk if event.version < newest[event.stream]]
        removed += log.store.trim(old, archive=log.archive.url)
    log.look_again()
    return removed


class TidiedLog(ArchivedLog):
    """Archived, and perhaps trimmed, up to the chosen position before each use."""

    def __init__(
        self,
        folder: str,
        log: Log,
        *,
        archive_until: Callable[[int], int] = lambda head: head,
        trims: bool = True,
    ) -> None:
        super().__init__(open_archive(folder), log, prefer_archive=not trims)
        self._archive_until = archive_until
        self._trims = trims
        self._tidied = 0
        self._tidying = threading.Lock()

    def tidy(self) -> None:
        """Archive and trim what is new."""
        with self._tidying:
            head = self.store.head()
            if head == self._tidied:
                return
            until = self._archive_until(head)
            limits = SegmentLimits(events_max=SEGMENT_EVENTS)
            Archiver(self.archive, limits=limits).run(Up(self.store, until))
            if self._trims:
                trim_until(self, until)
            self._tidied = head

    @override
    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        # What is trimmed and appended again has to be recognised; later on, reading is enough.
        if self.store.head() < TIDIED_BEFORE_APPENDS:
            self.tidy()
        return super().append(appends)

    @override
    def read_stream(self, stream: str, **options: Any) -> Iterator[Recorded[Any]]:
        self.tidy()
        return super().read_stream(stream, **options)

    @override
    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        self.tidy()
        return super().read_page(after, limit, where)

    @override
    def locate(self, event_ids: Sequence[str]) -> Any:
        self.tidy()
        return super().locate(event_ids)

    @override
    def subscribe(self, after: int = 0, where: LogFilter = EVERYTHING) -> Subscription:
        self.tidy()
        return super().subscribe(after, where)


class Up:
    """A log that seems to end at a position: what an archiver saw that ran at that time."""

    def __init__(self, log: Log, until: int) -> None:
        self._log = log
        self._until = until

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def head(self) -> int:
        return min(self._until, self._log.head())

    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        page = self._log.read_page(after, limit, where)
        events = [event for event in page.events if event.position <= self._until]
        return Page(events, min(page.end, max(self._until, after)))
