"""Retention: what may leave the log, once an archive has it and nothing needs it there.

An event is covered, and may be trimmed, when all of this is true:

- it is in a file of the archive whose SHA-256 was just checked against its manifest;
- it happened before the given time, and so did every older event of its stream;
- it is not the newest event of its stream;
- a saved state of its aggregate, made by the fold as it is now, is newer than it; or no aggregate
  has its stream: its type is known here, belongs to that category, and no aggregate class does.

Everything behind an event that must stay stays as well. A stream whose types are not known here is
kept: it may be an aggregate's of another program.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import eventcore.aggregates  # noqa: F401 - its import declares the built-in ones
from eventcore.aggregates.aggregate import Aggregate, aggregate_class_of
from eventcore.errors import (
    AggregateNotFoundError,
    ConfigurationError,
    TrimmedHistoryError,
    UndecodableEventError,
)
from eventcore.events.recorded import Recorded
from eventcore.events.times import to_text
from eventcore.lake.reading import Archive
from eventcore.lake.rows import gone_among, id_of, recorded_of
from eventcore.stores.log import Log
from eventcore.stores.snapshots import SnapshotStore
from eventcore.stores.trimming import TrimmableLog

SAVED_KEPT_MAX: Final = 65_536
"""Streams whose saved state's version is remembered while an archive is looked at."""


SaveState = Callable[[type[Aggregate], str], int]
"""Saves the state that an aggregate of a class and id has now; gives its version."""


class TrimReport(NamedTuple):
    """What a trim did.

    Attributes:
        trimmed: Events that left the log now.
        already: Events that had left it before.
        kept: Why the others are still there, and how many: ``recent``, ``newest`` of their stream
            or not before its saved state, ``no-snapshot``, ``unknown`` type, ``unreadable`` bytes,
            ``behind`` one that has to stay.
        until: How far the log is trimmed now, 0 if it never was.
    """

    trimmed: int
    already: int
    kept: dict[str, int]
    until: int


@dataclass(slots=True)
class _Look:
    """One look at the whole archive: what was found, and the streams that stay from here on."""

    before: str
    blocked: set[str] = field(default_factory=set)
    trimmed: int = 0
    already: int = 0
    kept: Counter[str] = field(default_factory=Counter)


class Retention:
    """Moves what is covered out of a log.

    Args:
        archive: Made from the log. Its files are checked by SHA-256 as they are read.
        log: A store of this library.
        save: Saves the state of an aggregate, where nothing else keeps its events from leaving:
            ``app.save_snapshot``. None: only what is saved already counts.

    Raises:
        ConfigurationError: From this store nothing can be trimmed.
    """

    def __init__(self, archive: Archive, log: Log, *, save: SaveState | None = None) -> None:
        if not (isinstance(log, TrimmableLog) and isinstance(log, SnapshotStore)):
            raise ConfigurationError(
                message=f"From a {type(log).__name__} nothing can be trimmed: archive it, and keep "
                "its events there as well"
            )
        self._archive = Archive(archive.folder, verify=True)
        self._log: Log = log
        self._door: TrimmableLog = log
        self._snapshots: SnapshotStore = log
        self._save = save
        self._versions: OrderedDict[str, int | None] = OrderedDict()

    def trim(
        self, *, before: datetime, on_batch: Callable[[int], None] | None = None
    ) -> TrimReport:
        """Remove from the log what is covered and happened before a time.

        Broken off and repeated, it goes on. Others may read and write meanwhile. The whole archive
        is looked at, since what had to stay before may be covered now.

        Args:
            before: An aware time.
            on_batch: Called with the position up to which the archive was looked at.

        Raises:
            ArchiveDamagedError: A file is not as it was archived. What was removed before stays
                removed; nothing of that file's segment is.
            ConfigurationError: The log was trimmed further than this archive reaches, into another.
            TrimRefusedError: The log and the archive hold different events.
            StoreUnavailableError: The log or the archive cannot be reached. Run it again.
        """
        self._check_reach()
        look = _Look(to_text(before))
        for batch in self._archive.read_batches():
            events = recorded_of(batch, self._log.codec)
            removable = list(self._covered(events, look))
            look.trimmed += self._door.trim(removable, archive=self._archive.url)
            if on_batch is not None:
                on_batch(events[-1].position)
        record = self._door.trim_record()
        return TrimReport(
            look.trimmed, look.already, dict(look.kept), 0 if record is None else record.until
        )

    def _check_reach(self) -> None:
        """Check that the archive holds all that left the log: it is going to be named for that."""
        record = self._door.trim_record()
        if record is not None and self._archive.until < record.until:
            raise ConfigurationError(
                message=f"The archive {self._archive.url} reaches position {self._archive.until}, "
                f"and the log was trimmed up to {record.until} into {record.archive}: archive "
                "there, or bring this one up to that"
            )

    def _covered(self, events: Sequence[Recorded[Any]], look: _Look) -> Iterator[Recorded[Any]]:
        """Those of a batch's events that may go."""
        gone = gone_among(self._door, events)
        left = [event for event in events if id_of(event) not in gone]
        look.already += len(events) - len(left)
        streams = sorted({event.stream for event in left} - look.blocked)
        newest = self._log.stream_versions(streams)
        for event in left:
            reason = "behind"
            if event.stream not in look.blocked:
                reason = self._reason(event, look, newest[event.stream])
            if not reason:
                yield event
                continue
            look.kept[reason] += 1
            look.blocked.add(event.stream)

    def _reason(self, event: Recorded[Any], look: _Look, newest: int) -> str:
        """Why an event has to stay; empty if it may go."""
        reason = _reason_of_time(event, look.before)
        if reason:
            return reason
        if event.version >= newest:
            return "newest"
        if aggregate_class_of(event.category) is None:
            known = self._log.codec.registry.get(event.type)
            is_known = known is not None and known.__event__.category == event.category
            return "" if is_known else "unknown"
        return self._reason_of_state(event)

    def _reason_of_state(self, event: Recorded[Any]) -> str:
        saved = self._saved(event.stream)
        if self._save is not None and (saved is None or event.version >= saved):
            saved = self._saved_now(event.stream, self._save)
        if saved is None:
            return "no-snapshot"
        return "" if event.version < saved else "newest"

    def _saved_now(self, stream: str, save: SaveState) -> int | None:
        category, _, id_ = stream.partition("-")
        cls = aggregate_class_of(category)
        assert cls is not None
        # What cannot be loaded stays as it is: its saved state is another fold's, and the events
        # it was made from are in the archive alone; or they cannot be read.
        with suppress(TrimmedHistoryError, UndecodableEventError, AggregateNotFoundError):
            save(cls, id_)
        self._versions[stream] = self._find_saved(stream)
        return self._versions[stream]

    def _saved(self, stream: str) -> int | None:
        """Version of a stream's saved state that can be used now; None if there is none."""
        version = self._versions.get(stream, 0)
        if version == 0:
            version = self._versions[stream] = self._find_saved(stream)
            while len(self._versions) > SAVED_KEPT_MAX:
                self._versions.popitem(last=False)
        return version

    def _find_saved(self, stream: str) -> int | None:
        category, _, id_ = stream.partition("-")
        cls, snapshot = aggregate_class_of(category), self._snapshots.load_snapshot(stream)
        if cls is None or snapshot is None or snapshot.fingerprint != cls.fingerprint():
            return None
        try:
            state = cls.from_json(snapshot.state)
        except ValueError:
            return None
        return state.version if (state.id, state.version) == (id_, snapshot.version) else None


def _reason_of_time(event: Recorded[Any], before: str) -> str:
    """Why an event has to stay for what it says of itself; empty if nothing keeps it."""
    if not id_of(event):
        return "unreadable"  # who has no id cannot be known again
    try:
        return "recent" if to_text(event.timestamp) >= before else ""
    except (UndecodableEventError, TypeError, ValueError):
        return "unreadable"
