"""The log's table: made where it is missing, and refused where it is not as the log left it."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from eventcore.errors import (
    LogRestoredError,
    SchemaMismatchError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.stores.dynamodb.calls import (
    CallFailedError,
    ConditionFailedError,
    DynamoDBCalls,
    Item,
)
from eventcore.stores.dynamodb.layout import FORMAT, FORMAT_CLOSED, Keys, number, record_of
from eventcore.stores.dynamodb.limits import SEGMENT_POSITIONS

CREATE_SECONDS_MAX: Final = 120.0
"""How long a new table may take until it can be used."""

CREATE_PAUSE_SECONDS: Final = 0.2

_KEYS: Final = {"pk": ("HASH", "S"), "sk": ("RANGE", "N")}


def table_definition(table: str) -> dict[str, Any]:
    """The log's table, as ``CreateTable`` takes it."""
    return {
        "TableName": table,
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": type_} for name, (_, type_) in _KEYS.items()
        ],
        "KeySchema": [
            {"AttributeName": name, "KeyType": kind} for name, (kind, _) in _KEYS.items()
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }


def ensure_log(calls: DynamoDBCalls, keys: Keys, *, create: bool) -> str:
    """Make sure that the table is there and holds a log that may be written; gives its identity.

    Args:
        calls: To the service.
        keys: Of the log.
        create: Create the table if it is missing. A log in it begins by itself.

    Raises:
        SchemaMismatchError: There is no table and none is to be created, or it has another shape or
            another format.
        LogRestoredError: It was restored from a backup. Nothing was changed.
    """
    identity = ensure_table(calls, keys.table, create=create)
    sequencer = read_sequencer(calls, keys)
    if "f" not in sequencer:
        sequencer = _begin(calls, keys, identity)
    check_usable(calls, keys, sequencer, identity)
    _check_sequencer(calls, keys, number(sequencer, "c"))
    return identity


def check_usable(  # noqa: PLR0917 - what is looked at, and what it has to be
    calls: DynamoDBCalls, keys: Keys, sequencer: Item, identity: str
) -> None:
    """Refuse a log that this version does not write, or that is not the table's own.

    Args:
        calls: To the service.
        keys: Of the log.
        sequencer: As read; empty: there is none.
        identity: Of the table that the log is, or was, opened in.

    Raises:
        SchemaMismatchError: It has another format.
        LogRestoredError: It was made in another table, or is closed by a repair.
    """
    if "f" not in sequencer:
        problem = f"table {keys.table} no longer holds the log {keys.prefix}"
        raise LogRestoredError(store=calls.name, problem=problem)
    found = number(sequencer, "f")
    if found == FORMAT_CLOSED:
        problem = f"the log {keys.prefix} is closed by a repair that goes on or was broken off"
        raise LogRestoredError(store=calls.name, problem=problem)
    if found != FORMAT:
        raise SchemaMismatchError(
            table=keys.table,
            database=calls.name,
            found=f"a log of format {found}",
            expected=f"one of format {FORMAT}",
            action="Use the version of eventcore that made it",
        )
    if sequencer.get("t") != {"S": identity}:
        problem = f"table {keys.table} is not the one that the log was made in"
        raise LogRestoredError(store=calls.name, problem=problem)


def table_identity(description: dict[str, Any]) -> str:
    """What no other table has, nor one of the same name made later; of ``DescribeTable``."""
    # DynamoDB Local gives tables no id.
    made = f"{description['TableArn']} {description['CreationDateTime']}"
    return str(description.get("TableId") or made)


def ensure_table(calls: DynamoDBCalls, table: str, *, create: bool) -> str:
    """Make sure that the table is there, and has the shape of a log's; gives its identity.

    Raises:
        SchemaMismatchError: There is none and none is to be created, or it has another shape.
    """
    try:
        description = _describe(calls, table)
    except SchemaMismatchError:
        if not create:
            raise
        try:
            calls.call("CreateTable", table_definition(table))
        except StoreError as error:
            cause = error.__cause__
            if not isinstance(cause, CallFailedError) or cause.code != "ResourceInUseException":
                raise
        description = _describe(calls, table, is_made=True)
    types = {
        one["AttributeName"]: one["AttributeType"] for one in description["AttributeDefinitions"]
    }
    shape = {
        one["AttributeName"]: (one["KeyType"], types[one["AttributeName"]])
        for one in description["KeySchema"]
    }
    if shape != _KEYS:
        raise SchemaMismatchError(
            table=table,
            database=calls.name,
            found=f"key {shape}",
            expected=f"key {_KEYS}",
            action="Name another table",
        )
    return table_identity(description)


def _describe(calls: DynamoDBCalls, table: str, *, is_made: bool = False) -> dict[str, Any]:
    """The table's description, once it can be used.

    One that was just made may not be known yet (AWS, DynamoDB API Reference, "DescribeTable":
    eventually consistent).
    """
    deadline = calls.clock() + CREATE_SECONDS_MAX
    while True:
        try:
            description: dict[str, Any] = calls.call("DescribeTable", {"TableName": table})["Table"]
            status = description["TableStatus"]
            if status in {"ACTIVE", "UPDATING"}:
                return description
        except SchemaMismatchError:
            if not is_made:
                raise
            status = "not known yet"
        if calls.clock() >= deadline:
            problem = f"table {table} is {status}"
            raise StoreUnavailableError(store=calls.name, problem=problem)
        calls.sleep(CREATE_PAUSE_SECONDS)


def read_sequencer(calls: DynamoDBCalls, keys: Keys) -> Item:
    """The sequencer's item, empty if there is none."""
    answer = calls.call(
        "GetItem", {"TableName": keys.table, "Key": keys.sequencer, "ConsistentRead": True}
    )
    return dict(answer.get("Item") or {})


def _begin(calls: DynamoDBCalls, keys: Keys, identity: str) -> Item:
    """Begin a log, unless somebody else does at the same time."""
    # Records without a sequencer are a log that was restored in part.
    _check_sequencer(calls, keys, 0)
    with contextlib.suppress(ConditionFailedError):  # somebody else has begun it
        calls.call(
            "UpdateItem",
            {
                "TableName": keys.table,
                "Key": keys.sequencer,
                "UpdateExpression": "SET f = :format, t = :identity, c = :zero",
                "ConditionExpression": "attribute_not_exists(pk)",
                "ExpressionAttributeValues": {
                    ":format": {"N": str(FORMAT)},
                    ":identity": {"S": identity},
                    ":zero": {"N": "0"},
                },
            },
        )
    return read_sequencer(calls, keys)


def _check_sequencer(calls: DynamoDBCalls, keys: Keys, reserved: int) -> None:
    """Refuse a log with records above everything that was reserved."""
    highest = 0
    for segment in range(reserved // SEGMENT_POSITIONS, reserved // SEGMENT_POSITIONS + 2):
        items = calls.call(
            "Query",
            {
                "TableName": keys.table,
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": {":pk": {"S": keys.segment_numbered(segment)}},
                "ProjectionExpression": "sk, n",
                "ConsistentRead": True,
                "ScanIndexForward": False,
                "Limit": 1,
            },
        )["Items"]
        highest = max([highest, *(record_of(item).end for item in items)])
    if highest <= reserved:
        return
    # Others may have reserved more meanwhile: what they wrote was reserved before.
    sequencer = read_sequencer(calls, keys)
    reserved = number(sequencer, "c") if "c" in sequencer else 0
    if highest > reserved:
        problem = f"position {highest} is written, but only {reserved} are reserved"
        raise LogRestoredError(store=calls.name, problem=problem)
