"""What a child process of the tests runs: archives a log, or trims it, until it is killed.

``python -m tests.integration.archivers LOG FOLDER archive|trim``, the log a file or a store's URL.
"""

import sys

from eventcore.lake.archiving import Archiver, SegmentLimits
from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.opening import open_log
from eventcore.stores.sqlite.log import SQLiteLog
from tests.archived import trim_until

SEGMENT_EVENTS = 60


def main(place: str, folder: str, work: str) -> None:
    log = open_log(place) if "://" in place else SQLiteLog(place)
    archive = open_archive(folder)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if work == "archive":
        Archiver(archive, limits=SegmentLimits(events_max=SEGMENT_EVENTS)).run(log)
    else:
        for until in range(0, archive.until + 1, 100):
            trim_until(ArchivedLog(archive, log), until)
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
