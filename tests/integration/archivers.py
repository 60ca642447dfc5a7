"""What a child process of the tests runs: archives a log, or trims it, until it is killed.

``python -m tests.integration.archivers LOG FOLDER archive|trim FIRST``, the log a file or a
store's URL, and FIRST how many steps of trimming are passed over, since others did them. It says on
standard output when a step begins, and takes one for each line of its standard input.
"""

import sys

from eventcore.lake.archiving import Archiver, SegmentLimits
from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.opening import open_log
from eventcore.stores.sqlite.log import SQLiteLog
from tests.archived import trim_until

SEGMENT_EVENTS = 60
"""That an archiver takes in a step."""

STEP_EVENTS = 100
"""That a trim is about in a step."""


def main(place: str, folder: str, *work: str) -> None:
    log = open_log(place) if "://" in place else SQLiteLog(place)
    archive = open_archive(folder)
    if work[0] == "archive":
        begin_step()
        archiver = Archiver(archive, limits=SegmentLimits(events_max=SEGMENT_EVENTS))
        archiver.run(log, on_segment=lambda _: begin_step())
    else:
        for until in range(STEP_EVENTS * (int(work[1]) + 1), archive.until, STEP_EVENTS):
            begin_step()
            trim_until(ArchivedLog(archive, log), until)
    log.close()


def begin_step() -> None:
    """Wait until there may be one more, and say that it begins."""
    sys.stdin.readline()
    sys.stdout.write("step\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
