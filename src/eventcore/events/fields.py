"""Field types that event payloads are made of: ids, money, and the tag for personal data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Annotated, Any, get_args

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from eventcore.events.currencies import MINOR_UNIT_EXPONENTS
from eventcore.events.limits import ID_LENGTH_MAX

_JSON_MESSAGE = (
    "Input should be JSON, at most 100 levels: text, finite numbers, booleans, lists, objects"
)
JSON_INT_MAX = 10**1_000
"""Bound on whole numbers inside free JSON; Python itself stops converting text at 4,300 digits."""

JSON_DEPTH_MAX = 100
"""Levels of free JSON made in Python. Reading ends at 200, and the wire adds a few around it."""

MONEY_DECIMAL_PLACES = 4
MONEY_DIGITS_MAX = 19
"""NUMERIC(19,4): digits of an amount in all, as the relational views keep it."""

_MONEY_WHOLE_DIGITS_MAX = MONEY_DIGITS_MAX - MONEY_DECIMAL_PLACES
_MONEY_PATTERN = (
    rf"^-?(0|[1-9][0-9]{{0,{_MONEY_WHOLE_DIGITS_MAX - 1}}})(\.[0-9]{{1,{MONEY_DECIMAL_PLACES}}})?$"
)
_MONEY_EXPONENTS = range(-MONEY_DECIMAL_PLACES, 1)
_MONEY_CONTEXT = Context(prec=MONEY_DIGITS_MAX)
_MONEY_TEXT = re.compile(_MONEY_PATTERN)
_MONEY_MESSAGE = (
    "Input should be a decimal, as text or as a JSON number, with at most 4 decimal places"
)
# A JSON number is a binary double by the time it is read: beyond 15 significant digits it may
# already be another amount, so larger ones are taken as text only.
_MONEY_NUMBER_MAX = 1e11


@dataclass(frozen=True, slots=True)
class Personal:
    """Marks a field as personal data: ``email: Annotated[str, Personal()]``.

    The codec hands every marked value to its field transform on the way in and out, which is where
    encryption per person is done; messages and representations never show it.

    Attributes:
        subject: Name of the payload field that says whose data this is.
    """

    subject: str = "user_id"


class _Money:
    """Schema of an amount: ``Decimal`` in Python, text on the wire, never a float."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        decimal = core_schema.decimal_schema(
            max_digits=MONEY_DIGITS_MAX, decimal_places=MONEY_DECIMAL_PLACES, strict=False
        )
        # The pattern has counted the digits already; counting them again costs twice the time.
        text = core_schema.chain_schema(
            [
                core_schema.str_schema(strict=True, pattern=_MONEY_PATTERN),
                core_schema.decimal_schema(strict=False),
            ]
        )
        limit = 10**_MONEY_WHOLE_DIGITS_MAX
        whole = core_schema.int_schema(strict=True, gt=-limit, lt=limit)
        number = core_schema.float_schema(strict=True, gt=-_MONEY_NUMBER_MAX, lt=_MONEY_NUMBER_MAX)
        from_json = core_schema.custom_error_schema(
            core_schema.union_schema(
                [
                    text,
                    core_schema.chain_schema([whole, core_schema.decimal_schema(strict=False)]),
                    core_schema.chain_schema([number, decimal]),
                ],
                mode="left_to_right",
            ),
            custom_error_type="money",
            custom_error_message=_MONEY_MESSAGE,
        )
        return core_schema.json_or_python_schema(
            json_schema=from_json,
            python_schema=core_schema.no_info_before_validator_function(
                _money_from_python, decimal
            ),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        text = {"type": "string", "pattern": _MONEY_PATTERN}
        if handler.mode == "serialization":
            return text
        whole, limit = 10**_MONEY_WHOLE_DIGITS_MAX, _MONEY_NUMBER_MAX
        return {
            "anyOf": [
                text,
                {"type": "integer", "exclusiveMinimum": -whole, "exclusiveMaximum": whole},
                {
                    "type": "number",
                    "exclusiveMinimum": -limit,
                    "exclusiveMaximum": limit,
                    "multipleOf": 0.0001,
                },
            ]
        }


def _money_from_python(value: Any) -> Any:
    if type(value) is Decimal and value.as_tuple().exponent in _MONEY_EXPONENTS:
        return value  # as nearly every amount: it can be read again as it is
    if isinstance(value, bool | float):
        msg = "an amount is a Decimal, an int or text, never a float"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports ValueError, not TypeError
    if isinstance(value, str):
        if not _MONEY_TEXT.fullmatch(value):
            raise ValueError(_MONEY_MESSAGE)
        value = Decimal(value)
    if isinstance(value, Decimal) and value.is_finite():
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)  # letters are for what is not finite
        if not -MONEY_DECIMAL_PLACES <= exponent <= 0:
            return _money_as_written(value, exponent)
    return value


def _money_as_written(value: Decimal, exponent: int) -> Decimal:
    """The same amount as it can be read again: 1E+2, 0E-9 and 1.00000 could not."""
    if not value:
        return Decimal(0)
    if value.adjusted() >= _MONEY_WHOLE_DIGITS_MAX:
        return value  # too large, refused for its digits
    place = Decimal(1) if exponent > 0 else Decimal(1).scaleb(-MONEY_DECIMAL_PLACES)
    written = _MONEY_CONTEXT.quantize(value, place)
    return written if written == value else value  # else refused for its decimal places


Money = Annotated[Decimal, _Money]
"""An amount: at most 15 digits before and 4 after the point; text on the wire, never a float."""

Id = Annotated[
    str,
    Field(min_length=1, max_length=ID_LENGTH_MAX, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
]
"""An identifier: 1 to 128 characters, none of them a control character."""

Text = Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"^[^\x00]+$")]
"""Free text: absent rather than empty, and without NUL, which databases refuse in text."""

Note = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Text of metadata: of any length, and without NUL."""

_CURRENCY_PATTERN = r"^[A-Z]{3}$"
_CURRENCY_MESSAGE = "Input should be an active ISO 4217 code such as GBP"


class _Currency:
    """Schema of a currency: only codes that exist are written, whatever has the form is read."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = core_schema.custom_error_schema(
            core_schema.literal_schema(list(MINOR_UNIT_EXPONENTS)),
            custom_error_type="currency",
            custom_error_message=_CURRENCY_MESSAGE,
        )
        # Stored bytes are read as JSON: a currency that was withdrawn since must stay readable.
        # What comes from outside as JSON is checked by the reader of the wire form.
        return core_schema.json_or_python_schema(
            json_schema=core_schema.str_schema(strict=True, pattern=_CURRENCY_PATTERN),
            python_schema=known,
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": _CURRENCY_PATTERN}


CurrencyCode = Annotated[str, _Currency]
"""A code of ISO 4217 (:mod:`eventcore.events.currencies`)."""


def currency_problem(code: str) -> str | None:
    """Why a text of the right form is no currency to write, None if it is one."""
    return None if code in MINOR_UNIT_EXPONENTS else _CURRENCY_MESSAGE


def holds_currency(field: FieldInfo) -> bool:
    """Whether a field of a payload is a :data:`CurrencyCode`, required or optional."""
    annotations = (field.annotation, *get_args(field.annotation))
    return _Currency in field.metadata or any(
        _Currency in getattr(annotation, "__metadata__", ()) for annotation in annotations
    )


def _json_validator(*, only_object: bool) -> SchemaValidator:
    inner = core_schema.definition_reference_schema("json")
    # The pattern matches anything, but has the text looked at: lone surrogates cannot be written.
    text = core_schema.str_schema(strict=True, pattern="")
    scalars = [
        text,
        core_schema.bool_schema(strict=True),
        core_schema.int_schema(strict=True, gt=-JSON_INT_MAX, lt=JSON_INT_MAX),
        # Looked at twice, since a float takes ints, and a large int would lose digits that way.
        core_schema.chain_schema(
            [
                core_schema.is_instance_schema(float),
                core_schema.float_schema(strict=True, allow_inf_nan=False),
            ]
        ),
    ]
    containers = [
        core_schema.dict_schema(text, inner, strict=True),
        core_schema.list_schema(inner, strict=True),
    ]
    anything = core_schema.union_schema(
        [*scalars, core_schema.none_schema(), *containers], mode="left_to_right", ref="json"
    )
    top = containers[0] if only_object else core_schema.union_schema([*scalars, *containers])
    return SchemaValidator(core_schema.definitions_schema(top, [anything]))


_OBJECT_VALIDATOR = _json_validator(only_object=True)
_VALUE_VALIDATOR = _json_validator(only_object=False)


def free_json_object(value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a free JSON object made in Python, checked deeply.

    Raises:
        ValueError: Something in it is not JSON, or it is nested deeper than :data:`JSON_DEPTH_MAX`.
    """
    checked: dict[str, Any] = _OBJECT_VALIDATOR.validate_python(dict(value))
    _check_depth(checked, JSON_DEPTH_MAX)
    return checked


def _free_json_value(value: Any) -> Any:
    checked = _VALUE_VALIDATOR.validate_python(value)
    _check_depth(checked, JSON_DEPTH_MAX)
    return checked


def _free_json_field(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(_JSON_MESSAGE)  # noqa: TRY004 - pydantic reports ValueError, not TypeError
    return free_json_object(value)


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if left == 0:
            raise ValueError(_JSON_MESSAGE)
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)


class _FreeJson:
    """Schema of free JSON: checked deeply when made in Python, taken as parsed when read."""

    def __init__(self, *, only_object: bool) -> None:
        self._only_object = only_object
        self._check = _free_json_field if only_object else _free_json_value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        text = core_schema.str_schema(strict=True)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.dict_schema(text, strict=True)
            if self._only_object
            else core_schema.any_schema(),
            python_schema=core_schema.custom_error_schema(
                core_schema.no_info_plain_validator_function(self._check),
                custom_error_type="json",
                custom_error_message=_JSON_MESSAGE,
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        if self._only_object:
            return {"type": "object"}
        return {"type": ["string", "number", "boolean", "array", "object"]}


JsonObject = Annotated[dict[str, Any], _FreeJson(only_object=True)]
"""A free JSON object: kept as it is, nulls inside it too."""

JsonValue = Annotated[Any, _FreeJson(only_object=False)]
"""Any JSON value but null: a field that is there has a value."""
