"""A nightly job: archive the log, move what is old out of it, and say what was done.

    python examples/nightly_archive.py --store sqlite:///shop.db --archive s3://bucket/lake

Run it by cron or a timer. It may be killed at any moment and run twice at once. Streams that went
quiet before anybody saved a state of their aggregate get one here. It ends with one JSON object,
and with status 1 if something needs a person: old events that cannot leave, of types that are not
known here.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

from eventcore import open_app
from eventcore.aggregates import aggregate_class_of
from eventcore.app import App
from eventcore.errors import EventCoreError
from eventcore.lake.archiving import Archiver
from eventcore.lake.reading import Archive, open_archive
from eventcore.lake.retention import Retention
from eventcore.stores.log import store_of

DAYS = 90
"""How long events stay in the log at least."""


def old_streams(app: App, archive: Archive, before: datetime) -> Iterator[str]:
    """Streams of aggregates with old events, each once."""
    seen = set[str]()
    for event in archive.read(codec=app.log.codec):
        if event.timestamp >= before:
            return
        if event.stream not in seen and aggregate_class_of(event.category):
            seen.add(event.stream)
            yield event.stream


def save_states(app: App, streams: Iterator[str]) -> int:
    """Save the state of each; gives how many."""
    saved = 0
    for stream in streams:
        category, _, id_ = stream.partition("-")
        cls = aggregate_class_of(category)
        assert cls is not None
        app.save_snapshot(cls, id_)
        saved += 1
    return saved


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", required=True, help="URL of the log")
    parser.add_argument("--archive", required=True, help="folder, or s3://bucket/prefix")
    parser.add_argument("--days", type=int, default=DAYS, help="how long events stay in the log")
    arguments = parser.parse_args()
    try:
        archive = open_archive(arguments.archive)
        with open_app(arguments.store) as app:
            archived = Archiver(archive).run(app.log)
        # With its archive: states of streams whose beginning has left are folded from it.
        with open_app(arguments.store, archive=arguments.archive) as app:
            before = app.now() - timedelta(days=arguments.days)
            first = Retention(archive, store_of(app.log)).trim(before=before)
            saved = 0
            if first.kept.get("no-snapshot"):
                saved = save_states(app, old_streams(app, archive, before))
            report = Retention(archive, store_of(app.log)).trim(before=before) if saved else first
    except EventCoreError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        return 1
    left = {reason: count for reason, count in report.kept.items() if reason != "recent"}
    print(
        json.dumps(
            {
                "archived": archived.events,
                "until": archived.until,
                "saved_states": saved,
                "trimmed": first.trimmed + (report.trimmed if saved else 0),
                "kept": left,
            }
        )
    )
    return 1 if left.get("unknown") else 0


if __name__ == "__main__":
    sys.exit(main())
