"""Summary: a read model of counts, sums and last values by key, declared instead of written.

::

    class Revenue(Summary):
        name = "revenue"
        tables = (REVENUE,)  # day, currency, orders, amount, last_order
        source = (OrderCreated,)
        key: ClassVar = {"day": day(), "currency": field("currency")}
        columns: ClassVar = {
            "orders": count(),
            "amount": sum_of("total_amount"),
            "last_order": last("order_id"),
        }

It is a projection like any other: kept by runners, rebuilt, replayed. Since it says what it is, a
replay over an archive can also make its rows by one query, and they are the same rows.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, Final, Literal, Union, get_args, get_origin

from typing_extensions import override

from eventcore.errors import RegistrationError
from eventcore.events.event import DomainEvent
from eventcore.events.recorded import Recorded
from eventcore.projections.columns import Column, Kind
from eventcore.projections.definitions import describe_table
from eventcore.projections.projection import Projection, on
from eventcore.projections.tables import Table

DAY_LENGTH: Final = 10
MONTH_LENGTH: Final = 7


class Place(Enum):
    """Where in an event a value is."""

    FIELD = "field"
    DAY = "day"
    MONTH = "month"
    TIMESTAMP = "timestamp"
    STREAM = "stream"
    ID = "id"
    TYPE = "type"


@dataclass(frozen=True, slots=True)
class Part:
    """A value of an event.

    Attributes:
        place: Where it is.
        name: Of the payload's field, as spelled in Python; else empty.
    """

    place: Place
    name: str = ""


class Kept(Enum):
    """What a column says of the events of its key."""

    COUNT = "count"
    SUM = "sum"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Figure:
    """What a column keeps.

    Attributes:
        kept: How.
        part: Of which value; None: of the event itself.
        of: Only of events of these classes and their subclasses; empty: of all.
    """

    kept: Kept
    part: Part | None = None
    of: tuple[type[DomainEvent], ...] = ()


def field(name: str) -> Part:
    """A field of the payload, by its name in Python: text, a whole number, a flag or an amount."""
    return Part(Place.FIELD, name)


def day() -> Part:
    """The day the event happened, UTC: ``2026-11-24``."""
    return Part(Place.DAY)


def month() -> Part:
    """The month the event happened, UTC: ``2026-11``."""
    return Part(Place.MONTH)


def timestamp() -> Part:
    """When the event happened, as fixed-width UTC text."""
    return Part(Place.TIMESTAMP)


def stream() -> Part:
    """The name of the event's stream."""
    return Part(Place.STREAM)


def id_of_stream() -> Part:
    """The name of the event's stream without the category."""
    return Part(Place.ID)


def type_of_event() -> Part:
    """The stored name of the event's type."""
    return Part(Place.TYPE)


def count(*of: type[DomainEvent]) -> Figure:
    """How many events there were.

    Args:
        of: Only of these classes and their subclasses; by default of all that the summary takes.
    """
    return Figure(Kept.COUNT, None, of)


def sum_of(name: str, *of: type[DomainEvent]) -> Figure:
    """The sum of a field, exact; where the field is absent, nothing is added.

    Args:
        name: Of a field that holds a whole number or an amount.
        of: See :func:`count`.
    """
    return Figure(Kept.SUM, field(name), of)


def last(part: Part | str, *of: type[DomainEvent]) -> Figure:
    """The last value there was, by position; an event without one leaves it as it is.

    Args:
        part: Which value; text names a field.
        of: See :func:`count`.
    """
    return Figure(Kept.LAST, field(part) if isinstance(part, str) else part, of)


_KINDS_OF_TYPES: Final[dict[Any, Kind]] = {
    bool: Kind.FLAG,
    str: Kind.TEXT,
    int: Kind.INTEGER,
    Decimal: Kind.DECIMAL,
}
_KEY_KINDS: Final = frozenset({Kind.TEXT, Kind.INTEGER, Kind.TIME_TEXT})


class Summary(Projection, rowless=True):
    """Base of summaries.

    Attributes:
        source: Classes of the events it is of, with their subclasses.
        key: Columns of the table's key, to where their values are. An event that lacks one is
            passed over.
        columns: The other columns, to what they keep.

    Raises:
        RegistrationError: When the class is defined with a table, a key or columns that do not go
            together, or with a field that one of its event classes does not have.
    """

    name = "eventcore_summary"
    fingerprint = "1"
    source: ClassVar[tuple[type[DomainEvent], ...]] = ()
    key: ClassVar[Mapping[str, Part]] = {}
    columns: ClassVar[Mapping[str, Figure]] = {}

    @override
    def __init_subclass__(cls, *, rowless: bool = False) -> None:
        """Check the declaration, and make the handler of it."""
        problem = next(_problems(cls), None)
        if problem:
            raise RegistrationError(message=f"Summary {cls.__name__}: {problem}")
        if "fingerprint" not in vars(cls):
            cls.fingerprint = _fingerprint(cls)
        locate, fold = _locating(cls), _folding(cls)
        marked = on(*cls.source, key=locate)(fold)
        cls.fold = marked  # type: ignore[attr-defined]  # a handler like those that are written
        super().__init_subclass__(rowless=rowless)

    @classmethod
    def table(cls) -> Table[Any]:
        """Its one table."""
        return cls.tables[0]


def _problems(cls: type[Summary]) -> Iterator[str]:
    """What is wrong with a declaration; each check may rely on those before it."""
    if "name" not in vars(cls) or len(cls.tables) != 1:
        yield "it needs a name of its own and exactly one table"
    if not cls.source:
        yield "it needs the classes of events it is of (source=)"
    table = cls.tables[0]
    if set(cls.key) != set(table.key):
        yield f"key= names {', '.join(cls.key)}, the table's key is {', '.join(table.key)}"
    others = [column.name for column in table.columns if column.name not in table.key]
    if set(cls.columns) != set(others):
        yield f"columns= names {', '.join(cls.columns)}, the table has {', '.join(others)}"
    for name, part in cls.key.items():
        yield from _problems_of_key(cls, table.column(name), part)
    for name, figure in cls.columns.items():
        yield from _problems_of_figure(cls, table.column(name), figure)


def _problems_of_key(cls: type[Summary], column: Column, part: Part) -> Iterator[str]:
    yield from _problems_of_part(cls.source, part)
    kind = _kind_of(cls.source, part)
    if kind is not column.kind or kind not in _KEY_KINDS:
        yield f"the key column {column.name} is {column.kind.value}, its values are {kind.value}"


def _problems_of_figure(cls: type[Summary], column: Column, figure: Figure) -> Iterator[str]:
    of = figure.of or cls.source
    if strangers := [one.__name__ for one in of if not issubclass(one, cls.source)]:
        yield f"column {column.name} is of {strangers[0]}, which source= does not name"
    if column.choices or column.minimum is not None or column.digits:
        # What does not fit would be parked event by event, which no query can tell.
        yield f"column {column.name} is bounded: only keys may be"
    if figure.kept is Kept.COUNT:
        if column.kind is not Kind.INTEGER:
            yield f"column {column.name} counts: it is to be int"
        return
    assert figure.part is not None
    yield from _problems_of_part(of, figure.part)
    kind = _kind_of(of, figure.part)
    if kind is not column.kind:
        yield f"column {column.name} is {column.kind.value}, its values are {kind.value}"
    if figure.kept is Kept.SUM and kind not in {Kind.INTEGER, Kind.DECIMAL}:
        yield f"column {column.name} sums up what is no number"
    always = not figure.of and _always_there(of, figure.part)
    if figure.kept is Kept.LAST and not column.optional and not always:
        yield f"column {column.name} may have had no value yet: declare it | None"


def _problems_of_part(of: tuple[type[DomainEvent], ...], part: Part) -> Iterator[str]:
    if part.place is not Place.FIELD:
        return
    for event_class in of:
        if part.name not in event_class.model_fields:
            yield f"{event_class.__name__} has no field {part.name}"
        elif _kind_of_field(event_class, part.name) is None:
            yield f"{event_class.__name__}.{part.name} is none of str, int, bool and Decimal"
    if len({_kind_of_field(event_class, part.name) for event_class in of}) > 1:
        yield f"the field {part.name} is of several types"


def _kind_of(of: tuple[type[DomainEvent], ...], part: Part) -> Kind:
    if part.place is Place.FIELD:
        kind = _kind_of_field(of[0], part.name)
        assert kind is not None  # looked at before
        return kind
    return Kind.TIME_TEXT if part.place is Place.TIMESTAMP else Kind.TEXT


def _kind_of_field(event_class: type[DomainEvent], name: str) -> Kind | None:
    """What a field of a payload holds; None: nothing that a summary takes."""
    found = _members(event_class.model_fields[name].annotation)
    annotation = found[0] if len(found) == 1 else None
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return Kind.TEXT if all(type(one) is str for one in get_args(annotation)) else None
    return _KINDS_OF_TYPES.get(annotation)


def _members(annotation: Any) -> list[Any]:
    """What an annotation allows besides None."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return [one for one in get_args(annotation) if one is not types.NoneType]
    return [annotation]


def _always_there(of: tuple[type[DomainEvent], ...], part: Part) -> bool:
    if part.place is not Place.FIELD:
        return True
    fields = [event_class.model_fields[part.name] for event_class in of]
    return all(
        one.is_required() and types.NoneType not in get_args(one.annotation) for one in fields
    )


_PLACES: Final[dict[Place, Callable[[Recorded[Any]], Any]]] = {
    Place.DAY: lambda event: event.timestamp_text[:DAY_LENGTH],
    Place.MONTH: lambda event: event.timestamp_text[:MONTH_LENGTH],
    Place.TIMESTAMP: lambda event: event.timestamp_text,
    Place.STREAM: lambda event: event.stream,
    Place.ID: lambda event: event.id,
    Place.TYPE: lambda event: event.type,
}


def value_of(part: Part) -> Callable[[Recorded[Any]], Any]:
    """Gives a value of an event; None if it is not there."""
    name = part.name
    return _PLACES.get(part.place) or (lambda event: getattr(event.payload, name))


def _locating(cls: type[Summary]) -> Callable[[Recorded[Any]], Any]:
    values = [value_of(cls.key[name]) for name in cls.tables[0].key]
    if len(values) == 1:
        return values[0]

    def locate(event: Recorded[Any]) -> tuple[Any, ...] | None:
        found = tuple(value(event) for value in values)
        return None if None in found else found

    return locate


_Change = Callable[[Any, Recorded[Any]], Any]
"""From what a column holds and an event to what it holds then."""


def _folding(cls: type[Summary]) -> Callable[[Any, Any, Recorded[Any]], Any]:
    table = cls.tables[0]
    make: Any = table.row
    places = [column.name for column in table.columns]
    keys = [(places.index(name), value_of(part)) for name, part in cls.key.items()]
    starts = {places.index(name): _start(table.column(name), f) for name, f in cls.columns.items()}
    figures = [(places.index(name), f.of or None, _change(f)) for name, f in cls.columns.items()]

    def fold(_self: Any, row: Any, event: Recorded[Any]) -> Any:
        if row is None:
            first: list[Any] = [starts.get(place) for place in range(len(places))]
            for place, value in keys:
                first[place] = value(event)
        else:
            first = list(row)
        for place, of, change in figures:
            if of is None or isinstance(event.payload, of):
                first[place] = change(first[place], event)
        return make(*first)

    return fold


def _start(column: Column, figure: Figure) -> Any:
    if figure.kept is Kept.LAST:
        return None
    return Decimal(0) if column.kind is Kind.DECIMAL else 0


def _change(figure: Figure) -> _Change:
    if figure.part is None:
        return lambda before, _event: before + 1
    value = value_of(figure.part)
    if figure.kept is Kept.SUM:

        def add(before: Any, event: Recorded[Any]) -> Any:
            found = value(event)
            return before if found is None else before + found

        return add

    def take(before: Any, event: Recorded[Any]) -> Any:
        found = value(event)
        return before if found is None else found

    return take


def _fingerprint(cls: type[Summary]) -> str:
    """Of the declaration, which says all: how it is folded is the library's own."""
    digest = blake2b(digest_size=16)
    parts = [
        *describe_table(cls.tables[0]),
        f"source {sorted(one.__event__.type or one.__name__ for one in cls.source)}",
        *(f"key {name} {part.place.value} {part.name}" for name, part in sorted(cls.key.items())),
    ]
    for name, figure in sorted(cls.columns.items()):
        part = figure.part
        of = sorted(one.__event__.type or one.__name__ for one in figure.of)
        what = "" if part is None else f"{part.place.value} {part.name}"
        parts.append(f"column {name} {figure.kept.value} {what} of {of}")
    for one in parts:
        digest.update(one.encode() + b"\0")
    return digest.hexdigest()
