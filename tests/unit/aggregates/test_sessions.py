"""The rules of a session."""

from __future__ import annotations

import pytest

from eventcore.aggregates import Session, SessionStatus
from eventcore.errors import RuleViolationError

ACTIONS = {
    "track": lambda session: session.track(action="click", target="/", details={"x": 1}),
    "end": lambda session: session.end(reason="timeout"),
}


def test_a_session_starts_counts_and_ends():
    session = Session(id="s-1")

    session.start(user_id="u-1")
    session.track(action="view")
    session.track(action="view")
    assert session.status is SessionStatus.STARTED
    session.end()

    assert session == Session(
        id="s-1", version=4, status=SessionStatus.ENDED, user_id="u-1", activities=2
    )


def test_a_session_may_be_anonymous():
    session = Session(id="s-1")

    session.start()

    assert session.user_id is None


@pytest.mark.parametrize("name", ACTIONS)
def test_nothing_happens_in_a_session_that_was_not_started(name):
    with pytest.raises(RuleViolationError) as refused:
        ACTIONS[name](Session(id="s-1"))

    assert refused.value.reason == "not-found"


@pytest.mark.parametrize("name", ACTIONS)
def test_nothing_follows_the_end(name):
    session = Session(id="s-1")
    session.start()
    session.end()

    with pytest.raises(RuleViolationError) as refused:
        ACTIONS[name](session)

    assert refused.value.reason == "session-ended"
    assert session.version == 2


@pytest.mark.parametrize("ended", [True, False])
def test_a_session_starts_once(ended):
    session = Session(id="s-1")
    session.start()
    if ended:
        session.end()

    with pytest.raises(RuleViolationError) as refused:
        session.start()

    assert refused.value.reason == "already-exists"
