"""The race of ``tests/integration/test_projections_race.py``, long: ``make soak-projections``.

200,000 events of five writers on SQLite and on Postgres, and 5,000 on DynamoDB Local, which keeps
its tables in memory of one process. Fails if the rows are not those of one pass by plain Python, or
a reader saw a table missing, half of a model replaced, or a row going back.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dynamodb import CREDENTIALS, DynamoDBPlace
from tests.dynamodb_local import LocalServer
from tests.integration.projections_race import Plan, Race
from tests.postgres import store_url
from tests.postgres_cluster import Cluster, remove

EVENTS = {"sqlite": 200_000, "postgres": 200_000, "dynamodb": 5_000}
WRITING_EVENTS_PER_SECOND = {"sqlite": 1_000, "postgres": 1_000, "dynamodb": 50}
POISON_EACH = {"sqlite": 1_000_000, "postgres": 1_000_000, "dynamodb": 2}
"""A swap on DynamoDB takes what is parked along in one transaction, which holds 100 actions."""
RACE_SECONDS_MAX = 3_600.0


@contextmanager
def place_on(backend: str, folder: Path) -> Iterator[str]:
    """URL of an empty place."""
    match backend:
        case "sqlite":
            yield f"sqlite:///{folder / 'race.db'}?synchronous=normal"
        case "postgres":
            home = Path(tempfile.mkdtemp(prefix="eventcore-postgres-soak-"))
            try:
                cluster = Cluster(home, os.getpid(), max_wal_size="4GB")
                cluster.start()
                yield store_url(cluster.url, "race")
            finally:
                remove(home)
        case _:
            server = LocalServer(os.getpid())
            try:
                yield DynamoDBPlace(url=server.url, prefix="soak-").store_url
            finally:
                server.stop()


def main() -> None:
    """Hold one long race on each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", action="append", choices=EVENTS, help="all by default")
    parser.add_argument("--events", type=int, help=f"by default {EVENTS}")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # Before the first process: all others are forked from one that keeps the environment it has.
    os.environ.update({name: os.environ.get(name, value) for name, value in CREDENTIALS.items()})
    for backend in options.on or EVENTS:
        events = options.events or EVENTS[backend]
        plan = Plan(
            events=events,
            writing_seconds=max(10.0, events / WRITING_EVENTS_PER_SECOND[backend]),
            seconds_max=RACE_SECONDS_MAX,
            poison_each=POISON_EACH[backend],
            seed=options.seed,
        )
        with tempfile.TemporaryDirectory() as folder, place_on(backend, Path(folder)) as url:
            told = Path(folder) / "told"
            told.mkdir()
            outcome = Race(url, told, plan).run()
        steps = ", ".join(f"{step} at {events:,}" for step, events in outcome.steps)
        sys.stdout.write(
            f"{backend}: {outcome.events:,} events, {outcome.seconds:,.0f} s; {steps}; "
            f"{outcome.killed} workers killed and {outcome.stopped} stopped beyond their lease; "
            f"{outcome.parked:,} events were parked; {outcome.polls:,} polls; "
            "rows as of one pass, nothing missing, nothing back\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
