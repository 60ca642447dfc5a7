"""What workers know of each other: who they are, and whose each share is. Kept beside the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from eventcore.projections.projection import Projection
from eventcore.projections.tables import Table
from eventcore.projections.views import Views

_SERVICE: Final = "projections"
"""All rows are of one group, which every backend reads at once and no backend by a scan."""


class WorkerRow(NamedTuple):
    """A process that keeps projections.

    Attributes:
        service: Always the same.
        worker_id: New with every start.
        beat: Counted up for as long as it lives.
        takes_shares: False of one that holds shares for a moment only, to bring them together.
        host: Where it runs.
        pid: Its process there.
        started: When, as text; for people.
    """

    service: str
    worker_id: str
    beat: int
    takes_shares: bool
    host: str
    pid: int
    started: str


class OwnerRow(NamedTuple):
    """Whose a share is; a share without a row is nobody's."""

    service: str
    projection: str
    share: int
    worker_id: str


WORKERS: Final = Table(
    "eventcore_workers",
    WorkerRow,
    key=["service", "worker_id"],
    group=["service"],
    internal=True,
)
OWNERS: Final = Table(
    "eventcore_shares",
    OwnerRow,
    key=["service", "projection", "share"],
    group=["service"],
    internal=True,
)


class Workers(Projection):
    """Owns the two tables; no event changes them."""

    name = "eventcore_workers"
    tables = (WORKERS, OWNERS)


def ensure_tables(views: Views) -> None:
    """Have the tables.

    Raises:
        ConfigurationError: They are absent, and these views are to create nothing.
    """
    views.ensure(Workers())


def have_tables(views: Views) -> bool:
    """Whether any worker was ever here."""
    return views.checkpoint(Workers.name) is not None


def worker_row(
    worker_id: str, *, host: str, pid: int, started: str, takes_shares: bool = True
) -> WorkerRow:
    """The first row of a worker."""
    return WorkerRow(_SERVICE, worker_id, 0, takes_shares, host, pid, started)


def all_workers(views: Views) -> list[WorkerRow]:
    """Everybody who said that they are there, and did not say that they went."""
    return views.load_groups(WORKERS, [_SERVICE])


def all_owners(views: Views) -> dict[tuple[str, int], str]:
    """Projection and share to the worker whose it is."""
    rows = views.load_groups(OWNERS, [_SERVICE])
    return {(row.projection, row.share): row.worker_id for row in rows}


def put_worker(views: Views, row: WorkerRow) -> None:
    """Note a worker, or its newest beat."""
    with views.transaction() as transaction:
        transaction.upsert(WORKERS, [row])


def forget_workers(views: Views, worker_ids: Iterable[str]) -> None:
    """Delete the rows of workers that are no more."""
    with views.transaction() as transaction:
        transaction.delete(WORKERS, [(_SERVICE, worker_id) for worker_id in worker_ids])


def owner_rows(projection: str, shares: Iterable[int], worker_id: str) -> list[OwnerRow]:
    """The rows that make a worker the owner of shares."""
    return [OwnerRow(_SERVICE, projection, share, worker_id) for share in shares]


def owner_keys(projection: str, shares: Iterable[int]) -> Sequence[tuple[str, str, int]]:
    """The keys of the rows that say whose shares are."""
    return [(_SERVICE, projection, share) for share in shares]
