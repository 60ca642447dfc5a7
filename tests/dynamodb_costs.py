"""What calls to DynamoDB cost, by the service's rules and the sizes of the items.

DynamoDB Local's own figures are wrong, and the service's are known only afterwards. The rules (AWS,
DynamoDB Developer Guide, "Read consistency and capacity unit consumption" and "Write operations"):

- a write costs a unit for each started KB of the larger of the item before and after, also when its
  condition does not hold; in a transaction twice that;
- a strongly consistent read costs a unit for each started 4 KB, an eventually consistent one half
  of that. A query adds up the items it reads before it rounds; a batch rounds each.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from eventcore.stores.dynamodb.calls import Item
from eventcore.stores.dynamodb.layout import item_bytes
from tests.model_dynamodb import ModelTables

WRITE_UNIT_BYTES = 1_024
READ_UNIT_BYTES = 4_096


def write_units(size: int) -> int:
    """Of an item of so many bytes."""
    return max(1, ceil(size / WRITE_UNIT_BYTES))


def read_units(size: int, *, consistent: bool = True) -> float:
    """Of items of so many bytes, read together."""
    units = max(1, ceil(size / READ_UNIT_BYTES))
    return units if consistent else units / 2


class MeteredTables:
    """A model of DynamoDB that adds up what is asked of it.

    Attributes:
        written: Write units so far.
        read: Read units so far.
        calls: Calls so far.
    """

    def __init__(self, tables: ModelTables | None = None) -> None:
        self.tables = tables or ModelTables()
        self.written = 0
        self.read = 0.0
        self.calls = 0

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See :class:`eventcore.stores.dynamodb.calls.Transport`."""
        self.calls += 1
        before = self._sizes(operation, parameters)
        answer: dict[str, Any] = {}
        try:
            answer = self.tables.call(operation, parameters)
        finally:
            after = self._sizes(operation, parameters)
            times = 2 if operation == "TransactWriteItems" else 1
            sizes = [max(pair) for pair in zip(before, after, strict=True)]
            self.written += times * sum(write_units(size) for size in sizes)
        self._count_reads(operation, parameters, answer)
        return answer

    def close(self) -> None:
        """Nothing to release."""

    def restart(self) -> None:
        """Count from zero."""
        self.written, self.read, self.calls = 0, 0.0, 0

    def _sizes(self, operation: str, parameters: Mapping[str, Any]) -> list[int]:
        """Of the items that a call writes, as they are now; the new one where there is none."""
        if operation == "TransactWriteItems":
            actions = [next(iter(action.values())) for action in parameters["TransactItems"]]
        elif operation == "BatchWriteItem":
            actions = [
                {"TableName": table, **request["PutRequest"]}
                for table, requests in parameters["RequestItems"].items()
                for request in requests
            ]
        elif operation in {"PutItem", "UpdateItem"}:
            actions = [parameters]
        else:
            return []
        return [self._size(action) for action in actions]

    def _size(self, action: Mapping[str, Any]) -> int:
        keyed: Item = action["Item"] if "Item" in action else action["Key"]
        key = keyed["pk"]["S"], int(keyed["sk"]["N"])
        there = self.tables.tables[action["TableName"]].get(key)
        return item_bytes(there if there is not None else keyed)

    def _count_reads(
        self, operation: str, parameters: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> None:
        if operation == "GetItem":
            sizes = [item_bytes(answer.get("Item", {}))]
        elif operation == "Query":
            # What was read, whatever is left out of the answer.
            sizes = [sum(self._read_size(parameters, item) for item in answer["Items"])]
        elif operation == "BatchGetItem":
            sizes = [item_bytes(item) for items in answer["Responses"].values() for item in items]
        else:
            return
        consistent = parameters.get("ConsistentRead", operation == "BatchGetItem")
        self.read += sum(read_units(size, consistent=consistent) for size in sizes)

    def _read_size(self, parameters: Mapping[str, Any], item: Item) -> int:
        pk = parameters["ExpressionAttributeValues"][":pk"]["S"]
        table = self.tables.tables[parameters["TableName"]]
        return item_bytes(table[pk, int(item["sk"]["N"])])
