"""``eventcore db`` on DynamoDB, and templates of its tables for other tools."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from eventcore.app import open_app
from eventcore.cli.dynamodb_definitions import (
    cloudformation,
    log_definition,
    terraform,
    view_definitions,
)
from eventcore.cli.dynamodb_tables import DynamoDBPlace as DynamoDBPlaceOfStore
from eventcore.cli.dynamodb_tables import is_emulated
from eventcore.cli.importing import projections_with
from eventcore.cli.program import run
from eventcore.projections.read_models import FeatureStore, Metadata, built_in_projections
from eventcore.projections.shares import split
from eventcore.settings import parse_store_url
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from tests.dynamodb import DynamoDBPlace
from tests.unit.cli.conftest import ORDER, PAID, USER

FAR = "dynamodb://shop?region=eu-west-1"


def printed(capsys, *arguments: str) -> str:
    assert run(list(arguments)) == 0
    return str(capsys.readouterr().out)


@pytest.mark.dynamodb
def test_what_is_missing_is_planned_made_and_then_as_expected(dynamodb: DynamoDBPlace, capsys):
    url = dynamodb.store_url
    assert run(["--store", url, "db", "check"]) == 1
    assert f"table {dynamodb.table}-Events is missing" in capsys.readouterr().out
    plan = printed(capsys, "--store", url, "--json", "db", "plan")
    planned = [json.loads(line) for line in plan.splitlines()]
    assert {f"{dynamodb.table}-{name}" for name in ("Events", "UserEvents", "orders")} < {
        one["name"] for one in planned
    }
    assert json.loads(planned[0]["sql"])["BillingMode"] == "PAY_PER_REQUEST"

    made = printed(capsys, "--store", url, "--json", "db", "apply").splitlines()

    assert {"created": dynamodb.table} == json.loads(made[0])
    assert {"created": f"{dynamodb.table} stream"} == json.loads(made[1])
    assert printed(capsys, "--store", url, "--json", "db", "check") == ""
    assert printed(capsys, "--store", url, "--json", "db", "plan") == ""
    assert printed(capsys, "--store", url, "--json", "db", "apply") == ""
    # What was made beforehand is taken by the projections.
    assert run(["--store", f"{url}&create=yes", "projections", "run", "--once"]) == 0


FRAIL = """
from pathlib import Path
from typing import NamedTuple

from eventcore.events.catalogue import UserRegistered
from eventcore.projections import Projection, Table, on


class FrailRow(NamedTuple):
    user_id: str


class Frail(Projection):
    name = "frail_here"
    tables = (Table("frail_here", FrailRow, key=("user_id",)),)

    @on(UserRegistered, key=lambda event: event.id)
    def _add(self, row, event):
        if not Path("mended").exists():
            raise KeyError(event.id)
        return FrailRow(event.id)


PROJECTIONS = [Frail()]
"""


@pytest.mark.dynamodb
def test_who_may_make_no_tables_keeps_parks_and_retries_in_those_that_were_made(
    dynamodb: DynamoDBPlace, capsys, folder, *, monkeypatch
):
    (folder / "frail_here.py").write_text(FRAIL)
    (folder / "lines.jsonl").write_text(json.dumps(USER))
    monkeypatch.setenv("EVENTCORE_IMPORT", "frail_here")
    owner, others = dynamodb.store_url, f"{dynamodb.store_url}&create=no"
    assert run(["--store", others, "ingest", "lines.jsonl"]) == 2
    printed(capsys, "--store", owner, "db", "apply")

    printed(capsys, "--store", others, "ingest", "lines.jsonl")
    ran = printed(capsys, "--store", others, "--json", "projections", "run", "--once")
    (folder / "mended").touch()
    retried = printed(capsys, "--store", others, "--json", "projections", "retry", "frail_here")
    rows = printed(capsys, "--store", others, "--json", "query", "frail_here")
    with open_app(others, projections=projections_with(["frail_here"])) as app:
        shares = [split(app.views, one) for one in app.projections if one.name == "frail_here"]
        app.runner().run_to_head()

    assert json.loads(ran)["parked"] == 1
    assert json.loads(retried)["events"] == 1
    assert json.loads(rows) == {"user_id": "u1"}
    assert shares == [16]


@pytest.mark.dynamodb
def test_a_table_of_other_keys_and_a_missing_index_are_told(dynamodb: DynamoDBPlace, capsys):
    run(["--store", dynamodb.store_url, "db", "apply"])
    client = dynamodb.client()
    for name in ("Events", "orders"):
        client.delete_table(TableName=f"{dynamodb.table}-{name}")
    client.create_table(
        TableName=f"{dynamodb.table}-orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client.close()
    capsys.readouterr()

    assert run(["--store", dynamodb.store_url, "--json", "db", "check"]) == 1

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["name"].removeprefix(f"{dynamodb.table}-"), one["problem"]) for one in found] == [
        ("orders", "different"),
        ("user_id-created_at-index", "different"),
        ("status-created_at-index", "different"),
        ("Events", "missing"),
    ]
    assert (found[0]["found"], found[0]["expected"]) == ("the key id (S)", "the key order_id (S)")


def test_cloudformation_guards_the_log_and_lets_rows_expire(capsys):
    template = json.loads(
        printed(capsys, "--store", FAR, "db", "plan", "--format", "cloudformation")
    )

    tables = template["Resources"]
    assert {one["Type"] for one in tables.values()} == {"AWS::DynamoDB::Table"}
    assert {one["Properties"]["BillingMode"] for one in tables.values()} == {"PAY_PER_REQUEST"}
    log = tables["Shop"]
    assert log["DeletionPolicy"] == "Retain"
    assert log["Properties"]["DeletionProtectionEnabled"] is True
    assert log["Properties"]["PointInTimeRecoverySpecification"] == {
        "PointInTimeRecoveryEnabled": True
    }
    assert log["Properties"]["StreamSpecification"] == {"StreamViewType": "KEYS_ONLY"}
    events = tables["ShopEvents"]["Properties"]
    assert events["TableName"] == "shop-Events"
    assert events["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert "TimeToLiveSpecification" not in tables["ShopMLModels"]["Properties"]


def test_terraform_has_the_same_tables(capsys):
    printed_text = printed(capsys, "--store", FAR, "db", "plan", "--format", "terraform")

    tables = json.loads(printed_text)["resource"]["aws_dynamodb_table"]
    assert tables["shop"]["deletion_protection_enabled"] is True
    assert tables["shop"]["point_in_time_recovery"] == {"enabled": True}
    assert tables["shop"]["lifecycle"] == {"prevent_destroy": True}
    user_events = tables["shop_userevents"]
    assert (user_events["hash_key"], user_events["range_key"]) == ("userId", "timestamp")
    assert [one["name"] for one in user_events["global_secondary_index"]] == [
        "eventType-timestamp-index",
        "sessionId-timestamp-index",
    ]
    assert user_events["ttl"] == {"attribute_name": "ttl", "enabled": True}


def test_every_key_of_a_template_has_its_attribute_and_no_attribute_is_idle(capsys):
    template = json.loads(
        printed(capsys, "--store", FAR, "db", "plan", "--format", "cloudformation")
    )

    for resource in template["Resources"].values():
        properties = resource["Properties"]
        schemas = [
            properties["KeySchema"],
            *(one["KeySchema"] for one in properties.get("GlobalSecondaryIndexes", ())),
        ]
        keys = {part["AttributeName"] for schema in schemas for part in schema}
        assert keys == {one["AttributeName"] for one in properties["AttributeDefinitions"]}


@pytest.mark.parametrize(("option", "rows_expire"), [("yes", True), ("no", False)])
def test_templates_have_every_table_index_and_lifetime(option, rows_expire):
    class Kept(FeatureStore):
        name = "feature_store"

    location = parse_store_url(f"{FAR}&ttl={option}")
    projections = [*built_in_projections(), Metadata(), Kept()]
    definitions = [log_definition(location), *view_definitions(location, projections)]

    resources = list(cloudformation(definitions)["Resources"].values())
    tables = list(terraform(definitions)["resource"]["aws_dynamodb_table"].values())

    names = {one["Properties"]["TableName"] for one in resources}
    assert names == {one["name"] for one in tables} == {one.name for one in definitions}
    seed = {"Events", "UserEvents", "Analytics", "Metadata", "MLModels", "FeatureStore"}
    assert {f"shop-{name}" for name in seed} < names
    for definition, resource, table in zip(definitions, resources, tables, strict=True):
        made, properties = definition.create, resource["Properties"]
        assert {name: properties[name] for name in made} == made
        indexes = [one["IndexName"] for one in made.get("GlobalSecondaryIndexes", ())]
        assert [one["name"] for one in table.get("global_secondary_index", ())] == indexes
        given = properties.get("TimeToLiveSpecification", {}).get("AttributeName")
        assert given == table.get("ttl", {}).get("attribute_name") == definition.ttl
    expiring = {one.name.removeprefix("shop-") for one in definitions if one.ttl}
    wanted = {"Events", "UserEvents", "Analytics", "FeatureStore", "feature_store_latest"}
    wanted.add("analytics_active_users")
    assert expiring == (wanted if rows_expire else set())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--store", "sqlite:///shop.db", "db", "plan", "--format", "terraform"], "in DynamoDB"),
        (["--store", FAR, "db", "plan", "--format", "pulumi"], "--format is one of requests"),
        (["--store", FAR, "--views", "sqlite:///v.db", "db", "check"], "look at each by itself"),
    ],
)
def test_what_cannot_be_printed_is_refused(capsys, arguments, words):
    assert run(arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_only_a_store_on_this_machine_goes_unguarded():
    near = "dynamodb://shop?endpoint_url=http%3A%2F%2F127.0.0.1%3A8000"
    proxy = "dynamodb://shop?endpoint_url=https%3A%2F%2Fdynamodb.example.com"

    assert is_emulated(parse_store_url(near))
    assert not is_emulated(parse_store_url(proxy))
    assert not is_emulated(parse_store_url(FAR))


@pytest.mark.dynamodb
def test_read_models_are_run_shown_and_rebuilt_from_the_command_line(
    dynamodb: DynamoDBPlace, capsys, tmp_path
):
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(map(json.dumps, (USER, ORDER, PAID))))
    store = ["--store", dynamodb.store_url]
    printed(capsys, *store, "ingest", str(lines))
    printed(capsys, *store, "projections", "run", "--once")

    def rows(table: str, *options: str) -> list[dict[str, str]]:
        text = printed(capsys, *store, "--json", "query", table, *options)
        return [json.loads(line) for line in text.splitlines()]

    before = {table: rows(table) for table in ("orders", "order_items", "users")}
    assert [row["status"] for row in before["orders"]] == ["paid"]
    # Those of 2024 have expired.
    assert rows("events") == []
    assert rows("order_items", "--where", "order_id=o1")[0]["product_id"] == "p"

    printed(capsys, *store, "projections", "rebuild", "orders", "order_items")
    printed(capsys, *store, "db", "apply")
    printed(capsys, *store, "db", "check")

    assert {table: rows(table) for table in before} == before
    status = printed(capsys, *store, "--json", "projections", "status")
    assert {json.loads(line)["lagEvents"] for line in status.splitlines()} == {0}


class Service:
    """As much of DynamoDB as says yes to everything, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((operation, parameters))
        if operation == "DescribeTable":
            return {"Table": {**log_definition(LOCATION).create, "TableStatus": "ACTIVE"}}
        return {}

    def close(self) -> None:
        """Nothing is open."""


LOCATION = parse_store_url(FAR)


def test_a_log_in_an_account_is_made_recoverable_and_protected():
    service = Service()
    place = DynamoDBPlaceOfStore(
        DynamoDBCalls(service), [log_definition(LOCATION)], is_guarded=True
    )

    made = place.apply(None)

    assert made == [
        "shop stream",
        "shop deletion protection",
        "shop point-in-time recovery",
    ]
    changes = [one for one in service.asked if one[0].startswith("Update")]
    assert changes == [
        (
            "UpdateTable",
            {
                "TableName": "shop",
                "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
            },
        ),
        ("UpdateTable", {"TableName": "shop", "DeletionProtectionEnabled": True}),
        (
            "UpdateContinuousBackups",
            {
                "TableName": "shop",
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            },
        ),
    ]
    problems = [one.problem for one in place.differences()]
    assert "deletion protection shop is missing" in problems
    assert "point-in-time recovery shop is missing" in problems
