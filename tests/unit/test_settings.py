"""Settings: from a URL and the environment, and clear refusals of what is wrong."""

from __future__ import annotations

import dataclasses

import pytest

from eventcore.errors import ConfigurationError
from eventcore.settings import Settings, StoreLocation, parse_store_url


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("memory://", StoreLocation("memory")),
        ("sqlite:///shop.db", StoreLocation("sqlite", "shop.db")),
        ("sqlite:///data/shop.db", StoreLocation("sqlite", "data/shop.db")),
        ("sqlite:////var/shop.db", StoreLocation("sqlite", "/var/shop.db")),
        ("sqlite:///a%20b%23.db", StoreLocation("sqlite", "a b#.db")),
        (
            "sqlite:///shop.db?synchronous=normal&create=no",
            StoreLocation("sqlite", "shop.db", "NORMAL", create=False),
        ),
        (
            "sqlite:///shop.db?synchronous=FULL&create=yes",
            StoreLocation("sqlite", "shop.db", "FULL", create=True),
        ),
    ],
)
def test_a_url_says_where_and_how(url, location):
    assert parse_store_url(url) == location


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("mysql://db", "memory://, sqlite:///relative.db"),
        ("shop.db", "sqlite:///relative.db"),
        ("sqlite:shop.db", "sqlite:///relative.db"),
        ("", "memory://"),
        ("sqlite://", "sqlite:///shop.db"),
        ("sqlite:///", "sqlite:///shop.db"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite://shop.db", "three slashes"),
        ("sqlite:///a#b", "%23"),
        ("memory:///name", "no path"),
        ("memory://?create=no", "no option 'create'. Known: none"),
        ("sqlite:///a?mode=ro", "Known: synchronous, create"),
        ("sqlite:///a?create=maybe", "one of yes, no"),
        ("sqlite:///a?synchronous=off", "one of full, normal"),
        ("sqlite://[::1", "sqlite:///relative.db"),
        ("sqlite://u:secret@[::1/x", "sqlite:///relative.db"),
        ("postgresql://u:secret@db/x", "pip install 'eventcore-es[postgres]'"),
        ("postgres://u:secret@db/x", "pip install 'eventcore-es[postgres]'"),
        ("dynamodb://TABLE", "pip install 'eventcore-es[dynamodb]'"),
    ],
)
def test_a_url_that_is_not_understood_is_refused_with_what_would_be(url, hint):
    with pytest.raises(ConfigurationError) as refused:
        Settings(store=url)

    assert hint in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_wrong_url_of_the_views_is_refused_too():
    with pytest.raises(ConfigurationError):
        Settings(views="mysql://db")


def test_settings_have_defaults():
    assert Settings.load(environ={}) == Settings(
        store="sqlite:///eventcore.db",
        views=None,
        environment=None,
        region=None,
        source=None,
        reservation_key=b"",
    )


def test_settings_come_from_the_environment_and_arguments_win():
    environ = {
        "EVENTCORE_STORE": "sqlite:///a.db",
        "EVENTCORE_VIEWS": "sqlite:///b.db",
        "EVENTCORE_ENVIRONMENT": "test",
        "EVENTCORE_REGION": "eu-west-1",
        "AWS_REGION": "us-east-1",
        "EVENTCORE_SOURCE": "shop",
        "EVENTCORE_RESERVATION_KEY": "k",
    }

    assert Settings.load(environ=environ, store="memory://") == Settings(
        store="memory://",
        views="sqlite:///b.db",
        environment="test",
        region="eu-west-1",
        source="shop",
        reservation_key=b"k",
    )


def test_an_empty_variable_is_absent_and_the_region_falls_back_to_aws():
    environ = {"EVENTCORE_STORE": "", "EVENTCORE_REGION": "", "AWS_REGION": "us-east-1"}

    settings = Settings.load(environ=environ)

    assert (settings.store, settings.region) == ("sqlite:///eventcore.db", "us-east-1")


def test_the_reservation_key_is_never_shown():
    assert "hidden" not in repr(Settings(reservation_key=b"hidden"))


def test_settings_never_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().store = "memory://"  # type: ignore[misc]  # that is the point
