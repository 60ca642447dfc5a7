"""Queries of DuckDB: a summary's rows from the Parquet files of an archive.

The query is made of expressions, not of text. What it cannot tell for certain (an event of an older
schema version, amounts of more digits than it adds up exactly, what does not fit the table) it
leaves alone: then the handler makes the rows, which are the same wherever both can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import duckdb
from duckdb import DuckDBPyConnection, DuckDBPyRelation, Expression

from eventcore.errors import StoreError
from eventcore.events.codec import Codec
from eventcore.events.times import from_text, to_text
from eventcore.projections.columns import Kind
from eventcore.projections.plan import Plan
from eventcore.projections.summaries import Figure, Kept, Part, Place, Summary
from eventcore.projections.tables import StoredRow
from eventcore.replay.cuts import Cut
from eventcore.replay.shards import ParquetFiles

DECIMAL_DIGITS: Final = 38
"""Digits of an amount that DuckDB adds up exactly."""

DECIMAL_PLACES: Final = 12
"""Of them after the point; an amount with more is left to the handler."""

_FORMS: Final = {
    Kind.DECIMAL: r"-?[0-9]{1,18}(\.[0-9]{1,12})?",
    Kind.INTEGER: r"-?[0-9]{1,18}",
    Kind.FLAG: "true|false",
}
"""How values are written that can be told exactly."""

EARLIEST_MICROSECONDS: Final = -30_610_224_000_000_000
"""Since 1970, of the year 1000: years before it are written with fewer digits there than here."""

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""Nothing is fetched from anywhere: what is needed is built in."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def query_summary(
    summary: Summary, files: ParquetFiles, codec: Codec, *, cut: Cut
) -> list[StoredRow] | None:
    """The rows of a summary as of a cut, or as of the end of the files if that is earlier.

    Args:
        summary: Which.
        files: The archive's.
        codec: Knows the event classes.
        cut: Where it ends.

    Returns:
        Rows in stored form; None: the query cannot tell, let the handler make them.
    """
    query = _Query(summary, codec)
    with duckdb.connect(config=_CONFIG) as connection:
        relation = query.relation(connection, files, cut)
        try:
            found = [] if relation is None else relation.fetchall()
        except (duckdb.DataError, duckdb.InvalidInputException):
            # A body that is no JSON, a value that is no number, a sum of too many digits.
            return None
    if relation is None or any(row[-1] for row in found):
        return None
    return query.stored(found)


class _Query:
    """One summary as expressions of DuckDB."""

    def __init__(self, summary: Summary, codec: Codec) -> None:
        self._summary = summary
        self._table = summary.table()
        # Names of columns that need no quoting.
        self._names = {column.name: f"c{n}" for n, column in enumerate(self._table.columns)}
        self._types = sorted(Plan(summary, codec.registry).types() or ())
        self._registry = codec.registry
        parts = [*summary.key.values(), *(f.part for f in summary.columns.values() if f.part)]
        fields = dict.fromkeys(part for part in parts if part.place is Place.FIELD)
        self._fields = {part: place for place, part in enumerate(fields, 1)}

    def relation(
        self, connection: DuckDBPyConnection, files: ParquetFiles, cut: Cut
    ) -> DuckDBPyRelation | None:
        """Keys, figures, and how many events cannot be told; None if a time cannot be."""
        every = connection.read_parquet(list(files.paths), hive_partitioning=False)
        every = every.filter(_column("position") <= _constant(cut.position))
        events = every.filter(_in(_column("type"), self._types))
        if cut.time is not None:
            if _lacks_times(every):
                return None
            events = _before_the_end(every, events, cut.time)
        read = events.project(*self._read())
        values = read.project(*self._values())
        for name in self._table.key:
            values = values.filter(_column(self._names[name]).isnotnull())
        keys = [self._names[name] for name in self._table.key]
        figures = [self._figure(name, figure) for name, figure in self._summary.columns.items()]
        doubts = _function("count_if", _column("doubt"))
        columns = [*map(_column, keys), *figures, doubts]
        return values.aggregate(columns, ", ".join(keys))

    def _read(self) -> list[Expression]:
        """What is needed of an event, the payload's fields as a list of text."""
        paths = _constant([f'$.data."{self._alias(part)}"' for part in self._fields])
        body = _function("decode", _column("body"))
        fields = _function("json_extract_string", body, paths) if self._fields else _constant([""])
        needed = self._types_read()
        if needed != self._types:
            # To parse a body takes longer than all the rest.
            fields = _case(_in(_column("type"), needed), fields)
        names = ("position", "stream", "type", "schema_version")
        moment = _function("epoch_us", _column("timestamp")).alias("moment")
        return [*map(_column, names), moment, fields.alias("fields")]

    def _types_read(self) -> list[str]:
        """Types of which some field of the payload is needed."""
        if any(part.place is Place.FIELD for part in self._summary.key.values()):
            return self._types
        figures = [f for f in self._summary.columns.values() if f.part in self._fields]
        needed = {one for figure in figures for one in self._types_of(figure)}
        return sorted(needed) or self._types

    def _alias(self, part: Part) -> str:
        """The name of a field in JSON; the same in all classes that have it."""
        known = [one for one in map(self._registry.get, self._types) if one is not None]
        fields = [one.model_fields[part.name] for one in known if part.name in one.model_fields]
        return fields[0].alias or part.name

    def _values(self) -> list[Expression]:
        """Of each event its position and type, the keys, what figures are of, and doubts."""
        summary = self._summary
        parts = {self._names[name]: part for name, part in summary.key.items()}
        parts |= {
            self._names[name]: f.part for name, f in summary.columns.items() if f.part is not None
        }
        values = [self._value(part).alias(name) for name, part in parts.items()]
        return [_column("position"), _column("type"), *values, self._doubt().alias("doubt")]

    def _value(self, part: Part) -> Expression:
        if part.place in _MOMENTS:
            return _MOMENTS[part.place]()
        if part.place is Place.FIELD:
            return _function("list_extract", _column("fields"), _constant(self._fields[part]))
        if part.place is Place.ID:
            dash = _function("instr", _column("stream"), _constant("-"))
            return _function("substr", _column("stream"), dash + _constant(1))
        return _column(part.place.value)

    def _doubt(self) -> Expression:
        """Whether an event is one whose values cannot be told for certain."""
        doubt = _column("schema_version").isnull() | (
            _column("moment") < _constant(EARLIEST_MICROSECONDS)
        )
        by_version: dict[int, list[str]] = {}
        for event_type in self._types:
            event_class = self._registry.get(event_type)
            assert event_class is not None  # the plan has it from there
            by_version.setdefault(event_class.__event__.version, []).append(event_type)
        for version, types in by_version.items():
            is_other = _column("schema_version") != _constant(version)
            doubt |= _in(_column("type"), types) & is_other
        for part in self._fields:
            form = _FORMS.get(self._kind(part))
            if form is not None:
                value = self._value(part)
                fits = _function("regexp_full_match", value, _constant(form))
                doubt |= value.isnotnull() & ~fits
        return doubt

    def _kind(self, part: Part) -> Kind:
        """Of the columns that a field goes to."""
        table, summary = self._table, self._summary
        names = [name for name, one in summary.key.items() if one == part]
        names += [name for name, figure in summary.columns.items() if figure.part == part]
        return table.column(names[0]).kind

    def _figure(self, name: str, figure: Figure) -> Expression:
        of = _in(_column("type"), self._types_of(figure)) if figure.of else None
        if figure.kept is Kept.COUNT:
            return _function("count_if", of) if of is not None else _function("count_star")
        value = _column(self._names[name])
        if of is not None:
            value = _case(of, value)
        if figure.kept is Kept.LAST:
            # NULL is passed over, as an absent value is.
            return _function("arg_max", value, _column("position"))
        kind = self._table.column(name).kind
        form = "BIGINT"
        if kind is Kind.DECIMAL:
            form = f"DECIMAL({DECIMAL_DIGITS},{DECIMAL_PLACES})"
        return _function("sum", value.cast(_type(form)))

    def _types_of(self, figure: Figure) -> list[str]:
        if not figure.of:
            return self._types
        classes = {name: self._registry.get(name) for name in self._types}
        return [name for name, one in classes.items() if one and issubclass(one, figure.of)]

    def stored(self, found: Sequence[tuple[Any, ...]]) -> list[StoredRow] | None:
        """Rows of the table; None if they do not fit it, so that a handler's would be parked."""
        summary, table = self._summary, self._table
        makers: list[tuple[int, Callable[[Any], Any]]] = []
        names = [*table.key, *summary.columns]
        for column in table.columns:
            figure = summary.columns.get(column.name)
            part = summary.key[column.name] if figure is None else figure.part
            make = _maker(column.kind, part, figure)
            makers.append((names.index(column.name), make))
        rows = [table.row(*[make(row[place]) for place, make in makers]) for row in found]
        try:
            return list(map(tuple, table.encode(rows)))
        except StoreError:
            return None


def _maker(kind: Kind, part: Part | None, figure: Figure | None) -> Callable[[Any], Any]:
    """Turns a value of DuckDB into the one that a handler would have."""
    convert = _CONVERTED.get(kind, str)
    if part is not None and part.place is Place.DAY:
        convert = date.isoformat
    if part is not None and part.place is Place.TIMESTAMP:
        convert = _time_text
    start = None if figure is None or figure.kept is Kept.LAST else convert(0)
    return lambda value: start if value is None else convert(value)


def _time_text(microseconds: int) -> str:
    return to_text(_EPOCH + timedelta(microseconds=microseconds))


_CONVERTED: Final[dict[Kind, Callable[[Any], Any]]] = {
    Kind.INTEGER: int,
    Kind.DECIMAL: Decimal,
    # As text in JSON; or False, where nothing was added up.
    Kind.FLAG: lambda value: value == "true",
}


def _lacks_times(events: DuckDBPyRelation) -> bool:
    """Whether some event's time is not in its column, but in its bytes alone."""
    lacking = _function("count_if", _column("timestamp").isnull())
    return bool(events.aggregate([lacking]).fetchall()[0][0])


def _before_the_end(
    every: DuckDBPyRelation, events: DuckDBPyRelation, time: str
) -> DuckDBPyRelation:
    """The events of each stream before its first one that happened later."""
    later = every.filter(
        _function("epoch_us", _column("timestamp")) > _constant(_microseconds(time))
    )
    first = _function("min", _column("version")).alias("first_later")
    ends = later.aggregate([_column("stream").alias("ended"), first], "stream")
    # The two are of the same files, and need names to be told apart.
    events, ends = events.set_alias("events"), ends.set_alias("ends")
    joined = events.join(ends, _column("stream") == _column("ended"), how="left")
    return joined.filter(
        _column("first_later").isnull() | (_column("version") < _column("first_later"))
    )


def _microseconds(time: str) -> int:
    return (from_text(time) - _EPOCH) // timedelta(microseconds=1)


def _day() -> Expression:
    return _function("make_timestamp", _column("moment")).cast(_type("DATE"))


def _month() -> Expression:
    moment = _function("make_timestamp", _column("moment"))
    return _function("strftime", moment, _constant("%Y-%m"))


_MOMENTS: Final[dict[Place, Callable[[], Expression]]] = {
    Place.DAY: _day,
    Place.MONTH: _month,
    Place.TIMESTAMP: lambda: _column("moment"),
}


def _column(name: str) -> Expression:
    return duckdb.ColumnExpression(name)


def _type(name: str) -> Any:
    return duckdb.type(name)


def _constant(value: Any) -> Expression:
    return duckdb.ConstantExpression(value)


def _function(name: str, *arguments: Expression) -> Expression:
    return duckdb.FunctionExpression(name, *arguments)


def _in(value: Expression, names: Sequence[str]) -> Expression:
    return value.isin(*map(_constant, names))


def _case(condition: Expression, value: Expression) -> Expression:
    return duckdb.CaseExpression(condition, value)
