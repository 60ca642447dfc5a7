"""The state of an aggregate as JSON, and copies of it that share only what cannot change."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Collection
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from eventcore.events.event import PayloadModel

T = TypeVar("T")

_IMMUTABLE: Final = (
    str,
    int,  # and bool
    float,
    bytes,
    type(None),
    decimal.Decimal,
    dt.date,  # and datetime
    uuid.UUID,
    enum.Enum,
)

# The same by exact type: asked first, because a state is hundreds of these.
_PLAIN: Final = frozenset({str, int, bool, type(None), decimal.Decimal, dt.datetime, uuid.UUID})

_adapters: dict[type, TypeAdapter[Any]] = {}


def to_json(aggregate: Any) -> bytes:
    """Write the fields of a dataclass, but not what is pending.

    Raises:
        TypeError: A field has no JSON form.
    """
    try:
        return _adapter(type(aggregate)).dump_json(aggregate, exclude={"pending"})
    except PydanticSerializationError as error:
        msg = f"the state of {type(aggregate).__name__} has no JSON form"
        raise TypeError(msg) from error


def from_json(cls: type[T], state: bytes) -> T:
    """Read what :func:`to_json` wrote.

    Raises:
        ValueError: It is not a state of that class.
    """
    adapter: TypeAdapter[T] = _adapter(cls)
    return adapter.validate_json(state)


def copied(value: Any) -> Any:
    """A copy that shares nothing that could be changed; immutable parts are shared.

    A frozen model is immutable only as far as what it holds is: a dict inside it is copied.
    """
    kind = type(value)
    if kind in _PLAIN or _is_immutable(value):
        return value
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    if kind is list:
        # Rows, hundreds of them: most are seen to be immutable without a call each.
        is_plain = _PLAIN.issuperset
        return [
            item if isinstance(item, tuple) and is_plain(map(type, item)) else copied(item)
            for item in value
        ]
    return copy.deepcopy(value)


def _is_immutable(value: Any) -> bool:
    if isinstance(value, tuple):
        return _all_immutable(value)
    if isinstance(value, PayloadModel):
        return not value.__pydantic_extra__ and _all_immutable(value.__dict__.values())
    return isinstance(value, _IMMUTABLE)


def _all_immutable(items: Collection[Any]) -> bool:
    return _PLAIN.issuperset(map(type, items)) or all(map(_is_immutable, items))


def _adapter(cls: type) -> TypeAdapter[Any]:
    adapter = _adapters.get(cls)
    if adapter is None:
        # Made on first use: its annotations may name classes defined later in the module.
        adapter = _adapters[cls] = TypeAdapter(cls)
    return adapter
