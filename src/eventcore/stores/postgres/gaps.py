"""No lock, no skip: how a reader knows that a missing position stays missing.

A sequence hands out positions when events are inserted; they become visible when their transaction
commits, in any order. A reader that simply goes on from the highest position it saw would lose
whatever commits later below it.

Writers are asked for nothing. A reader that finds a position missing looks who could still fill
it: only a transaction that holds ROW EXCLUSIVE on the table already, because every INSERT takes
that lock before its position and keeps it until its commit can be seen. It waits until each of
*those* transactions has ended and reads the same stretch again. What is still missing then was
rolled back and never comes. No holder, no wait: other transactions, however long, play no part.

What makes it exact:

- the position up to which the answer holds is that of a snapshot taken *before* the holders are
  listed: whoever takes the lock later takes a higher position, since a sequence never goes back;
- Postgres makes a commit visible before it releases the transaction's locks
  (``CommitTransaction`` in ``src/backend/access/transam/xact.c``), so a statement begun after a
  holder is gone sees what it wrote;
- a lock may be listed twice while it moves between the server's lists, but is never left out
  (PostgreSQL manual, "pg_locks");
- a lock is named by its *virtual* transaction: a backend whose next transaction holds the lock
  again is not waited for;
- what was found out holds for one run of one server. After a crash, a restart or a failover the
  newest commits may be lost and their positions given out again, and a prepared transaction has
  another name. So every answer carries a name of the run it is from, and a page that relies on an
  answer is read by a statement that gives nothing on another one. Whatever connections, or a proxy
  with connections of its own, lie in between, they need not notice.

Locks are seen on the primary only; connections to a replica are refused. After a crash the sequence
may jump by up to 32: a gap that nobody holds.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from eventcore.stores.holders import Holder
from eventcore.stores.postgres.connections import PostgresConnections

LOOK_SECONDS_MIN: Final = 0.001
"""How soon the holders are looked at again; most transactions are over by then."""

LOOK_SECONDS_MAX: Final = 0.05
"""How far apart such looks are at most: the pause doubles while the same transactions go on."""


Fetch = Callable[..., list[tuple[Any, ...]]]
"""Reads the rows of a statement with its parameters."""


class Settled(NamedTuple):
    """What is final.

    Attributes:
        server: The run of the server it was found out on, see ``server`` in ``sql/pages.sql``.
        end: Nothing will ever appear there at or below this position.
    """

    server: str
    end: int


class Fence(NamedTuple):
    """Transactions that may still fill a gap.

    Attributes:
        server: The run of the server they are on.
        end: Every position up to it is final once they have ended.
        holders: Their virtual transaction ids.
    """

    server: str
    end: int
    holders: frozenset[str]


class GapWatch:
    """Knows up to which position a table is final. Safe under threads.

    Args:
        connections: To the primary.
        statements: Those of ``sql/pages.sql``, for this table.
        relation: The table's name, qualified and quoted: ``"shop"."eventcore_log"``.
    """

    def __init__(
        self, connections: PostgresConnections, statements: Mapping[str, bytes], relation: str
    ) -> None:
        self._connections = connections
        self._relation = relation
        self._select_holders = statements["select_holders"]
        self._describe_holders = statements["describe_holders"]
        self._lock = threading.Lock()
        self._settled = _NOTHING

    @property
    def settled(self) -> Settled:
        """What is final. Take it *before* reading the rows it is for, and read those of its server.

        Only rows that are read later are sure to have everything below it.
        """
        return self._settled

    def ask(self, fence: Fence | None = None, fetch: Fetch | None = None) -> Fence | None:
        """See who may still write at or below the highest position there is.

        Args:
            fence: What this gave the last time: only those who were in it then are waited for.
            fetch: Reads the holders, :meth:`PostgresConnections.fetch` by default.

        Returns: Those that are left; None if :attr:`settled` moved on.
        """
        rows = (fetch or self._connections.fetch)(
            self._select_holders, (self._relation, self._relation), prepare=None
        )
        server, head, _ = rows[0]
        holders = frozenset([row[2] for row in rows if row[2] is not None])
        if not holders:
            self._settle(Settled(server, head))
            return None
        if fence is None or fence.server != server:
            # Of another run of the server: what is beyond the head may be given out again.
            return Fence(server, head, holders)
        left = fence.holders & holders
        if left:
            return fence._replace(holders=left)
        self._settle(Settled(server, fence.end))
        return None

    def forget(self, settled: Settled) -> None:
        """Drop what was found out on a server that is another one now."""
        with self._lock:
            if self._settled.server == settled.server:
                self._settled = _NOTHING

    def describe(self) -> list[Holder]:
        """Every transaction that holds the lock just now, the oldest first.

        One whose age is hidden may be older than any other.
        """
        rows = self._connections.fetch(self._describe_holders, (self._relation, self._relation))
        holders = [Holder(*row) for row in rows]
        return sorted(holders, key=_age, reverse=True)

    def _settle(self, found: Settled) -> None:
        with self._lock:
            if self._settled.server != found.server or self._settled.end < found.end:
                self._settled = found


_NOTHING: Final = Settled("", 0)


def _age(holder: Holder) -> float:
    return math.inf if holder.age_seconds is None else holder.age_seconds


def contiguous(after: int, positions: list[int]) -> int:
    """How many of these positions follow each other from ``after`` on without a gap."""
    if not positions or positions[-1] - after == len(positions):
        return len(positions)
    low, high = 0, len(positions)
    while low < high:  # Positions grow, so once one is ahead all that follow are.
        middle = (low + high) // 2
        if positions[middle] == after + middle + 1:
            low = middle + 1
        else:
            high = middle
    return low
