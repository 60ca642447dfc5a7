"""The tables of read models in DynamoDB: what they should be, what is there, making and dropping.

They are billed on demand. Point-in-time recovery and deletion protection are off: everything in
them is made again from the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from eventcore.errors import (
    SchemaMismatchError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.projections.dynamodb.keys import key_schema
from eventcore.projections.dynamodb.layouts import Layout
from eventcore.stores.dynamodb.calls import DynamoDBCalls

CHECKPOINTS: Final = "eventcore_checkpoints"
"""Name, after the prefix, of the table that says how far projections are and whose a table is."""

PARTITION: Final = "pk"
SORT: Final = "sk"

TABLE_SECONDS_MAX: Final = 300.0
"""How long to wait for a table to be made or dropped. On AWS it takes some seconds."""

TABLE_PAUSE_SECONDS: Final = 0.5
"""Between two looks at a table that is being made or dropped."""

FIRST_PAUSE_SECONDS: Final = 0.01


def table_definition(layout: Layout) -> dict[str, Any]:
    """A table as ``CreateTable`` takes it."""
    definition: dict[str, Any] = {
        "TableName": layout.name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": layout.key_schema,
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": type_}
            for name, type_ in sorted(layout.attribute_types.items())
        ],
    }
    if layout.indexes:
        definition["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": key_schema(index.partition, index.sort),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in layout.indexes
        ]
    return definition


def checkpoints_definition(name: str) -> dict[str, Any]:
    """The table of checkpoints as ``CreateTable`` takes it."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": key_schema(PARTITION, SORT),
        "AttributeDefinitions": [
            {"AttributeName": PARTITION, "AttributeType": "S"},
            {"AttributeName": SORT, "AttributeType": "S"},
        ],
    }


class DynamoDBTables:
    """Makes tables, drops them and says what they are like.

    Args:
        calls: Sends the requests.
    """

    def __init__(self, calls: DynamoDBCalls) -> None:
        self.calls = calls

    def describe(self, name: str) -> dict[str, Any] | None:
        """What DynamoDB says of a table; None if there is none."""
        try:
            answer = self.calls.call("DescribeTable", {"TableName": name})
        except SchemaMismatchError:
            return None
        found: dict[str, Any] = answer["Table"]
        return found

    def create(self, definition: dict[str, Any], ttl: str | None = None) -> None:
        """Make a table and wait until it can be used; fine if another process was faster.

        Args:
            definition: As ``CreateTable`` takes it.
            ttl: Attribute by which rows expire; None: they never do.

        Raises:
            SchemaMismatchError: Another table has the name.
        """
        name = definition["TableName"]
        try:
            self.calls.call("CreateTable", definition)
        except StoreError as error:
            # It may have been made meanwhile, by another process or an attempt without an answer.
            if "ResourceInUse" not in str(error):
                raise
        self.wait(name, exists=True)
        self.check(definition)
        if ttl is not None and self.ttl(name) is None:
            self._begin_ttl(name, ttl)

    def _begin_ttl(self, name: str, attribute: str) -> None:
        try:
            self.set_ttl(name, attribute)
        except StoreError:
            # DynamoDB refuses it where it is so already: another process was faster.
            if self.ttl(name) != attribute:
                raise

    def set_ttl(self, name: str, attribute: str) -> None:
        """Have DynamoDB delete items whose time, in this attribute, has come."""
        specification = {"AttributeName": attribute, "Enabled": True}
        self.calls.call(
            "UpdateTimeToLive", {"TableName": name, "TimeToLiveSpecification": specification}
        )

    def ttl(self, name: str) -> str | None:
        """The attribute by which rows of a table expire; None if they do not."""
        answer = self.calls.call("DescribeTimeToLive", {"TableName": name})
        found: dict[str, str] = answer.get("TimeToLiveDescription", {})
        if found.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
            return found.get("AttributeName")
        return None

    def drop(self, name: str) -> None:
        """Drop a table and wait until its name is free; fine if there is none."""
        try:
            self.calls.call("DeleteTable", {"TableName": name})
        except SchemaMismatchError:
            return
        self.wait(name, exists=False)

    def wait(self, name: str, *, exists: bool, settled: bool = False) -> None:
        """Wait until a table can be used, or is gone.

        Args:
            name: Of the table.
            exists: It is to be there.
            settled: And no change of it under way.

        Raises:
            StoreUnavailableError: It takes too long.
        """
        deadline = self.calls.clock() + TABLE_SECONDS_MAX
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            found = self.describe(name)
            usable = {"ACTIVE"} if settled else {"ACTIVE", "UPDATING"}
            if exists and found is not None and found["TableStatus"] in usable:
                return
            if not exists and found is None:
                return
            if self.calls.clock() > deadline:
                status = "absent" if found is None else found["TableStatus"]
                raise StoreUnavailableError(
                    store=self.calls.name, problem=f"table {name} is still {status}"
                )
            self.calls.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, TABLE_PAUSE_SECONDS)

    def check(self, definition: dict[str, Any]) -> None:
        """Refuse a table that is made for other keys or lacks an index.

        Raises:
            SchemaMismatchError: It is.
        """
        name = definition["TableName"]
        found = self.describe(name)
        problems = differences(definition, found)
        if problems:
            raise SchemaMismatchError(
                table=name,
                database=self.calls.name,
                found=problems[0].found,
                expected=problems[0].expected,
                action="Use another prefix; or, if a projection made that table, rebuild it",
            )

    def is_empty(self, name: str) -> bool:
        """Whether a table holds nothing."""
        answer = self.calls.call(
            "Scan", {"TableName": name, "Limit": 1, "ConsistentRead": True, "Select": "COUNT"}
        )
        return not answer["Count"] and not answer.get("LastEvaluatedKey")


class TableDifference:
    """Where a table is not as it should be: in what, and in words what is there."""

    def __init__(self, part: str, found: str, expected: str) -> None:
        self.part = part
        self.found = found
        self.expected = expected


def differences(definition: dict[str, Any], found: dict[str, Any] | None) -> list[TableDifference]:
    """Where a table, as ``DescribeTable`` has it, is not as defined; further indexes are fine."""
    if found is None:
        return [TableDifference("table", "not been created", _keys_text(definition))]
    problems = []
    if _keys_of(definition) != _keys_of(found):
        problems.append(TableDifference("key", _keys_text(found), _keys_text(definition)))
    present = {index["IndexName"]: index for index in found.get("GlobalSecondaryIndexes", ())}
    types = _types(found)
    for index in definition.get("GlobalSecondaryIndexes", ()):
        name = index["IndexName"]
        other = present.get(name)
        wanted = _parts(index["KeySchema"], _types(definition))
        if other is None or _parts(other["KeySchema"], types) != wanted:
            there = "no index" if other is None else f"index {name} of other keys for"
            problems.append(
                TableDifference(name, f"{there} {name}", f"index {name} on {_text(wanted)}")
            )
    return problems


def _types(definition: dict[str, Any]) -> dict[str, str]:
    return {
        one["AttributeName"]: one["AttributeType"] for one in definition["AttributeDefinitions"]
    }


def _parts(schema: Iterable[dict[str, str]], types: dict[str, str]) -> list[tuple[str, str]]:
    ordered = sorted(schema, key=lambda part: part["KeyType"])  # HASH before RANGE
    return [(part["AttributeName"], types.get(part["AttributeName"], "?")) for part in ordered]


def _keys_of(definition: dict[str, Any]) -> list[tuple[str, str]]:
    return _parts(definition["KeySchema"], _types(definition))


def _keys_text(definition: dict[str, Any]) -> str:
    return f"the key {_text(_keys_of(definition))}"


def _text(parts: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({type_})" for name, type_ in parts)
