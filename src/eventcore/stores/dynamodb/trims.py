"""How far a log was trimmed, and refusing to tell what it no longer holds.

One item says how far, and where what left the log is. It is written before anything leaves, so
whoever finds an event gone finds that item. Whether an event is gone is told by the items that held
it, never by this one.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from eventcore.errors import TrimmedHistoryError
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item, binary
from eventcore.stores.dynamodb.layout import Keys, number
from eventcore.stores.trimming import TrimRecord

ARCHIVE_UNKNOWN: Final = "whose name a restore lost"
"""In place of an archive's URL, where a table was restored to the moment of its first trim."""

TRIMS_CLOSED: Final = "closed by a repair"
"""In place of the identity of the table while the log is repaired: nothing is trimmed then."""

_KEPT: Final = ("pk", "sk", "n", "b", "m")


def read_trims(calls: DynamoDBCalls, keys: Keys) -> Item:
    """The item itself, empty if there is none."""
    answer = calls.call(
        "GetItem", {"TableName": keys.table, "Key": keys.trims, "ConsistentRead": True}
    )
    return dict(answer.get("Item") or {})


def trim_record(calls: DynamoDBCalls, keys: Keys) -> TrimRecord | None:
    """How far the log was trimmed, if ever."""
    item = read_trims(calls, keys)
    return TrimRecord(number(item, "c"), item["a"]["S"]) if item else None


def replaced(item: Item, body: Item) -> Item:
    """An item with other contents: ``body`` is from ``pack_cell`` or ``pack_stream``."""
    return {**{name: item[name] for name in _KEPT}, "k": {"B": binary(item["k"])}, **body}


def replacement(keys: Keys, item: Item, body: Item) -> dict[str, Any]:
    """The put of other contents in place of exactly those that an item was read with."""
    name = "z" if "z" in item else "e"
    return {
        "TableName": keys.table,
        "Item": replaced(item, body),
        "ConditionExpression": f"k = :token AND {name} = :contents",
        "ExpressionAttributeValues": {
            ":token": {"B": binary(item["k"])},
            ":contents": {"B": binary(item[name])},
        },
    }


def refuse(calls: DynamoDBCalls, keys: Keys, what: str) -> NoReturn:
    """Refuse to tell a history that is not whole.

    Raises:
        TrimmedHistoryError: Always.
    """
    record = trim_record(calls, keys)
    archive = ARCHIVE_UNKNOWN if record is None else record.archive
    raise TrimmedHistoryError(store=calls.name, what=what, archive=archive)
