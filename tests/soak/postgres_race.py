"""The race of ``tests/integration/test_postgres_races.py``, long: ``make soak``.

Fails if a follower missed an event, saw one twice, out of order, or one that was rolled back, or
if the naive follower, which has to miss some, missed none.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.integration.postgres_race import EXACT, Outcome, Plan, Race
from tests.postgres_cluster import Cluster, programs_version, remove

EVENTS = 1_000_000
RUNS = 3
WRITERS = 16
RUN_SECONDS_MAX = 3_600.0


def hold(plan: Plan) -> tuple[Outcome, str]:
    """Hold one race on a new server; also gives the server's version."""
    folder = Path(tempfile.mkdtemp(prefix="eventcore-postgres-soak-"))
    try:
        with tempfile.TemporaryDirectory() as files:
            cluster = Cluster(folder, os.getpid(), max_wal_size="4GB")
            cluster.start()
            return Race(cluster, Path(files), plan).run(), programs_version(cluster.programs)
    finally:
        remove(folder)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(outcome: Outcome, seconds: float) -> bool:
    """Print what happened; whether all was as it has to be."""
    say(
        f"{outcome.committed:,} events, {outcome.gaps:,} gaps, {seconds:,.0f} s, "
        f"{outcome.committed / seconds:,.0f} events/s; "
        f"{outcome.servers_killed} servers, {outcome.backends_terminated} backends and "
        f"{outcome.followers_killed} followers killed; "
        f"acknowledged and lost {outcome.lost}, stored and unknown {outcome.unknown}"
    )
    say(f"  {'follower':<10}{'missed':>10}{'doubled':>10}{'disordered':>12}{'rolled back':>13}")
    for name, verdict in outcome.verdicts.items():
        missed, doubled, disordered, phantom = verdict
        say(f"  {name:<10}{missed:>10,}{doubled:>10,}{disordered:>12,}{phantom:>13,}")
    naive = outcome.verdicts["naive"]
    exact = [verdict for name, verdict in outcome.verdicts.items() if name != "naive"]
    return (
        all(verdict == EXACT for verdict in exact)
        and naive.missed > 0
        and outcome.lost == outcome.unknown == 0
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    logging.disable()
    plan = Plan(
        writers=WRITERS,
        events_each=-(-arguments.events // WRITERS),
        batch_events_max=20,
        server_kills=3,
        seconds_max=RUN_SECONDS_MAX,
    )
    is_good = True
    for number in range(1, arguments.runs + 1):
        started = time.monotonic()
        outcome, version = hold(plan)
        say(f"run {number} of {arguments.runs}, Postgres {version}, {WRITERS} writers")
        is_good &= tell(outcome, time.monotonic() - started)
    say("every event once, in order" if is_good else "FAILED")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
