"""Refusals: events a rule refused, remembered so that a repeated import decides the same.

A rule judges an event by the state its stream has at that moment. Without this memory a second run
of the same file could accept what the first refused, only because later lines had been applied
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from eventcore.stores.log import StreamAppend


class Refusal(NamedTuple):
    """An event that was refused.

    Attributes:
        event_id: Canonical text of its id.
        digest: Of its content: the same id with another content is judged afresh.
        reason: Stable code.
        message: For a person.
    """

    event_id: str
    digest: str
    reason: str
    message: str


@runtime_checkable
class RefusalStore(Protocol):
    """Remembers refusals beside a log."""

    def find_refusals(self, event_ids: Sequence[str]) -> Mapping[tuple[str, str], Refusal]:
        """What was refused before under these ids, by id and digest."""

    def append_judged(
        self,
        appends: Sequence[StreamAppend],
        refusals: Sequence[Refusal],
        unmoved: Mapping[str, int],
    ) -> None:
        """Append what was accepted and remember what was refused, all or none.

        Args:
            appends: As for :meth:`eventcore.stores.log.Log.append`; none is fine.
            refusals: Kept as by :meth:`remember_refusals`.
            unmoved: Streams the refusals were judged by, and the versions they had: a stream that
                moved since would have to be judged anew.

        Raises:
            ConcurrencyConflictError: A stream moved, if only by these very events: unlike an append
                alone, this is never taken for a repeat. Nothing was written.
            StoreError: See :meth:`eventcore.stores.log.Log.append`.
        """

    def remember_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Keep these; a newer refusal of the same id and content replaces the older."""

    def all_refusals(self) -> Iterator[Refusal]:
        """Every refusal that is remembered, by id and digest: what a copy of the log needs, too."""
