"""Health: each read model against the head, and the feed itself."""

from decimal import Decimal

import psycopg
import pytest

from eventcore.app import App, open_app
from eventcore.cli import projections as command
from eventcore.commands import CreateOrder
from eventcore.events.catalogue.orders import OrderItem
from eventcore.projections import health
from eventcore.projections.read_models import Orders
from eventcore.settings import Settings
from tests.processing import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb"])
def app(request, tmp_path, clock):
    match str(request.param):
        case "memory":
            url = "memory://"
        case "sqlite":
            url = f"sqlite:///{tmp_path}/shop.db"
        case "postgres":
            url = request.getfixturevalue("postgres_schema").store_url
        case _:
            place = request.getfixturevalue("dynamodb")
            url = place.url_of(place.table, ttl="no")
    with open_app(url, clock=clock, projections=[Orders()]) as app:
        yield app


def order(app: App, order_id: str) -> None:
    item = OrderItem(product_id="p", quantity=1, price=Decimal(5))
    app.execute(CreateOrder(order_id=order_id, items=(item,), currency="GBP"))


def test_what_is_at_the_head_is_healthy_however_old_it_is(app, clock):
    order(app, "o-1")
    app.runner().run_to_head()
    clock.forward(days=3)

    found = app.runner().health(clock())

    assert found.as_dict() == {
        "ok": True,
        "checks": [
            {"name": "projections", "ok": True, "problems": []},
            {"name": "feed", "ok": True, "problems": []},
        ],
    }


def test_a_projection_that_nobody_runs_is_unhealthy_in_time(app, clock):
    order(app, "o-1")
    clock.forward(seconds=59)
    early = app.runner().health(clock())
    clock.forward(seconds=2)
    late = app.runner().health(clock())
    patient = app.runner().health(clock(), lag_seconds_max=3_600)

    assert (early.ok, late.ok, patient.ok) == (True, False, True)
    [projections, feed] = late.checks
    assert projections.problems == ("orders is 1 positions and 61 s behind",)
    assert feed.ok


def test_a_database_that_is_away_is_an_answer(app, clock):
    runner = app.runner()
    app.views.close()
    app.log.close()

    found = runner.health(clock())

    assert [check.ok for check in found.checks] == [False, False]
    assert all("closed" in check.problems[0] for check in found.checks)


def test_a_transaction_that_holds_the_feed_fails_the_second_check_alone(postgres_schema, clock):
    with open_app(postgres_schema.store_url, clock=clock, projections=[Orders()]) as app:
        order(app, "o-1")
        app.runner().run_to_head()
        with psycopg.connect(postgres_schema.url) as holder:
            holder.execute(
                f"LOCK TABLE {postgres_schema.schema}.eventcore_log IN ROW EXCLUSIVE MODE"
            )
            held = app.runner().health(clock(), held_seconds_max=0)
            patient = app.runner().health(clock(), held_seconds_max=3_600)
            holder.rollback()

    assert [check.ok for check in held.checks] == [True, False]
    assert held.checks[1].problems[0].startswith("the feed is held by pid ")
    assert patient.ok


def test_rows_of_another_log_are_unhealthy(tmp_path, clock):
    def opened(name: str) -> App:
        views = f"sqlite:///{tmp_path}/views.db"
        settings = Settings(store=f"sqlite:///{tmp_path}/{name}.db", views=views)
        return open_app(settings=settings, clock=clock, projections=[Orders()])

    with opened("one") as app:
        order(app, "of-one")
        app.runner().run_to_head()
    with opened("other") as app:
        order(app, "of-other")
        found = app.runner().health(clock())

    assert not found.ok
    assert "the event at position 1 is another" in found.checks[0].problems[0]


def test_the_commands_bounds_are_those_of_the_library():
    assert command.LAG_SECONDS_MAX == health.LAG_SECONDS_MAX
    assert command.HELD_SECONDS_MAX == health.HELD_SECONDS_MAX
