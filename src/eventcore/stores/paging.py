"""Reading a whole log page by page, the same way for every store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.stores.following import PageReader
from eventcore.stores.log import LogFilter


class BoundedPageReader(PageReader, Protocol):
    """A log that also knows where it ends."""

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""


def read_all(  # noqa: PLR0917 - called by every store in this order
    log: BoundedPageReader, after: int, until: int | None, where: LogFilter
) -> Iterator[Recorded[Any]]:
    """Every matching event above ``after``, up to ``until`` or the head; one page in memory.

    The head is that of the beginning: reading ends however fast others write.
    """
    head = log.head()
    until = head if until is None else min(until, head)
    while after < until:
        page = log.read_page(after, READ_PAGE_EVENTS, where)
        for event in page.events:
            if event.position > until:
                return
            yield event
        if page.end <= after:
            return
        after = page.end
