"""The persistence module on DynamoDB, where answers are lost and tables are replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import (
    IntegrityError,
    InternalError,
    Tracking,
)

from eventcore.stores.dynamodb.calls import CallFailedError, DynamoDBCalls
from eventcore.stores.dynamodb.client import BotoTransport
from eventcore.stores.dynamodb.recorders.aggregates import DynamoDBAggregateRecorder
from eventcore.stores.dynamodb.recorders.datastore import DynamoDBDatastore
from eventcore.stores.dynamodb.recorders.trackings import DynamoDBProcessRecorder
from tests.contract.eventsourcing_cases.views_written_for_dynamodb import Counters
from tests.dynamodb import DynamoDBPlace
from tests.integration.dynamodb_recorders import (
    Build,
    events,
)

pytestmark = pytest.mark.dynamodb


@pytest.fixture
def build(build_on_dynamodb: Build) -> Build:
    return build_on_dynamodb


class Losing:
    """Does what it is asked and loses the answers of some writes."""

    def __init__(self, place: DynamoDBPlace) -> None:
        self._transport = BotoTransport(region=place.region, endpoint_url=place.url)
        self.operations: set[str] = set()
        self.lost: list[str] = []

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._transport.call(operation, parameters)
        if operation in self.operations:
            self.operations.remove(operation)
            self.lost.append(operation)
            raise CallFailedError("ReadTimeout", "no answer", kind="unknown")
        return answer

    def close(self) -> None:
        self._transport.close()


@pytest.fixture
def losing(dynamodb: DynamoDBPlace) -> Losing:
    return Losing(dynamodb)


@pytest.fixture
def datastore(dynamodb: DynamoDBPlace, losing: Losing) -> Iterator[DynamoDBDatastore]:
    opened = DynamoDBDatastore(
        lambda: DynamoDBCalls(losing), table=dynamodb.table, application_name="shop"
    )
    yield opened
    opened.close()


@pytest.mark.parametrize("count", [1, 3])
def test_an_insert_whose_answer_was_lost_gives_the_positions_it_has(datastore, losing, count):
    recorder = DynamoDBProcessRecorder(datastore)
    recorder.insert_events(events())
    batch = events(count)

    losing.operations = {"TransactWriteItems"}
    ids = recorder.insert_events(batch, tracking=Tracking("upstream", 7))

    assert losing.lost == ["TransactWriteItems"]
    assert ids == list(range(2, 2 + count))
    assert recorder.max_notification_id() == 1 + count
    assert recorder.max_tracking_id("upstream") == 7
    with pytest.raises(IntegrityError):
        recorder.insert_events(batch)


def test_a_position_whose_answer_was_lost_is_recorded_once(datastore, losing):
    recorder = DynamoDBProcessRecorder(datastore)

    losing.operations = {"UpdateItem"}
    recorder.insert_tracking(Tracking("upstream", 7))

    assert losing.lost == ["UpdateItem"]
    assert recorder.max_tracking_id("upstream") == 7
    with pytest.raises(IntegrityError):
        recorder.insert_tracking(Tracking("upstream", 7))


def test_a_change_of_a_view_whose_answer_was_lost_is_made_once(datastore, losing):
    view = Counters(datastore)

    losing.operations = {"TransactWriteItems"}
    view.incr_created_event_counter(Tracking("upstream", 7))

    assert losing.lost == ["TransactWriteItems"]
    assert view.get_created_event_counter() == 1
    with pytest.raises(IntegrityError):
        view.incr_created_event_counter(Tracking("upstream", 7))
    assert view.get_created_event_counter() == 1


@pytest.mark.parametrize("count", [1, 3])
def test_a_snapshot_whose_answer_was_lost_is_stored(datastore, losing, count):
    recorder = DynamoDBAggregateRecorder(datastore, "snapshots")
    batch = events(count)

    losing.operations = {"PutItem", "TransactWriteItems"}
    recorder.insert_events(batch)

    assert losing.lost == ["PutItem" if count == 1 else "TransactWriteItems"]
    assert recorder.select_events(batch[0].originator_id) == batch
    losing.operations.clear()
    with pytest.raises(IntegrityError):
        recorder.insert_events(batch)


def test_a_table_that_was_replaced_is_not_written_to(build, dynamodb):
    recorder = build().application_recorder()
    id_ = uuid4()
    recorder.insert_events(events(2, id_=id_))
    client = dynamodb.client()
    client.delete_table(TableName=dynamodb.table)
    client.close()
    build().application_recorder()

    with pytest.raises(InternalError, match=dynamodb.table):
        recorder.insert_events(events(1, id_=id_, first=3))

    assert build().application_recorder().max_notification_id() is None
