"""Logs with a history in them, for the tests of archives."""

from datetime import timedelta
from pathlib import Path

from eventcore.lake.archiving import Archiver, ArchiveReport, SegmentLimits
from eventcore.lake.reading import Archive, open_archive
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend
from eventcore.testing import EventMaker
from eventcore.testing.scenarios import START

TYPES = ("order.created", "user.registered", "system.health_check", "parcel.sent")
STREAMS = tuple(f"{category}-{number}" for number in range(6) for category in ("order", "user"))


def fill(log: Log, count: int, *, make: EventMaker | None = None, hours: int = 5) -> None:
    """Append so many events to a few streams, each so many hours after the one before."""
    make = make or EventMaker()
    first = log.head()
    for number in range(first, first + count):
        event = make(
            TYPES[number % len(TYPES)],
            at=START + timedelta(hours=number * hours),
            data={"number": number, "text": "é" * (number % 7)},
        )
        log.append([StreamAppend(STREAMS[number * 5 % len(STREAMS)], ANY_VERSION, [event])])


def archived(log: Log, folder: Path | str, *, events_max: int = 10, shards: int = 3) -> Archive:
    """An archive of all that the log has, in segments of so many events."""
    archive = open_archive(str(folder))
    run(archive, log, events_max=events_max, shards=shards)
    return archive


def run(
    archive: Archive, log: Log, *, events_max: int = 10, shards: int | None = None
) -> ArchiveReport:
    """Archive what is new."""
    return Archiver(archive, shards=shards, limits=SegmentLimits(events_max=events_max)).run(log)


def contents(folder: Path) -> dict[str, bytes]:
    """Every published file of an archive in a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "_temporary" not in path.parts
    }
