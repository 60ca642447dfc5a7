"""What the page about DynamoDB says of costs and rights is what the code has."""

from __future__ import annotations

import contextlib
import json
import re
import unittest
from collections.abc import Iterator, Mapping
from contextlib import closing
from decimal import Decimal
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typing_extensions import override

from benchmarks import dynamodb_costs
from eventcore.app import open_app
from eventcore.commands import CreateOrder, PayOrder, RegisterUser
from eventcore.events.catalogue import OrderItem
from eventcore.lake.archiving import Archiver
from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.projections.read_models import ORDERS
from eventcore.stores.dynamodb import ids
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.client import BotoTransport
from eventcore.stores.dynamodb.limits import STATE_BYTES_MAX, STREAMS_PER_APPEND_MAX
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import Log, StreamAppend
from eventcore.testing import EventMaker, LogContract
from tests.backends import REPOSITORY
from tests.dynamodb import DynamoDBPlace
from tests.model_dynamodb import ModelTables

TEXT = (REPOSITORY / "docs/howto/dynamodb.md").read_text("utf-8")


class Use(NamedTuple):
    """A right that a call needs, and the partition key of the item it is needed for."""

    action: str
    table: str
    key: str | None


def uses_of(operation: str, parameters: Mapping[str, Any]) -> Iterator[Use]:
    """The rights that a call needs: a transaction those of what is in it (AWS, DynamoDB Developer
    Guide, "Using IAM with DynamoDB transactions")."""
    if operation == "TransactWriteItems":
        kinds = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}
        for action in parameters["TransactItems"]:
            ((kind, inner),) = action.items()
            yield from uses_of(kinds.get(kind, "ConditionCheckItem"), inner)
    elif "RequestItems" in parameters:
        for table in parameters["RequestItems"]:
            yield Use(operation, table, None)
    else:
        keyed = parameters.get("Item") or parameters.get("Key") or {}
        table = parameters["TableName"]
        if "IndexName" in parameters:
            table = f"{table}/index/{parameters['IndexName']}"
        yield Use(operation, table, keyed.get("pk", {}).get("S"))


def policies() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]


def allows(policy: Mapping[str, Any], use: Use) -> bool:
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        keys = (
            statement.get("Condition", {})
            .get("ForAllValues:StringLike", {})
            .get("dynamodb:LeadingKeys", ["*"])
        )
        if (
            f"dynamodb:{use.action}" in listed(statement["Action"])
            and any(
                fnmatchcase(use.table, one.partition(":table/")[2])
                for one in listed(statement["Resource"])
            )
            and any(fnmatchcase(use.key or "", one) for one in keys)
        ):
            return True
    return False


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


@pytest.mark.parametrize(
    "table",
    [
        dynamodb_costs.table_of_acts,
        dynamodb_costs.table_of_money,
        dynamodb_costs.table_of_layouts,
    ],
)
def test_the_page_shows_what_the_cost_model_computes(table: Any):
    assert table() in TEXT, f"Quote the output of python -m benchmarks.dynamodb_costs:\n{table()}"


class Recording(ModelTables):
    """Notes the rights that are used."""

    uses: set[Use]

    def __init__(self) -> None:
        super().__init__()
        self.uses = set()

    @override
    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.uses.update(uses_of(operation, parameters))
        return super().call(operation, parameters)

    def forget(self) -> None:
        """Drop all tables."""
        self.tables.clear()


class ContractOnAModel(LogContract):
    """The cases every store is held to; run by the test below, all on the same tables."""

    __test__ = False
    has_unique_event_ids = False
    state_bytes_max = STATE_BYTES_MAX
    streams_per_append_max = STREAMS_PER_APPEND_MAX
    tables: Recording

    @override
    def open_log(self) -> Log:
        return DynamoDBLog(DynamoDBCalls(self.tables), "shop")


def test_the_role_of_the_application_is_allowed_what_the_contract_of_a_log_needs_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
):
    # So short that the index of event ids is written, too.
    monkeypatch.setattr(ids, "TAIL_EVENTS_MAX", 4)
    run = 0
    tables = Recording()
    for name in dir(ContractOnAModel):
        # What is too much for a store is no matter of rights.
        if not name.startswith("test_") or re.search("larger|largest|most|more", name):
            continue
        case = ContractOnAModel()
        case.tables = tables
        with contextlib.suppress(unittest.SkipTest):
            getattr(case, name)()
            run += 1
        case.teardown_method()
        tables.forget()
    used = tables.uses
    policy = policies()[0]
    granted = {action for one in policy["Statement"] for action in listed(one["Action"])}

    assert run > 80
    assert [one for one in sorted(used, key=str) if not allows(policy, one)] == [
        # With a table that is absent and create=yes, which is the owner's to do.
        Use("CreateTable", "shop", None)
    ]
    assert granted == {f"dynamodb:{one.action}" for one in used} - {"dynamodb:CreateTable"}


def test_the_role_of_the_application_may_trim_what_is_archived(tmp_path: Path):
    tables = Recording()
    log = DynamoDBLog(DynamoDBCalls(tables), "shop")
    log.append([StreamAppend("order-1", 0, EventMaker().many(3))])
    archive = open_archive(str(tmp_path / "lake"))
    Archiver(archive).run(log)
    tables.uses.clear()

    log.trim(list(log.read())[:2], archive=archive.url)
    with ArchivedLog(archive, log).subscribe() as subscription:
        assert len(list(islice(subscription, 3))) == 3

    assert Use("PutItem", "shop", "log#t") in tables.uses
    assert [one for one in sorted(tables.uses, key=str) if not allows(policies()[0], one)] == []


@pytest.mark.parametrize(
    "use",
    [
        Use("DeleteItem", "shop", "log#l#0"),
        Use("Scan", "shop", None),
        Use("UpdateItem", "shop", "log#l#0"),
        Use("UpdateItem", "shop", "log#s#order-1"),
        Use("DeleteTable", "shop", None),
        Use("PutItem", "shop-Events", "log#s#order-1"),
    ],
)
def test_no_role_is_allowed_to_change_or_remove_events(use: Use):
    assert not allows(policies()[0], use)
    assert not (allows(policies()[1], use) and use.table == "shop")


@pytest.mark.dynamodb
def test_the_role_of_the_read_models_is_allowed_what_running_resetting_and_querying_them_needs(
    dynamodb: DynamoDBPlace, monkeypatch: pytest.MonkeyPatch
):
    with closing(open_app(dynamodb.store_url)) as owner:
        owner.runner().run_to_head()  # which makes the tables
    used: set[Use] = set()
    call = BotoTransport.call

    def noting(self: Any, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        used.update(uses_of(operation, parameters))
        return call(self, operation, parameters)

    monkeypatch.setattr(BotoTransport, "call", noting)
    item = OrderItem(product_id="teapot", quantity=2, price=Decimal("24.00"))
    with closing(open_app(dynamodb.url_of(dynamodb.table, create="no"))) as app:
        app.execute(RegisterUser(user_id="ada", email="ada@example.org"))
        app.execute(CreateOrder(order_id="1", user_id="ada", currency="GBP", items=(item,)))
        app.execute(PayOrder(order_id="1", amount=Decimal("48.00")))
        runner = app.runner()
        runner.run_to_head()
        runner.reset("orders")  # beside the live rows is for a role that may make tables
        assert len(list(app.query(ORDERS, {"user_id": "ada"}))) == 1

    log_policy, view_policy = policies()
    renamed = {one._replace(table=one.table.replace(dynamodb.table, "shop")) for one in used}
    refused = [one for one in renamed if not (allows(log_policy, one) or allows(view_policy, one))]
    assert refused == []
    assert {one.table for one in renamed} > {"shop", "shop-orders", "shop-Events"}
