"""What can be sealed, verified and copied: anything that hands out recorded events in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from eventcore.events.recorded import Recorded
from eventcore.stores.log import Page


class Source(Protocol):
    """Recorded events by position; every :class:`~eventcore.stores.log.Log` is one."""

    def head(self) -> int:
        """Position of the newest event, 0 if there is none."""

    def read_page(self, after: int, limit: int) -> Page:
        """At most ``limit`` events above position ``after``, in order."""


@runtime_checkable
class Indexed(Protocol):
    """A source that is read by stream and by event id besides."""

    def read_stream(self, stream: str, *, after: int = 0) -> Iterator[Recorded[Any]]:
        """The events of one stream above a version, in order."""

    def locate(self, event_ids: Sequence[str]) -> Mapping[str, Recorded[Any]]:
        """Those of the ids that are stored, with their events."""
