"""Read models of an application in DynamoDB, opened by URL."""

from datetime import UTC, datetime, timedelta

import pytest

from eventcore.app import open_app
from eventcore.commands import RegisterUser
from eventcore.errors import ConfigurationError
from eventcore.projections.dynamodb import DynamoDBViews
from eventcore.projections.read_models import EVENTS, USER_EVENTS, USERS
from eventcore.settings import Settings, parse_store_url
from tests.dynamodb import DynamoDBPlace

pytestmark = pytest.mark.dynamodb


def test_read_models_are_beside_the_log_and_show_its_own_writes(dynamodb: DynamoDBPlace) -> None:
    with open_app(dynamodb.store_url) as app:
        runner = app.runner()
        runner.start()
        result = app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        app.wait_for(result.position)
        runner.stop()

        assert isinstance(app.views, DynamoDBViews)
        assert [row.email for row in app.query(USERS, {"user_id": "u-1"})] == ["ada@example.com"]
        assert app.views.layout(USERS).name == f"{dynamodb.table}-users"
        assert app.views.layout(EVENTS).name == f"{dynamodb.table}-Events"


def test_read_models_in_dynamodb_of_a_log_elsewhere(dynamodb: DynamoDBPlace, tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    settings = Settings(store=url, views=dynamodb.url_of(f"{dynamodb.prefix}views"))
    with open_app(settings=settings) as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        app.runner().run_to_head()

        assert [row.user_id for row in app.query(USERS)] == ["u-1"]
        assert all(one.lag_events == 0 for one in app.runner().status())


@pytest.mark.parametrize(("option", "shown"), [("yes", 0), ("no", 1)])
def test_rows_expire_by_the_clock_of_the_application_unless_the_url_says_no(
    dynamodb: DynamoDBPlace, option: str, shown: int
) -> None:
    # Within the hour DynamoDB Local deletes nothing: the rows are dated by the clock given here.
    now = [datetime.now(UTC)]
    with open_app(dynamodb.url_of(dynamodb.table, ttl=option), clock=lambda: now[0]) as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        app.runner().run_to_head()
        [before] = app.query(EVENTS)

        now[0] += timedelta(days=90, seconds=2)

        assert len(list(app.query(EVENTS, {"event_id": before.event_id}))) == shown
        assert len(list(app.query(USERS))) == 1
        # 365 days.
        assert len(list(app.query(USER_EVENTS, {"user_id": "u-1"}))) == 1


def test_what_is_absent_is_refused_with_create_no(dynamodb: DynamoDBPlace) -> None:
    open_app(dynamodb.store_url).close()

    with (
        open_app(dynamodb.url_of(dynamodb.table, create="no")) as app,
        pytest.raises(ConfigurationError, match="eventcore_checkpoints"),
    ):
        app.runner().run_to_head()


def test_tables_of_logs_in_one_table_are_apart() -> None:
    assert parse_store_url("dynamodb://shop").view_tables == "shop-"
    assert parse_store_url("dynamodb://shop?prefix=eu").view_tables == "shop-eu-"
