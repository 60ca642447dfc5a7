"""The rules of a user: exactly these reason codes."""

from __future__ import annotations

import pytest

from eventcore.aggregates import Claim, User, UserStatus
from eventcore.errors import RuleViolationError
from eventcore.events.catalogue import UserClosed, UserEmailChanged, UserRegistered


def registered(**facts: str) -> User:
    user = User(id="u-1")
    user.register(**{"email": "ada@example.com", **facts})
    return user


def test_a_registered_user_is_active_and_has_what_was_given():
    user = registered(first_name="Ada", last_name="Lovelace", registration_source="web")

    assert user == User(
        id="u-1",
        version=1,
        status=UserStatus.ACTIVE,
        email="ada@example.com",
        first_name="Ada",
        last_name="Lovelace",
        registration_source="web",
    )


def test_a_profile_update_replaces_only_the_names_that_are_given():
    user = registered(first_name="Ada", last_name="Byron")

    user.update_profile(last_name="Lovelace")

    assert (user.first_name, user.last_name) == ("Ada", "Lovelace")


def test_an_active_user_is_suspended_and_reactivated():
    user = registered()

    user.suspend(reason="unpaid")
    suspended = user.copy()
    user.reactivate()

    assert suspended.status is UserStatus.SUSPENDED
    assert user.status is UserStatus.ACTIVE


@pytest.mark.parametrize("suspended", [True, False])
def test_a_user_is_closed_whether_active_or_suspended(suspended):
    user = registered()
    if suspended:
        user.suspend()

    user.close()

    assert user.status is UserStatus.CLOSED


ACTIONS = {
    "update_profile": lambda user: user.update_profile(first_name="A"),
    "change_email": lambda user: user.change_email(email="b@example.com"),
    "suspend": lambda user: user.suspend(),
    "reactivate": lambda user: user.reactivate(),
    "close": lambda user: user.close(),
}


def refusal(action, aggregate) -> str:
    before = aggregate.copy()
    with pytest.raises(RuleViolationError) as refused:
        action(aggregate)
    assert aggregate == before
    assert aggregate.pending == before.pending
    assert refused.value.aggregate == aggregate.stream
    return refused.value.reason


@pytest.mark.parametrize("name", ACTIONS)
def test_nothing_happens_to_a_user_that_does_not_exist(name):
    assert refusal(ACTIONS[name], User(id="u-1")) == "not-found"


@pytest.mark.parametrize("name", ACTIONS)
def test_nothing_happens_to_a_closed_user(name):
    user = registered()
    user.close()

    assert refusal(ACTIONS[name], user) == "user-closed"


@pytest.mark.parametrize("closed", [True, False])
def test_a_user_is_registered_once(closed):
    user = registered()
    if closed:
        user.close()

    assert refusal(lambda u: u.register(email="c@example.com"), user) == "already-exists"


def test_a_suspended_user_is_not_suspended_again():
    user = registered()
    user.suspend()

    assert refusal(ACTIONS["suspend"], user) == "invalid-transition"


def test_an_active_user_is_not_reactivated():
    assert refusal(ACTIONS["reactivate"], registered()) == "invalid-transition"


@pytest.mark.parametrize("email", ["no-at-sign", "a@", "@example.com", "a b@example.com", "a@b..c"])
def test_a_text_that_is_no_address_is_refused_on_registering_and_on_changing(email):
    assert refusal(lambda user: user.register(email=email), User(id="u-1")) == "invalid-email"
    assert refusal(lambda user: user.change_email(email=email), registered()) == "invalid-email"


def test_a_refusal_does_not_show_the_address():
    with pytest.raises(RuleViolationError) as refused:
        User(id="u-1").register(email="secret@@example.com")

    assert "secret" not in str(refused.value)


def test_a_user_claims_its_address_without_case_until_it_is_closed():
    user = registered(email=" Ada@Example.COM ")
    assert user.email == "Ada@Example.COM"
    assert user.claims() == {Claim("email", "ada@example.com", reason="email-taken")}

    user.suspend()
    assert user.claims() == {Claim("email", "ada@example.com", reason="email-taken")}
    user.close()

    assert user.claims() == frozenset()


def test_a_claim_does_not_show_its_value():
    assert "ada" not in repr(registered().claims())


def test_an_event_of_another_user_is_refused():
    user = User(id="u-1")
    event = UserRegistered(user_id="u-2", email="ada@example.com")

    assert refusal(lambda u: u.record(event), user) == "id-mismatch"


def test_history_that_today_s_rules_would_refuse_still_folds():
    user = User(id="u-1").fold(
        [
            UserClosed(user_id="u-1"),
            UserRegistered(user_id="u-1", email="not an address"),
            UserRegistered(user_id="u-1", email="x"),
            UserClosed(user_id="u-1"),
            UserEmailChanged(user_id="u-1", email="y"),
        ]
    )

    assert (user.version, user.status, user.email) == (5, UserStatus.CLOSED, "y")
