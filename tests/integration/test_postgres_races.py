"""Sixteen writer processes on one Postgres log, and everything that can go wrong meanwhile."""

import pytest

from tests.integration.postgres_race import EXACT, Plan, Race
from tests.integration.postgres_racing import WIDE_EVENTS

PLAN = Plan(events_each=250, batch_events_max=4, server_kills=1, seconds_max=120.0)


@pytest.mark.postgres
@pytest.mark.slow
def test_followers_see_every_event_once_in_order_and_a_naive_one_fails_the_same_race(
    own_postgres, tmp_path
):
    # One test: a race is too long to be run once for each sentence about it.
    outcome = Race(own_postgres(), tmp_path, PLAN).run()

    naive = outcome.verdicts["naive"]
    assert naive.missed > 0
    assert dict(outcome.verdicts) == {
        "steady": EXACT,
        "killed": EXACT,
        "filtered": EXACT,
        "naive": EXACT._replace(missed=naive.missed),
    }
    # What writers were told is stored, and nothing else is.
    assert (outcome.lost, outcome.unknown) == (0, 0)
    assert outcome.committed >= PLAN.writers * PLAN.events_each
    # It was a race.
    assert outcome.gaps > WIDE_EVENTS
    assert outcome.servers_killed == PLAN.server_kills
    assert outcome.backends_terminated > 0
    assert outcome.followers_killed > 0
