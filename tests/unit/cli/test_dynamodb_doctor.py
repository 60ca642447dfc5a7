"""``eventcore doctor`` on DynamoDB."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from eventcore.cli import dynamodb_doctoring
from eventcore.cli.dynamodb_doctoring import dynamodb_findings, find_hole
from eventcore.settings import parse_store_url
from eventcore.stores.dynamodb.calls import CallFailedError, DynamoDBCalls
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.tables import table_identity
from eventcore.stores.log import StreamAppend
from eventcore.testing import EventMaker
from tests.dynamodb import DynamoDBPlace
from tests.model_dynamodb import ModelTables
from tests.unit.cli.conftest import ORDER, PAID, USER, Call, write_lines

FAR = parse_store_url("dynamodb://shop?region=eu-west-1")


def checks(found: list[dict[str, Any]]) -> dict[str, bool]:
    return {one["check"]: one["ok"] for one in found}


@pytest.mark.dynamodb
def test_the_doctor_finds_nothing_wrong_with_a_shop_that_is_kept_up(
    call: Call, dynamodb: DynamoDBPlace, folder: Path
):
    store = ("--store", dynamodb.store_url)
    assert call(*store, "db", "apply").code == 0
    call(*store, "ingest", str(write_lines(folder / "lines.jsonl", USER, ORDER, PAID)))
    behind = call(*store, "doctor", "--json")
    call(*store, "projections", "run", "--once")

    found = call(*store, "doctor", "--json")

    assert behind.code == 1
    assert checks(behind.records)["read models"] is False
    assert found.code == 0
    assert checks(found.records) == {
        "versions": True,
        "service": True,
        "tables": True,
        "durability": True,
        "log": True,
        "held feed": True,
        "read models": True,
        "feed": True,
    }
    (log,) = [one for one in found.records if one["check"] == "log"]
    assert log["detail"] == "log: head at position 4, 4 reserved"


@pytest.mark.dynamodb
def test_the_doctor_makes_no_tables_and_says_what_it_could_not_look_at(
    call: Call, dynamodb: DynamoDBPlace
):
    found = call("--store", dynamodb.store_url, "doctor", "--json")

    assert found.code == 1
    client = dynamodb.client()
    assert dynamodb.table not in client.list_tables()["TableNames"]
    client.close()
    later = [one for one in found.records if one["check"] in {"read models", "feed"}]
    assert [(one["ok"], one["detail"], one["action"]) for one in later] == [
        (False, "not looked at: tables are missing", "eventcore db apply")
    ] * 2


@pytest.mark.dynamodb
def test_a_position_whose_writer_died_is_named_and_nothing_is_done_about_it(
    dynamodb: DynamoDBPlace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dynamodb_doctoring, "HELD_SECONDS_MIN", 0.2)
    calls = open_calls(dynamodb.table, region=dynamodb.region, endpoint_url=dynamodb.url)
    with closing(DynamoDBLog(calls, dynamodb.table)) as log:
        make = EventMaker()
        log.append([StreamAppend("order-1", 0, [make()])])
        log._writing.reserve(2)
        log.append([StreamAppend("order-1", 1, [make()])])
        location = parse_store_url(dynamodb.store_url)

        before = list(dynamodb_findings(location, log=True, projections=()))
        again = list(dynamodb_findings(location, log=True, projections=()))
        assert [one.version for one in log.read()] == [1, 2]  # which sees to it
        after = list(dynamodb_findings(location, log=True, projections=()))

    assert before == again
    (held,) = [one for one in before if one.check == "held feed"]
    assert not held.ok
    assert "position 2 was reserved and is empty, the newest event is at 4" in held.detail
    assert [one.ok for one in after if one.check == "held feed"] == [True]


@pytest.mark.dynamodb
def test_a_log_whose_table_was_restored_is_sent_to_repair(call: Call, dynamodb: DynamoDBPlace):
    store = ("--store", dynamodb.store_url)
    call(*store, "db", "apply")
    calls = open_calls(dynamodb.table, region=dynamodb.region, endpoint_url=dynamodb.url)
    with closing(DynamoDBLog(calls, dynamodb.table)) as log:
        calls.call(
            "UpdateItem",
            {
                "TableName": dynamodb.table,
                "Key": log.keys.sequencer,
                "UpdateExpression": "SET t = :other",
                "ExpressionAttributeValues": {":other": {"S": "another table"}},
            },
        )

    found = call(*store, "doctor", "--json")

    assert found.code == 1
    (one,) = [one for one in found.records if one["check"] == "log"]
    assert (one["ok"], one["action"]) == (False, "stop all writers, then eventcore db repair")
    assert "feed" not in checks(found.records)


def test_a_service_that_is_not_reached_is_told(call: Call):
    url = "dynamodb://shop?region=eu-west-1&endpoint_url=not-a-url"

    found = call("--store", url, "doctor", "--json")

    assert found.code == 1
    assert [one["ok"] for one in found.records if one["check"] == "service"] == [False]


class Guarded(ModelTables):
    """A service that also says how its tables are guarded."""

    def __init__(self, *, recoverable: bool, protected: bool, status: str = "ACTIVE") -> None:
        super().__init__()
        self.status = status
        self._recovery = "ENABLED" if recoverable else "DISABLED"
        self._protected = protected

    @override
    def call(self, operation: str, parameters: Any) -> dict[str, Any]:
        if operation == "DescribeContinuousBackups":
            recovery = {"PointInTimeRecoveryStatus": self._recovery}
            return {"ContinuousBackupsDescription": {"PointInTimeRecoveryDescription": recovery}}
        answer = super().call(operation, parameters)
        if operation == "DescribeTable":
            answer["Table"] |= {
                "TableStatus": self.status,
                "DeletionProtectionEnabled": self._protected,
                "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
                "StreamSpecification": {"StreamEnabled": True},
            }
        return answer


@pytest.mark.parametrize(
    ("recoverable", "protected", "said"),
    [
        (True, True, "point-in-time recovery and deletion protection are on"),
        (False, True, "point-in-time recovery of the log's table is off"),
        (True, False, "deletion protection of the log's table is off"),
        (False, False, "deletion protection and point-in-time recovery of the log's table is off"),
    ],
)
def test_a_log_that_could_be_lost_is_told(
    monkeypatch: pytest.MonkeyPatch, *, recoverable: bool, protected: bool, said: str
):
    tables = Guarded(recoverable=recoverable, protected=protected)
    DynamoDBLog(DynamoDBCalls(tables), "shop")
    monkeypatch.setattr(dynamodb_doctoring, "open_calls", lambda *_, **__: DynamoDBCalls(tables))

    found = {one.check: one for one in dynamodb_findings(FAR, log=True, projections=())}

    assert found["durability"].ok is (recoverable and protected)
    assert found["durability"].detail.startswith(said)
    assert found["tables"].ok


def test_a_table_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch):
    tables = Guarded(recoverable=True, protected=True)
    DynamoDBLog(DynamoDBCalls(tables), "shop")
    tables.status = "ARCHIVED"
    monkeypatch.setattr(dynamodb_doctoring, "open_calls", lambda *_, **__: DynamoDBCalls(tables))

    found = {one.check: one for one in dynamodb_findings(FAR, log=True, projections=())}

    assert not found["service"].ok
    assert "ARCHIVED" in found["service"].detail


@pytest.mark.parametrize("positions", [1, 127, 128, 300])
def test_a_hole_is_found_wherever_it_begins_near_the_end(positions: int):
    tables, make = ModelTables(), EventMaker()
    calls = DynamoDBCalls(tables)
    log = DynamoDBLog(calls, "shop")
    log.append([StreamAppend("order-1", 0, make.many(positions))])
    identity = table_identity(calls.call("DescribeTable", {"TableName": "shop"})["Table"])
    keys = Keys("shop")
    assert find_hole(calls, keys, identity) is None

    log._writing.reserve(200)
    at_the_end = find_hole(calls, keys, identity)
    log.append([StreamAppend("order-1", positions, make.many(3))])

    assert at_the_end is None  # nobody waits for what nothing is behind
    assert find_hole(calls, keys, identity) == (positions + 1, positions + 203)


def test_calls_that_fail_are_a_finding(monkeypatch: pytest.MonkeyPatch):
    class Forbidden(ModelTables):
        @override
        def call(self, operation: str, parameters: Any) -> dict[str, Any]:
            raise CallFailedError("AccessDeniedException", "not you", kind="forbidden")

    monkeypatch.setattr(
        dynamodb_doctoring, "open_calls", lambda *_, **__: DynamoDBCalls(Forbidden())
    )

    (found,) = dynamodb_findings(FAR, log=True, projections=())

    assert (found.check, found.ok) == ("service", False)
    assert "AccessDenied" in found.detail
