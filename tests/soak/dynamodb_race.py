"""The race of ``tests/integration/test_dynamodb_torture.py``, long: ``make soak-dynamodb``.

Fails if a follower missed an event, saw one twice or late, or an append is not as it was told.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.dynamodb import CREDENTIALS, DynamoDBPlace
from tests.dynamodb_local import LocalServer
from tests.integration.dynamodb_race import Race

COMMITS = 20_000
RACE_SECONDS_MAX = 7_200.0


def main() -> None:
    """Hold one long race on a new server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=COMMITS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.update({name: os.environ.get(name, value) for name, value in CREDENTIALS.items()})
    server = LocalServer(os.getpid())
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = Race(
                DynamoDBPlace(url=server.url, prefix="soak-"),
                Path(folder),
                commits=options.commits,
                seconds_max=RACE_SECONDS_MAX,
                seed=options.seed,
            ).run()
    finally:
        server.stop()
    sys.stdout.write(
        f"{outcome.commits:,} commits, {outcome.events:,} events, "
        f"{outcome.tombstones:,} tombstones, {outcome.seconds:,.0f} s; "
        f"{outcome.kills['write']} writers and {outcome.kills['follow']} followers killed; "
        "0 missed, 0 doubled, 0 late\n"
    )


if __name__ == "__main__":
    main()
