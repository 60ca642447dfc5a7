"""How much memory following takes: a subscriber, and the runner of all eight read models.

Each is a process of its own that follows a log while another process writes it, from the first
event to the last, and reports its peak resident memory on the way. Constant memory means that the
second half of the events costs next to nothing.

    python -m benchmarks.bench_follow [--events N]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from benchmarks.bench_projections import FAMILIES, append_batch, shop
from benchmarks.measuring import Figure, arguments, report
from eventcore.events.recorded import EncodedEvent
from eventcore.projections import ProjectionRunner, built_in_projections
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.sqlite.log import SQLiteLog

BATCH_EVENTS = 2_000
GROWTH_MAX = 1.1
"""Peak at the end over the peak half-way: a tenth is left for caches and fragmentation."""


class Marks:
    """Prints the peak resident memory of this process half-way and at the end."""

    def __init__(self, count: int) -> None:
        self._waiting = [count // 2, count]
        self.done = threading.Event()

    def __call__(self, position: int) -> None:
        while self._waiting and position >= self._waiting[0]:
            del self._waiting[0]
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
        if not self._waiting:
            self.done.set()


def subscribe(log: SQLiteLog, count: int) -> None:
    """Read every event as it comes, payload and all."""
    mark = Marks(count)
    with log.subscribe() as subscription:
        for event in subscription:
            assert event.payload is not None
            mark(event.position)
            if mark.done.is_set():
                return


def project(log: SQLiteLog, count: int) -> None:
    """Keep all eight read models, in a file of their own."""
    mark = Marks(count)
    views = SQLiteViews(log.connections.path.with_suffix(".views"))
    ProjectionRunner(
        log, views, built_in_projections(), on_page=lambda _applied, end: mark(end)
    ).follow(mark.done)
    views.close()


FOLLOWERS = {"a subscriber": subscribe, "all eight read models": project}


def write(file: Path, count: int) -> None:
    """Fill the log, as a shop would."""
    log = SQLiteLog(file, synchronous="NORMAL")
    batch: dict[str, list[EncodedEvent]] = {}
    for made, (stream, encoded) in enumerate(shop(count, FAMILIES), start=1):
        batch.setdefault(stream, []).append(encoded)
        if made % BATCH_EVENTS == 0 or made == count:
            append_batch(log, batch)
            batch = {}
    log.close()


def main() -> None:
    """Start the followers, then write; or be a follower."""
    if "--follow" in sys.argv:
        _, _, name, path, count = sys.argv
        log = SQLiteLog(path)
        FOLLOWERS[name](log, int(count))
        log.close()
        return
    options = arguments(__doc__ or "", events=1_000_000)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shop.db"
        SQLiteLog(file).close()
        followers = {
            name: subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchmarks.bench_follow"),
                    *("--follow", name, str(file), str(options.events)),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in FOLLOWERS
        }
        write(file, options.events)
        for name, process in followers.items():
            out, _ = process.communicate()
            half, end = map(float, out.split())
            figures += [
                Figure(f"{name}: peak half-way", half, "MiB"),
                Figure(f"{name}: peak at the end", end, "MiB"),
                Figure(f"{name}: end over half-way", end / half, "x", GROWTH_MAX, at_least=False),
            ]
    report(f"memory of followers, {options.events:,} events", figures)


if __name__ == "__main__":
    main()
