"""Sealing: writes seals of a log's events to a file, as far as it goes now, or following it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple

from eventcore.errors import LogAlteredError, StoreUnavailableError
from eventcore.events.recorded import Recorded
from eventcore.events.times import to_text
from eventcore.seals.digests import LogDigest, event_digest
from eventcore.seals.files import SealWriter
from eventcore.seals.seal import (
    MARK_BYTES,
    NO_SEAL,
    SEAL_EVENTS_MAX,
    Content,
    Seal,
    Signer,
    marks_of,
    runs_of,
)
from eventcore.seals.sources import Source

SEALS_AT_ONCE_MAX: Final = 64
"""Seals written to the disk together, and for how many the file is kept from readers."""

EVERY_SECONDS: Final = 1.0
"""Pause of a sealer that follows: events are sealed at most so long after they were appended."""

_logger = logging.getLogger("eventcore.seals")


class Sealed(NamedTuple):
    """What came of sealing.

    Attributes:
        events: Events sealed by this call.
        seals: Seals written.
        total: Events sealed in all.
        position: Of the last event that is sealed, 0 if none is.
        log: Digest of the log up to there, hexadecimal.
        seal: Digest of the last seal, hexadecimal: keep it elsewhere, and the file cannot be
            shortened unnoticed. None if there is none.
    """

    events: int
    seals: int
    total: int
    position: int
    log: str
    seal: str | None


class Sealer:
    """Seals a log. Several may share a file, and take turns.

    Args:
        log: What to seal; it is only read.
        file: Where to.
        clock: Gives the time, aware, for the seals.
        key: Signs them.
    """

    def __init__(
        self,
        log: Source,
        file: SealWriter,
        *,
        clock: Callable[[], datetime],
        key: Signer | None = None,
    ) -> None:
        self._log = log
        self._file = file
        self._clock = clock
        self._key = key

    def seal(self) -> Sealed:
        """Seal everything that is in the log now and is not sealed yet.

        Raises:
            LogAlteredError: The last event that was sealed is not there any more: the log was
                restored to an earlier point, or altered. Nothing was written.
            SealsDamagedError: The file was changed.
            InputError: It cannot be written.
            StoreError: The log cannot be read; seal again.
        """
        return self._seal(waits=True)

    def follow(self, stop: threading.Event, every_seconds: float = EVERY_SECONDS) -> Sealed:
        """Seal what comes, until told to stop; what can be read then is sealed, too.

        It looks at the log every so often rather than at each commit: then it costs writers least.
        A log that does not answer, or that waits for a transaction, is looked at again later, with
        a warning in the log of the program.

        Args:
            stop: Set to end.
            every_seconds: Pause between two looks.

        Raises:
            LogAlteredError: See :meth:`seal`; likewise all other errors.
        """
        events = seals = 0
        sealed = _sealed(None, 0, 0)
        while True:
            # Asked first: what was appended before it was set is sealed.
            is_last = stop.is_set()
            try:
                sealed = self._seal(waits=False)
                events, seals = events + sealed.events, seals + sealed.seals
            except StoreUnavailableError as error:
                _logger.warning("sealing goes on later: %s", error)
            if is_last:
                return sealed._replace(events=events, seals=seals)
            stop.wait(every_seconds)

    def _seal(self, *, waits: bool) -> Sealed:
        head = self._log.head()
        events = seals = 0
        while True:
            # The log is read without the file's lock: it may take long, and readers wait for that.
            with self._file.turn() as before:
                pass
            contents, is_all = self._contents(before, head, waits=waits)
            with self._file.turn() as now:
                if now is not before:
                    continue  # another sealer was faster
                last = self._file.write(contents, self._key) if contents else before
            events += sum(content.events for content in contents)
            seals += len(contents)
            if is_all:
                return _sealed(last, events, seals)

    def _contents(self, last: Seal | None, head: int, *, waits: bool) -> tuple[list[Content], bool]:
        """What comes behind the last seal, as far as is written at once, and whether that is all.

        A short page ends where something may still be written: only who waits reads on there.
        """
        contents: list[Content] = []
        after, digest = 0, LogDigest()
        if last is not None:
            after = last.content.last
            digest = LogDigest(last.content.total, bytes.fromhex(last.content.log))
            self._check_is_there(last.content)
        while after < head and len(contents) < SEALS_AT_ONCE_MAX:
            page = self._log.read_page(after, SEAL_EVENTS_MAX)
            events = [event for event in page.events if event.position <= head]
            if not events:
                return contents, True
            after = events[-1].position
            content = self._content(events, digest)
            digest = LogDigest(content.total, bytes.fromhex(content.log))
            contents.append(content)
            if len(page.events) < SEAL_EVENTS_MAX:
                return contents, not waits or after >= head
        return contents, after >= head

    def _content(self, events: list[Recorded[Any]], before: LogDigest) -> Content:
        assert all(one.position < other.position for one, other in pairwise(events))
        digests = [event_digest(event) for event in events]
        digest = before.then(digests)
        return Content(
            number=0,  # both are the file's to say
            previous=NO_SEAL,
            runs=runs_of([event.position for event in events]),
            marks=marks_of(digests),
            total=digest.events,
            log=digest.hex(),
            sealed_at=to_text(self._clock()),
        )

    def _check_is_there(self, content: Content) -> None:
        """Never seal a history of which what was sealed is no part."""
        events = self._log.read_page(content.last - 1, 1).events
        mark = content.marks[-MARK_BYTES:]
        if events and events[0].position == content.last:
            if event_digest(events[0])[:MARK_BYTES] == mark:
                return
            problem = "the event there is not the one that was sealed"
        else:
            problem = "the event that was sealed there is gone"
        raise LogAlteredError(position=content.last, problem=problem)


def _sealed(last: Seal | None, events: int, seals: int) -> Sealed:
    if last is None:
        return Sealed(events, seals, 0, 0, LogDigest().hex(), None)
    content = last.content
    return Sealed(events, seals, content.total, content.last, content.log, last.digest)
