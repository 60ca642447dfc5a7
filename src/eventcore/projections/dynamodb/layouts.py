"""Layouts: how a table of a read model lies in DynamoDB, and its rows as items there and back.

Every column is an attribute of its own; what is None is absent. The parts of an item's key come
from columns:

=============================== ==================== ============================================
the table declares              partition            sort
=============================== ==================== ============================================
a key of one column             that column          none
a key of more                   the first            the others
a group that is part of the key the group            the rest of the key
a group that is not             the group            the key; a *locator* finds it by key alone
=============================== ==================== ============================================

So a row is read by one ``GetItem`` and a group by one ``Query``, both strongly consistent. One
column is its own attribute; several are joined by NUL, which no text of a row holds, whole numbers
among them written so that text sorts as they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Final

from eventcore.errors import ConfigurationError, LimitExceededError, StoreError
from eventcore.events.times import from_text
from eventcore.projections.columns import StoredValue
from eventcore.projections.dynamodb.keys import (
    ITEM_BYTES_MAX,
    NUL,
    NUMBERS,
    PARTITION_BYTES_MAX,
    SORT_BYTES_MAX,
    Item,
    KeyPart,
    NamedIndex,
    SecondaryIndex,
    Shape,
    check_key_text,
    component,
    item_bytes,
    key_schema,
    type_of,
)
from eventcore.projections.tables import AnyTable, StoredRow

INDEXES_MAX: Final = 20
"""Global secondary indexes of a table (AWS, DynamoDB Developer Guide, "Quotas")."""

NAME_LENGTH_MIN: Final = 3
"""Of a table (AWS, DynamoDB Developer Guide, "Naming rules")."""

_LOCATOR_SORT: Final = NUL * 2
_LOCATOR_GROUP: Final = "located in"  # no column can be named so
_DATE_LENGTH: Final = 10


class Layout:
    """How one table lies in DynamoDB.

    Args:
        table: What the read model declares.
        shape: What it asks for beside.
        prefix: Begins the names of all tables.
        with_ttl: Items carry the time from which DynamoDB may delete them.

    Attributes:
        name: Of the table in DynamoDB.
        partition, sort: The parts of an item's key.
        located: Whether a locator finds an item by the row's key.
        indexes: Its global secondary indexes.
        ttl: Attribute with the time in seconds since 1970 from which an item may go; None for
            never.

    Raises:
        ConfigurationError: DynamoDB cannot keep such a table.
    """

    def __init__(
        self,
        table: AnyTable,
        shape: Shape | None = None,
        *,
        prefix: str = "",
        with_ttl: bool = True,
    ) -> None:
        self.table = table
        self.shape = shape or Shape(name=table.name)
        self.name = f"{prefix}{self.shape.name}".ljust(NAME_LENGTH_MIN, "-")
        names = [column.name for column in table.columns]
        self._places = {name: place for place, name in enumerate(names)}
        self._columns = {column.name: column for column in table.columns}
        self.attributes = {name: self.shape.attributes.get(name, name) for name in names}
        self.located = False
        self.partition, self.sort = self._key_parts()
        self.indexes = self._secondary_indexes()
        self.ttl = self._ttl_attribute() if with_ttl and table.ttl_days is not None else None
        self._ttl_place = self._places[table.ttl_column] if table.ttl_column else -1
        self._key_places = [self._places[name] for name in table.key]
        self._plan = self._encoding_plan()
        self._check()

    def _key_parts(self) -> tuple[KeyPart, KeyPart | None]:
        table, part = self.table, partial(self._part, bytes_max=SORT_BYTES_MAX)
        partition: tuple[str, ...] = table.key[:1]
        sort: tuple[str, ...] = table.key[1:]
        if self.shape.sort_as:
            partition = table.group[:1]
            rest = [name for name in table.key if name not in table.group]
            sort = (*table.group[1:], *rest)
        elif table.group:
            partition = table.group
            inside = set(table.group) <= set(table.key)
            sort = tuple(n for n in table.key if n not in table.group) if inside else table.key
            self.located = not inside
        elif self.shape.sort:
            sort = (self.shape.sort,)
        return (
            self._part(partition, "PK", bytes_max=PARTITION_BYTES_MAX),
            part(sort, self.shape.sort_as or "SK") if sort else None,
        )

    def _part(self, names: tuple[str, ...], joined_as: str, *, bytes_max: int) -> KeyPart:
        columns = [self._columns[name] for name in names]
        places = tuple(self._places[name] for name in names)
        [first, *others] = columns
        numeric = not others and first.kind in NUMBERS
        attribute, form = self.attributes[first.name], None
        if first.name in self.shape.forms:
            attribute, form = self.shape.forms[first.name]
        # A locator's key is text; so is that of a group that may be None.
        if others or first.optional or (self.located and numeric):
            return KeyPart(joined_as, names, places, False, None, bytes_max)  # noqa: FBT003
        return KeyPart(attribute, names, places, numeric, form, bytes_max)

    def _secondary_indexes(self) -> tuple[SecondaryIndex, ...]:
        named = {attribute: column for column, attribute in self.attributes.items()}
        wanted = self.shape.indexes
        if wanted is None:
            declared = [self._declared(index.columns) for index in self.table.indexes]
            wanted = tuple(dict.fromkeys(declared))
        return tuple(
            SecondaryIndex(
                index.name,
                index.partition,
                index.sort,
                tuple(
                    named[attribute]
                    for attribute in (index.partition, index.sort)
                    if attribute in named
                )
                if index.partition in named
                else (),
            )
            for index in wanted
        )

    def _declared(self, columns: Sequence[str]) -> NamedIndex:
        partition = self.attributes[columns[0]]
        sort = self.attributes[columns[1]] if columns[1:] else None
        # A row whose sort key is None would not be in the index.
        if sort is not None and (self._columns[columns[1]].optional or sort == partition):
            sort = None
        name = "-".join([partition, *([sort] if sort else []), "index"]).replace("#", ".")
        return NamedIndex(name, partition, sort)

    def _ttl_attribute(self) -> str:
        return "ttl" if "ttl" not in self.attributes.values() else "TTL"

    def _check(self) -> None:
        problem = None
        if len(self.indexes) > INDEXES_MAX:
            problem = f"has {len(self.indexes)} indexes, DynamoDB keeps {INDEXES_MAX}"
        if len(set(self.attributes.values())) < len(self.attributes):
            problem = "keeps two columns in one attribute"
        if problem:
            raise ConfigurationError(message=f"Table {self.table.name} {problem}")

    @property
    def key_schema(self) -> list[dict[str, str]]:
        """Of the table, as CreateTable takes it."""
        parts = [self.partition] if self.sort is None else [self.partition, self.sort]
        return key_schema(*(part.attribute for part in parts))

    @property
    def attribute_types(self) -> dict[str, str]:
        """Attributes of keys, of the table and its indexes, to ``S`` or ``N``."""
        parts = [self.partition] if self.sort is None else [self.partition, self.sort]
        types = {part.attribute: "N" if part.numeric else "S" for part in parts}
        kinds = {self.attributes[name]: column.kind for name, column in self._columns.items()}
        for index in self.indexes:
            for attribute in filter(None, (index.partition, index.sort)):
                kind = kinds.get(attribute)
                types.setdefault(attribute, type_of(attribute, kind))
        return types

    def _encoding_plan(self) -> list[tuple[int, str, bool, int]]:
        """Per column: its place, its attribute, whether it is a number, its limit as a key or 0."""
        limits: dict[str, int] = {}
        for part in (self.partition, self.sort):
            if part is not None:
                limits[part.attribute] = part.bytes_max
        for index in self.indexes:
            for attribute, bytes_max in (
                (index.partition, PARTITION_BYTES_MAX),
                (index.sort, SORT_BYTES_MAX),
            ):
                if attribute is not None:
                    limits[attribute] = min(limits.get(attribute, bytes_max), bytes_max)
        return [
            (
                self._places[name],
                self.attributes[name],
                column.kind in NUMBERS,
                limits.get(self.attributes[name], 0),
            )
            for name, column in self._columns.items()
        ]

    def item(self, row: StoredRow) -> Item:
        """A row as it is stored.

        Raises:
            LimitExceededError: A key is longer than DynamoDB takes.
        """
        item = self._columns_item(row)
        item[self.partition.attribute] = self.partition.of_row(row)
        if self.sort is not None:
            item[self.sort.attribute] = self.sort.of_row(row)
        if self.shape.derived is not None:
            item.update(self.shape.derived(self.by_column(row)))
        if self.ttl is not None and (expires := self.expires(row)) is not None:
            item[self.ttl] = {"N": str(expires)}
        return item

    def _columns_item(self, row: StoredRow) -> Item:
        item: Item = {}
        for place, attribute, numeric, key_bytes_max in self._plan:
            value = row[place]
            if value is None:
                continue
            if numeric:
                item[attribute] = {"N": str(value)}
                continue
            assert isinstance(value, str)
            if key_bytes_max:
                check_key_text(attribute, value, key_bytes_max)
                # DynamoDB takes no empty text in a key.
                value = value or NUL
            item[attribute] = {"S": value}
        return item

    def checked_bytes(self, item: Item) -> int:
        """Size of an item.

        Raises:
            LimitExceededError: It is larger than DynamoDB takes.
        """
        size = item_bytes(item)
        if size > ITEM_BYTES_MAX:
            raise LimitExceededError(
                what=f"A row of {self.table.name}", actual=size, limit=ITEM_BYTES_MAX, unit="bytes"
            )
        return size

    def by_column(self, row: StoredRow) -> dict[str, StoredValue]:
        """A row's values by the names of their columns."""
        return {name: row[place] for name, place in self._places.items()}

    def expires(self, row: StoredRow) -> int | None:
        """Seconds since 1970 from which a row may go; None for never. Never before its time."""
        value = row[self._ttl_place]
        if not isinstance(value, str) or self.table.ttl_days is None:
            return None
        lifetime = timedelta(days=self.table.ttl_days)
        try:
            if len(value) == _DATE_LENGTH:
                # The whole day has to be old enough.
                day = date.fromisoformat(value) + timedelta(days=1)
                began = datetime.combine(day, time(), UTC)
            else:
                began = from_text(value[:27]) + timedelta(seconds=1)
            return int((began + lifetime).timestamp())
        except (ValueError, OverflowError):
            return None  # text that begins with no time, or a time beyond the calendar

    def row(self, item: Item) -> StoredRow:
        """An item as a row."""
        values: list[StoredValue] = []
        for _, attribute, numeric, key_bytes_max in self._plan:
            found = item.get(attribute)
            if found is None:
                values.append(None)
            elif numeric:
                values.append(int(found["N"]))
            else:
                text = found["S"]
                values.append("" if key_bytes_max and text == NUL else text)
        return tuple(values)

    def key_of_row(self, row: StoredRow) -> Item:
        """The key of a row's item."""
        key = {self.partition.attribute: self.partition.of_row(row)}
        if self.sort is not None:
            key[self.sort.attribute] = self.sort.of_row(row)
        return key

    def group_key(self, group: StoredRow) -> tuple[Item, str | None]:
        """Where the rows of a group are: the partition, and what the sort begins with."""
        if not self.shape.sort_as:
            return {self.partition.attribute: self.partition.of_values(group)}, None
        first, *others = group
        begin = "".join(f"{component(value)}{NUL}" for value in others)
        return {self.partition.attribute: self.partition.of_values([first])}, begin

    @property
    def key_names(self) -> list[str]:
        """The attributes of an item's key."""
        return [part.attribute for part in (self.partition, self.sort) if part is not None]

    def key_in(self, item: Item) -> Item:
        """The key of an item that was read."""
        return {name: item[name] for name in self.key_names}

    def row_key(self, row: StoredRow) -> StoredRow:
        """The key of a row, as stored values."""
        return tuple(row[place] for place in self._key_places)

    @property
    def is_direct(self) -> bool:
        """Whether the key of an item follows from the key of its row."""
        return not self.located and self.shape.sort is None

    def key_of(self, key: StoredRow) -> Item:
        """The key of the item with a row's key; only if it is direct."""
        assert self.is_direct
        values = dict(zip(self.table.key, key, strict=True))
        found = {
            self.partition.attribute: self.partition.of_values(
                [values[name] for name in self.partition.columns]
            )
        }
        if self.sort is not None:
            found[self.sort.attribute] = self.sort.of_values(
                [values[name] for name in self.sort.columns]
            )
        return found

    def locator_key(self, key: StoredRow) -> Item:
        """The key of the item that tells the group of the row with this key."""
        assert self.sort is not None
        text = f"{NUL}{NUL}locator{NUL}" + NUL.join(map(component, key))
        check_key_text(self.partition.attribute, text, PARTITION_BYTES_MAX)
        return {self.partition.attribute: {"S": text}, self.sort.attribute: {"S": _LOCATOR_SORT}}

    def locator(self, row: StoredRow) -> Item:
        """The item that tells the group of a row."""
        item = {
            **self.locator_key(self.row_key(row)),
            _LOCATOR_GROUP: self.partition.of_row(row),
        }
        if self.ttl is not None and (expires := self.expires(row)) is not None:
            item[self.ttl] = {"N": str(expires)}
        return item

    def located_key(self, key: StoredRow, locator: Item) -> Item:
        """The key of the item of a row, from its own key and the locator that was read."""
        assert self.sort is not None
        return {
            self.partition.attribute: locator[_LOCATOR_GROUP],
            self.sort.attribute: self.sort.of_values(key),
        }

    def is_locator(self, item: Item) -> bool:
        """Whether an item is bookkeeping rather than a row."""
        return self.located and _LOCATOR_GROUP in item

    @property
    def locator_mark(self) -> str:
        """An attribute that locators have and rows have not."""
        return _LOCATOR_GROUP

    @property
    def has_forms(self) -> bool:
        """Whether items sort otherwise than the rows' keys."""
        return bool(self.shape.forms)

    def by_place(self, where: Mapping[str, StoredValue]) -> list[tuple[int, StoredValue]]:
        """Values by the places of their columns in a row."""
        return [(self._places[name], value) for name, value in where.items()]

    def served(self, column: str, value: StoredValue) -> tuple[SecondaryIndex, Item] | None:
        """An index of derived attributes that finds rows by a column, and what to ask it for."""
        found = None if self.shape.served is None else self.shape.served(column, value)
        if found is None:
            return None
        name, wanted = found
        return next(index for index in self.indexes if index.name == name), wanted

    @property
    def ttl_place(self) -> int:
        """Place of the column by which rows expire."""
        return self._ttl_place

    def is_expired(self, row: StoredRow, expiry: str | None) -> bool:
        """Whether a row's time has passed, given :meth:`Table.expiry`."""
        if expiry is None:
            return False
        value = row[self._ttl_place]
        return isinstance(value, str) and value < expiry[: len(value)]


def check_distinct(layouts: Iterable[Layout]) -> None:
    """Refuse two tables that would be one in DynamoDB.

    Raises:
        StoreError: Two have one name there.
    """
    seen: dict[str, str] = {}
    for layout in layouts:
        other = seen.setdefault(layout.name, layout.table.name)
        if other != layout.table.name:
            raise StoreError(
                store=f"DynamoDB table {layout.name}",
                problem=f"tables {other} and {layout.table.name} would both be kept there",
            )
