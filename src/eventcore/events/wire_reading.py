"""What reading the wire form needs: one compiled reader an event class, and clear refusals.

Nothing that a sender wrote may be changed on the way in: a key given twice, a number that a double
cannot hold and a null where a value belongs are refused, each with a reason code and the place.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Annotated, Any, Final, Literal, NoReturn, NotRequired, cast
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import CoreSchema, core_schema, from_json
from typing_extensions import TypedDict

from eventcore.errors import InvalidEventError
from eventcore.events.codec import GenericEvent
from eventcore.events.context import CONTEXT_FIELDS
from eventcore.events.event import DomainEvent
from eventcore.events.fields import Id, holds_currency
from eventcore.events.places import place_of, shown_name

DOUBLE_DIGITS_MAX: Final = 17
"""Significant digits that tell any two doubles apart (IEEE 754); what has more was none."""

_DOUBLE_WHOLE_MAX: Final = 2.0**53
"""From here on a double skips whole numbers, so that an int read as float may have been altered."""

_UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_TIMESTAMP_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)


class _CanonicalUUID:
    """Schema of an id in its one text form; pydantic alone would take braces and bare hex too."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(strict=True, pattern=_UUID_PATTERN)
        return core_schema.chain_schema([text, core_schema.uuid_schema(strict=False)])


EventId = Annotated[UUID, _CanonicalUUID]
Timestamp = Annotated[str, Field(pattern=_TIMESTAMP_PATTERN)]


class WireReader:
    """How one event class is read from the wire, in one compiled pass.

    Attributes:
        validate: Bytes of the whole line to the checked envelope; raises ``ValidationError``.
        version: Schema version it reads.
        checks_user: Whether the payload says whose it is, so that the envelope must agree.
        checks_session: The same for the session.
        currencies: Attribute and wire name of the payload's currencies, which must exist.
        long_number: A run of digits that could be a number which loses digits when read.
    """

    __slots__ = (
        "checks_session",
        "checks_user",
        "currencies",
        "long_number",
        "validate",
        "version",
    )

    def __init__(self, event_class: type[DomainEvent]) -> None:
        declared = event_class.__event__
        metadata: Any = dict[str, Any] if declared.metadata is None else declared.metadata
        self.version = declared.version
        self.validate = _envelope(event_class, declared.type, declared.version, metadata)
        self.checks_user = "user_id" in event_class.model_fields
        self.checks_session = "session_id" in event_class.model_fields
        self.currencies = [
            (name, info.alias or name)
            for name, info in event_class.model_fields.items()
            if holds_currency(info)
        ]
        # "0." and 17 digits still are a double; an amount is read through a double of 15 digits.
        exact = _has_decimal(event_class.__pydantic_core_schema__)
        self.long_number = b"0" * (16 if exact else DOUBLE_DIGITS_MAX + 3)


wire_reader: Callable[[type[DomainEvent]], WireReader] = cache(WireReader)
"""The reader of an event class, made once."""


@cache
def generic_validator(event_type: str, version: int) -> Callable[..., Any]:
    """Validator of the envelope around an event of a type that has no class."""
    return _envelope(dict[str, Any], event_type, version, dict[str, Any])


def _envelope(  # noqa: PLR0917 - four parts of one form
    payload: Any, event_type: str, version: int, metadata: Any
) -> Callable[..., Any]:
    closed = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    data = TypedDict("data", {"payload": payload, "metadata": NotRequired[metadata]})  # noqa: UP013 - made per class
    data.__pydantic_config__ = closed  # type: ignore[attr-defined]  # how pydantic configures a TypedDict
    spelling: Any = Literal[f"{version}", f"{version}.0", f"{version}.0.0"]
    fields: dict[str, Any] = {
        "eventId": EventId,
        "eventType": Literal[event_type],
        "timestamp": Timestamp,
        "version": NotRequired[spelling] if version == 1 else spelling,
        "data": data,
        **{wire: NotRequired[Id] for _, wire in CONTEXT_FIELDS},
    }
    envelope = TypedDict("envelope", fields)  # type: ignore[misc]  # made per class
    envelope.__pydantic_config__ = closed  # type: ignore[attr-defined]  # as above
    return cast("Callable[..., Any]", TypeAdapter(envelope).validator.validate_json)


def _has_decimal(schema: Any) -> bool:
    if isinstance(schema, dict):
        return schema.get("type") == "decimal" or any(map(_has_decimal, schema.values()))
    return isinstance(schema, list) and any(map(_has_decimal, schema))


class Suspect(Exception):  # noqa: N818 - no error: the line needs the exact check
    """A value that the compiled pass cannot vouch for."""


def count_data_keys(data: dict[str, Any]) -> int:
    """Keys of all objects inside a checked ``data`` member, as they were given.

    Raises:
        Suspect: A null for a named field, or a float that may differ from what was written.
    """
    keys = len(data) + _count_keys(data["payload"])
    metadata = data.get("metadata")
    return keys + _count_keys(metadata) if metadata is not None else keys


# Types of values that hold no keys and are what was written; a float may not be.
_PLAIN: Final = frozenset({str, int, bool, Decimal, datetime, UUID})


def _count_keys(value: Any) -> int:
    kind = type(value)
    if kind is float:
        if not -_DOUBLE_WHOLE_MAX < value < _DOUBLE_WHOLE_MAX:
            raise Suspect
        return 0
    if kind is dict:
        return len(value) + _count_inside(value.values())
    if kind is list or kind is tuple:
        return _count_inside(value)
    given = getattr(value, "__pydantic_fields_set__", None)
    return 0 if given is None else _count_given(value, given)


def _count_inside(items: Iterable[Any]) -> int:
    keys = 0
    for item in items:
        if type(item) not in _PLAIN and item is not None:
            keys += _count_keys(item)
    return keys


def _count_given(model: BaseModel, given: set[str]) -> int:
    values, keys = model.__dict__, len(given)
    for name in given:
        # A key that the model keeps without naming it is not there; it is checked below.
        item = values.get(name, name)
        if type(item) in _PLAIN:
            continue
        if item is None:
            raise Suspect
        keys += _count_keys(item)
    extra = model.__pydantic_extra__
    return keys + _count_inside(extra.values()) if extra else keys


def parse_object(line: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON object of a line, twice: with floats, and with fractions as exact decimals.

    Raises:
        InvalidEventError: ``not-json``.
    """
    try:
        tree = from_json(line, allow_inf_nan=False)
        exact = json.loads(line, parse_float=_fraction, object_pairs_hook=_unique_keys)
    except ValueError as error:
        # The parsers' messages name a place, never a value.
        refuse("not-json", f"not one JSON object in UTF-8 ({_without_text(error)})")
    if not isinstance(tree, dict):
        refuse("not-json", "JSON, but not an object")
    return tree, cast("dict[str, Any]", exact)


def _without_text(error: ValueError) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # An exponent beyond every limit; infinity is refused in its place.
        return Decimal("Infinity")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        msg = "an object gives the same key twice"
        raise ValueError(msg)
    return unique


def check_numbers(exact: Any, kept: Any, path: str) -> None:
    """Refuse numbers that would not be kept as they were written.

    Args:
        exact: The value with fractions as decimals.
        kept: The JSON value that would be stored in its place, None where that is not known.
        path: Place of the value on the wire.

    Raises:
        InvalidEventError: ``invalid-field``.
    """
    if isinstance(exact, dict):
        below = kept if isinstance(kept, dict) else {}
        for key, value in exact.items():
            check_numbers(value, below.get(key), f"{path}.{shown_name(key)}")
    elif isinstance(exact, list):
        same = isinstance(kept, list) and len(kept) == len(exact)
        for place, value in enumerate(exact):
            check_numbers(value, kept[place] if same else None, f"{path}.{place}")
    elif isinstance(exact, int | Decimal) and not isinstance(exact, bool) and _altered(exact, kept):
        refuse(
            "invalid-field",
            "a number with more digits than can be kept; send it as text",
            path,
        )


def _altered(exact: int | Decimal, kept: Any) -> bool:
    if isinstance(exact, Decimal):
        digits = "".join(map(str, exact.as_tuple().digits)).strip("0")
        nearest = float(exact)
        if len(digits) > DOUBLE_DIGITS_MAX or not math.isfinite(nearest):
            return True
        if abs(nearest) < sys.float_info.min and Decimal(repr(nearest)) != exact:
            return True  # so near to zero a double has fewer digits, and at last none
    if isinstance(kept, float):
        # An int must be that very number; a fraction, the double nearest to it.
        return kept != (exact if isinstance(exact, int) else float(exact))
    if isinstance(kept, str):  # an amount is kept as text
        return Decimal(kept) != exact if kept.lstrip("-").replace(".", "", 1).isdigit() else False
    return isinstance(kept, int) and kept != exact


def check_nulls(value: Any, path: str) -> None:
    """Refuse null for a named field: what is absent is left out.

    Raises:
        InvalidEventError: ``invalid-field``.
    """
    if isinstance(value, BaseModel):
        others = value.model_extra or {}
        for name, info in type(value).model_fields.items():
            if name not in value.model_fields_set:
                continue
            place, below = f"{path}.{info.alias or name}", getattr(value, name)
            if name in others:
                refuse("unknown-field", f"spelled {info.alias} on the wire", f"{path}.{name}")
            if below is None:
                refuse("invalid-field", "null; leave out what is absent", place)
            check_nulls(below, place)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_nulls(item, f"{path}.{index}")


REASONS = {"missing": "missing-field", "extra_forbidden": "unknown-field"}


def refuse_invalid(error: ValidationError) -> NoReturn:
    """Turn the first finding into a refusal that names the field and never shows the value."""
    found = error.errors(include_url=False, include_context=False)
    first = found[0]
    place = place_of(first["loc"])
    reason = REASONS.get(first["type"], "invalid-field")
    message = {"missing-field": "required", "unknown-field": "not a field of this event"}.get(
        reason, first["msg"]
    )
    if _shows(first["input"], message):
        message = "not valid"
    if len(found) > 1:
        message += f" (and {len(found) - 1} more)"
    # The cause would carry the values along, and a traceback shows it.
    refuse(reason, message, place or None)


def _shows(value: Any, message: str) -> bool:
    parts: Iterable[Any] = [value]
    if isinstance(value, dict):
        parts = value.values()
    return any(isinstance(part, str) and part.strip() and part.strip() in message for part in parts)


def refuse(reason: str, message: str, field: str | None = None) -> NoReturn:
    """Raise the refusal, its message led by the field."""
    text = f"{field}: {message}" if field else message
    raise InvalidEventError(reason=reason, message=text, field=field) from None


def read_generic(event_type: str, version: int, fields: dict[str, Any]) -> GenericEvent:
    """An event of a type that this program does not know."""
    return GenericEvent.model_construct(type=event_type, schema_version=version, fields=fields)
