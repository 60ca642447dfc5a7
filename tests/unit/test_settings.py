"""Settings: from a URL and the environment, and clear refusals of what is wrong."""

from __future__ import annotations

import dataclasses

import pytest

from eventcore.errors import ConfigurationError
from eventcore.settings import (
    Settings,
    StoreLocation,
    parse_store_url,
    without_creating,
    without_password,
)


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
        (
            "postgresql://u:p%40w@db:5433/shop?sslmode=require&application_name=a%20b",
            StoreLocation(
                "postgresql",
                conninfo="postgresql://u:p%40w@db:5433/shop?sslmode=require&application_name=a%20b",
            ),
        ),
        ("postgres://db/shop", StoreLocation("postgresql", conninfo="postgresql://db/shop")),
        (
            "postgresql:///shop?host=/var/run/postgresql&schema=sales",
            StoreLocation(
                "postgresql",
                conninfo="postgresql:///shop?host=%2Fvar%2Frun%2Fpostgresql",
                schema="sales",
            ),
        ),
        ("postgresql://", StoreLocation("postgresql", conninfo="postgresql://")),
        (
            "postgresql://db/x?schema=sales&create=no&notify=no&prepare=no&pool=3&sslmode=require",
            StoreLocation(
                "postgresql",
                create=False,
                conninfo="postgresql://db/x?sslmode=require",
                schema="sales",
                notify=False,
                prepare=False,
                pool=3,
            ),
        ),
        ("dynamodb://shop-log", StoreLocation("dynamodb", table="shop-log")),
        (
            "dynamodb://Shop_Log.v1?region=eu-west-1&endpoint_url=http%3A%2F%2Flocalhost%3A8000"
            "&prefix=orders&create=no",
            StoreLocation(
                "dynamodb",
                create=False,
                table="Shop_Log.v1",
                region="eu-west-1",
                endpoint_url="http://localhost:8000",
                prefix="orders",
            ),
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
        ("postgresql:/shop", "postgresql://user:password@host/database"),
        ("postgresql://u:secret@db/x#y", "%23"),
        ("postgresql://u:secret@db/x?create=maybe", "one of yes, no"),
        ("postgresql://u:secret@db/x?schema=", "1 to 63 bytes"),
        ("postgresql://u:secret@db/x?schema=pg_mine", "belongs to Postgres"),
        ("postgresql://u:secret@db/x?pool=0", "number of connections"),
        ("postgresql://u:secret@db/x?pool=many", "number of connections"),
        ("dynamodb:/table", "dynamodb://table?region=name"),
        ("dynamodb://", "needs a table's name"),
        ("dynamodb://a b", "needs a table's name"),
        ("dynamodb://table/key", "a table and options only"),
        ("dynamodb://table?prefix=a%23b", "prefix has 1 to 64"),
        ("dynamodb://table?create=maybe", "one of yes, no"),
        ("dynamodb://table?profile=x", "Known: region, endpoint_url, prefix, create"),
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


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:s3cret@db:5432/shop", "postgresql://ada:***@db:5432/shop"),
        ("postgresql://ada@db/shop", "postgresql://ada@db/shop"),
        (
            "postgresql://db/shop?password=s3cret&schema=x",
            "postgresql://db/shop?password=***&schema=x",
        ),
        (
            "postgresql:///shop?host=/run&password=s3cret",
            "postgresql:///shop?host=%2Frun&password=***",
        ),
        ("sqlite:///shop.db", "sqlite:///shop.db"),
    ],
)
def test_a_password_is_never_shown(url, shown):
    settings = Settings(store=url, views=url)

    assert without_password(url) == shown
    assert "s3cret" not in repr(settings)
    assert shown in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:///a%3Fb.db", "sqlite:///shop.db?create=yes", "postgres://u:p%40@db/shop"),
        "postgresql:///shop?create=yes&host=/run&options=-c%20a%3Db",
    ],
)
def test_one_who_only_looks_creates_nothing_whatever_the_url_says(url):
    assert parse_store_url(without_creating(url)) == parse_store_url(url)._replace(create=False)


def test_one_who_only_looks_opens_a_store_in_memory_as_it_is():
    assert without_creating("memory://") == "memory://"
