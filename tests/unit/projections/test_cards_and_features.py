"""Cards of everything (metadata) and features of entities, on every backend."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import pytest

from eventcore.errors import RegistrationError
from eventcore.events import DomainEvent, NewEvent, stream_of
from eventcore.events.catalogue import (
    ModelDeployed,
    ModelRegistered,
    ModelVersionTrained,
    OrderCreated,
    OrderPaid,
    OrderRefunded,
    OrderShipped,
    SessionStarted,
    UserProfileUpdated,
    UserRegistered,
    UserSuspended,
)
from eventcore.projections import MemoryViews, Projection, ProjectionRunner, Views
from eventcore.projections.dynamodb.layouts import Layout
from eventcore.projections.dynamodb.shapes import shape_of
from eventcore.projections.dynamodb.tables import table_definition
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.read_models import (
    FEATURE_STORE,
    FEATURE_STORE_LATEST,
    METADATA,
    Features,
    FeatureStore,
    Metadata,
    built_in_projections,
    computes,
)
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views
from tests.unit.projections.histories import BEGIN, moment, order, record, rows_of


@pytest.fixture(
    params=["memory", "sqlite", "postgres", pytest.param("dynamodb", marks=pytest.mark.dynamodb)]
)
def views(request, tmp_path):
    views: Views
    match request.param:
        case "memory":
            views = MemoryViews()
        case "sqlite":
            views = SQLiteViews(tmp_path / "views.db")
        case "dynamodb":
            views = dynamodb_views(request.getfixturevalue("dynamodb"))
        case _:
            found = request.getfixturevalue("postgres_schema")
            views = PostgresViews(found.url, schema=found.schema)
    yield views
    views.close()


def cards(views: Views, *payloads: DomainEvent, projection: Projection | None = None) -> list[Any]:
    log = MemoryLog()
    record(log, *payloads)
    ProjectionRunner(log, views, [projection or Metadata()]).run_to_head()
    return [row[:5] for row in views.query(METADATA)]


def test_everything_has_a_card_with_its_user_its_status_and_its_version(views):
    assert cards(
        views,
        UserRegistered(user_id="u1", email="a@example.com"),
        SessionStarted(session_id="s1", user_id="u1"),
        order("o1", user_id="u1"),
        ModelRegistered(model_id="m1", name="churn", model_type="classifier"),
        ModelVersionTrained(model_id="m1", model_version="1", metrics={"auc": 0.9}),
        ModelDeployed(model_id="m1", model_version="1"),
        UserProfileUpdated(user_id="u1", first_name="Ada"),
        UserSuspended(user_id="u1", reason="test"),
        OrderPaid(order_id="o1", amount=Decimal(3)),
    ) == [
        ("model", "m1", None, "deployed", 3),
        ("order", "o1", "u1", "paid", 2),
        ("session", "s1", "u1", "active", 1),
        ("user", "u1", "u1", "suspended", 3),
    ]
    of_user = views.query(METADATA, {"user_id": "u1", "status": "paid"})
    assert [row.entity_id for row in of_user] == ["o1"]
    [user] = views.query(METADATA, {"entity_type": "user", "entity_id": "u1"})
    assert (user.created_at, user.updated_at) == (moment(1), moment(8))


@pytest.mark.parametrize(
    ("refunds", "status"), [([1], "shipped"), ([1, 2], "refunded"), ([3], "refunded")]
)
def test_an_order_is_refunded_when_all_the_money_is_back(refunds, status):
    [card] = cards(
        MemoryViews(),
        order("o1", ("apple", 2, "1.50")),
        OrderPaid(order_id="o1", amount=Decimal(3)),
        OrderShipped(order_id="o1"),
        *(OrderRefunded(order_id="o1", amount=Decimal(amount)) for amount in refunds),
    )
    assert card[3] == status


def test_cards_never_expire():
    assert METADATA.ttl_days is None


def test_a_subclass_gives_other_events_their_status():
    class TicketOpened(DomainEvent, type="ticket.opened", category="ticket", key="ticket_id"):
        ticket_id: str

    class Cards(Metadata):
        statuses: ClassVar = {**Metadata.statuses, "ticket.opened": "open"}
        name = "metadata"

    views = MemoryViews()
    assert cards(views, TicketOpened(ticket_id="t1"), projection=Cards()) == [
        ("ticket", "t1", None, "open", 1)
    ]
    assert cards(MemoryViews(), TicketOpened(ticket_id="t1")) == []


class ShopFeatures(FeatureStore):
    name = "shop_features"

    @computes(
        OrderCreated,
        group="customer",
        entity=lambda event: event.payload.user_id,
        features=("orders", "spent", "large"),
    )
    def ordered(self, before: Mapping[str, Any], event: Any) -> Mapping[str, Any]:
        total = event.payload.total_amount
        values = {
            "orders": before.get("orders", 0) + 1,
            "spent": before.get("spent", Decimal(0)) + total,
        }
        return {**values, "large": True} if total > 5 else values

    @computes(UserRegistered, group="customer", entity=lambda event: event.id, features=["domain"])
    def registered(self, before: Mapping[str, Any], event: Any) -> Mapping[str, Any]:
        return {"domain": event.payload.email.partition("@")[2]}


HISTORY = (
    UserRegistered(user_id="u1", email="a@example.com"),
    order("o1", ("apple", 2, "1.50"), user_id="u1"),
    order("o2", ("apple", 1, "2"), user_id="u1#2"),
    order("o3", ("apple", 1, "10"), user_id="u1"),
    order("o4"),
)


@pytest.fixture
def features(views):
    log = MemoryLog()
    record(log, *HISTORY)
    ProjectionRunner(log, views, [ShopFeatures()]).run_to_head()
    return Features(views)


def plain(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: feature.value for name, feature in found.items()}


def test_the_latest_features_of_an_entity_are_read_at_once(features):
    found = features.latest("customer", "u1")

    assert plain(found) == {
        "domain": "example.com",
        "large": True,
        "orders": 2,
        "spent": Decimal(13),
    }
    assert {name: one.data_type for name, one in found.items()} == {
        "domain": "text",
        "large": "flag",
        "orders": "number",
        "spent": "decimal",
    }
    assert plain(features.latest("customer", "u1#2")) == {"orders": 1, "spent": Decimal(2)}
    assert features.latest("customer", "nobody") == {}
    assert features.latest("another", "u1") == {}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.9, {}),
        (1, {"domain": "example.com"}),
        (2, {"domain": "example.com", "orders": 1, "spent": Decimal(3)}),
        (3.9, {"domain": "example.com", "orders": 1, "spent": Decimal(3)}),
        (4, {"domain": "example.com", "orders": 2, "spent": Decimal(13), "large": True}),
    ],
)
def test_features_as_of_a_time_know_nothing_of_later_events(features, seconds, expected):
    at = BEGIN + timedelta(seconds=seconds)

    assert plain(features.as_of("customer", "u1", at)) == expected


def test_features_are_found_by_name_and_type(features, views):
    rows = views.query(FEATURE_STORE, {"feature_name": "orders", "data_type": "number"})

    assert [(row.entity_id, row.value) for row in rows] == [("u1", "1"), ("u1", "2"), ("u1#2", "1")]


def test_an_event_that_came_late_changes_the_past_and_not_the_latest():
    log, views = MemoryLog(), MemoryViews()
    for position, (email, at) in enumerate([("a@new.com", 20), ("a@old.com", 10)], 1):
        event = NewEvent(
            payload=UserRegistered(user_id="u1", email=email),
            event_id=UUID(int=position),
            timestamp=moment(at),
        )
        append = StreamAppend(stream_of(event.payload), ANY_VERSION, [log.codec.encode(event)])
        log.append([append])
    ProjectionRunner(log, views, [ShopFeatures()]).run_to_head()

    found = Features(views)
    assert plain(found.latest("customer", "u1")) == {"domain": "new.com"}
    assert plain(found.as_of("customer", "u1", moment(15))) == {"domain": "old.com"}


def test_features_are_the_same_whatever_the_size_of_pages(monkeypatch):
    log = MemoryLog()
    record(log, *HISTORY)
    found = []
    for size in (1, 100):
        monkeypatch.setattr("eventcore.projections.pages.PAGE_EVENTS_MIN", size)
        monkeypatch.setattr("eventcore.projections.pages.PAGE_EVENTS_MAX", size)
        views = MemoryViews()
        ProjectionRunner(log, views, [ShopFeatures()]).run_to_head()
        found.append(rows_of(views, [ShopFeatures()]))

    assert found[0] == found[1]


def test_a_feature_that_was_not_declared_is_the_fault_of_its_event():
    class Wrong(FeatureStore):
        name = "wrong"

        @computes(UserRegistered, group="g", entity=lambda event: event.id, features=["a"])
        def registered(self, before, event):
            return {"b": 1}

    log = MemoryLog()
    record(log, HISTORY[0])
    runner = ProjectionRunner(log, MemoryViews(), [Wrong()])
    runner.run_to_head()
    assert [(found.position, found.error) for found in runner.parked()] == [(1, "ValueError")] * 2


def test_features_must_be_named():
    with pytest.raises(RegistrationError, match="names the features"):
        computes(UserRegistered, group="g", entity=lambda event: event.id, features=[])


def test_both_lie_in_dynamodb_under_the_keys_that_were_asked_for():
    def keys_of(table: Any) -> tuple[str, list[str], list[list[str]], str | None]:
        layout = Layout(table, shape_of(table))
        definition = table_definition(layout)
        schemas = [index["KeySchema"] for index in definition["GlobalSecondaryIndexes"]]
        names = [[part["AttributeName"] for part in schema] for schema in schemas]
        key = [part["AttributeName"] for part in definition["KeySchema"]]
        return layout.name, key, names, layout.ttl

    assert keys_of(METADATA) == (
        "Metadata",
        ["entityType", "entityId"],
        [["userId", "status"]],
        None,
    )
    assert keys_of(FEATURE_STORE) == (
        "FeatureStore",
        ["featureGroupId", "timestamp"],
        [["featureName", "dataType"]],
        "ttl",
    )
    assert FEATURE_STORE.ttl_days == FEATURE_STORE_LATEST.ttl_days == 365


def test_neither_is_kept_unless_asked_for():
    names = {projection.name for projection in built_in_projections()}
    assert not names & {"metadata", "feature_store"}
