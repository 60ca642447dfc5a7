"""Processes that write to and follow a DynamoDB log, killed again and again: nothing is lost."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.dynamodb import DynamoDBPlace
from tests.integration.dynamodb_race import Race
from tests.integration.races import lose_race
from tests.property.stores.dynamodb_promises import Violation

pytestmark = [pytest.mark.dynamodb, pytest.mark.slow]


def test_nothing_is_lost_doubled_or_late_whoever_is_killed(
    dynamodb: DynamoDBPlace, tmp_path: Path
) -> None:
    outcome = Race(dynamodb, tmp_path, commits=100).run()

    assert outcome.commits >= 100
    assert outcome.kills["write"] > 0
    assert outcome.tombstones > 0


@pytest.mark.parametrize("mutant", ["skips holes", "no conditions"])
def test_the_same_race_finds_a_bug(dynamodb: DynamoDBPlace, tmp_path: Path, mutant: str) -> None:
    def race(number: int) -> None:
        place = replace(dynamodb, prefix=f"{dynamodb.prefix}{number}-")
        folder = tmp_path / str(number)
        folder.mkdir()
        Race(
            place, folder, commits=60, faults=0.2, kill_seconds=30.0, mutant=mutant, seed=number
        ).run()

    lose_race(race, Violation)
