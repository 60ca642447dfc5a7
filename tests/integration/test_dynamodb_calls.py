"""Calls to a real DynamoDB: what comes back, and how a call fails."""

from collections.abc import Iterator
from typing import Any

import pytest

from eventcore.errors import (
    ConfigurationError,
    SchemaMismatchError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.stores.dynamodb.calls import (
    ConditionFailedError,
    DynamoDBCalls,
    TransactionCanceledError,
    binary,
)
from eventcore.stores.dynamodb.client import BotoTransport, open_calls
from tests.dynamodb import DynamoDBPlace

pytestmark = pytest.mark.dynamodb

ITEM = {"pk": {"S": "a"}, "sk": {"N": "1"}, "b": {"B": b"\x00\xff"}}


@pytest.fixture
def calls(dynamodb: DynamoDBPlace) -> Iterator[DynamoDBCalls]:
    opened = open_calls(dynamodb.table, region=dynamodb.region, endpoint_url=dynamodb.url)
    opened.call(
        "CreateTable",
        {
            "TableName": dynamodb.table,
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "N"},
            ],
            "BillingMode": "PAY_PER_REQUEST",
        },
    )
    yield opened
    opened.close()


@pytest.fixture
def put(dynamodb: DynamoDBPlace) -> dict[str, Any]:
    return {
        "TableName": dynamodb.table,
        "Item": ITEM,
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def test_an_item_is_read_as_it_was_written(calls: DynamoDBCalls, put: dict[str, Any]) -> None:
    calls.call("PutItem", put)

    found = calls.call(
        "Query",
        {
            "TableName": put["TableName"],
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": "a"}},
        },
    )

    (item,) = found["Items"]
    assert (item["pk"], item["sk"], binary(item["b"])) == ({"S": "a"}, {"N": "1"}, b"\x00\xff")


def test_a_condition_that_fails_gives_what_is_there(
    calls: DynamoDBCalls, put: dict[str, Any]
) -> None:
    calls.call("PutItem", put)

    with pytest.raises(ConditionFailedError) as caught:
        calls.call("PutItem", {**put, "Item": {**ITEM, "b": {"B": b"other"}}})

    assert caught.value.item is not None
    assert binary(caught.value.item["b"]) == b"\x00\xff"


def test_a_transaction_says_which_of_its_actions_kept_it_from_being_done(
    calls: DynamoDBCalls, put: dict[str, Any]
) -> None:
    calls.call("PutItem", put)
    other = {**put, "Item": {**ITEM, "pk": {"S": "b"}}}

    with pytest.raises(TransactionCanceledError) as caught:
        calls.call("TransactWriteItems", {"TransactItems": [{"Put": other}, {"Put": put}]})

    assert caught.value.failed_conditions == [1]
    there = caught.value.reasons[1].item
    assert there is not None
    assert binary(there["b"]) == b"\x00\xff"


def test_a_table_that_is_not_there_is_named(calls: DynamoDBCalls, put: dict[str, Any]) -> None:
    with pytest.raises(SchemaMismatchError, match="no-such-table"):
        calls.call("PutItem", {**put, "TableName": "no-such-table"})


def test_a_wrong_request_is_not_tried_again(calls: DynamoDBCalls, put: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="ValidationException"):
        calls.call("PutItem", {**put, "Item": {"pk": {"S": "a"}}})


def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    transport = BotoTransport(region="eu-west-1", endpoint_url="http://127.0.0.1:9")
    calls = DynamoDBCalls(transport, retry_seconds=0.1)

    with pytest.raises(StoreUnavailableError, match="EndpointConnectionError"):
        calls.call("ListTables", {})
    calls.close()


def test_an_endpoint_that_is_no_url_is_named() -> None:
    with pytest.raises(ConfigurationError, match="Invalid endpoint"):
        BotoTransport(region="eu-west-1", endpoint_url="nowhere")


def test_closed_calls_are_refused(calls: DynamoDBCalls) -> None:
    calls.close()

    with pytest.raises(StoreClosedError):
        calls.call("ListTables", {})
