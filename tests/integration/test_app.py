"""The wired application, as its users use it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from eventcore import App, Order, RuleViolationError, Settings, User, open_app, open_log
from eventcore.aggregates import OrderStatus
from eventcore.commands import (
    CreateOrder,
    DeliverOrder,
    DeployVersion,
    EndSession,
    PayOrder,
    ReactivateUser,
    RefundOrder,
    RegisterModel,
    RegisterUser,
    RetireVersion,
    ShipOrder,
    StartSession,
    SuspendUser,
    TrackActivity,
    TrainVersion,
    UpdateProfile,
)
from eventcore.errors import AggregateNotFoundError, ConfigurationError, StoreClosedError
from eventcore.events.catalogue import OrderItem, WebhookReceived
from eventcore.stores.log import LogFilter

ITEM = OrderItem(product_id="book", quantity=2, price=Decimal("9.99"))


@pytest.fixture(params=["memory", "sqlite"])
def app(request, tmp_path):
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'shop.db'}"
    with open_app(url) as opened:
        yield opened


def test_every_built_in_aggregate_goes_its_way(app: App):
    commands = [
        RegisterUser(user_id="u-1", email="ada@example.com"),
        UpdateProfile(user_id="u-1", first_name="Ada"),
        SuspendUser(user_id="u-1", reason="unpaid"),
        ReactivateUser(user_id="u-1"),
        StartSession(session_id="s-1", user_id="u-1"),
        TrackActivity(session_id="s-1", action="view", target="/books"),
        EndSession(session_id="s-1"),
        CreateOrder(order_id="o-1", user_id="u-1", items=(ITEM,), currency="GBP"),
        PayOrder(order_id="o-1", amount=Decimal("19.98"), payment_method="card"),
        ShipOrder(order_id="o-1", carrier="DHL"),
        DeliverOrder(order_id="o-1"),
        RefundOrder(order_id="o-1", amount=Decimal("19.98")),
        RegisterModel(model_id="m-1", name="churn", model_type="tree"),
        TrainVersion(model_id="m-1", model_version="1", metrics={"auc": 0.9}),
        DeployVersion(model_id="m-1", model_version="1", endpoint="/churn"),
        RetireVersion(model_id="m-1", model_version="1"),
    ]

    results = [app.execute(command) for command in commands]

    recorded = [event.type for result in results for event in result.events]
    stored = [event.type for event in app.log.read() if event.category != "reservation"]
    assert recorded == stored
    assert len(recorded) == len(commands)
    assert app.get(Order, "o-1").status is OrderStatus.REFUNDED


def test_a_closed_file_is_opened_again_as_it_was(tmp_path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    with open_app(url, snapshots={User: 1}) as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        before = app.get(User, "u-1")

    with open_app(url, snapshots={User: 1}) as app:
        assert app.get(User, "u-1") == before


def test_a_user_is_seen_as_of_an_earlier_time(tmp_path):
    moments = iter(datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 9))
    with open_app("memory://", clock=lambda: next(moments)) as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        app.execute(SuspendUser(user_id="u-1"))
        (first, _, second) = app.log.read()

        assert app.get(User, "u-1").status == "suspended"
        assert app.get(User, "u-1", as_of=first.timestamp).status == "active"
        assert app.get(User, "u-1", version=1).status == "active"
        assert app.get(User, "u-1", as_of=second.timestamp).status == "suspended"
        with pytest.raises(AggregateNotFoundError):
            app.get(User, "u-1", as_of=first.timestamp - timedelta(microseconds=1))


def test_a_context_is_carried_by_everything_recorded_in_it(app: App):
    with app.context(correlation_id="req-1", metadata={"note": "n"}):
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        app.append(WebhookReceived(webhook_id="w", source="github", payload={}))
    app.execute(SuspendUser(user_id="u-1"))

    found = [(e.type, e.correlation_id) for e in app.log.read()]
    assert found == [
        ("user.registered", "req-1"),
        ("reservation.claimed", "req-1"),
        ("integration.webhook.received", "req-1"),
        ("user.suspended", None),
    ]


def test_what_an_aggregate_recorded_is_saved(app: App):
    order = Order(id="o-1")
    order.create(items=[ITEM], currency="GBP")
    app.save(order)
    order.pay(amount=Decimal("19.98"))

    assert app.save(order).version == 2
    assert app.get(Order, "o-1").status is OrderStatus.PAID


def test_event_ids_are_uuids_of_version_7_in_the_order_they_were_made(app: App):
    for number in range(5):
        app.append(WebhookReceived(webhook_id=f"w-{number}", source="s", payload={}))

    ids = [event.event_id for event in app.log.read(where=LogFilter())]
    assert ids == sorted(ids)
    assert {event_id.version for event_id in (*ids, app.new_id())} == {7}


def test_the_time_is_aware_utc(app: App):
    assert app.now().tzinfo is UTC


def test_settings_are_recorded_with_every_event():
    settings = Settings(store="memory://", environment="test", region="eu-west-1", source="shop")
    with open_app(settings=settings) as app:
        (event,) = app.execute(StartSession(session_id="s-1")).events

        assert (event.environment, event.region, event.source) == ("test", "eu-west-1", "shop")
        with app.context(environment="production"), pytest.raises(ConfigurationError):
            app.execute(EndSession(session_id="s-1"))
        with app.context(environment="production"), pytest.raises(ConfigurationError):
            app.append(WebhookReceived(webhook_id="w", source="s", payload={}))


def test_a_url_wins_over_the_settings():
    with open_app("memory://", settings=Settings(source="shop")) as app:
        assert (app.settings.store, app.settings.source) == ("memory://", "shop")


def test_without_a_url_the_environment_decides(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENTCORE_STORE", f"sqlite:///{tmp_path / 'from-environment.db'}")

    open_app().close()

    assert (tmp_path / "from-environment.db").exists()


def test_a_file_that_must_exist_is_not_created(tmp_path):
    path = tmp_path / "absent.db"

    with pytest.raises(Exception, match=r"absent\.db"):
        open_app(f"sqlite:///{path}?create=no")

    assert not path.exists()


def test_reservations_made_with_another_key_are_not_found(tmp_path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    register = [RegisterUser(user_id=f"u-{n}", email="ada@example.com") for n in range(3)]
    with open_app(settings=Settings(store=url, reservation_key=b"one")) as app:
        app.execute(register[0])
        with pytest.raises(RuleViolationError):
            app.execute(register[1])

    with open_app(settings=Settings(store=url, reservation_key=b"two")) as app:
        assert app.execute(register[2]).version == 1


def test_after_closing_everything_is_refused(app: App):
    app.close()
    app.close()

    with pytest.raises(StoreClosedError):
        app.execute(StartSession(session_id="s-1"))


def test_a_log_is_opened_alone(tmp_path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    with open_app(url) as app:
        app.execute(StartSession(session_id="s-1"))

    log = open_log(url)

    assert [event.type for event in log.read()] == ["session.started"]
    log.close()
