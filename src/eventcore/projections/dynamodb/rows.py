"""Rows of tables in DynamoDB: read by key and by group, found by query, turned into actions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from eventcore.projections.columns import StoredValue
from eventcore.projections.dynamodb.commits import RowAction
from eventcore.projections.dynamodb.keys import (
    NUL,
    Item,
    KeyPart,
    SecondaryIndex,
    stored_value,
)
from eventcore.projections.dynamodb.layouts import Layout
from eventcore.projections.dynamodb.requests import Action, DynamoDBRequests, in_parallel
from eventcore.projections.tables import StoredRow

RowChanges = Mapping[StoredRow, StoredRow | None]
"""Row keys to the rows to be there; None: none."""

_KEY_BYTES: Final = 200
"""Size of a key, roughly: what a deletion counts in a transaction."""


class Reading(NamedTuple):
    """How rows with given values are found.

    Attributes:
        within: The index; None: in the table itself.
        conditions: Key attributes and the values they are to equal; empty: everything is read.
        begin: What the sort begins with; None: with anything.
        in_order: Whether rows come by key.
    """

    within: SecondaryIndex | None
    conditions: Item
    begin: str | None = None
    in_order: bool = False


class DynamoDBRows:
    """Reads rows and makes the actions that change them.

    Args:
        requests: Sends the requests.
    """

    def __init__(self, requests: DynamoDBRequests) -> None:
        self._requests = requests

    def by_key(self, layout: Layout, keys: Iterable[StoredRow]) -> list[StoredRow]:
        """Those of the rows that are there, as they are now."""
        wanted = list(dict.fromkeys(keys))
        if layout.is_direct:
            item_keys = [layout.key_of(key) for key in wanted]
            items = self._requests.get_many(layout.name, item_keys)
        elif layout.located:
            item_keys = [key for key in self._locate(layout, wanted).values() if key is not None]
            items = self._requests.get_many(layout.name, item_keys)
        else:
            items = [item for found in self._by_partition(layout, wanted) for item in found]
        return list(map(layout.row, items))

    def by_group(self, layout: Layout, groups: Iterable[StoredRow]) -> list[StoredRow]:
        """All rows of groups, by key within the table, as they are now."""
        found = self._in_partitions(layout, map(layout.group_key, dict.fromkeys(groups)))
        rows = [
            layout.row(item) for items in found for item in items if not layout.is_locator(item)
        ]
        return sorted(rows, key=layout.row_key)

    def _by_partition(self, layout: Layout, values: Sequence[StoredRow]) -> list[list[Item]]:
        part = layout.partition
        keys = [({part.attribute: part.of_values(value)}, None) for value in values]
        return self._in_partitions(layout, keys)

    def _in_partitions(
        self, layout: Layout, keys: Iterable[tuple[Item, str | None]]
    ) -> list[list[Item]]:
        return in_parallel(
            lambda key: [
                item for page in self._query(layout, Reading(None, key[0], key[1])) for item in page
            ],
            keys,
        )

    def _query(self, layout: Layout, reading: Reading) -> Iterator[list[Item]]:
        # Attributes may be named like words of the language, or with a # inside.
        conditions, index = reading.conditions, reading.within
        names = {f"#a{n}": name for n, name in enumerate(conditions)}
        values = {f":v{n}": value for n, value in enumerate(conditions.values())}
        terms = [f"#a{n} = :v{n}" for n in range(len(names))]
        if reading.begin is not None:
            assert layout.sort is not None
            names["#sort"], values[":begin"] = layout.sort.attribute, {"S": reading.begin}
            terms.append("begins_with(#sort, :begin)")
        parameters: dict[str, Any] = {
            "TableName": layout.name,
            "KeyConditionExpression": " AND ".join(terms),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ConsistentRead": index is None,
        }
        if index is not None:
            parameters["IndexName"] = index.name
        return self._requests.pages("Query", parameters)

    def _locate(self, layout: Layout, keys: Sequence[StoredRow]) -> dict[StoredRow, Item | None]:
        """Row keys to the keys of their items; None where there is none."""
        if not layout.located:
            found = self._by_partition(layout, keys)
            return {
                key: layout.key_in(items[0]) if items else None
                for key, items in zip(keys, found, strict=True)
            }
        locator_keys = {key: layout.locator_key(key) for key in keys}
        locators = self._requests.get_many(layout.name, list(locator_keys.values()))
        by_key = {_hashable(layout.key_in(locator)): locator for locator in locators}
        found_keys: dict[StoredRow, Item | None] = {}
        for key, locator_key in locator_keys.items():
            locator = by_key.get(_hashable(locator_key))
            found_keys[key] = None if locator is None else layout.located_key(key, locator)
        return found_keys

    def actions(self, layout: Layout, changes: RowChanges) -> list[RowAction]:
        """What makes the rows be as given.

        Raises:
            LimitExceededError: A row is larger than DynamoDB takes.
        """
        if layout.is_direct:
            return [
                _put(layout, layout.item(row))
                if row is not None
                else _delete(layout.name, layout.key_of(key))
                for key, row in changes.items()
            ]
        if layout.located:
            return self._located_actions(layout, changes)
        puts = [_put(layout, layout.item(row)) for row in changes.values() if row is not None]
        found = self._locate(layout, [key for key, row in changes.items() if row is None])
        return puts + [_delete(layout.name, key) for key in found.values() if key is not None]

    def _located_actions(self, layout: Layout, changes: RowChanges) -> list[RowAction]:
        actions: list[RowAction] = []
        before = self._locate(layout, list(changes))
        for key, row in changes.items():
            old = before[key]
            new = None if row is None else layout.key_of_row(row)
            if row is not None:
                actions.append(_put(layout, layout.item(row)))
            if row is not None and (new != old or layout.ttl):
                actions.append(_put(layout, layout.locator(row)))
            if old is not None and new != old:
                actions.append(_delete(layout.name, old))
            if old is not None and new is None:
                actions.append(_delete(layout.name, layout.locator_key(key)))
        return actions

    def find(
        self,
        layout: Layout,
        where: Mapping[str, StoredValue],
        limit: int | None,
        *,
        now: datetime | None,
    ) -> Iterator[StoredRow]:
        """Rows whose columns equal the given values, by key.

        Args:
            layout: Of which table.
            where: Columns to stored values.
            limit: At most so many.
            now: Rows whose time has passed by then are left out; None: none is.
        """
        reading = reading_of(layout, where)
        places = layout.by_place(where)
        expiry = None if now is None or layout.ttl is None else layout.table.expiry(now)
        rows: Iterator[StoredRow] = (
            row
            for item in self._items(layout, reading)
            if not layout.is_locator(item)
            for row in (layout.row(item),)
            if all(row[place] == value for place, value in places)
            and not layout.is_expired(row, expiry)
        )
        if not reading.in_order:
            rows = iter(sorted(rows, key=layout.row_key))
        return islice(rows, limit)

    def _items(self, layout: Layout, reading: Reading) -> Iterator[Item]:
        if reading.conditions:
            pages = self._query(layout, reading)
        else:
            pages = self._requests.pages("Scan", {"TableName": layout.name, "ConsistentRead": True})
        return (item for page in pages for item in page)

    def count(self, layout: Layout) -> int:
        """How many rows there are, by reading all of them."""
        parameters: dict[str, Any] = {"TableName": layout.name, "ConsistentRead": True}
        if layout.located:
            parameters["FilterExpression"] = "attribute_not_exists(#group)"
            parameters["ExpressionAttributeNames"] = {"#group": layout.locator_mark}
        return self._requests.count(parameters)

    def keys_of_all(self, layout: Layout) -> Iterator[list[Item]]:
        """Keys of all items, page by page."""
        names = {f"#k{n}": part for n, part in enumerate(layout.key_names)}
        parameters = {
            "TableName": layout.name,
            "ConsistentRead": True,
            "ProjectionExpression": ", ".join(names),
            "ExpressionAttributeNames": names,
        }
        return self._requests.pages("Scan", parameters)


def reading_of(layout: Layout, where: Mapping[str, StoredValue]) -> Reading:
    """The cheapest way to rows with these values: a key, an index, else all of them."""
    partition, sort = layout.partition, layout.sort
    conditions = _conditions(partition, where)
    if conditions:
        exact = _conditions(sort, where) if sort is not None else {}
        group = [where.get(name) for name in layout.table.group]
        begin = None
        if not exact and group and None not in group:
            _, begin = layout.group_key(tuple(group))
        in_order = layout.is_direct and not layout.has_forms
        return Reading(None, conditions | exact, begin, in_order=in_order)
    usable = [index for index in layout.indexes if index.columns[:1] and _has(where, index, 1)]
    if usable:
        index = max(usable, key=lambda one: _has(where, one, 2))
        wanted = index.columns if _has(where, index, 2) else index.columns[:1]
        attributes = (index.partition, index.sort)
        found = {
            attribute: _indexed(layout, column, where[column])
            for attribute, column in zip(attributes, wanted, strict=False)
            if attribute is not None
        }
        return Reading(index, found)
    for column, value in where.items():
        served = layout.served(column, value)
        if served is not None:
            return Reading(*served)
    return Reading(None, {})


def _conditions(part: KeyPart, where: Mapping[str, StoredValue]) -> Item:
    values = [where.get(name) for name in part.columns]
    return {} if None in values else {part.attribute: part.of_values(values)}


def _has(where: Mapping[str, StoredValue], index: SecondaryIndex, columns: int) -> bool:
    wanted = index.columns[:columns]
    return len(wanted) == columns and all(where.get(name) is not None for name in wanted)


def _indexed(layout: Layout, column: str, value: StoredValue) -> dict[str, Any]:
    found = stored_value(layout.table.column(column), value)
    return {"S": NUL} if found == {"S": ""} else found


def _put(layout: Layout, item: Item) -> RowAction:
    action: Action = {"Put": {"TableName": layout.name, "Item": item}}
    return RowAction(action, layout.checked_bytes(item))


def _delete(table: str, key: Item) -> RowAction:
    action: Action = {"Delete": {"TableName": table, "Key": key}}
    return RowAction(action, _KEY_BYTES)


def _hashable(key: Item) -> tuple[tuple[str, str], ...]:
    return tuple((name, next(iter(value.values()))) for name, value in sorted(key.items()))
