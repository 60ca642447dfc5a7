"""A view in rows of the table, as its user would write it."""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

from eventsourcing.persistence import Tracking
from eventsourcing.tests.projection import EventCountersView

from eventcore.stores.dynamodb.layout import key, number
from eventcore.stores.dynamodb.recorders.trackings import DynamoDBTrackingRecorder


class Counters(DynamoDBTrackingRecorder, EventCountersView):
    """Counts created and other events, in two items."""

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, name: str) -> int:
        answer = self.datastore.calls.call(
            "GetItem",
            {
                "TableName": self.datastore.table,
                "Key": key(f"counters#{name}"),
                "ConsistentRead": True,
            },
        )
        return number(answer["Item"], "n") if answer.get("Item") else 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        update = {
            "TableName": self.datastore.table,
            "Key": key(f"counters#{name}"),
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
        self.write([{"Update": update}], tracking)
