"""Columns of a read model: from the annotation of a row's field to what a database keeps, and back.

Every backend keeps the same *stored values*: text, whole numbers and NULL. The checks are made
here, a column at a time, so that memory is exactly as strict as a database and a bad row never
depends on where it is written.

=================== ======== ===================================================================
annotation          stored   form
=================== ======== ===================================================================
``str``             TEXT     as it is; no NUL character, no lone surrogate
``Literal["a"]``    TEXT     one of the given words
``int``             INTEGER  64 bits, signed
``bool``            INTEGER  0 or 1
``Decimal``         TEXT     canonical: no exponent, no trailing zeros after the point
``datetime``        TEXT     fixed-width UTC, ``2026-11-22T21:34:28.123456Z``
``TimeText``        TEXT     the same form, already text in Python
``dict``, ``list``  TEXT     JSON
=================== ======== ===================================================================

Each may be followed by ``| None``. ``Annotated[int, AtLeast(1)]`` and ``Annotated[Decimal,
Digits(15, 4)]`` bound what a column holds, here and in the database.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Annotated, Any, Final, Literal, NoReturn, Union, get_args, get_origin

import orjson

from eventcore.errors import RegistrationError
from eventcore.events.times import TIMESTAMP_LENGTH, from_text, to_text

StoredValue = str | int | None
"""What a backend keeps in a column."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1
"""SQLite and Postgres keep whole numbers in 64 bits."""

DECIMAL_DIGITS_MAX: Final = 1_000
"""Digits of an amount written out: no money has so many, and 1E+999999999 would fill the memory."""


class _TimeTextMark:
    """Tells ``TimeText`` from plain text."""


TimeText = Annotated[str, _TimeTextMark()]
"""A time as fixed-width UTC text, for columns that only pass on :attr:`Recorded.timestamp_text`."""


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The least a whole number or an amount may be: ``Annotated[int, AtLeast(1)]``."""

    minimum: int


@dataclass(frozen=True, slots=True)
class Digits:
    """How many digits an amount has at most before and after the point."""

    whole: int
    places: int


class Kind(Enum):
    """What a column holds; the value is the Python type its rows must have, exactly."""

    TEXT = "str"
    INTEGER = "int"
    FLAG = "bool"
    DECIMAL = "Decimal"
    TIME = "datetime"
    TIME_TEXT = "TimeText"
    OBJECT = "dict"
    ARRAY = "list"


_TYPES: Final[dict[Kind, type]] = {
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.FLAG: bool,
    Kind.DECIMAL: Decimal,
    Kind.TIME: datetime,
    Kind.TIME_TEXT: str,
    Kind.OBJECT: dict,
    Kind.ARRAY: list,
}
_KINDS: Final[dict[Any, Kind]] = {
    type_: kind for kind, type_ in _TYPES.items() if kind is not Kind.TIME_TEXT
}
_dump_json: Final = partial(orjson.dumps, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: As stored and printed. A leading underscore marks it internal: kept, never printed.
        attribute: Name of the row's field.
        kind: What it holds.
        optional: Whether it may be None.
        choices: The only words it may hold.
        minimum: The least it may be, if it holds a whole number or an amount.
        digits: The most it may have, if it holds an amount.
    """

    name: str
    attribute: str
    kind: Kind
    optional: bool = False
    choices: tuple[str, ...] | None = None
    minimum: int | None = None
    digits: Digits | None = None

    @property
    def internal(self) -> bool:
        """Whether it is bookkeeping that is not printed."""
        return self.name.startswith("_")

    def encode(self, values: Sequence[Any]) -> Sequence[StoredValue]:
        """Stored values for this column of many rows.

        Raises:
            ValueError: One does not fit. The message tells what is wrong, never the value.
        """
        expected, found = _TYPES[self.kind], set(map(type, values))
        present = values
        if types.NoneType in found:
            if not self.optional:
                self._refuse("is None and may not be")
            found.discard(types.NoneType)
            present = [value for value in values if value is not None]
        if not found:
            return values
        if found != {expected}:
            names = ", ".join(sorted(type_.__name__ for type_ in found if type_ is not expected))
            self._refuse(f"is a {names}, expected {self.kind.value}")
        return self._encode_present(values, present)

    def _encode_present(
        self, values: Sequence[Any], present: Sequence[Any]
    ) -> Sequence[StoredValue]:
        convert: Callable[[Any], StoredValue]
        match self.kind:
            case Kind.TEXT | Kind.TIME_TEXT:
                self._check_text(present)
                return values
            case Kind.INTEGER:
                self._check_integers(present)
                return values
            case Kind.FLAG:
                convert = int
            case Kind.DECIMAL:
                convert = self._decimal_text
            case Kind.TIME:
                convert = self._time_text
            case Kind.OBJECT | Kind.ARRAY:
                convert = self._json_text
        return [None if value is None else convert(value) for value in values]

    def _check_text(self, present: Sequence[str]) -> None:
        if self.choices is not None:
            if not set(present) <= set(self.choices):
                self._refuse(f"is none of {', '.join(self.choices)}")
            return
        joined = "".join(present)
        if "\0" in joined:
            self._refuse("holds a NUL character, which databases do not keep in text")
        if not joined.isascii():
            try:
                joined.encode()
            except UnicodeEncodeError:
                self._refuse("holds a lone surrogate, which is no text")
        if self.kind is Kind.TIME_TEXT and set(map(len, present)) != {TIMESTAMP_LENGTH}:
            self._refuse("is no fixed-width UTC time")

    def _check_integers(self, present: Sequence[int]) -> None:
        if min(present) < INTEGER_MIN or max(present) > INTEGER_MAX:
            self._refuse("is beyond 64 bits")
        if self.minimum is not None and min(present) < self.minimum:
            self._refuse(f"is below {self.minimum}")

    def _decimal_text(self, value: Decimal) -> str:
        if not value.is_finite():
            self._refuse("is not a finite number")
        if self.minimum is not None and value < self.minimum:
            self._refuse(f"is below {self.minimum}")
        if abs(value.adjusted()) > DECIMAL_DIGITS_MAX:
            self._refuse(f"is an amount of more than {DECIMAL_DIGITS_MAX} digits")
        text = str(value)
        if not _is_settled(text):
            text = decimal_text(value)
        if self.digits is not None:
            whole, _, places = text.lstrip("-").partition(".")
            if len(whole) > self.digits.whole or len(places) > self.digits.places:
                limits = f"{self.digits.whole} digits and {self.digits.places} places"
                self._refuse(f"is an amount of more than {limits}")
        return text

    def _time_text(self, value: datetime) -> str:
        if value.tzinfo is None:
            self._refuse("is a time without a zone")
        return to_text(value)

    def _json_text(self, value: Any) -> str:
        try:
            return _dump_json(value).decode()
        except TypeError as error:
            self._refuse(f"is not JSON ({error})")

    def _refuse(self, problem: str) -> NoReturn:
        msg = f"column {self.name} {problem}"
        raise ValueError(msg)

    @property
    def decoder(self) -> Callable[[Any], Any] | None:
        """Turns one stored value, not NULL, into the Python value; None if they are the same."""
        match self.kind:
            case Kind.TEXT | Kind.TIME_TEXT | Kind.INTEGER:
                return None
            case Kind.FLAG:
                return bool
            case Kind.DECIMAL:
                return Decimal
            case Kind.TIME:
                return from_text
            case Kind.OBJECT | Kind.ARRAY:
                return orjson.loads

    @property
    def is_json(self) -> bool:
        """Whether it holds objects or lists."""
        return self.kind in {Kind.OBJECT, Kind.ARRAY}

    @property
    def settle(self) -> Callable[[Any], Any] | None:
        """Turns a Python value, not None, into the one a database would give back for it.

        That is the same object where nothing would change, but for JSON always a new one, so that
        whoever changes it in place changes nothing else. None if every value comes back as it is.
        """
        match self.kind:
            case Kind.DECIMAL:
                return _settled_decimal
            case Kind.TIME:
                return _settled_time
            case Kind.OBJECT | Kind.ARRAY:
                return _settled_json
            case _:
                return None

    def from_words(self, text: str) -> StoredValue:
        """The stored value for what a person typed, e.g. after ``--where``.

        Raises:
            ValueError, KeyError, ArithmeticError: It is no value of this column's kind.
        """
        value: Any
        match self.kind:
            case Kind.INTEGER:
                value = int(text)
            case Kind.FLAG:
                value = {"true": True, "1": True, "false": False, "0": False}[text.lower()]
            case Kind.DECIMAL:
                value = Decimal(text)
            case Kind.TIME:
                value = datetime.fromisoformat(text)
            case Kind.TIME_TEXT:
                value = to_text(datetime.fromisoformat(text))
            case Kind.OBJECT | Kind.ARRAY:
                value = orjson.loads(text)
            case Kind.TEXT:
                value = text
        # A word that is no choice finds nothing; what is no text is refused all the same.
        return replace(self, choices=None).encode([value])[0]


def decimal_text(value: Decimal) -> str:
    """A finite amount in the one form it is stored in: equal amounts have equal text."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _is_settled(text: str) -> bool:
    """Whether the text of an amount is the one it is stored in."""
    return "E" not in text and ("." not in text or text[-1] != "0") and text != "-0"


def _settled_decimal(value: Decimal) -> Decimal:
    if _is_settled(str(value)):
        return value  # as nearly all are, once they were settled
    if abs(value.adjusted()) > DECIMAL_DIGITS_MAX:
        return value  # it is refused when it is written
    return Decimal(decimal_text(value))


def _settled_time(value: datetime) -> datetime:
    # One without a zone is refused when the row is written.
    return value if value.tzinfo is UTC or value.tzinfo is None else from_text(to_text(value))


def _settled_json(value: Any) -> Any:
    return orjson.loads(_dump_json(value))


def column_of(row: str, attribute: str, name: str, *, annotation: Any) -> Column:
    """The column that a field of a row type declares.

    Raises:
        RegistrationError: The annotation is none that a column can have.
    """
    optional = False
    if get_origin(annotation) in {Union, types.UnionType}:
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        optional = len(members) < len(get_args(annotation))
        annotation = members[0] if len(members) == 1 else annotation
    if get_origin(annotation) is Literal and all(isinstance(c, str) for c in get_args(annotation)):
        return Column(name, attribute, Kind.TEXT, optional, get_args(annotation))
    marks: list[Any] = []
    if get_origin(annotation) is Annotated:
        annotation, *marks = get_args(annotation)
        if any(isinstance(mark, _TimeTextMark) for mark in marks):
            return Column(name, attribute, Kind.TIME_TEXT, optional)
    kind = _KINDS.get(get_origin(annotation) or annotation)
    if kind is None:
        raise RegistrationError(
            message=f"{row}.{attribute} is annotated {annotation!r}, which no column can hold: use "
            "str, int, bool, Decimal, datetime, dict, list, Literal of words, each perhaps | None"
        )
    return _bounded(Column(name, attribute, kind, optional), marks)


def _bounded(column: Column, marks: Iterable[Any]) -> Column:
    """The column with the bounds that marks on its annotation set; other marks say nothing here."""
    for mark in marks:
        match mark, column.kind:
            case AtLeast(minimum), Kind.INTEGER | Kind.DECIMAL:
                column = replace(column, minimum=minimum)
            case Digits(), Kind.DECIMAL:
                column = replace(column, digits=mark)
            case ((AtLeast() | Digits()), _):
                raise RegistrationError(
                    message=f"{mark} bounds no column of the kind {column.kind.value} "
                    f"({column.name})"
                )
            case _:
                pass
    return column
