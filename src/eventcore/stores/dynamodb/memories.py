"""What the table keeps beside the log: snapshots of aggregates, and refusals of imports."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import orjson

from eventcore.stores.dynamodb.calls import (
    ConditionFailedError,
    DynamoDBCalls,
    Item,
    binary,
)
from eventcore.stores.dynamodb.layout import REFUSAL_BUCKETS, Keys, key, number
from eventcore.stores.dynamodb.limits import BATCH_GET_MAX, BODY_BYTES_MAX
from eventcore.stores.limits import is_storable
from eventcore.stores.refusals import Refusal
from eventcore.stores.snapshots import Snapshot

_DIGEST_PREFIX: Final = "d"
_SORT_KEY_BYTES: Final = 15
"""A number has 38 digits at most (AWS, DynamoDB Developer Guide, "Data types": Number)."""


class Memories:
    """Snapshots and refusals of one log. Refused once its log is closed.

    Args:
        calls: To the service.
        keys: Of the log.
    """

    def __init__(self, calls: DynamoDBCalls, keys: Keys) -> None:
        self._calls = calls
        self._keys = keys

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.load_snapshot`."""
        if not is_storable(stream):
            return None
        answer = self._calls.call(
            "GetItem",
            {
                "TableName": self._keys.table,
                "Key": self._keys.snapshot(stream),
                "ConsistentRead": True,
            },
        )
        item = answer.get("Item")
        if not item:
            return None
        return Snapshot(stream, number(item, "v"), item["g"]["S"], binary(item["d"]))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.save_snapshot`.

        One that is too large for an item is not kept: a lost snapshot costs time, never truth.
        """
        if len(snapshot.state) > BODY_BYTES_MAX:
            return
        version = {"N": str(snapshot.version)}
        fingerprint = {"S": snapshot.fingerprint}
        try:
            self._calls.call(
                "PutItem",
                {
                    "TableName": self._keys.table,
                    "Item": {
                        **self._keys.snapshot(snapshot.stream),
                        "v": version,
                        "g": fingerprint,
                        "d": {"B": snapshot.state},
                    },
                    "ConditionExpression": "attribute_not_exists(pk) OR v < :v OR g <> :g",
                    "ExpressionAttributeValues": {":v": version, ":g": fingerprint},
                },
            )
        except ConditionFailedError:
            return  # a newer one is there

    def find_refusals(self, event_ids: Sequence[str]) -> Mapping[tuple[str, str], Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.find_refusals`."""
        found: dict[tuple[str, str], Refusal] = {}
        ids = iter(dict.fromkeys(event_ids))
        while batch := list(islice(ids, BATCH_GET_MAX)):
            for item in self._get([self._key(id_) for id_ in batch]):
                for refusal in _refusals(item):
                    found[refusal.event_id, refusal.digest] = refusal
        return found

    def remember_refusals(self, refusals: Sequence[Refusal]) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.remember_refusals`."""
        for update in self.refusal_updates(refusals):
            self._calls.call("UpdateItem", update)

    def all_refusals(self) -> Iterator[Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.all_refusals`.

        All of them are in memory at once: they are spread over the table, and asked for in order.
        """
        found = [
            refusal
            for bucket in range(REFUSAL_BUCKETS)
            for item in self._bucket(bucket)
            for refusal in _refusals(item)
        ]
        return iter(sorted(found))

    def refusal_updates(self, refusals: Sequence[Refusal]) -> list[dict[str, Any]]:
        """Updates that keep refusals, one an event id. Doing one again changes nothing."""
        by_id: dict[str, dict[str, Refusal]] = {}
        for refusal in refusals:
            by_id.setdefault(refusal.event_id, {})[refusal.digest] = refusal
        return [self._update(id_, list(each.values())) for id_, each in by_id.items()]

    def _update(self, event_id: str, refusals: Sequence[Refusal]) -> dict[str, Any]:
        numbered = list(enumerate(refusals))
        assignments = ", ".join(f"#d{index} = :d{index}" for index, _ in numbered)
        return {
            "TableName": self._keys.table,
            "Key": self._key(event_id),
            "UpdateExpression": f"SET i = :id, {assignments}",
            "ExpressionAttributeNames": {
                f"#d{index}": _DIGEST_PREFIX + refusal.digest for index, refusal in numbered
            },
            "ExpressionAttributeValues": {
                ":id": {"S": event_id},
                **{
                    f":d{index}": {"S": orjson.dumps([refusal.reason, refusal.message]).decode()}
                    for index, refusal in numbered
                },
            },
        }

    def _key(self, event_id: str) -> Item:
        digest = hashlib.blake2b(event_id.encode("utf-8", "replace"), digest_size=16).digest()
        bucket, place = digest[0] % REFUSAL_BUCKETS, digest[16 - _SORT_KEY_BYTES :]
        return key(self._keys.refusals(bucket), int.from_bytes(place, "big"))

    def _get(self, keys: Sequence[Item]) -> list[Item]:
        table = self._keys.table
        request = {table: {"Keys": list(keys), "ConsistentRead": True}}
        return [
            item
            for answer in self._calls.finish("BatchGetItem", request, undone="UnprocessedKeys")
            for item in answer["Responses"][table]
        ]

    def _bucket(self, bucket: int) -> Iterator[Item]:
        request: dict[str, Any] = {
            "TableName": self._keys.table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": self._keys.refusals(bucket)}},
            "ConsistentRead": True,
        }
        while True:
            answer = self._calls.call("Query", request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _refusals(item: Item) -> Iterator[Refusal]:
    for name, value in item.items():
        if name.startswith(_DIGEST_PREFIX):
            reason, message = orjson.loads(value["S"])
            digest = name.removeprefix(_DIGEST_PREFIX)
            yield Refusal(item["i"]["S"], digest, reason, message)
