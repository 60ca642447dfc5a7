"""One stream, partly in an archive: the beginning from there, the rest from the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from eventcore.errors import TrimmedHistoryError
from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.lake.reading import Archive
from eventcore.stores.log import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class StitchedStream:
    """What is asked for of one stream.

    Attributes:
        archive: Where its beginning may be.
        store: The log.
        codec: Reads the events.
        boundary: Positions up to this one may be read from the archive. Asked anew each time.
        prefers: Whether they are, also where the log has them.
        look_again: Called when the log lacks something: it may have been trimmed meanwhile.
        stream: Its name.
        after: Only versions above this one.
        until: Only versions up to and including this one.
        limit: At most so many; more may be given, which the caller cuts off.
    """

    archive: Archive
    store: Log
    codec: Codec
    boundary: Callable[[], int]
    prefers: bool
    look_again: Callable[[], int]
    stream: str
    after: int
    until: int | None
    limit: int | None

    def forwards(self) -> Iterator[Recorded[Any]]:  # noqa: C901 - sources that follow each other
        """Oldest first."""
        reached = self.after
        if self.prefers:
            for event in self._archived(reached):
                yield event
                reached = event.version
        while reached != self.until:
            before = reached
            try:
                for event in self._stored(reached, self.until):
                    yield event
                    reached = event.version
            except TrimmedHistoryError as error:
                self.look_again()
                for event in self._archived(reached):
                    yield event
                    reached = event.version
                if reached == before:
                    raise error  # noqa: TRY201 - the archive does not have it either
            else:
                return

    def backwards(self) -> Iterator[Recorded[Any]]:
        """Newest first."""
        low, until = self.after, self.until
        if self.prefers:
            newest = next(self._archived(low, backwards=True), None)
            low = low if newest is None else newest.version
        try:
            for event in self._stored(low, until, backwards=True):
                yield event
                until = event.version - 1
        except TrimmedHistoryError:
            self.look_again()
        else:
            if low == self.after:
                return
        yield from self.archive.read_stream(
            self.stream,
            after=self.after,
            until=until,
            until_position=self.boundary(),
            backwards=True,
            codec=self.codec,
        )

    def _archived(self, after: int, *, backwards: bool = False) -> Iterator[Recorded[Any]]:
        return self.archive.read_stream(
            self.stream,
            after=after,
            until=self.until,
            until_position=self.boundary(),
            backwards=backwards,
            codec=self.codec,
        )

    def _stored(
        self, after: int, until: int | None, *, backwards: bool = False
    ) -> Iterator[Recorded[Any]]:
        return self.store.read_stream(
            self.stream, after=after, until=until, backwards=backwards, limit=self.limit
        )
