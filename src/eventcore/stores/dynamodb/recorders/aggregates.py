"""Events, or snapshots, that are in no order among originators: an item each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing import persistence
from typing_extensions import override

from eventcore.errors import ConcurrencyConflictError
from eventcore.stores.dynamodb.calls import Item, binary
from eventcore.stores.dynamodb.layout import key, number
from eventcore.stores.dynamodb.recorders.datastore import DynamoDBDatastore
from eventcore.stores.dynamodb.recorders.names import checked, originator_id_of
from eventcore.stores.dynamodb.recorders.translation import taken, translated
from eventcore.stores.dynamodb.recorders.writing import new_token
from eventcore.stores.dynamodb.requests import IS_ABSENT
from eventcore.stores.limits import PLACE_MAX, is_storable


class DynamoDBAggregateRecorder(persistence.AggregateRecorder):
    """Stores the snapshots, or the events without an order among them, of aggregates.

    Args:
        datastore: The table.
        purpose: Tells several such recorders of one application apart.
        create: Create the table if it is missing.
    """

    def __init__(
        self, datastore: DynamoDBDatastore, purpose: str = "events", *, create: bool = True
    ) -> None:
        self.datastore = datastore
        self._purpose = purpose
        datastore.ensure_table(create=create)

    @override
    def insert_events(
        self, stored_events: Sequence[persistence.StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Write all or none.

        Raises:
            IntegrityError: A version is taken. Nothing was written.
            DataError: More than 100 events, or too large. Nothing was sent.
            OperationalError: The service does not answer: the outcome is unknown.
        """
        if not stored_events:
            return None
        token = new_token()
        with translated():
            puts = [self._put(event, token) for event in stored_events]
            self._check_distinct(stored_events)
            is_done = self.datastore.write_once(puts, token)
        if not is_done:
            raise taken(stored_events)
        return None

    @override
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[persistence.StoredEvent]:
        after, until = -1 if gt is None else gt, PLACE_MAX if lte is None else lte
        name = str(originator_id)
        if after >= until or not is_storable(name) or (limit is not None and limit <= 0):
            return []
        request: dict[str, Any] = {
            "TableName": self.datastore.table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":pk": {"S": self.datastore.aggregate_key(self._purpose, name)},
                ":low": {"N": str(after + 1)},
                ":high": {"N": str(until)},
            },
            "ConsistentRead": True,
            "ScanIndexForward": not desc,
        }
        with translated():
            items = self._items(request, limit)
        known_id = originator_id_of(name, self.datastore.originator_id_type)
        return [
            persistence.StoredEvent(known_id, number(item, "sk"), item["y"]["S"], binary(item["d"]))
            for item in items
        ]

    def _put(self, event: persistence.StoredEvent, token: bytes) -> dict[str, Any]:
        name, version = checked(self.datastore.name, event)
        item: Item = {
            **key(self.datastore.aggregate_key(self._purpose, name), version),
            "y": {"S": event.topic},
            "d": {"B": bytes(event.state)},
            "k": {"B": token},
        }
        return {
            "Put": {
                "TableName": self.datastore.table,
                "Item": item,
                "ConditionExpression": IS_ABSENT,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def _check_distinct(self, stored_events: Sequence[persistence.StoredEvent]) -> None:
        # The service refuses two actions on one item as a mistake of ours.
        seen: dict[str, set[int]] = {}
        for event in stored_events:
            name, version = str(event.originator_id), event.originator_version
            if version in seen.setdefault(name, set()):
                raise ConcurrencyConflictError(
                    store=self.datastore.name,
                    stream=name,
                    expected_version=version - 1,
                    actual_version=version,
                )
            seen[name].add(version)

    def _items(self, request: dict[str, Any], limit: int | None) -> list[Item]:
        found: list[Item] = []
        while True:
            if limit is not None:
                request["Limit"] = limit - len(found)
            answer = self.datastore.calls.call("Query", request)
            found += answer["Items"]
            is_full = limit is not None and len(found) >= limit
            if is_full or "LastEvaluatedKey" not in answer:
                return found
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
