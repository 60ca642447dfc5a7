"""Building: brings one generation of a read model to a given position, and no further."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

from eventcore.events.garbage import collector_paused
from eventcore.events.registry import EventRegistry
from eventcore.projections.engine import Engine
from eventcore.projections.pages import PAGE_EVENTS_MAX, PageReader
from eventcore.projections.projection import Projection
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.views import Views
from eventcore.stores.log import Log, Page

HELD_PAUSE_SECONDS: Final = 0.02
"""Between two looks at a log whose feed waits for a writer below the position wanted."""

PAGES_UNCOLLECTED_MAX: Final = 8
"""Pages between two searches for cyclic garbage: each looks at all rows that are remembered."""

OnBuilt = Callable[[int, int], None]
"""Called after each page with the events applied and the position reached."""


class Builder:
    """Builds.

    Args:
        log: Where the events are.
        views: Where the rows go, under a generation's names.
        projection: Whose.
        registry: Tells which class an event's stored name belongs to.
        on_built: See :data:`OnBuilt`.
    """

    def __init__(
        self,
        log: Log,
        views: Views,
        projection: Projection,
        *,
        registry: EventRegistry,
        on_built: OnBuilt,
    ) -> None:
        self._log = log
        self._views = views
        self._name = projection.name
        self._on_built = on_built
        self._engine = Engine(views, [projection], registry, log=log)
        self.events = 0

    @property
    def position(self) -> int:
        """Where the rows are."""
        return self._engine.position

    @property
    def checkpoint(self) -> Checkpoint:
        """The same, as it is kept."""
        return self._engine.checkpoints[self._name]

    def check_log(self) -> None:
        """Refuse to go on with another log.

        Raises:
            ViewsOfAnotherLogError: The rows there were made from one.
        """
        self._engine.check_log()

    def to(self, position: int) -> None:
        """Apply every event up to a position that the log has reached.

        Raises:
            ProjectionFailedError: A handler raised.
            StoreError: The log or the views failed; do it again.
        """
        is_far = position - self.position > PAGE_EVENTS_MAX
        catching_up = self._views.catching_up() if is_far else nullcontext()
        with catching_up, PageReader(self._log) as pages:
            while self.position < position:
                with collector_paused():
                    moved = self._apply_pages(pages, position)
                if not moved:
                    time.sleep(HELD_PAUSE_SECONDS)

    def _apply_pages(self, pages: PageReader, position: int) -> bool:
        """Apply so many that a search for garbage between them is nothing beside; False: held."""
        for _ in range(PAGES_UNCOLLECTED_MAX):
            moved = self._apply_page(pages, position)
            if self._engine.failures:
                raise self._engine.failures[0]
            if not moved or self.position >= position:
                return moved
        return True

    def _apply_page(self, pages: PageReader, position: int) -> bool:
        engine = self._engine
        before = engine.position
        page = pages.page(before, engine.where(), until=position)
        if page.end > position:
            page = Page([one for one in page.events if one.position <= position], position)
        applied = engine.apply(page)
        self.events += applied.events
        self._on_built(applied.events, engine.position)
        return applied.moved or engine.position > before
