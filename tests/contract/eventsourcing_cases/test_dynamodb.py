"""The cases shipped in ``eventsourcing.tests`` on DynamoDB Local: uuid and text."""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

from typing import Any

import pytest
from eventsourcing.utils import Environment

from eventcore.stores.dynamodb import DynamoDBFactory
from eventcore.stores.dynamodb.recorders.aggregates import DynamoDBAggregateRecorder
from eventcore.stores.dynamodb.recorders.applications import DynamoDBApplicationRecorder
from eventcore.stores.dynamodb.recorders.trackings import (
    DynamoDBProcessRecorder,
    DynamoDBTrackingRecorder,
)
from tests.contract.eventsourcing_cases import shipped
from tests.contract.eventsourcing_cases.views_written_for_dynamodb import Counters
from tests.dynamodb import DynamoDBPlace

pytestmark = pytest.mark.dynamodb


class TrackingSubclass(DynamoDBTrackingRecorder):
    """Named by topic in the factory cases."""


def environment(place: DynamoDBPlace, **more: str) -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": "eventcore.stores.dynamodb",
        "DYNAMODB_TABLE": place.table,
        "DYNAMODB_ENDPOINT_URL": place.url,
        "AWS_REGION": place.region,
        **more,
    }


class OnServer(shipped.OnStore):
    """Each test in a new table."""

    kit = shipped.Kit(
        factory=DynamoDBFactory,
        aggregate=DynamoDBAggregateRecorder,
        application=DynamoDBApplicationRecorder,
        process=DynamoDBProcessRecorder,
        tracking=DynamoDBTrackingRecorder,
        tracking_subclass=TrackingSubclass,
        counters=Counters,
    )

    @pytest.fixture(autouse=True)
    def _datastore(self, dynamodb, monkeypatch):
        self.env_of_test = environment(dynamodb, ORIGINATOR_ID_TYPE=self.originator_id_type)
        for key, value in self.env_of_test.items():
            monkeypatch.setenv(key, value)
        with DynamoDBFactory(Environment("", self.env_of_test)) as factory:
            self.datastore = factory.datastore
            yield
        factory.close()

    def opened(self, recorder_class: Any) -> Any:
        return recorder_class(self.datastore)


globals().update(shipped.cases_on(OnServer))
globals().update(shipped.cases_on(OnServer, shipped.RECORDERS, text=True))
