"""How read models lie in DynamoDB: keys, indexes, expiry, and what a query asks for."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from typing_extensions import override

from eventcore.errors import ConfigurationError, LimitExceededError, SchemaMismatchError
from eventcore.projections import Index, Projection, Table
from eventcore.projections.dynamodb.layouts import Layout
from eventcore.projections.dynamodb.shapes import shape_of, version_key
from eventcore.projections.dynamodb.tables import table_definition
from eventcore.projections.read_models import (
    ANALYTICS,
    EVENTS,
    ML_MODELS,
    ORDER_ITEMS,
    ORDERS,
    USER_EVENTS,
    Analytics,
    EventRow,
    Events,
    MetricRow,
    MLModels,
    ModelRow,
    OrderItemRow,
    OrderItems,
    Orders,
    UserEventRow,
    UserEvents,
    built_in_projections,
)
from tests.dynamodb import DynamoDBPlace
from tests.dynamodb_views import NOW, dynamodb_views, transport_to
from tests.unit.projections.dynamodb_pages import Failing

AT = "2026-03-01T12:00:00.000000Z"


def layout_of(table: Table[Any], **options: Any) -> Layout:
    return Layout(table, shape_of(table), **options)


def keys_of(table: Table[Any]) -> tuple[str, tuple[str, ...], dict[str, tuple[str, ...]]]:
    """A table's name in DynamoDB, its key, and the keys of its indexes."""
    definition = table_definition(layout_of(table))
    indexes = {
        index["IndexName"]: tuple(part["AttributeName"] for part in index["KeySchema"])
        for index in definition.get("GlobalSecondaryIndexes", ())
    }
    key = tuple(part["AttributeName"] for part in definition["KeySchema"])
    return definition["TableName"], key, indexes


def test_the_built_in_tables_have_the_keys_and_indexes_that_were_asked_for():
    assert keys_of(EVENTS) == (
        "Events",
        ("eventId", "timestamp"),
        {
            "eventType-timestamp-index": ("eventType", "timestamp"),
            "userId-timestamp-index": ("userId", "timestamp"),
            "correlationId-timestamp-index": ("correlationId", "timestamp"),
        },
    )
    assert keys_of(USER_EVENTS) == (
        "UserEvents",
        ("userId", "timestamp"),
        {
            "eventType-timestamp-index": ("eventType", "timestamp"),
            "sessionId-timestamp-index": ("sessionId", "timestamp"),
        },
    )
    assert keys_of(ANALYTICS) == (
        "Analytics",
        ("date", "metricType"),
        {
            "userId-metricType-index": ("userId", "metricType"),
            "eventType-date-index": ("eventType", "date"),
        },
    )
    assert keys_of(ML_MODELS) == (
        "MLModels",
        ("modelId", "version"),
        {
            "modelType-status-index": ("modelType", "status"),
            "performance-version-index": ("performance", "score"),
        },
    )


def test_other_tables_are_keyed_as_they_are_declared():
    assert keys_of(ORDERS) == (
        "orders",
        ("order_id",),
        {
            "user_id-created_at-index": ("user_id", "created_at"),
            "status-created_at-index": ("status", "created_at"),
        },
    )
    # Lines are folded by order, so they lie together.
    assert keys_of(ORDER_ITEMS)[1] == ("order_id", "item_id")


@pytest.mark.parametrize(
    ("table", "days"),
    [(EVENTS, 90), (USER_EVENTS, 365), (ANALYTICS, 1096), (ML_MODELS, None), (ORDERS, None)],
    ids=repr,
)
def test_rows_expire_after_the_days_that_were_asked_for_or_never(table, days):
    assert table.ttl_days == days
    assert layout_of(table).ttl == (None if days is None else "ttl")
    assert layout_of(table, with_ttl=False).ttl is None


def test_a_row_expires_by_the_time_of_its_event_and_never_early():
    event = EventRow("e-1", AT, "order.paid", None, None, None, "order-1", 1, 1)
    [stored] = EVENTS.encode([event])
    item = layout_of(EVENTS).item(stored)

    expires = datetime.fromtimestamp(int(item["ttl"]["N"]), UTC)

    due = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(days=90)
    assert due <= expires <= due + timedelta(seconds=1)
    # What is absent is absent, never an empty text or a null.
    assert "userId" not in item
    # A whole day goes when all of it is old enough.
    [metric] = ANALYTICS.encode([MetricRow("2026-03-01", "sessions", Decimal(1))])
    day_ends = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=1096)
    assert layout_of(ANALYTICS).item(metric)["ttl"] == {"N": str(int(day_ends.timestamp()))}


def test_versions_of_models_sort_as_people_expect_and_come_back_as_they_were():
    versions = ["1.9.0", "1.10.0", "1.10.0-rc1", "2", "10", "v3", "1.01", "1.1"]
    assert sorted(["1.10.0", "1.9.0", "10", "2"], key=version_key) == ["1.9.0", "1.10.0", "2", "10"]
    assert len(set(map(version_key, versions))) == len(versions)
    row = ModelRow("m", "1.10.0", "classifier", "trained", {"auc": 0.5}, NOW)
    [stored] = ML_MODELS.encode([row])
    layout = layout_of(ML_MODELS)
    item = layout.item(stored)
    assert item["version"]["S"].endswith("#1.10.0")
    assert ML_MODELS.decode([layout.row(item)]) == [row]


@pytest.mark.parametrize(
    ("metrics", "performance", "score"),
    [
        ({"auc": 0.5, "accuracy": 0.93}, "classifier#accuracy", "0.93"),
        ({"rmse": 2, "mae": 1}, "classifier#mae", "1"),
        ({"accuracy": 1e-300}, "classifier#accuracy", "0"),
        ({"accuracy": 1e300}, None, None),
        ({"note": True}, None, None),
        ({}, None, None),
    ],
)
def test_a_model_is_ranked_by_its_leading_metric(metrics, performance, score):
    [stored] = ML_MODELS.encode([ModelRow("m", "1", "classifier", "trained", metrics, NOW)])
    item = layout_of(ML_MODELS).item(stored)

    assert item.get("performance", {}).get("S") == performance
    assert item.get("score", {}).get("N") == score


def test_figures_carry_the_dimensions_that_indexes_ask_for():
    def attributes(metric: str) -> dict[str, Any]:
        [stored] = ANALYTICS.encode([MetricRow("2026-03-01", metric, Decimal(1))])
        item = layout_of(ANALYTICS).item(stored)
        return {name: item[name]["S"] for name in ("userId", "eventType") if name in item}

    assert attributes("events#eventType=order.paid") == {"eventType": "order.paid"}
    assert attributes("events#userId=u=1") == {"userId": "u=1"}
    assert attributes("sessions") == {}


class OddRow(NamedTuple):
    first: str
    second: int
    third: str
    size: str | None


ODD = Table("odd", OddRow, key=["first", "second", "third"], indexes=[Index.on("size")])


@pytest.mark.parametrize(
    "row",
    [
        OddRow("", -(2**63), "", ""),
        OddRow("a#b", 2**63 - 1, "é€😀", None),
        OddRow("\x01", 0, "\x7f", "x"),
    ],
)
def test_rows_with_odd_keys_come_back_as_they_were(row):
    [stored] = ODD.encode([row])
    layout = layout_of(ODD)
    assert ODD.decode([layout.row(layout.item(stored))]) == [row]
    assert layout.key_in(layout.item(stored)) == layout.key_of(layout.row_key(stored))


def test_keys_of_several_columns_are_never_the_same_and_sort_as_the_columns_do():
    rows = [
        OddRow("a", number, text, None)
        for number in (-(2**63), -1, 0, 1, 10, 2**63 - 1)
        for text in ("", "1", "a", "b")
    ]
    layout = layout_of(ODD)
    keys = [layout.item(stored)["SK"]["S"] for stored in ODD.encode(rows)]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_what_dynamodb_could_not_keep_is_refused_before_it_is_sent():
    layout = layout_of(ODD)
    for row in (OddRow("k" * 2_049, 1, "", None), OddRow("a", 1, "é" * 600, None)):
        with pytest.raises(LimitExceededError, match="bytes"):
            layout.item(*ODD.encode([row]))
    [large] = EVENTS.encode([EventRow("e", AT, "t", None, None, None, "s" * 410_000, 1, 1)])
    with pytest.raises(LimitExceededError, match="A row of events is 41"):
        layout_of(EVENTS).checked_bytes(layout_of(EVENTS).item(large))


def test_a_table_of_more_indexes_than_dynamodb_keeps_is_refused():
    fields = [(f"c{n}", str) for n in range(22)]
    many = NamedTuple("many", fields)  # type: ignore[misc]  # mypy wants the fields spelled out
    table = Table("many", many, key=["c0"], indexes=[Index.on(name) for name, _ in fields[1:]])
    with pytest.raises(ConfigurationError, match="has 21 indexes, DynamoDB keeps 20"):
        layout_of(table)


# --- against DynamoDB ----------------------------------------------------------------------------


@pytest.fixture
def asked():
    """The operations that were asked for, with their parameters' table and index."""
    return []


@pytest.fixture
def views(dynamodb: DynamoDBPlace, asked):
    views = dynamodb_views(dynamodb)
    for projection in (Events(), UserEvents(), Orders(), OrderItems(), MLModels(), Analytics()):
        views.ensure(projection)
    fill(views)

    class Noting(Failing):
        @override
        def call(self, operation, parameters):
            asked.append((operation, parameters.get("IndexName")))
            return super().call(operation, parameters)

    views.calls._transport = Noting(transport_to(dynamodb))
    yield views
    views.close()


def fill(views: Any) -> None:
    events = [
        EventRow(f"e-{n}", AT, f"type.{n % 2}", f"u-{n}", "case", f"s-{n}", "order-1", n, n)
        for n in range(4)
    ]
    of_users = [UserEventRow(f"u-{n}", f"{AT}#e-{n}", "type.0", f"s-{n}", n) for n in range(4)]
    models = [
        ModelRow("m", version, "classifier", "trained", {}, NOW) for version in ("1.9", "1.10")
    ]
    items = [OrderItemRow(f"o-1#{n}", "o-1", f"p-{n}", 1, Decimal(1), n) for n in (1, 2)]
    with views.transaction() as transaction:
        transaction.upsert(EVENTS, events)
        transaction.upsert(USER_EVENTS, of_users)
        transaction.upsert(ML_MODELS, models)
        transaction.upsert(ORDER_ITEMS, items)
        transaction.upsert(ANALYTICS, [MetricRow("2026-03-01", "sessions", Decimal(1))])


@pytest.mark.dynamodb
@pytest.mark.parametrize(
    ("table", "where", "index", "found"),
    [
        (EVENTS, {"event_id": "e-1"}, None, 1),
        (EVENTS, {"event_type": "type.1"}, "eventType-timestamp-index", 2),
        (EVENTS, {"user_id": "u-2"}, "userId-timestamp-index", 1),
        (EVENTS, {"correlation_id": "case"}, "correlationId-timestamp-index", 4),
        (EVENTS, {"correlation_id": "case", "stream": "x"}, "correlationId-timestamp-index", 0),
        (USER_EVENTS, {"user_id": "u-3"}, None, 1),
        (USER_EVENTS, {"event_type": "type.0"}, "eventType-timestamp-index", 4),
        (USER_EVENTS, {"session_id": "s-1"}, "sessionId-timestamp-index", 1),
        (ANALYTICS, {"date": "2026-03-01"}, None, 1),
        (ML_MODELS, {"model_id": "m"}, None, 2),
        (ML_MODELS, {"model_id": "m", "version": "1.10"}, None, 1),
        (ML_MODELS, {"model_type": "classifier", "status": "trained"}, "modelType-status-index", 2),
        (ORDERS, {"user_id": "u"}, "user_id-created_at-index", 0),
        (ORDER_ITEMS, {"order_id": "o-1"}, None, 2),
        (ORDER_ITEMS, {"product_id": "p-2"}, "product_id-index", 1),
    ],
)
def test_a_query_that_a_key_or_an_index_serves_never_scans(  # noqa: PLR0917 - a table of cases
    views, asked, table, where, index, found
):
    assert len(list(views.query(table, where))) == found
    assert asked == [("GetItem", None), ("Query", index)]


@pytest.mark.dynamodb
def test_any_other_query_reads_the_whole_table(views, asked):
    assert len(list(views.query(EVENTS, {"version": 1}))) == 1
    assert asked[-1] == ("Scan", None)


@pytest.mark.dynamodb
def test_rows_and_groups_are_loaded_by_key_and_never_scanned(views, asked):
    assert len(views.load_rows(EVENTS, ["e-1", "e-2", "none"])) == 2
    assert [row.version for row in views.load_groups(ML_MODELS, ["m"])] == ["1.10", "1.9"]
    assert [row.item_id for row in views.load_rows(ORDER_ITEMS, ["o-1#2"])] == ["o-1#2"]
    assert len(views.load_groups(ORDER_ITEMS, ["o-1", "none"])) == 2
    assert views.load_rows(ANALYTICS, [("2026-03-01", "sessions")])[0].value == 1

    # Where a table lies is looked up by key as well: a rebuilt one takes another's place.
    assert {operation for operation, _ in asked} == {"GetItem", "Query", "BatchGetItem"}


@pytest.mark.dynamodb
def test_lines_without_a_row_are_gone_with_what_located_them(views, dynamodb):
    with views.transaction() as transaction:
        transaction.delete(ORDER_ITEMS, ["o-1#1", "o-1#2", "never"])

    client = dynamodb.client()
    assert client.scan(TableName=f"{dynamodb.prefix}order_items")["Items"] == []
    client.close()


@pytest.mark.dynamodb
def test_rows_whose_time_has_passed_are_hidden_before_dynamodb_deletes_them(dynamodb):
    # A clock of years ahead: by its own, DynamoDB Local deletes none of these.
    today = [datetime(2036, 1, 1, tzinfo=UTC)]
    views = dynamodb_views(dynamodb, clock=lambda: today[0], with_ttl=True)
    views.ensure(Events())
    at = "2036-01-01T00:00:00.000000Z"
    row = EventRow("e-1", at, "a.b", "u", None, None, "order-1", 1, 1)
    with views.transaction() as transaction:
        transaction.upsert(EVENTS, [row])

    seen = []
    for age in (timedelta(days=90), timedelta(days=90, microseconds=1)):
        today[0] = datetime(2036, 1, 1, tzinfo=UTC) + age
        seen.append(
            (len(list(views.query(EVENTS))), len(list(views.query(EVENTS, {"user_id": "u"}))))
        )

    assert seen == [(1, 1), (0, 0)]
    # What is folded does not depend on a clock.
    assert views.load_rows(EVENTS, ["e-1"]) == [row]
    client = dynamodb.client()
    ttl = client.describe_time_to_live(TableName=f"{dynamodb.prefix}Events")
    assert ttl["TimeToLiveDescription"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    client.close()
    views.close()


@pytest.mark.dynamodb
def test_a_table_that_somebody_else_filled_is_left_alone(dynamodb):
    client = dynamodb.client()
    client.create_table(**table_definition(layout_of(ORDERS, prefix=dynamodb.prefix)))
    client.put_item(TableName=f"{dynamodb.prefix}orders", Item={"order_id": {"S": "theirs"}})
    views = dynamodb_views(dynamodb)

    with pytest.raises(SchemaMismatchError, match="rows that no projection made"):
        views.ensure(Orders())

    assert client.scan(TableName=f"{dynamodb.prefix}orders")["Count"] == 1
    assert views.checkpoint("orders") is None
    client.close()
    views.close()


@pytest.mark.dynamodb
def test_an_empty_table_that_was_made_beforehand_is_taken(dynamodb):
    client = dynamodb.client()
    client.create_table(**table_definition(layout_of(ORDERS, prefix=dynamodb.prefix)))
    client.close()
    views = dynamodb_views(dynamodb)

    assert views.ensure(Orders()).position == 0
    views.close()


def test_all_built_in_tables_have_names_of_their_own():
    tables = [table for projection in built_in_projections() for table in projection.tables]
    assert len({layout_of(table).name for table in tables}) == len(tables)


def test_a_projection_without_a_shape_keeps_its_column_names():
    class Plain(Projection):
        name = "plain"
        tables = (ODD,)

    assert layout_of(Plain.tables[0]).attributes == {name: name for name in OddRow._fields}
