"""Table: what a read model keeps, declared once; every backend creates and fills it the same way.

::

    class OrderRow(NamedTuple):
        order_id: str
        total_amount: Decimal
        status: Literal["created", "paid"]
        created_at: datetime

    ORDERS = Table("orders", OrderRow, key=("order_id",), indexes=[Index("status", "created_at")])
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import islice
from operator import itemgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar, get_type_hints

import orjson
from typing_extensions import override

from eventcore.errors import ConfigurationError, RegistrationError, StoreError
from eventcore.events.times import to_text
from eventcore.projections.columns import INTEGER_MAX, Column, Kind, StoredValue, column_of

RowT = TypeVar("RowT", bound="tuple[Any, ...]")

Key = Any
"""Key of a row or a group: the bare value for one column, a tuple for several."""

StoredRow = tuple[StoredValue, ...]
"""A row as a backend keeps it, in column order."""

_TABLE_FORM: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_COLUMN_FORM: Final = re.compile(r"[a-z_][a-z0-9_]*(#[a-z0-9_]+)?")
INTERNAL_PREFIX: Final = "eventcore_"
PRINTED_ROWS: Final = 500
"""Rows made ready for printing at once."""

_RESERVED_PREFIXES: Final = (INTERNAL_PREFIX, "sqlite_", "pg_")
_RESERVED_NAMES: Final = frozenset({"stored_events", "snapshots", "tracking"})
"""Tables that ``eventsourcing`` keeps in the same database."""


class Index(NamedTuple):
    """Columns that are looked up together, in this order.

    Attributes:
        columns: Stored names.
        present: Leave out rows whose first column is None.
    """

    columns: tuple[str, ...]
    present: bool = False

    @classmethod
    def on(cls, *columns: str, present: bool = False) -> Index:
        """An index over the named columns."""
        return cls(columns, present)


_SORTING: Final = frozenset({Kind.TEXT, Kind.INTEGER, Kind.TIME, Kind.TIME_TEXT})
"""Kinds of column that every backend sorts alike."""


class Table(Generic[RowT]):
    """One table of a read model.

    Args:
        name: As stored; unique among everything kept in one database.
        row: A ``NamedTuple``; its annotations say what the columns hold
            (see :mod:`eventcore.projections.columns`).
        key: Stored names of the columns that identify a row.
        group: Stored names of the columns that rows share which are folded together.
        indexes: Further access paths.
        ttl_days: Rows may be expired when their ``ttl_column`` is so many days old. Expiring is a
        step
            of its own: rows never vanish because a clock moved on.
        ttl_column: Holds a time, or text that begins with one or with a date.
        columns: Stored names of fields that cannot be spelled in Python, e.g.
            ``{"dimensions": "metric_type#dimensions"}``; a name with a leading underscore is
            internal.
        internal: The library's own bookkeeping, under a name that begins with ``eventcore_``, which
            is reserved for it.

    Attributes:
        original: The table as it was declared; itself, unless it was renamed.
        settled: Gives a row with amounts and times as they would come back from the database,
            without sending it there. The second argument is a row that is so already, or None: what
            both have is passed over. What does not fit its column is left as it is. None if every
            row comes back as it is. With :attr:`lent`, what a handler gets never depends on whether
            a row was kept in memory meanwhile.
        lent: Gives a row with JSON as it would come back, a copy of its own: whoever changes it in
            place changes nothing else. None if no column holds JSON.

    Raises:
        RegistrationError: The declaration cannot work; the message says which part.
    """

    def __init__(  # noqa: PLR0913 - a declaration: every part is a keyword of its own
        self,
        name: str,
        row: type[RowT],
        *,
        key: Sequence[str],
        group: Sequence[str] = (),
        indexes: Iterable[Index] = (),
        ttl_days: int | None = None,
        ttl_column: str | None = None,
        columns: Mapping[str, str] | None = None,
        internal: bool = False,
    ) -> None:
        self.name = name
        self.internal = internal
        self.original: Table[RowT] = self
        self.row = row
        renamed = dict(columns or {})
        hints = get_type_hints(row, include_extras=True)
        fields: tuple[str, ...] = getattr(row, "_fields", ())
        self.columns: tuple[Column, ...] = tuple(
            column_of(row.__name__, field, renamed.pop(field, field), annotation=hints[field])
            for field in fields
        )
        self.key = tuple(key)
        self.group = tuple(group)
        self.indexes = tuple(indexes)
        self.ttl_days = ttl_days
        self.ttl_column = ttl_column
        self._by_name = {column.name: column for column in self.columns}
        self._check(unknown_fields=renamed)
        self.key_of: Callable[[RowT], Key] = self._getter(self.key)
        self.group_of: Callable[[RowT], Key] = self._getter(self.group) if group else self.key_of
        self._make: Callable[[Iterable[Any]], RowT] = row._make  # type: ignore[attr-defined]  # NamedTuple
        self._plain = not any(column.decoder for column in self.columns)
        self.settled: Callable[[RowT, RowT | None], RowT] | None = self._settling()
        self.lent: Callable[[RowT], RowT] | None = self._lending()

    def _check(self, unknown_fields: Mapping[str, str]) -> None:
        problem = next(self._problems(unknown_fields), None)
        if problem:
            raise RegistrationError(message=f"Table {self.name}: {problem}")

    def _problems(self, unknown_fields: Mapping[str, str]) -> Iterator[str]:
        """What is wrong with the declaration; each check may rely on those before it."""
        if not self.columns:
            yield f"{self.row.__name__} is no NamedTuple with fields"
        if not _TABLE_FORM.fullmatch(self.name):
            yield "a name is lower-case letters, digits and underscores, at most 63"
        if self.internal and not self.name.startswith(INTERNAL_PREFIX):
            yield f"the name of an internal table begins with {INTERNAL_PREFIX}"
        reserved = self.name.startswith(_RESERVED_PREFIXES) or self.name in _RESERVED_NAMES
        if reserved and not self.internal:
            yield "the name is reserved"
        yield from self._problems_of_columns(unknown_fields)
        if (self.ttl_days is None) != (self.ttl_column is None):
            yield "ttl_days and ttl_column belong together"

    def _problems_of_columns(self, unknown_fields: Mapping[str, str]) -> Iterator[str]:
        for field in unknown_fields:
            yield f"columns= names {field!r}, which is no field of the row"
        for name in self._by_name:
            if not _COLUMN_FORM.fullmatch(name):
                yield f"{name!r} is no column name"
        if len(self._by_name) < len(self.columns):
            yield "two columns share a name"
        if not self.key:
            yield "a row needs a key"
        indexed = [name for index in self.indexes for name in index.columns]
        expiring = [self.ttl_column] if self.ttl_column else []
        named = [*self.key, *self.group, *indexed, *expiring]
        yield from (f"it has no column {n!r}" for n in named if n not in self._by_name)
        yield from (
            f"the key column {n!r} may be None" for n in self.key if self._by_name[n].optional
        )

    def _getter(self, names: Sequence[str]) -> Callable[[RowT], Key]:
        order = [column.name for column in self.columns]
        return itemgetter(*[order.index(name) for name in names])

    def _settling(self) -> Callable[[RowT, RowT | None], RowT] | None:
        settles = [
            (place, settle)
            for place, column in enumerate(self.columns)
            if (settle := column.settle) is not None and not column.is_json
        ]

        def settled(row: RowT, known: RowT | None) -> RowT:
            found = row
            try:
                for place, settle in settles:
                    before = row[place]
                    if before is None or (known is not None and before is known[place]):
                        continue
                    after = settle(before)
                    if after is not before:
                        found = self._make((*found[:place], after, *found[place + 1 :]))
            except Exception:  # noqa: BLE001 - a handler's: it is refused, in words, when it is written
                return row
            return found

        return settled if settles else None

    def _lending(self) -> Callable[[RowT], RowT] | None:
        copies = [
            (place, copy_of)
            for place, column in enumerate(self.columns)
            if (copy_of := column.settle) is not None and column.is_json
        ]

        make: Callable[[Iterable[Any]], RowT] = partial(tuple.__new__, self.row)

        def lent(row: RowT) -> RowT:
            for place, copy_of in copies:
                value = row[place]
                if value is not None:
                    row = make((*row[:place], copy_of(value), *row[place + 1 :]))
            return row

        return lent if copies else None

    def renamed(self, name: str, *, indexed: bool = True) -> Table[RowT]:
        """The same table under another name: as a generation of a read model is kept.

        Args:
            name: The other name.
            indexed: With the declared indexes; else only with what finds its rows by key and group.
        """
        other = copy.copy(self)
        other.name = name
        other.indexes = self.indexes if indexed else ()
        other.original = self.original
        return other

    def narrowed(self, names: Collection[str]) -> Table[Any]:
        """The same table with only these of its columns, for comparing rows in stored form.

        Raises:
            ConfigurationError: A column of the key is not among them.
        """
        if not set(self.key) <= set(names):
            raise ConfigurationError(message=f"Table {self.name} has a key of other columns there")
        other: Table[Any] = copy.copy(self)
        other.columns = tuple(column for column in self.columns if column.name in names)
        other.group, other.indexes = (), ()
        return other

    def column(self, name: str) -> Column:
        """The column stored under this name.

        Raises:
            ConfigurationError: There is none; the message lists those there are.
        """
        column = self._by_name.get(name)
        if column is None:
            known = ", ".join(self.public_columns)
            raise ConfigurationError(
                message=f"Table {self.name} has no column {name!r}, only {known}"
            )
        return column

    @cached_property
    def public_columns(self) -> tuple[str, ...]:
        """Names of the columns that are printed."""
        return tuple(column.name for column in self.columns if not column.internal)

    @cached_property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the key, in its order."""
        return tuple(self._by_name[name] for name in self.key)

    @cached_property
    def group_columns(self) -> tuple[Column, ...]:
        """The columns that rows of one group share."""
        return tuple(self._by_name[name] for name in self.group)

    def encode(self, rows: Sequence[RowT]) -> list[StoredRow]:
        """Rows as a backend keeps them.

        Raises:
            StoreError: A row does not fit its declaration; the message names the column.
        """
        if not rows:
            return []
        try:
            values = list(zip(*rows, strict=True))
            if len(values) != len(self.columns):
                msg = f"a row has {len(values)} columns, expected {len(self.columns)}"
                raise ValueError(msg)  # noqa: TRY301 - one place words every refusal
            encoded = [column.encode(v) for column, v in zip(self.columns, values, strict=True)]
        except (ValueError, TypeError) as error:
            raise StoreError(store=f"Table {self.name}", problem=str(error)) from error
        if self._plain:
            return rows if isinstance(rows, list) else list(rows)
        return list(zip(*encoded, strict=True))

    def decode(self, stored: Sequence[Sequence[StoredValue]]) -> list[RowT]:
        """Rows as the backend gave them, back in Python."""
        if self._plain or not stored:
            return list(map(self._make, stored))
        columns: list[Sequence[Any]] = list(zip(*stored, strict=True))
        for place, column in enumerate(self.columns):
            decoder = column.decoder
            if decoder is not None:
                columns[place] = [None if v is None else decoder(v) for v in columns[place]]
        return list(map(self._make, zip(*columns, strict=True)))

    def encode_keys(self, keys: Iterable[Key], columns: Sequence[Column]) -> list[StoredRow]:
        """Keys (or groups) as tuples of stored values.

        Raises:
            StoreError: A key does not fit its columns.
        """
        rows = [(key,) for key in keys] if len(columns) == 1 else [tuple(key) for key in keys]
        if not rows:
            return []
        try:
            parts = list(zip(*rows, strict=True))
            encoded = [column.encode(v) for column, v in zip(columns, parts, strict=True)]
        except (ValueError, TypeError) as error:
            raise StoreError(store=f"Table {self.name}", problem=f"a key: {error}") from error
        return list(zip(*encoded, strict=True))

    def encode_where(self, where: Mapping[str, Any]) -> dict[str, StoredValue]:
        """Conditions of a query as stored values; text is read as a person would type it.

        Raises:
            ConfigurationError: No such column, or no value of its kind.
        """
        encoded: dict[str, StoredValue] = {}
        for name, value in where.items():
            column = self.column(name)
            try:
                if value is None:
                    encoded[name] = None
                elif isinstance(value, str):
                    encoded[name] = column.from_words(value)
                else:
                    encoded[name] = column.encode([value])[0]
            except (ValueError, TypeError, KeyError, ArithmeticError) as error:
                raise ConfigurationError(
                    message=f"Column {name} of {self.name} holds {column.kind.value}; "
                    "the given value is none"
                ) from error
        return encoded

    def encode_sorted(
        self, column: str, value: Any, *, by: str, since: Any
    ) -> tuple[StoredValue, StoredValue]:
        """The value and the bound of a sorted query as stored values.

        Raises:
            ConfigurationError: Neither the key nor an index begins with these columns, or as
                :meth:`encode_where`.
        """
        served = {self.key[:2], *(index.columns[:2] for index in self.indexes)}
        if (column, by) not in served or self.column(by).kind not in _SORTING:
            raise ConfigurationError(
                message=f"Table {self.name} has no index that begins with {column} and {by}"
            )
        bound = None if since is None else self.encode_where({by: since})[by]
        found = self.encode_where({column: value})[column]
        if found is None:
            raise ConfigurationError(message=f"Column {column} of {self.name}: None has no order")
        return found, bound

    def public(self, row: RowT) -> dict[str, Any]:
        """A row as it is printed: stored names, JSON values, amounts as text, times as ISO-8601."""
        return next(self.public_rows([row]))

    def public_rows(self, rows: Iterable[RowT]) -> Iterator[dict[str, Any]]:
        """Rows as they are printed, see :meth:`public`: for many of them far faster."""
        shown = [place for place, column in enumerate(self.columns) if not column.internal]
        names = self.public_columns
        rows = iter(rows)
        while portion := list(islice(rows, PRINTED_ROWS)):
            by_column = list(zip(*self.encode(portion), strict=True))
            values = [_printable(self.columns[place], by_column[place]) for place in shown]
            for row in zip(*values, strict=True):
                yield dict(zip(names, row, strict=True))

    def expiry(self, now: datetime) -> str | None:
        """Rows whose ``ttl_column`` sorts below this text may go; None if rows never expire.

        The text is cut to the length of the value it is compared with: a date goes when the whole
        day is old enough.
        """
        return None if self.ttl_days is None else to_text(now - timedelta(days=self.ttl_days))

    @override
    def __repr__(self) -> str:
        return f"<Table {self.name}>"


def check_limit(limit: int | None) -> None:
    """Refuse a limit that no query can have.

    Raises:
        ConfigurationError: It is below 1, or beyond what a database counts.
    """
    if limit is not None and not 1 <= limit <= INTEGER_MAX:
        raise ConfigurationError(message=f"The limit of a query is at least 1, not {limit}")


AnyTable = Table[Any]
"""A table whose kind of row does not matter."""


def _printable(column: Column, values: Sequence[StoredValue]) -> Sequence[Any]:
    match column.kind:
        case Kind.FLAG:
            return [None if value is None else bool(value) for value in values]
        case Kind.OBJECT | Kind.ARRAY:
            return [None if value is None else orjson.loads(str(value)) for value in values]
        case _:
            return values
