"""Rows of a table in DynamoDB in the order of an index, read page by page as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby, islice
from typing import Any, Final, NamedTuple

from eventcore.errors import ConfigurationError
from eventcore.projections.columns import Kind, StoredValue
from eventcore.projections.dynamodb.keys import NUL, AttributeValue, Item, stored_value
from eventcore.projections.dynamodb.layouts import Layout
from eventcore.projections.dynamodb.requests import DynamoDBRequests
from eventcore.projections.tables import StoredRow

PAGE_ITEMS_MARGIN: Final = 8
"""Asked for beyond a limit, so that what shares the last place in the order, or is hidden, rarely
takes another request."""

_DATE_LENGTH: Final = 10


class Sorted(NamedTuple):
    """Which rows, and in what order.

    Attributes:
        column: Stored name.
        value: What it equals.
        by: Stored name of the column that sorts.
        since: What that is not below; None: anything.
    """

    column: str
    value: StoredValue
    by: str
    since: StoredValue


class DynamoDBSorting:
    """Reads rows of one table in the order of its key or of an index.

    Args:
        requests: Sends the requests.
        layout: Of the table.
        now: Rows whose time has passed by then are left out; None: none is.
    """

    def __init__(self, requests: DynamoDBRequests, layout: Layout, now: datetime | None) -> None:
        self._requests = requests
        self._layout = layout
        self._expiry = None if now is None or layout.ttl is None else layout.table.expiry(now)

    def find(self, wanted: Sorted, limit: int | None) -> Iterator[StoredRow]:
        """Rows with a value, sorted, and by key among those of one place in the order.

        Args:
            wanted: Which rows.
            limit: At most so many.

        Raises:
            ConfigurationError: DynamoDB keeps no such index of the table.
        """
        layout, expiry = self._layout, self._expiry
        if expiry is not None and layout.table.ttl_column == wanted.by:
            # They sort first, and may be many that DynamoDB has not deleted yet.
            exact = layout.table.column(wanted.by).kind is not Kind.TEXT
            # Text may be a date, which is too old when the whole day is.
            lowest = expiry if exact else expiry[:_DATE_LENGTH]
            wanted = wanted._replace(since=max(lowest, str(wanted.since or "")))
        path = _path(layout, wanted)
        [(equal, _), (sort, _)] = layout.by_place({wanted.column: None, wanted.by: None})
        rows: Iterator[StoredRow] = (
            row
            for items in self._requests.pages("Query", _query(layout, wanted, path, limit=limit))
            for item in items
            if not layout.is_locator(item)
            for row in (layout.row(item),)
            if row[equal] == wanted.value
            and _is_from(row[sort], wanted.since)
            and not layout.is_expired(row, expiry)
        )
        if path.sort is None:
            rows = iter(sorted(rows, key=lambda row: str(row[sort])))
        return islice(_settled(layout, wanted.by, rows), limit)


class _Path(NamedTuple):
    """Where rows are found: within an index, None for the table, and what its key is to equal.

    ``sort`` is the attribute by which they come sorted as wanted; None if they do not.
    """

    within: str | None
    equal: Item
    sort: str | None


def _is_from(value: StoredValue, since: StoredValue) -> bool:
    return since is None or (value is not None and value >= since)  # type: ignore[operator]  # one column, one type


def _settled(layout: Layout, by: str, rows: Iterator[StoredRow]) -> Iterator[StoredRow]:
    """Rows of one place in the order by key: an index has them in no particular one."""
    [(place, _)] = layout.by_place({by: None})
    for _, together in groupby(rows, key=lambda row: row[place]):
        yield from sorted(together, key=layout.row_key)


def _query(layout: Layout, wanted: Sorted, path: _Path, *, limit: int | None) -> dict[str, Any]:
    names = {f"#a{n}": name for n, name in enumerate(path.equal)}
    values: Item = {f":v{n}": value for n, value in enumerate(path.equal.values())}
    terms = [f"#a{n} = :v{n}" for n in range(len(names))]
    if wanted.since is not None and path.sort is not None:
        names["#by"], values[":since"] = path.sort, _compared(layout, wanted.by, wanted.since)
        terms.append("#by >= :since")
    parameters: dict[str, Any] = {
        "TableName": layout.name,
        "KeyConditionExpression": " AND ".join(terms),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
        "ConsistentRead": path.within is None,
    }
    if path.within is not None:
        parameters["IndexName"] = path.within
    if limit is not None and path.sort is not None:
        parameters["Limit"] = min(limit, 2**31 - 1 - PAGE_ITEMS_MARGIN) + PAGE_ITEMS_MARGIN
    return parameters


def _path(layout: Layout, wanted: Sorted) -> _Path:
    columns = (wanted.column, wanted.by)
    value = _compared(layout, wanted.column, wanted.value)
    partition, sort = layout.partition, layout.sort
    if sort is not None and sort.form is None and partition.columns + sort.columns == columns:
        return _Path(None, {partition.attribute: value}, sort.attribute)
    for index in layout.indexes:
        if index.columns == columns and index.sort is not None:
            return _Path(index.name, {index.partition: value}, index.sort)
    served = layout.served(wanted.column, wanted.value)
    if served is not None:
        index, equal = served
        is_sorted = index.sort == layout.attributes[wanted.by]
        return _Path(index.name, equal, index.sort if is_sorted else None)
    raise ConfigurationError(
        message=f"Table {layout.table.name} has no index on {wanted.column} and {wanted.by} "
        "in DynamoDB"
    )


def _compared(layout: Layout, column: str, value: StoredValue) -> AttributeValue:
    found = stored_value(layout.table.column(column), value)
    # As an empty text is kept in a key.
    return {"S": NUL} if found == {"S": ""} else found
