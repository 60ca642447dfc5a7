"""Lambda handlers that keep read models, fed with what AWS sends and with real stream records."""

import json
from typing import Any

import pytest
from typing_extensions import override

from eventcore.app import App, open_app
from eventcore.commands import RegisterUser, SuspendUser
from eventcore.errors import ConfigurationError, ProjectionFailedError
from eventcore.projections import Projection
from eventcore.projections.lambda_handlers import catch_up, doorbell, stream_filter
from eventcore.projections.read_models import USERS
from eventcore.projections.tables import Table
from tests.dynamodb import DynamoDBPlace

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop/stream/2026-11-29T00:00:00.000"


def stream_record(name: str, partition: str, sort: str = "1") -> dict[str, Any]:
    """As the Lambda Developer Guide shows it ("Using AWS Lambda with Amazon DynamoDB")."""
    return {
        "eventID": "c4ca4238a0b923820dcc509a6f75849b",
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1479499740,
            "Keys": {"pk": {"S": partition}, "sk": {"N": sort}},
            "SequenceNumber": "13021600000000001596893679",
            "SizeBytes": 26,
            "StreamViewType": "KEYS_ONLY",
        },
        "eventSourceARN": ARN,
    }


EXPIRED = {
    **stream_record("REMOVE", "log#l#0"),
    "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
}

SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-29T00:01:00Z",
    "region": "eu-west-1",
    "resources": ["arn:aws:events:eu-west-1:123456789012:rule/every-minute"],
    "detail": {},
}


@pytest.fixture
def app():
    with open_app("memory://") as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        yield app


def known(app: App) -> list[str]:
    return [row.user_id for row in app.query(USERS)]


def test_a_commit_in_the_stream_brings_the_read_models_to_the_head(app):
    ring = doorbell(app.runner)

    assert ring({"Records": [stream_record("INSERT", "log#l#0")]}, None) == {
        "batchItemFailures": []
    }

    assert known(app) == ["u-1"]


@pytest.mark.parametrize(
    "records",
    [
        [],
        [stream_record("MODIFY", "log#q", "0")],
        [stream_record("INSERT", "log#s#user-u-1")],
        [EXPIRED],
    ],
    ids=["nothing", "a reservation", "a stream's item", "an item that expired"],
)
def test_what_is_no_commit_wakes_nobody(app, records):
    doorbell(app.runner)({"Records": records}, None)

    assert known(app) == []


def test_a_batch_that_comes_again_changes_nothing(app):
    ring, batch = doorbell(app.runner), {"Records": [stream_record("INSERT", "log#l#0")]}
    ring(batch, None)
    before = [app.views.checkpoint(one.name) for one in app.projections]

    ring(batch, None)

    assert [app.views.checkpoint(one.name) for one in app.projections] == before


@pytest.mark.parametrize("event", [SCHEDULED, {"Records": [{"eventSource": "aws:sqs"}]}, {}])
def test_what_is_no_stream_is_refused(app, event):
    with pytest.raises(ConfigurationError, match="event source mapping of the log's table"):
        doorbell(app.runner)(event, None)


def test_a_scheduled_run_finds_what_no_bell_told_of(app):
    tick = catch_up(app.runner)

    assert tick(SCHEDULED, None) == {"events": 2, "position": app.log.head()}
    assert known(app) == ["u-1"]
    assert tick(SCHEDULED, None) == {"events": 0, "position": app.log.head()}


def test_a_projection_that_fails_is_shown_to_lambda_and_keeps_no_other_back():
    class Broken(Projection):
        name = "broken"
        tables = (Table("broken", USERS.row, key=["user_id"]),)

        @override
        def apply_page(self, events, transaction):
            if events:
                raise ZeroDivisionError  # without a key to park, the projection stops

    users = next(one for one in open_app("memory://").projections if one.name == "users")
    with open_app("memory://", projections=[Broken(), users]) as app:
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))

        with pytest.raises(ProjectionFailedError, match="broken"):
            doorbell(app.runner)({"Records": [stream_record("INSERT", "log#l#0")]}, None)

        assert known(app) == ["u-1"]


@pytest.mark.dynamodb
def test_records_of_a_real_stream_ring_the_bell(dynamodb: DynamoDBPlace):
    client = dynamodb.client()
    with open_app(dynamodb.store_url) as app:
        stream = client.update_table(
            TableName=dynamodb.table,
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
        )["TableDescription"]["LatestStreamArn"]
        ring = doorbell(app.runner)
        app.execute(RegisterUser(user_id="u-1", email="ada@example.com"))
        records = records_of(dynamodb, stream)

        ring({"Records": records}, None)

        assert known(app) == ["u-1"]
        # The filter lets through the one record that tells of the commit.
        assert [passes(stream_filter(), record) for record in records].count(True) == 1

        app.execute(SuspendUser(user_id="u-1", reason="test"))
        # Apart, in the wrong order, and once more: as Lambda may send them.
        for record in reversed(records_of(dynamodb, stream)):
            ring({"Records": [record]}, None)
        assert [row.status for row in app.query(USERS)] == ["suspended"]
    client.close()


def records_of(place: DynamoDBPlace, stream: str) -> list[dict[str, Any]]:
    """All records of a stream, in the form in which Lambda hands them on."""
    import boto3  # noqa: PLC0415 - a run without DynamoDB needs no boto3

    client = boto3.client("dynamodbstreams", endpoint_url=place.url, region_name=place.region)
    found: list[dict[str, Any]] = []
    for shard in client.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]:
        start = client.get_shard_iterator(
            StreamArn=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found += client.get_records(ShardIterator=start)["Records"]
    client.close()
    text = json.dumps(found, default=lambda moment: moment.timestamp())
    records: list[dict[str, Any]] = json.loads(text)
    return [{**record, "eventSourceARN": stream} for record in records]


def passes(pattern: dict[str, Any], record: dict[str, Any]) -> bool:
    """What an event source mapping makes of such a pattern."""
    [rule] = pattern["dynamodb"]["Keys"]["pk"]["S"]
    key = record["dynamodb"]["Keys"]["pk"]["S"]
    return record["eventName"] in pattern["eventName"] and key.startswith(rule["prefix"])
