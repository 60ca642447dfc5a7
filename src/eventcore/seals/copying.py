"""Copying: a log into another store, event by event, with the same ids, bytes and order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice, pairwise
from operator import attrgetter
from typing import Any, Final, NamedTuple, NoReturn

from eventcore.errors import ConcurrencyConflictError, EventIdReusedError, LogsDifferError
from eventcore.events.recorded import EncodedEvent, Recorded, event_id_of
from eventcore.seals.digests import LogDigest, digest_of, event_digest
from eventcore.stores.limits import LogLimits, limits_of
from eventcore.stores.log import Log, StreamAppend
from eventcore.stores.refusals import RefusalStore

BATCH_EVENTS: Final = 1_000
"""Events in one append at most; a copy that is broken off goes on from a whole one."""

OnCopied = Callable[[int], None]
"""Called with the position in the source that was reached."""


class Copied(NamedTuple):
    """What came of a copy.

    Attributes:
        copied: Events that were written.
        present: Events that were there already, from a copy that was broken off.
        refusals: What rules refused in imports, remembered in the target as in the source.
        log: Digest of both logs, hexadecimal.
    """

    copied: int
    present: int
    refusals: int
    log: str

    @property
    def total(self) -> int:
        """Events of the target."""
        return self.copied + self.present


def copy_log(
    source: Log, target: Log, *, names: tuple[str, str], on_copied: OnCopied | None = None
) -> Copied:
    """Copy a log: the same streams, versions, ids, times and bytes, in the same order.

    Positions are the target's own. What the source holds when this is called is copied. Broken off
    and repeated, it compares what is there and goes on behind it. In the end the whole target is
    read, and its digest is to be that of the source. Nothing else may write to it meanwhile.

    Args:
        source: What is read.
        target: What is written: empty, or what an earlier copy of the same log left.
        names: Of both, for messages.
        on_copied: See :data:`OnCopied`.

    Raises:
        LogsDifferError: The target holds something else. Nothing more was written.
        LimitExceededError: An event is larger than the target takes.
        StoreError: One of them failed; copy again.
    """
    return _Copy(source, target, names, on_copied).run()


class _Copy:
    def __init__(  # noqa: PLR0917 - of copy_log
        self, source: Log, target: Log, names: tuple[str, str], on_copied: OnCopied | None
    ) -> None:
        self._source = source
        self._target = target
        self._names = names
        self._on_copied = on_copied
        self._digest = LogDigest()
        self._end = 0

    def run(self) -> Copied:
        events = self._source.read()
        present = self._compare(events)
        for batch in _batches(events, limits_of(self._target)):
            self._append(batch)
            self._fold(batch)
        self._check_whole()
        refusals = _copy_refusals(self._source, self._target)
        return Copied(self._digest.events - present, present, refusals, self._digest.hex())

    def _fold(self, events: Sequence[Recorded[Any]]) -> None:
        self._digest = self._digest.then(map(event_digest, events))
        if self._on_copied is not None:
            self._on_copied(events[-1].position)

    def _compare(self, source: Iterator[Recorded[Any]]) -> int:
        """How many events the target has already."""
        target = self._target.read()
        while there := list(islice(target, BATCH_EVENTS)):
            ours = list(islice(source, len(there)))
            if list(map(event_digest, ours)) != list(map(event_digest, there)):
                self._refuse_different(ours, there)
            self._fold(ours)
            self._end = there[-1].position
        return self._digest.events

    def _refuse_different(
        self, ours: Sequence[Recorded[Any]], there: Sequence[Recorded[Any]]
    ) -> NoReturn:
        digests = list(map(event_digest, ours))
        first = next(
            at
            for at, event in enumerate(there)
            if at >= len(digests) or event_digest(event) != digests[at]
        )
        self._refuse(
            f"event number {self._digest.events + first + 1:,} of the target "
            f"(position {there[first].position})"
        )

    def _refuse(self, problem: str) -> NoReturn:
        source, target = self._names
        raise LogsDifferError(source=source, target=target, problem=problem)

    def _append(self, batch: Sequence[Recorded[Any]]) -> None:
        appends = [
            StreamAppend(stream, (run := list(events))[0].version - 1, list(map(_encoded, run)))
            for stream, events in groupby(batch, attrgetter("stream"))
        ]
        try:
            result = self._target.append(appends)
        except (ConcurrencyConflictError, EventIdReusedError) as error:
            self._refuse(f"something else wrote to it ({error})")
        positions = (self._end, *result.positions)
        rises = all(one < other for one, other in pairwise(positions))
        if not rises or list(result.versions) != [event.version for event in batch]:
            self._refuse("something else wrote to it")
        self._end = positions[-1]

    def _check_whole(self) -> None:
        """Read the target once more: what is there is what counts."""
        found = digest_of(self._target.read())
        if found != self._digest:
            self._refuse(
                f"it has {found.events:,} events of the digest {found.hex()}, the source "
                f"{self._digest.events:,} of the digest {self._digest.hex()}: something else "
                "writes to one of them"
            )


def _batches(events: Iterator[Recorded[Any]], limits: LogLimits) -> Iterator[list[Recorded[Any]]]:
    """Events in as many as the target takes at once."""
    count_max = min(BATCH_EVENTS, limits.events_per_append_max)
    batch: list[Recorded[Any]] = []
    streams: set[str] = set()
    size = 0
    for event in events:
        is_full = (
            len(batch) == count_max
            or size + len(event.state) > limits.append_bytes_max
            or (event.stream not in streams and len(streams) == limits.streams_per_append_max)
        )
        if batch and is_full:
            yield batch
            batch, streams, size = [], set(), 0
        batch.append(event)
        streams.add(event.stream)
        size += len(event.state)
    if batch:
        yield batch


def _encoded(event: Recorded[Any]) -> EncodedEvent:
    event_id = event_id_of(event.state) or str(event.event_id)
    return EncodedEvent(event_id, event.type, event.timestamp_text, event.state)


def _copy_refusals(source: Log, target: Log) -> int:
    """Remember in the target what the source remembers; gives how many that are."""
    if not isinstance(source, RefusalStore) or not isinstance(target, RefusalStore):
        return 0
    count = 0
    refusals = source.all_refusals()
    while batch := list(islice(refusals, BATCH_EVENTS)):
        target.remember_refusals(batch)
        count += len(batch)
    return count
