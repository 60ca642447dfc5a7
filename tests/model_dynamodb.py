"""A model of DynamoDB's tables, in memory: the few operations and expressions that the log uses.

One call is one atomic step, done at once: strongly consistent reads, conditional writes and
transactions are exactly what the service promises, and the contract tests run on both, so that the
model cannot drift. A read that does not ask for consistency may be answered from the past, and a
transaction with a known token is not done again. Anything it does not know fails loudly.
"""

from __future__ import annotations

import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from eventcore.stores.dynamodb.calls import (
    CallFailedError,
    ConditionFailedError,
    Item,
    Reason,
    TransactionCanceledError,
)
from eventcore.stores.dynamodb.layout import item_bytes

ITEM_BYTES_MAX = 409_600
PAGE_BYTES_MAX = 1_048_576
TRANSACTION_ITEMS_MAX = 100
TRANSACTION_BYTES_MAX = 4 * 1_048_576

PAST = 0.5
"""How likely a write leaves a past behind, and a read without consistency sees what is now."""

_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}

Key = tuple[str, int]
Parameters = Mapping[str, Any]

_COMPARISON = re.compile(r"(\S+) (=|<>|<=|>=|<|>) (\S+)")
_BETWEEN = re.compile(r"sk BETWEEN (\S+) AND (\S+)")
_FUNCTION = re.compile(r"(attribute_not_exists|attribute_exists)\((\S+)\)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


class ModelTables:
    """Tables that any number of transports share. Every call is one atomic step.

    Attributes:
        page_bytes_max: Of the items that a query looks at before it breaks off.
        tables: Name to items by key.

    Args:
        page_bytes_max: As above.
        are_tokens_kept: Whether a ``ClientRequestToken`` is remembered, as for ten minutes.
        stale: Decides which reads that ask for no consistency see the past; None: none does.
    """

    def __init__(
        self,
        page_bytes_max: int = PAGE_BYTES_MAX,
        *,
        are_tokens_kept: bool = True,
        stale: Random | None = None,
    ) -> None:
        self.page_bytes_max = page_bytes_max
        self._are_tokens_kept = are_tokens_kept
        self._stale = stale
        self._past: dict[str, dict[Key, Item]] = {}
        self._done: dict[str, Any] = {}
        self.tables: dict[str, dict[Key, Item]] = {}
        self._made: dict[str, float] = {}
        self._definitions: dict[str, Parameters] = {}
        self._lock = threading.Lock()

    def call(self, operation: str, parameters: Parameters) -> dict[str, Any]:
        """Do one call, as :class:`eventcore.stores.dynamodb.calls.Transport` does."""
        names = {
            "CreateTable": self._create_table,
            "DescribeTable": self._describe_table,
            "GetItem": self._get_item,
            "PutItem": self._put_item,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
            "Query": self._query,
            "Scan": self._scan,
            "BatchGetItem": self._batch_get,
            "BatchWriteItem": self._batch_write,
            "TransactWriteItems": self._transact,
        }
        with self._lock:
            if self._stale is not None and operation in _WRITES and self._stale.random() < PAST:
                self._past = {name: dict(items) for name, items in self.tables.items()}
            return names[operation](parameters)

    def close(self) -> None:
        """Nothing to release."""

    def _table(self, parameters: Parameters) -> dict[Key, Item]:
        name = parameters["TableName"]
        if name not in self.tables:
            raise CallFailedError("ResourceNotFoundException", "no table", kind="absent")
        return self.tables[name]

    def _read(self, name: str, parameters: Parameters) -> dict[Key, Item]:
        """What a read sees of a table."""
        now = self._table({"TableName": name})
        if self._stale is None or parameters.get("ConsistentRead") or self._stale.random() < PAST:
            return now
        return self._past.get(name, {})

    def _create_table(self, parameters: Parameters) -> dict[str, Any]:
        name = parameters["TableName"]
        if name in self.tables:
            raise CallFailedError("ResourceInUseException", "it exists", kind="refused")
        self.tables[name] = {}
        self._made[name] = time.time()
        self._definitions[name] = parameters
        return {}

    def _describe_table(self, parameters: Parameters) -> dict[str, Any]:
        self._table(parameters)
        name = parameters["TableName"]
        definition = self._definitions[name]
        return {
            "Table": {
                "TableStatus": "ACTIVE",
                "TableArn": f"arn:aws:dynamodb:model:0:table/{name}",
                "CreationDateTime": self._made[name],
                "KeySchema": definition["KeySchema"],
                "AttributeDefinitions": definition["AttributeDefinitions"],
            }
        }

    def _get_item(self, parameters: Parameters) -> dict[str, Any]:
        item = self._read(parameters["TableName"], parameters).get(_key(parameters["Key"]))
        return {} if item is None else {"Item": _answer(item)}

    def _put_item(self, parameters: Parameters) -> dict[str, Any]:
        self._check(parameters, parameters["Item"])
        self._put(parameters)
        return {}

    def _update_item(self, parameters: Parameters) -> dict[str, Any]:
        self._check(parameters, parameters["Key"])
        return {"Attributes": _answer(self._update(parameters))}

    def _delete_item(self, parameters: Parameters) -> dict[str, Any]:
        self._check(parameters, parameters["Key"])
        self._table(parameters).pop(_key(parameters["Key"]), None)
        return {}

    def _check(self, parameters: Parameters, key: Item) -> None:
        item = self._table(parameters).get(_key(key))
        if not _holds(parameters, item):
            wants = parameters.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            raise ConditionFailedError(_answer(item) if wants and item is not None else None)

    def _put(self, parameters: Parameters) -> None:
        item = parameters["Item"]
        if item_bytes(item) > ITEM_BYTES_MAX:
            raise CallFailedError("ValidationException", "Item size", kind="refused")
        self._table(parameters)[_key(item)] = dict(item)

    def _update(self, parameters: Parameters) -> Item:
        table, key = self._table(parameters), parameters["Key"]
        item: Item = dict(table.get(_key(key)) or key)
        names = parameters.get("ExpressionAttributeNames", {})
        values = parameters["ExpressionAttributeValues"]
        verb, _, rest = parameters["UpdateExpression"].partition(" ")
        changed: Item = {}
        for part in rest.split(", "):
            name, value = part.split(" = ") if verb == "SET" else part.split(" ")
            name, given = names.get(name, name), values[value]
            if verb == "ADD":
                given = {"N": str(int(item.get(name, {"N": "0"})["N"]) + int(given["N"]))}
            else:
                assert verb == "SET", verb
            changed[name] = given
        table[_key(key)] = {**item, **changed}
        return changed

    def _query(self, parameters: Parameters) -> dict[str, Any]:
        values = parameters["ExpressionAttributeValues"]
        condition = parameters["KeyConditionExpression"]
        assert condition.startswith("pk = :pk"), condition
        pk = values[":pk"]["S"]
        low, high = _bounds(condition.removeprefix("pk = :pk").removeprefix(" AND "), values)
        table = self._read(parameters["TableName"], parameters)
        # Sorting all keys each time is slow for large tables, and plain.
        keys = sorted(key for key in table if key[0] == pk and low <= key[1] <= high)
        start = parameters.get("ExclusiveStartKey")
        if parameters.get("ScanIndexForward", True):
            keys = [key for key in keys if start is None or key > _key(start)]
        else:
            keys = [key for key in reversed(keys) if start is None or key < _key(start)]
        return self._page(table, keys, parameters)

    def _scan(self, parameters: Parameters) -> dict[str, Any]:
        table = self._read(parameters["TableName"], parameters)
        keys = sorted(table)
        if start := parameters.get("ExclusiveStartKey"):
            keys = [key for key in keys if key > _key(start)]
        return self._page(table, keys, parameters)

    def _page(
        self, table: dict[Key, Item], keys: list[Key], parameters: Parameters
    ) -> dict[str, Any]:
        found: list[Item] = []
        size, limit = 0, parameters.get("Limit", len(keys) + 1)
        answer: dict[str, Any] = {"Items": found}
        names = parameters.get("ProjectionExpression")
        for key in keys:
            item = table[key]
            size += item_bytes(item)
            if size > self.page_bytes_max and found:
                answer["LastEvaluatedKey"] = _key_item(found[-1])
                break
            found.append(_answer(item))
            if len(found) == limit:
                answer["LastEvaluatedKey"] = _key_item(item)
                break
        if names is not None:
            wanted = names.split(", ")
            answer["Items"] = [
                {name: item[name] for name in wanted if name in item} for item in found
            ]
        return answer

    def _batch_get(self, parameters: Parameters) -> dict[str, Any]:
        responses = {}
        for name, request in parameters["RequestItems"].items():
            assert len(request["Keys"]) <= 100
            table = self._read(name, request)
            found = [table.get(_key(key)) for key in request["Keys"]]
            responses[name] = [_answer(item) for item in found if item is not None]
        return {"Responses": responses}

    def _batch_write(self, parameters: Parameters) -> dict[str, Any]:
        for name, requests in parameters["RequestItems"].items():
            assert len(requests) <= 25
            for request in requests:
                self._put({"TableName": name, "Item": request["PutRequest"]["Item"]})
        return {"UnprocessedItems": {}}

    def _transact(self, parameters: Parameters) -> dict[str, Any]:
        actions = [next(iter(action.items())) for action in parameters["TransactItems"]]
        keys = [(given["TableName"], _key(_keyed(given))) for _, given in actions]
        size = sum(item_bytes(given.get("Item", {})) for _, given in actions)
        is_wrong = len(actions) > TRANSACTION_ITEMS_MAX or size > TRANSACTION_BYTES_MAX
        if is_wrong or len(set(keys)) < len(keys):
            raise CallFailedError("ValidationException", "a wrong transaction", kind="refused")
        if self._was_done(parameters):
            return {}
        reasons = [self._reason(given) for _, given in actions]
        if any(reason.code != "None" for reason in reasons):
            raise TransactionCanceledError(reasons)
        for verb, given in actions:
            if verb == "Put":
                self._put(given)
            if verb == "Update":
                self._update(given)
        if self._are_tokens_kept and "ClientRequestToken" in parameters:
            self._done[parameters["ClientRequestToken"]] = parameters["TransactItems"]
        return {}

    def _was_done(self, parameters: Parameters) -> bool:
        token = parameters.get("ClientRequestToken")
        if token not in self._done:
            return False
        if self._done[token] != parameters["TransactItems"]:
            code = "IdempotentParameterMismatchException"
            raise CallFailedError(code, "a token of another request", kind="refused")
        return True

    def _reason(self, given: Parameters) -> Reason:
        try:
            self._check(given, _keyed(given))
        except ConditionFailedError as error:
            return Reason("ConditionalCheckFailed", error.item)
        return Reason("None", None)


def _keyed(given: Parameters) -> Item:
    item: Item = given["Item"] if "Item" in given else given["Key"]
    return item


def _key(item: Item) -> Key:
    return item["pk"]["S"], int(item["sk"]["N"])


def _key_item(item: Item) -> Item:
    return {"pk": item["pk"], "sk": item["sk"]}


def _answer(item: Item) -> Item:
    """An item as it comes over the wire: binary values are base64 text."""
    return {
        name: {"B": b64encode(value["B"]).decode()} if "B" in value else dict(value)
        for name, value in item.items()
    }


def _plain(value: Parameters) -> Any:
    return int(value["N"]) if "N" in value else next(iter(value.values()))


def _holds(parameters: Parameters, item: Item | None) -> bool:
    condition = parameters.get("ConditionExpression")
    if condition is None:
        return True
    values = parameters.get("ExpressionAttributeValues", {})
    return any(
        all(_term_holds(term, item, values) for term in terms.split(" AND "))
        for terms in condition.split(" OR ")
    )


def _term_holds(term: str, item: Item | None, values: Parameters) -> bool:
    if function := _FUNCTION.fullmatch(term):
        is_there = item is not None and function[2] in item
        return is_there == (function[1] == "attribute_exists")
    comparison = _COMPARISON.fullmatch(term)
    assert comparison is not None, term
    name, sign, value = comparison.groups()
    if item is None or name not in item:
        return False
    return _COMPARE[sign](_plain(item[name]), _plain(values[value]))


def _bounds(condition: str, values: Parameters) -> tuple[int, int]:
    if not condition:
        return 0, 2**127
    if between := _BETWEEN.fullmatch(condition):
        return _plain(values[between[1]]), _plain(values[between[2]])
    comparison = _COMPARISON.fullmatch(condition)
    assert comparison is not None, condition
    assert comparison[1] == "sk", condition
    bound = _plain(values[comparison[3]])
    return {"<=": (0, bound), ">=": (bound, 2**127)}[comparison[2]]
