"""A model of DynamoDB's tables of any key, in memory: what read models ask for, one step a call.

For the tests that try every order of requests, which on a server would take minutes: there the same
sentences are tried for some orders. Anything it does not know fails loudly.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from eventcore.projections.dynamodb.keys import AttributeValue, Item
from eventcore.stores.dynamodb.calls import (
    CallFailedError,
    ConditionFailedError,
    Reason,
    TransactionCanceledError,
)

Parameters = Mapping[str, Any]
Key = tuple[str, ...]

_TERM = re.compile(r"(\S+) (=|<=|>=|<|>) (\S+)")
_BETWEEN = re.compile(r"(\S+) BETWEEN (\S+) AND (\S+)")
_FUNCTION = re.compile(r"(attribute_not_exists|attribute_exists|begins_with)\((\S+?)(?:, (\S+))?\)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "<": lambda a, b: bool(a < b),
    ">": lambda a, b: bool(a > b),
    "<=": lambda a, b: bool(a <= b),
    ">=": lambda a, b: bool(a >= b),
}


class RowTables:
    """Tables that any number of transports share. Every call is one atomic step.

    It takes a transaction again that it has done before, unlike the service within ten minutes: a
    late one has to be refused by its conditions alone.

    Attributes:
        items: Name of a table to its items by key.
        page_items: After so many a query or scan breaks off.
    """

    def __init__(self, page_items: int = 100) -> None:
        self.items: dict[str, dict[Key, Item]] = {}
        self.page_items = page_items
        self._definitions: dict[str, Parameters] = {}
        self._ttl: dict[str, Any] = {}
        self._lock = threading.RLock()

    def call(self, operation: str, parameters: Parameters) -> dict[str, Any]:
        """Do one call, as :class:`eventcore.stores.dynamodb.calls.Transport` does."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        with self._lock:
            answer: dict[str, Any] = getattr(self, f"_do_{name}")(deepcopy(dict(parameters)))
            return deepcopy(answer)

    def close(self) -> None:
        """Nothing to release."""

    def _table(self, name: str) -> dict[Key, Item]:
        if name not in self.items:
            raise CallFailedError("ResourceNotFoundException", "no table", kind="absent")
        return self.items[name]

    def _key(self, table: str, item: Item) -> Key:
        schema = self._definitions[table]["KeySchema"]
        return tuple(str(next(iter(item[part["AttributeName"]].values()))) for part in schema)

    def _do_create_table(self, parameters: Parameters) -> dict[str, Any]:
        name = parameters["TableName"]
        if name in self.items:
            raise CallFailedError("ResourceInUseException", "it exists", kind="refused")
        self.items[name] = {}
        self._definitions[name] = parameters
        return {}

    def _do_delete_table(self, parameters: Parameters) -> dict[str, Any]:
        self._table(parameters["TableName"])
        del self.items[parameters["TableName"]]
        return {}

    def _do_describe_table(self, parameters: Parameters) -> dict[str, Any]:
        name = parameters["TableName"]
        count = len(self._table(name))
        return {"Table": {**self._definitions[name], "TableStatus": "ACTIVE", "ItemCount": count}}

    def _do_update_time_to_live(self, parameters: Parameters) -> dict[str, Any]:
        self._ttl[parameters["TableName"]] = parameters["TimeToLiveSpecification"]
        return {}

    def _do_describe_time_to_live(self, parameters: Parameters) -> dict[str, Any]:
        given = self._ttl.get(parameters["TableName"], {})
        status = "ENABLED" if given else "DISABLED"
        return {"TimeToLiveDescription": {**given, "TimeToLiveStatus": status}}

    def _do_get_item(self, parameters: Parameters) -> dict[str, Any]:
        table = parameters["TableName"]
        item = self._table(table).get(self._key(table, parameters["Key"]))
        return {} if item is None else {"Item": item}

    def _do_put_item(self, parameters: Parameters) -> dict[str, Any]:
        return self._write("Put", parameters)

    def _do_update_item(self, parameters: Parameters) -> dict[str, Any]:
        return self._write("Update", parameters)

    def _do_delete_item(self, parameters: Parameters) -> dict[str, Any]:
        return self._write("Delete", parameters)

    def _write(self, verb: str, given: Parameters) -> dict[str, Any]:
        self._check(given)
        self._change(verb, given)
        return {}

    def _do_transact_write_items(self, parameters: Parameters) -> dict[str, Any]:
        actions = [next(iter(action.items())) for action in parameters["TransactItems"]]
        keys = [(given["TableName"], self._key_of(given)) for _, given in actions]
        assert len(keys) <= 100, "too many actions"
        assert len(set(keys)) == len(keys), "an item twice in one transaction"
        reasons = [self._reason(given) for _, given in actions]
        if any(reason.code != "None" for reason in reasons):
            raise TransactionCanceledError(reasons)
        for verb, given in actions:
            self._change(verb, given)
        return {}

    def _reason(self, given: Parameters) -> Reason:
        try:
            self._check(given)
        except ConditionFailedError as error:
            return Reason("ConditionalCheckFailed", error.item)
        return Reason("None", None)

    def _key_of(self, given: Parameters) -> Key:
        return self._key(given["TableName"], given.get("Item") or given["Key"])

    def _check(self, given: Parameters) -> None:
        item = self._table(given["TableName"]).get(self._key_of(given))
        if not _holds(given.get("ConditionExpression"), item, given):
            wants = given.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            raise ConditionFailedError(item if wants else None)

    def _change(self, verb: str, given: Parameters) -> None:
        table, key = self._table(given["TableName"]), self._key_of(given)
        match verb:
            case "Put":
                table[key] = given["Item"]
            case "Delete":
                table.pop(key, None)
            case "Update":
                table[key] = _updated(table[key] if key in table else given["Key"], given)
            case _:
                assert verb == "ConditionCheck", verb

    def _do_batch_get_item(self, parameters: Parameters) -> dict[str, Any]:
        responses = {}
        for name, wanted in parameters["RequestItems"].items():
            assert len(wanted["Keys"]) <= 100
            found = [self._table(name).get(self._key(name, key)) for key in wanted["Keys"]]
            responses[name] = [item for item in found if item is not None]
        return {"Responses": responses}

    def _do_batch_write_item(self, parameters: Parameters) -> dict[str, Any]:
        for name, requests in parameters["RequestItems"].items():
            assert len(requests) <= 25
            for request in requests:
                [(kind, given)] = request.items()
                self._change(kind.removesuffix("Request"), {"TableName": name, **given})
        return {}

    def _do_query(self, parameters: Parameters) -> dict[str, Any]:
        return self._found(parameters, parameters["KeyConditionExpression"])

    def _do_scan(self, parameters: Parameters) -> dict[str, Any]:
        return self._found(parameters, None)

    def _found(self, parameters: Parameters, condition: str | None) -> dict[str, Any]:
        name = parameters["TableName"]
        table = self._table(name)
        placed = ((self._place(parameters, item), key) for key, item in table.items())
        places = sorted((place, key) for place, key in placed if place is not None)
        keys = [key for _, key in places]
        if start := parameters.get("ExclusiveStartKey"):
            after = tuple(start["place"]["L"])
            keys = [key for place, key in places if (place, key) > after]
        keys = [key for key in keys if _holds(condition, table[key], parameters)]
        page = keys[: min(self.page_items, parameters.get("Limit", self.page_items))]
        kept = parameters.get("FilterExpression")
        items = [table[key] for key in page if _holds(kept, table[key], parameters)]
        answer: dict[str, Any] = {"Items": items, "Count": len(items)}
        if len(page) < len(keys):
            last = page[-1]
            place = (self._place(parameters, table[last]), last)
            answer["LastEvaluatedKey"] = {"place": {"L": list(place)}}
        return answer

    def _place(self, parameters: Parameters, item: Item) -> Key | None:
        """What an item is sorted by in the table or the index; None if the index lacks it."""
        definition = self._definitions[parameters["TableName"]]
        schema = definition["KeySchema"]
        if index := parameters.get("IndexName"):
            indexes = definition["GlobalSecondaryIndexes"]
            schema = next(one["KeySchema"] for one in indexes if one["IndexName"] == index)
        names = [part["AttributeName"] for part in schema]
        if any(name not in item for name in names):
            return None
        return tuple(_sortable(item[name]) for name in names)


def _sortable(value: AttributeValue) -> str:
    [(kind, content)] = value.items()
    return f"{int(content) + 2**64:025d}" if kind == "N" else str(content)


def _plain(value: AttributeValue) -> Any:
    [(kind, content)] = value.items()
    return float(content) if kind == "N" else content


def _updated(before: Item, given: Parameters) -> Item:
    names, values = given.get("ExpressionAttributeNames", {}), given["ExpressionAttributeValues"]
    item = dict(before)
    clauses = re.split(r"\s*\b(SET|REMOVE|ADD)\b\s*", given["UpdateExpression"])[1:]
    for verb, parts in zip(clauses[::2], clauses[1::2], strict=True):
        for part in re.split(r",\s*", parts):
            name, *rest = re.split(r" = | ", part)
            attribute = names.get(name, name)
            match verb:
                case "SET":
                    item[attribute] = values[rest[0]]
                case "REMOVE":
                    item.pop(attribute, None)
                case _:
                    base = int(item.get(attribute, {"N": "0"})["N"])
                    item[attribute] = {"N": str(base + int(values[rest[0]]["N"]))}
    return item


def _holds(condition: str | None, item: Item | None, given: Parameters) -> bool:
    if condition is None:
        return True
    if between := _BETWEEN.search(condition):
        name, low, high = between.groups()
        condition = condition.replace(between[0], f"{name} >= {low} AND {name} <= {high}")
    return any(
        all(_term_holds(term, item, given) for term in terms.split(" AND "))
        for terms in condition.split(" OR ")
    )


def _term_holds(term: str, item: Item | None, given: Parameters) -> bool:
    names = given.get("ExpressionAttributeNames", {})
    values = given.get("ExpressionAttributeValues", {})
    if function := _FUNCTION.fullmatch(term):
        verb, name, value = function.groups()
        found = None if item is None else item.get(names.get(name, name))
        if verb == "begins_with":
            return found is not None and str(_plain(found)).startswith(_plain(values[value]))
        return (found is not None) == (verb == "attribute_exists")
    comparison = _TERM.fullmatch(term)
    assert comparison is not None, term
    name, sign, value = comparison.groups()
    found = None if item is None else item.get(names.get(name, name))
    return found is not None and _COMPARE[sign](_plain(found), _plain(values[value]))
