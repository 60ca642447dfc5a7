"""Writers, workers that die, rebuilds and readers at once: the rows of one pass, and no gaps."""

from dataclasses import replace

import pytest

from tests.integration.projections_race import Plan, Race, ViolationError
from tests.integration.races import lose_race

PLAN = Plan(events=3_000, writing_seconds=10.0)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'race.db'}?synchronous=normal"
    return str(request.getfixturevalue("postgres_schema").store_url)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "told"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_rows_are_those_of_one_pass_and_readers_never_see_them_half_made_or_going_back(url, folder):
    outcome = Race(url, folder, PLAN).run()

    assert outcome.events >= PLAN.events
    assert (outcome.killed, outcome.stopped) == (PLAN.kills, PLAN.stops)
    assert [step for step, _ in outcome.steps] == [
        "rebuilt race_accounts",
        "rebuilt race_orders",
        "rolled back race_accounts",
    ]
    assert outcome.parked > 1
    assert outcome.polls > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        ("unfenced", r"went back|other events|not as expected|is gone"),
        ("swap in two steps", r"no such table: race_accounts|race_accounts \w+ is gone"),
    ],
)
def test_a_worker_that_is_not_fenced_and_a_swap_in_two_steps_lose_the_race(
    tmp_path, folder, *, mutant, words
):
    def race(number):
        place = folder / str(number)
        place.mkdir()
        url = f"sqlite:///{tmp_path / f'race{number}.db'}?synchronous=normal"
        Race(url, place, replace(PLAN, mutant=mutant, seed=number)).run()

    lose_race(race, ViolationError, words)
