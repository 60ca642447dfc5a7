"""Sources of shards: a log that is opened where its shards are read.

It holds a URL and a function that opens it, so that it can be sent to other processes. Archives:
:mod:`eventcore.replay.archives`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, Final

from typing_extensions import override

from eventcore.errors import ConfigurationError
from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry
from eventcore.projections.building import HELD_PAUSE_SECONDS
from eventcore.projections.shares import share_of_stream
from eventcore.replay.shards import ParquetFiles, Shards
from eventcore.settings import SHARES_DEFAULT
from eventcore.stores.log import Log, LogFilter

SHARD_PAGE_EVENTS: Final = 4_000
"""Events read at once from a log."""

LOG_GROUPS: Final = 4
"""Parts in which a log is read if it is not known by how many: each reads all of it."""

OpenLog = Callable[[str, Codec], Log]
"""Opens a log; a function of a module, so that it can be sent to other processes by name."""

Events = Sequence[Recorded[Any]]


class LogShards:
    """A log in shards. Every reader reads the whole log; what is not its own costs it little.

    Args:
        open_log: Opens it.
        url: Of the log; not of one in memory.
        codec: Reads the events.
    """

    def __init__(self, open_log: OpenLog, url: str, codec: Codec) -> None:
        self._open_log = open_log
        self._url = url
        self._codec = codec

    @override
    def __repr__(self) -> str:
        # The URL may hold a password.
        return "<the shards of the log>"

    @property
    def division(self) -> str:
        """See :class:`eventcore.replay.shards.ShardSource`."""
        return f"{SHARES_DEFAULT} by id"

    @property
    def registry(self) -> EventRegistry:
        """See :class:`eventcore.replay.shards.ShardSource`."""
        return self._codec.registry

    @property
    def codec(self) -> Codec:
        """Reads the events."""
        return self._codec

    def open(self) -> AbstractContextManager[Log]:
        """The log, closed after the block."""
        return closing(self._open_log(self._url, self._codec))

    def groups(self, workers: int | None) -> list[Shards]:
        """See :class:`eventcore.replay.shards.ShardSource`."""
        groups = min(2 * workers if workers else LOG_GROUPS, SHARES_DEFAULT)
        return [tuple(range(one, SHARES_DEFAULT, groups)) for one in range(groups)]

    def read(self, shards: Shards, *, until: int, types: frozenset[str] | None) -> Iterator[Events]:
        """See :class:`eventcore.replay.shards.ShardSource`."""
        wanted = frozenset(shards)
        with self.open() as log:
            for events in pages_until(log, after=0, until=until, types=types):
                yield [
                    event
                    for event in events
                    if share_of_stream(event.stream, SHARES_DEFAULT) in wanted
                ]

    def parquet(self) -> ParquetFiles | None:
        """See :class:`eventcore.replay.shards.ShardSource`: there are none."""
        return None


def pages_until(
    log: Log, *, after: int, until: int, types: frozenset[str] | None
) -> Iterator[Events]:
    """The events of a log between two positions it has reached, a page at a time.

    Args:
        log: Which.
        after: Only positions above this one.
        until: Only positions up to and including this one.
        types: Only these; None: all.

    Raises:
        ConfigurationError: The log ends before that.
    """
    where = LogFilter(types=types)
    while after < until:
        page = log.read_page(after, SHARD_PAGE_EVENTS, where)
        if page.end > after:
            after = page.end
            events: Events = page.events
            if after > until:
                events = [event for event in events if event.position <= until]
            yield events
        elif (head := log.head()) < until:
            raise ConfigurationError(
                message=f"The log ends at {head:,}, its replay at {until:,}: it is another log"
            )
        else:
            # The feed waits for a writer below the end.
            time.sleep(HELD_PAUSE_SECONDS)
