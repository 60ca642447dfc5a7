"""Projection: which rows an event touches and how they change, a small function per kind of event.

::

    class DailySales(Projection):
        name = "daily_sales"
        tables = (SALES,)

        @on(OrderCreated, key=lambda event: (event.timestamp_text[:10], event.payload.currency))
        def add(self, row: SalesRow | None, event: Recorded[OrderCreated]) -> SalesRow:
            ...

A handler is a pure function of the rows it is given and the event: no clock, no randomness, no
reading elsewhere. Then duplicates, restarts, page sizes and rebuilds all end in the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar

from typing_extensions import override

from eventcore.errors import RegistrationError
from eventcore.events.event import DomainEvent
from eventcore.projections.tables import AnyTable, Key

if TYPE_CHECKING:
    from eventcore.events.recorded import Recorded
    from eventcore.projections.transactions import Transaction

__all__ = [
    "REGISTER_FINGERPRINT",
    "AnyTable",
    "Fold",
    "Handler",
    "Locate",
    "Projection",
    "appends",
    "handlers_of",
    "on",
    "table_of",
]

Locate = Callable[[Any], Any]
"""From a recorded event to what it touches."""

_F = TypeVar("_F", bound=Callable[..., Any])


REGISTER_FINGERPRINT: Final = "1"
"""Of checkpoints without tables, which have no definition of their own."""


class Fold(Enum):
    """How a handler is called."""

    KEY = "key"
    KEYS = "keys"
    GROUP = "group"
    TOUCHES = "touches"
    APPEND = "append"


@dataclass(frozen=True, slots=True)
class Handler:
    """What a decorator found out about a function.

    Attributes:
        fold: How it is called.
        event_types: Event classes it is for, with their subclasses.
        table: What it changes; None means the projection's only table, or many (``touches``).
        locate: From an event to its key, keys, group or touched rows; None for appending ones.
        internal: Whether internal events are meant too.
    """

    fold: Fold
    event_types: tuple[type[DomainEvent], ...]
    table: AnyTable | None
    locate: Locate | None
    internal: bool = False


def on(  # noqa: PLR0913 - exactly one of the keywords that say what is touched is given
    *event_types: type[DomainEvent],
    table: AnyTable | None = None,
    key: Locate | None = None,
    keys: Callable[[Any], Iterable[Key]] | None = None,
    group: Locate | None = None,
    touches: Callable[[Any], Iterable[tuple[AnyTable, Key]]] | None = None,
    internal: bool = False,
) -> Callable[[_F], _F]:
    """Mark a method as the change that events of these classes (and their subclasses) make.

    Exactly one of these says which rows the event touches, and with it how the method is called:

    - ``key``: ``f(self, row | None, event) -> row | None``. One row; returning None deletes it; an
      event whose key is None is passed over.
    - ``keys``: ``f(self, row | None, event, key) -> row | None``, once per key.
    - ``group``: ``f(self, rows, event) -> rows``. All rows that share the table's ``group``
      columns, in the order of their keys; those not returned are deleted.
    - ``touches``: ``f(self, rows, event) -> rows``. ``(table, key)`` pairs, each once, of any of
      the projection's tables; the rows (or None) come and go in that order.

    Args:
        event_types: ``DomainEvent`` itself means every event, of unknown types as well.
        table: Which of the projection's tables; may be left out if it has one.
        key: See above.
        keys: See above.
        group: See above.
        touches: See above.
        internal: Also the library's own bookkeeping events.

    Raises:
        RegistrationError: Not exactly one of them, or no event class.
    """
    given = {
        fold: locate
        for fold, locate in (
            (Fold.KEY, key),
            (Fold.KEYS, keys),
            (Fold.GROUP, group),
            (Fold.TOUCHES, touches),
        )
        if locate is not None
    }
    if len(given) != 1 or not event_types:
        raise RegistrationError(
            message="@on needs event classes and exactly one of key=, keys=, group=, touches="
        )
    [(fold, locate)] = given.items()
    return _marking(Handler(fold, event_types, table, locate, internal))


def appends(
    *event_types: type[DomainEvent], table: AnyTable | None = None, internal: bool = False
) -> Callable[[_F], _F]:
    """Mark a method whose rows are written unseen: ``f(self, event) -> row | rows | None``.

    The row's key comes from the event alone, so writing it again changes nothing.

    Args:
        event_types: See :func:`on`.
        table: Which of the projection's tables; may be left out if it has one.
        internal: Also the library's own bookkeeping events.
    """
    if not event_types:
        raise RegistrationError(message="@appends needs event classes")
    return _marking(Handler(Fold.APPEND, event_types, table, None, internal))


def _marking(handler: Handler) -> Callable[[_F], _F]:
    def mark(function: _F) -> _F:
        # A list: one function may serve several kinds of event with different keys.
        marks = list(getattr(function, "__handles__", ()))
        function.__handles__ = (handler, *marks)  # type: ignore[attr-defined]  # a mark on a function
        return function

    return mark


class Projection:
    """Base of every read model.

    Attributes:
        name: Unique among the projections kept in one database.
        version: Raise it when the same events would now make other rows: the kept ones are then
            refused until they are rebuilt.
        tables: What it keeps.
        listens: For projections that override :meth:`apply_page`: the event classes they get.
        share_by: How several workers divide its work, see "Run projections as a service".
            ``"key"``: by what an event touches. ``"stream"``: every row is changed by events of one
            stream only; then workers pass over each other's events without reading them, and a
            projection with ``touches=`` or :meth:`apply_page` can be divided as well.
        beside: Tables of another projection in the same database that handlers with ``touches=``
            may change as well, in the same transaction. They outlast a rebuild of this one.
        transient_errors: Beside ``OSError``, ``TimeoutError`` and ``StoreUnavailableError``: what a
            handler may raise that is likely to go by itself. What failed so is retried by runners.
        fingerprint: Says which rows the same events make, in place of what is derived from the
            source (:mod:`eventcore.projections.definitions`); of this class alone, not inherited.
        names_tables: Statements of :meth:`apply_page` name tables by ``transaction.name_of``, so
            that they write what is rebuilt beside the live rows.

    Raises:
        RegistrationError: When the class is defined without a name or tables, or with a handler
        that
            names a table it does not have.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    tables: ClassVar[Sequence[AnyTable]] = ()
    listens: ClassVar[tuple[type[DomainEvent], ...]] = (DomainEvent,)
    transient_errors: ClassVar[tuple[type[Exception], ...]] = ()
    share_by: ClassVar[Literal["key", "stream"]] = "key"
    beside: ClassVar[Sequence[AnyTable]] = ()
    fingerprint: ClassVar[str] = ""
    names_tables: ClassVar[bool] = False

    @override
    def __init_subclass__(cls, *, rowless: bool = False) -> None:
        """Check the declaration.

        Args:
            rowless: It keeps a checkpoint and no rows.
        """
        super().__init_subclass__()
        if not cls.name or not (cls.tables or rowless) or cls.version < 1:
            raise RegistrationError(
                message=f"Projection {cls.__name__} needs a name, at least one table, "
                "and a version from 1"
            )
        if "/" in cls.name or "+" in cls.name or cls.share_by not in {"key", "stream"}:
            raise RegistrationError(
                message=f"Projection {cls.__name__}: a name holds no / (its shares are named with "
                'it), and share_by is "key" or "stream"'
            )
        for function, handler in handlers_of(cls):
            _check_handler(cls, function, handler)

    def apply_page(self, events: Sequence[Recorded[Any]], transaction: Transaction) -> None:
        """Write a whole page by hand; override it instead of declaring handlers.

        Called inside the transaction that also moves the checkpoint, with events in order, none of
        them at or below the checkpoint. ``transaction.connection`` is the backend's own. Name
        tables by ``transaction.name_of(TABLE)`` and say :attr:`names_tables`, so that they can be
        rebuilt beside the live ones.
        If it raises, nothing of the page is kept.
        """
        raise NotImplementedError

    @classmethod
    def takes_pages(cls) -> bool:
        """Whether this projection overrides :meth:`apply_page`."""
        return cls.apply_page is not Projection.apply_page

    @override
    def __repr__(self) -> str:
        return f"<Projection {self.name}>"


def handlers_of(cls: type[Projection]) -> list[tuple[str, Handler]]:
    """Names of the marked methods with their marks, in the order of definition, bases first."""
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        names.update(dict.fromkeys(vars(base)))
    return [
        (name, handler)
        for name in names
        for handler in getattr(getattr(cls, name, None), "__handles__", ())
    ]


def table_of(cls: type[Projection], handler: Handler) -> AnyTable | None:
    """The one table a handler changes; None if it may change many."""
    if handler.fold is Fold.TOUCHES:
        return None
    if handler.table is None and len(cls.tables) == 1:
        return cls.tables[0]
    return handler.table


def _check_handler(cls: type[Projection], function: str, handler: Handler) -> None:
    table = table_of(cls, handler)
    problem = None
    if cls.takes_pages():
        problem = "it overrides apply_page, so no handler is ever called"
    elif handler.fold is Fold.TOUCHES:
        problem = "touches= names the tables itself" if handler.table is not None else None
    elif table is None:
        problem = "say which table=, it has several"
    elif table not in cls.tables:
        problem = f"table {table.name} is not one of its tables"
    elif handler.fold is Fold.GROUP and not table.group:
        problem = f"table {table.name} declares no group="
    if problem:
        raise RegistrationError(message=f"Projection {cls.__name__}, handler {function}: {problem}")
