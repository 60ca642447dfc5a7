"""Keys of items, and what a table asks for in DynamoDB beyond its declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from eventcore.errors import LimitExceededError
from eventcore.projections.columns import Column, Kind, StoredValue
from eventcore.projections.tables import StoredRow

AttributeValue = dict[str, Any]
"""As DynamoDB's API writes a value: ``{"S": "text"}``, ``{"N": "1"}``."""

Item = dict[str, AttributeValue]
"""An item, or the key of one."""

PARTITION_BYTES_MAX: Final = 2_048
SORT_BYTES_MAX: Final = 1_024
"""Bytes of key attributes, of tables and of indexes (AWS, DynamoDB Developer Guide, "Quotas")."""

ITEM_BYTES_MAX: Final = 400 * 1024
"""Bytes of an item with its names (AWS, DynamoDB Developer Guide, "Quotas": 400 KB)."""


NUL: Final = "\0"
_WHOLE_NUMBER_OFFSET: Final = 2**63
NUMBERS: Final = frozenset({Kind.INTEGER, Kind.FLAG})
"""Kinds of column that are numbers in DynamoDB; all others are text."""


class NamedIndex(NamedTuple):
    """An index that is asked for by name.

    Attributes:
        name: As stored.
        partition: Attribute.
        sort: Attribute; None for none.
    """

    name: str
    partition: str
    sort: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a table asks for in DynamoDB beyond what its declaration says.

    Attributes:
        name: Of the table there, without prefix.
        attributes: Columns to the attributes they are kept in; their own names by default.
        sort: A column outside the key that sorts. It must be a function of the key: a row never
            changes it.
        sort_as: Attribute that sorts within the first column of the group, made of the others and
            the rest of the key: several groups then lie in one partition, one behind the other.
        forms: Key columns to the attribute and the text that stand for them in the key, one to one.
        derived: From a row, as a mapping by column, to further attributes that indexes need.
        indexes: Instead of those declared.
        served: From a column and the value it is to equal to the index of derived attributes that
            finds such rows, and what its key is to equal; None: no such index does.
    """

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    sort: str | None = None
    sort_as: str | None = None
    forms: Mapping[str, tuple[str, Callable[[str], str]]] = field(default_factory=dict)
    derived: Callable[[Mapping[str, StoredValue]], Mapping[str, AttributeValue]] | None = None
    indexes: tuple[NamedIndex, ...] | None = None
    served: Callable[[str, StoredValue], tuple[str, Item] | None] | None = None


class KeyPart(NamedTuple):
    """Half of an item's key.

    Attributes:
        attribute: Its name.
        columns: What it is made of.
        places: Where those are in a row.
        numeric: Whether it is a number.
        form: Gives the text that stands for the one column; None if it stands for itself.
        bytes_max: Its limit.
    """

    attribute: str
    columns: tuple[str, ...]
    places: tuple[int, ...]
    numeric: bool
    form: Callable[[str], str] | None
    bytes_max: int

    def of_row(self, row: StoredRow) -> AttributeValue:
        """Its value for a row."""
        return self.of_values([row[place] for place in self.places])

    def of_values(self, values: Sequence[StoredValue]) -> AttributeValue:
        """Its value for values of its columns.

        Raises:
            StoreError: They are too long.
        """
        if self.numeric:
            return {"N": str(values[0])}
        if len(values) == 1:
            [value] = values
            text = self.form(str(value)) if self.form else component(value)
        else:
            text = NUL.join(map(component, values))
        check_key_text(self.attribute, text, self.bytes_max)
        return {"S": text or NUL}


class SecondaryIndex(NamedTuple):
    """A global secondary index: eventually consistent, of all attributes.

    Attributes:
        name: As stored.
        partition: Attribute.
        sort: Attribute; None for none.
        columns: Those it can be asked by, in order; empty if its attributes are derived.
    """

    name: str
    partition: str
    sort: str | None
    columns: tuple[str, ...]


def key_schema(partition: str, sort: str | None = None) -> list[dict[str, str]]:
    """A key's schema as CreateTable takes it."""
    schema = [{"AttributeName": partition, "KeyType": "HASH"}]
    return schema if sort is None else [*schema, {"AttributeName": sort, "KeyType": "RANGE"}]


def item_bytes(item: Mapping[str, AttributeValue]) -> int:
    """Size of an item by AWS's rules (Developer Guide, "Item sizes and formats"), rounded up."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: AttributeValue) -> int:
    [(kind, content)] = value.items()
    if kind == "S":
        return len(content) if content.isascii() else len(content.encode())
    if kind == "N":
        return len(content) // 2 + 2
    if kind == "B":
        return len(content)
    assert kind in {"SS", "M", "BOOL", "NULL"}
    return 100


def check_key_text(attribute: str, text: str, bytes_max: int) -> None:
    """Refuse a text that is too long for a key, of a table or an index.

    Raises:
        LimitExceededError: It is.
    """
    if len(text) * 4 > bytes_max and len(text.encode()) > bytes_max:
        raise LimitExceededError(
            what=f"The key {attribute}", actual=len(text.encode()), limit=bytes_max, unit="bytes"
        )


def stored_value(column: Column, value: StoredValue) -> AttributeValue:
    """A value as it is compared with in conditions."""
    return {"N": str(value)} if column.kind in NUMBERS else {"S": str(value)}


def type_of(attribute: str, kind: Kind | None) -> str:
    """``S`` or ``N``, for an attribute of a column, or of none."""
    if kind is None:
        # Derived: by its name, since no column says.
        return "N" if attribute == "score" else "S"
    return "N" if kind in NUMBERS else "S"


def component(value: StoredValue) -> str:
    """A value as a part of a key that is text."""
    if value is None:
        # Unlike any text, and unlike none: only a group can be None.
        return f"{NUL}\1"
    if isinstance(value, int):
        return f"{value + _WHOLE_NUMBER_OFFSET:020d}"
    return value
