"""Leases: which worker keeps which shares, agreed on in the views' database.

Nobody compares clocks. A worker counts its *beats* in its row; another that has itself beaten
:data:`BEATS_MISSED_MAX` times while that number stood still takes it to be gone, and takes its
shares over. It may be wrong: a process that was stopped, or cut off, wakes up again. So whoever
takes a share raises the revision of the share's checkpoint in the same transaction (it *fences* the
share): a page of the former owner is refused by the database, whatever its clock says, and it
looks again whose the share is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Self

from eventcore.errors import CheckpointMovedError, StoreError
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.projections.shares import (
    may_be_split,
    share_checkpoint,
    share_name,
    shares_of,
    split,
)
from eventcore.projections.sharing import fair_parts
from eventcore.projections.views import Views
from eventcore.projections.worker_tables import (
    OWNERS,
    WorkerRow,
    all_owners,
    all_workers,
    ensure_tables,
    forget_workers,
    owner_keys,
    owner_rows,
    put_worker,
)
from eventcore.settings import LEASE_SECONDS, SHARES_DEFAULT

STOP_SECONDS: Final = 0.5
"""How long the end of a service waits for a beat that is on its way."""

BEATS_A_LEASE: Final = 5
BEATS_MISSED_MAX: Final = 3
"""A worker that died just after a beat is found out one beat later than it missed them, and each
beat may be late: 3 + 1 + 1 = a whole lease."""


class Leases:
    """The shares that one worker keeps.

    Safe to use from the thread that applies pages and from the one that beats.

    Args:
        views: Where the read models are.
        plans: Of the projections to be kept.
        me: The row of this worker.
        shares: In how many shares to keep projections that are not split yet.
        lease_seconds: See :data:`LEASE_SECONDS`; the same for all workers.
        clock: Seconds that only grow; never compared with another process's.
    """

    def __init__(  # noqa: PLR0913 - each a keyword, the last three with a default
        self,
        views: Views,
        plans: Iterable[Plan],
        me: WorkerRow,
        *,
        shares: int = SHARES_DEFAULT,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.me = me
        self.beat_seconds = lease_seconds / BEATS_A_LEASE
        self._views = views
        self._projections: dict[str, Projection] = {}
        self._wanted: dict[str, int] = {}
        for plan in plans:
            self._projections[plan.projection.name] = plan.projection
            self._wanted[plan.projection.name] = shares if may_be_split(plan) else 1
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._beaten_at = clock()
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._held: dict[str, frozenset[int]] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    @property
    def lapsed(self) -> bool:
        """Whether the last beat is so long ago that others will have taken the shares."""
        return self._clock() - self._beaten_at > self._lease_seconds

    def held(self, projection: str, _shares: int) -> Iterable[int]:
        """The shares of a projection that are this worker's."""
        return self._held.get(projection, frozenset())

    def join(self) -> None:
        """Say that this worker is there.

        Raises:
            ConfigurationError: The tables for it are absent, and are not to be created.
            StoreError: The database failed.
        """
        ensure_tables(self._views)
        self.beat()

    def beat(self) -> None:
        """Say once more that it is there, and look who else is.

        Raises:
            StoreError: The database failed.
        """
        before = self._clock()
        beaten = self.me._replace(beat=self.me.beat + 1)
        put_worker(self._views, beaten)
        self.me = beaten
        self._beaten_at = before
        self._look(all_workers(self._views))

    def _look(self, workers: Sequence[WorkerRow]) -> None:
        """Note since which of our own beats the others' have stood still."""
        with self._lock:
            seen = self._seen
            self._seen = {}
            for row in workers:
                beat, since = seen.get(row.worker_id, (row.beat, self.me.beat))
                moved = beat != row.beat or row.worker_id == self.me.worker_id
                self._seen[row.worker_id] = (row.beat, self.me.beat if moved else since)

    def _are_alive(self, workers: Sequence[WorkerRow]) -> dict[str, WorkerRow]:
        with self._lock:
            seen = dict(self._seen)
        return {
            row.worker_id: row
            for row in workers
            if (known := seen.get(row.worker_id)) is None
            or known[0] != row.beat
            or self.me.beat - known[1] < BEATS_MISSED_MAX
        }

    def settle(self, *, split_again: bool = False) -> bool:
        """Give up the shares that are another's now, and take those that are this worker's.

        Call it between two pages.

        Args:
            split_again: Look whether projections are still split, and split those that are not.

        Returns:
            Whether it has other shares than before.

        Raises:
            StoreError: The database failed.
        """
        if split_again or not self._counts:
            self._split()
        workers = all_workers(self._views)
        alive = self._are_alive(workers)
        wanted = self._fair(alive)
        owners = all_owners(self._views)
        before = self._held
        self._held = {}
        for name, count in self._counts.items():
            mine = {
                share for share in range(count) if owners.get((name, share)) == self.me.worker_id
            }
            mine -= self._give_up(name, mine - wanted[name])
            free = {
                share for share in wanted[name] - mine if owners.get((name, share)) not in alive
            }
            self._held[name] = frozenset(mine | self._take(name, free, alive))
        gone = [row.worker_id for row in workers if row.worker_id not in alive]
        if gone:
            forget_workers(self._views, gone)
        return self._held != before

    def _is_me(self, worker_id: str) -> bool:
        return worker_id == self.me.worker_id

    def _split(self) -> None:
        for name, projection in self._projections.items():
            shares = shares_of(self._views, name)
            if shares is None:
                shares = split(self._views, projection, self._wanted[name])
            self._counts[name] = shares

    def _fair(self, alive: Mapping[str, WorkerRow]) -> dict[str, set[int]]:
        """The shares of each projection that are to be this worker's.

        The same ones of all projections: an event is then read by one worker only.
        """
        takers = {worker_id for worker_id, row in alive.items() if row.takes_shares}
        takers.add(self.me.worker_id)
        whole = sorted(name for name, count in self._counts.items() if count == 1)
        parts_of_whole = fair_parts(takers, whole)
        wanted: dict[str, set[int]] = {}
        for name, count in self._counts.items():
            if count == 1:
                wanted[name] = {0} if self._is_me(parts_of_whole[name]) else set()
                continue
            parts = fair_parts(takers, [str(share) for share in range(count)])
            wanted[name] = {int(share) for share, who in parts.items() if self._is_me(who)}
        return wanted

    def _take(self, name: str, shares: set[int], alive: Mapping[str, WorkerRow]) -> set[int]:
        """Those of the shares that are this worker's from now on."""

        def is_free(who: str | None) -> bool:
            return who is None or who not in alive

        return self._hand_over(self._projections[name], shares, is_free, to=self.me.worker_id)

    def _give_up(self, name: str, shares: set[int]) -> set[int]:
        """Those of the shares that are nobody's from now on."""
        return self._hand_over(
            self._projections[name], shares, lambda who: who == self.me.worker_id, to=None
        )

    def _hand_over(
        self,
        projection: Projection,
        shares: set[int],
        may: Callable[[str | None], bool],
        *,
        to: str | None,
    ) -> set[int]:
        if not shares:
            return set()
        # The checkpoints before the owners: had a share changed hands since we looked, its
        # checkpoint would not be the one that is asked for.
        found = {
            share: share_checkpoint(self._views, projection, share) for share in sorted(shares)
        }
        owners = all_owners(self._views)
        handed = {share for share in found if may(owners.get((projection.name, share)))}
        names = {share_name(projection.name, share): found[share] for share in handed}
        if not handed:
            return set()
        try:
            with self._views.transaction() as transaction:
                for name in sorted(names):
                    fenced = names[name]
                    transaction.advance(
                        name, fenced, fenced.position, anchor=fenced.anchor, revise=True
                    )
                if to is None:
                    transaction.delete(OWNERS, owner_keys(projection.name, handed))
                else:
                    transaction.upsert(OWNERS, owner_rows(projection.name, handed, to))
        except CheckpointMovedError:
            return set()  # somebody was faster; the next beat looks again
        return handed

    def seize(self, projection: Projection) -> None:
        """Take all shares of a projection, whosever they are; each is tried once.

        Raises:
            StoreError: The database failed.
        """
        for share in range(shares_of(self._views, projection.name) or 0):
            self._hand_over(projection, {share}, lambda _who: True, to=self.me.worker_id)

    def leave(self) -> None:
        """Say that it is gone, so that others need not wait for the lease.

        What still is noted as its own is free from then on: it belongs to nobody who is there.

        Raises:
            StoreError: The database failed; then they wait.
        """
        self._held = {}
        forget_workers(self._views, [self.me.worker_id])


class Heart:
    """Beats in a thread of its own for as long as a block lasts.

    Args:
        leases: Whose.
        on_failure: Told of a beat that failed; the next one is tried all the same.
    """

    def __init__(self, leases: Leases, on_failure: Callable[[StoreError], None]) -> None:
        self._leases = leases
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="eventcore-heartbeat", daemon=True)

    @property
    def is_due(self) -> bool:
        """Whether there was a beat, after which things may be otherwise than before."""
        return self._due.is_set()

    def taken(self) -> None:
        """Note that somebody looks at how things are now."""
        self._due.clear()

    def _beat(self) -> None:
        while not self._stop.wait(self._leases.beat_seconds):
            try:
                self._leases.beat()
            except StoreError as error:
                self._on_failure(error)
            self._due.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # A beat on its way to a database that does not answer is not waited for.
        self._thread.join(STOP_SECONDS)
