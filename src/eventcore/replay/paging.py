"""Paging: projections made together, page by page of the log, as runners keep them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from eventcore.events.garbage import collector_paused
from eventcore.projections.building import HELD_PAUSE_SECONDS
from eventcore.projections.engine import Engine
from eventcore.projections.pages import PageReader
from eventcore.projections.parking import Clock
from eventcore.projections.projection import Projection
from eventcore.projections.views import Views
from eventcore.replay.cuts import Cut
from eventcore.replay.targets import as_replayed
from eventcore.stores.log import EVERYTHING, Log


class Paging:
    """Replays page by page, each page of rows in one transaction with the checkpoints.

    Args:
        log: Where the events are.
        views: Where the rows go.
        projections: Whose, under their own names.
        cut: Where it ends.
        clock: Gives the time, aware, to note when something failed.

    Attributes:
        events: Events applied so far.
    """

    def __init__(
        self,
        log: Log,
        views: Views,
        projections: Sequence[Projection],
        *,
        cut: Cut,
        clock: Clock | None,
    ) -> None:
        self._log = log
        self._cut = cut
        self._admission = cut.admission()
        renamed = map(as_replayed, projections)
        self._engine = Engine(views, renamed, log.codec.registry, log=log, clock=clock)
        self.events = 0

    def pages(self) -> Iterator[int]:
        """Go to the end; gives the position reached after each page.

        Raises:
            ProjectionFailedError: A handler raised, and its event cannot be parked.
            ViewsOfAnotherLogError: The rows that are there were made from another log.
            StoreError: The log or the views failed; what is written is kept.
        """
        engine, end = self._engine, self._cut.position
        engine.check_log()
        with PageReader(self._log) as pages:
            while engine.running and engine.position < end:
                before = engine.position
                with collector_paused():
                    self._apply_page(pages)
                if engine.failures:
                    raise engine.failures[0]
                yield engine.position
                if engine.position == before:
                    # The feed waits for a writer below the end.
                    time.sleep(HELD_PAUSE_SECONDS)

    def _apply_page(self, pages: PageReader) -> None:
        engine = self._engine
        after, end = engine.position, self._cut.position
        if self._cut.time is None:
            page = pages.page(after, engine.where(), until=end)
        else:
            # Every event of a stream may be the one that ends it, whether anybody handles it.
            if self._admission.position > after:
                self._admission = self._cut.admission()
            self._admission.skip_to(self._log, after)
            page = pages.page(after, EVERYTHING, until=end)
        self.events += engine.apply(self._admission.page(page)).events
