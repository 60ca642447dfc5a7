"""Live: rows folded from the log when they are asked for, in memory, never stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from eventcore.errors import ConfigurationError
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry
from eventcore.projections.engine import Engine
from eventcore.projections.memory import MemoryViews
from eventcore.projections.projection import Projection
from eventcore.projections.tables import RowT, Table
from eventcore.stores.log import Log, Page

PAGE_EVENTS: Final = 1_000
"""Events folded at a time."""

_position_of = attrgetter("position")


class LiveView:
    """A read model as the log makes it now.

    Of the whole log, each :meth:`refresh` folds what is new since the one before. Of some streams,
    it folds those from their beginning: their events may become visible in another order than they
    were asked for, and a stream is short. Not for use by several threads at once.

    Args:
        log: Where the events are.
        projection: Which read model.
        registry: Tells which class an event's stored name belongs to.
        streams: Fold these alone; None: the whole log.

    Raises:
        ConfigurationError: Streams are given, and rows of this projection are made of several
            (``share_by`` is not ``"stream"``).
    """

    def __init__(
        self,
        log: Log,
        projection: Projection,
        *,
        registry: EventRegistry,
        streams: Sequence[str] | None = None,
    ) -> None:
        if streams is not None and projection.share_by != "stream":
            raise ConfigurationError(
                message=f"Rows of {projection.name} may be made of several streams: fold the whole "
                'log, or declare share_by = "stream" if each row belongs to one'
            )
        self._log = log
        self._projection = projection
        self._registry = registry
        self._streams = None if streams is None else list(dict.fromkeys(streams))
        self._begin()

    def _begin(self) -> None:
        self._views = MemoryViews()
        self._engine = Engine(self._views, [self._projection], self._registry, log=self._log)

    @property
    def position(self) -> int:
        """Place in the log up to which its events were looked at."""
        return self._engine.position

    def refresh(self) -> None:
        """Bring the rows to what the log holds now.

        Raises:
            ProjectionFailedError: A handler raised.
            StoreError: The log failed.
        """
        for page in self._pages():
            self._engine.apply(page)
            if self._engine.failures:
                failure = self._engine.failures[0]
                self._begin()
                raise failure

    def _pages(self) -> Iterator[Page]:
        if self._streams is not None:
            self._begin()
            yield from _pages_of(
                merge(*map(self._log.read_stream, self._streams), key=_position_of)
            )
            return
        head = self._log.head()
        while self._engine.position < head:
            yield self._log.read_page(self._engine.position, PAGE_EVENTS, self._engine.where())

    def query(
        self,
        table: Table[RowT],
        where: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
    ) -> Iterator[RowT]:
        """Rows as they are now; arguments as for :meth:`eventcore.app.App.query`.

        Raises:
            ConfigurationError: No such column, or a value it cannot hold.
            StoreError: As :meth:`refresh`.
        """
        self.refresh()
        return self._views.query(table, where, limit)


def _pages_of(events: Iterable[Recorded[Any]]) -> Iterator[Page]:
    left = iter(events)
    while page := list(islice(left, PAGE_EVENTS)):
        yield Page(page, page[-1].position)
