"""Trimming: the one narrow door through which events leave a log, for an archive that holds them.

A store removes an event only if it is told the very bytes it holds, so nothing leaves that is not
elsewhere. What stays behind:

- the newest event of every stream: versions and positions go on from it and are never used again;
- the id and position of each event that left: it is still recognised, and refused, as stored;
- how far the log was trimmed, and the name of the archive: a log that is opened without it says so,
  instead of telling a shorter history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from eventcore.errors import TrimmedHistoryError, TrimRefusedError
from eventcore.events.recorded import Recorded

TRIM_EVENTS_MAX: Final = 10_000
"""Events that one call removes: a bound on the transaction, or transactions, it takes."""


class TrimRecord(NamedTuple):
    """How far a log was trimmed.

    Attributes:
        until: The highest position that was removed. Some below it may have stayed.
        archive: URL of the archive that holds what was removed, and everything else up to there.
    """

    until: int
    archive: str


@runtime_checkable
class TrimmableLog(Protocol):
    """A log from which archived events can be removed."""

    def trim(self, events: Sequence[Recorded[Any]], *, archive: str) -> int:
        """Remove events: all are checked first, then all are removed.

        In one transaction, all or none, where the store has transactions that large. On DynamoDB in
        several, in the order of the log: broken off between two of them, the first of the events
        have left and the others are there. Each of these states is one that a trim of fewer events
        leaves, and the same call again removes the rest.

        Args:
            events: As an archive holds them, by position, at most :data:`TRIM_EVENTS_MAX`. Of each
                stream the oldest ones that are left, without a gap, and never its newest one. Those
                that were removed before are passed over.
            archive: URL of the archive that holds them and every event before the last of them.

        Returns:
            How many were removed now; by another trim at the same time also, where transactions are
            several.

        Raises:
            TrimRefusedError: The log holds another event than one of these, one is the newest of
                its stream, or an older one of its stream would stay. Nothing was removed.
        """

    def trim_record(self) -> TrimRecord | None:
        """How far the log was trimmed; None if it never was."""

    def trimmed_positions(self, event_ids: Sequence[str]) -> Mapping[str, int]:
        """Those of the ids (canonical text) whose events were removed, with their positions."""


@runtime_checkable
class TrimsByPlace(Protocol):
    """What a store may offer besides: what was removed is found for less by place than by id."""

    def trimmed_among(self, events: Sequence[Recorded[Any]]) -> set[str]:
        """Ids (canonical text) of those of these events, given by position, that were removed."""


def check_trim(store: str, events: Sequence[Recorded[Any]]) -> None:
    """Check that events can be removed at once.

    Raises:
        TrimRefusedError: They are too many, or not in order.
    """
    if len(events) > TRIM_EVENTS_MAX:
        problem = f"{len(events)} events are to be removed at once, the limit is {TRIM_EVENTS_MAX}"
        raise TrimRefusedError(store=store, problem=problem)
    if any(one.position >= other.position for one, other in pairwise(events)):
        raise TrimRefusedError(store=store, problem="events to be removed are not by position")


def refuse_trimmed(store: str, record: TrimRecord | None, what: str) -> None:
    """Refuse to tell a history that is not whole.

    Raises:
        TrimmedHistoryError: The log was trimmed.
    """
    if record is not None:
        raise TrimmedHistoryError(store=store, what=what, archive=record.archive)
