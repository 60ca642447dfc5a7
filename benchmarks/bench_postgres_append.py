"""Appends from one process on Postgres, beside ``eventsourcing`` and beside plain psycopg.

Like is compared with like: with ``app.save`` of the base library an append for which eventcore
makes each event and encodes it; with its recorder and with plain psycopg, which are handed bytes
that were made before, an append of such bytes. All sides take turns, round by round, on a server of
their own with default settings (a commit is flushed to disk), each in a schema of its own. Each
thread appends to one stream of its own.

    python -m benchmarks.bench_postgres_append [--rounds N] [--milliseconds N]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import count

from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from benchmarks.postgres_server import new_schema, server, settle, version
from benchmarks.postgres_writers import Appending, AppendingBytes, AppSaving, Side, case
from benchmarks.rivals_eventsourcing import (
    OURS,
    THEIRS,
    Inserting,
    Saving,
    SavingStructs,
    environment,
)
from benchmarks.rivals_psycopg import PlainInserts

EVENTCORE = "eventcore"
BYTES = "eventcore, bytes made before"
APP = "eventcore, App.save of an aggregate"
MODULE = "eventsourcing app.save on eventcore's persistence module"
SAVE = "eventsourcing app.save, default"
STRUCTS = "eventsourcing app.save, msgspec as documented"
RECORDER = "eventsourcing recorder, bytes made before"
FUNCTIONS = "eventsourcing with DB functions (loses events, no rival)"
PLAIN = "plain psycopg, as many indexes"
PLAIN_TWO = "plain psycopg, two indexes"

SETTINGS = {
    "16 threads, single events": (16, 1, {SAVE: 12.0, RECORDER: 12.0, PLAIN: 1.5}),
    "one thread, single events": (1, 1, {SAVE: 3.0, RECORDER: 3.0, PLAIN: 0.75}),
    "4 threads, 10 events each": (4, 10, {SAVE: 4.0, RECORDER: 4.0, PLAIN: 0.8}),
}
"""Threads, events an append, and how many times faster than which side eventcore has to be."""

COMPARED = {
    SAVE: EVENTCORE,
    STRUCTS: EVENTCORE,
    RECORDER: BYTES,
    PLAIN: BYTES,
    PLAIN_TWO: BYTES,
}
"""Each rival, and which side of ours does the same work."""


def open_sides(url: str, stack: ExitStack) -> dict[str, Side]:
    """Every side, each on a schema of its own."""
    schemas = (f"side_{number}" for number in count())

    def environ(module: str = THEIRS, **options: str) -> dict[str, str]:
        return environment(url, new_schema(url, next(schemas)), module, **options)

    ours = Appending(url, new_schema(url, next(schemas)))
    sides: dict[str, Side] = {
        EVENTCORE: ours,
        SAVE: Saving(environ()),
        PLAIN: PlainInserts(url, next(schemas)),
        BYTES: AppendingBytes(ours.log),
        APP: AppSaving(ours.log),
        MODULE: Saving(environ(module=OURS)),
        STRUCTS: SavingStructs(environ()),
        RECORDER: Inserting(environ()),
        FUNCTIONS: Saving(environ(POSTGRES_ENABLE_DB_FUNCTIONS="y")),
        PLAIN_TWO: PlainInserts(url, next(schemas), event_id_index=False),
    }
    for side in sides.values():
        stack.enter_context(closing(side))
    return sides


def measure(url: str, rounds: int, seconds: float) -> list[Figure]:
    figures = []
    with ExitStack() as stack:
        sides = open_sides(url, stack)
        for title, (threads, events, targets) in SETTINGS.items():
            settle(url)
            cases: dict[str, Callable[[], float]] = {
                name: case(side, threads=threads, events=events, seconds=seconds)
                for name, side in sides.items()
            }
            found = interleaved(cases, rounds)
            figures += [
                ratio(f"{title}: over {name}", found[mine], found[name], targets.get(name))
                for name, mine in COMPARED.items()
            ]
            figures += [
                ratio(f"{title}: made and encoded, over {PLAIN}", found[EVENTCORE], found[PLAIN]),
                ratio(f"{title}: App.save of an aggregate, over {SAVE}", found[APP], found[SAVE]),
            ]
            figures += [rate(f"{title}: {name}", values) for name, values in found.items()]
    return figures


def main() -> None:
    """Measure on a fresh server."""
    warnings.simplefilter("ignore")
    options = arguments(__doc__ or "", rounds=5, milliseconds=600)
    with server() as url:
        figures = measure(url, options.rounds, options.milliseconds / 1000)
        title = f"appends from one process, Postgres {version(url)}"
    report(title, figures)


if __name__ == "__main__":
    main()
