"""Workers: how a process takes part in keeping projections that several keep together."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from eventcore.errors import ConfigurationError
from eventcore.events.times import to_text
from eventcore.projections.leases import Leases
from eventcore.projections.plan import Plan
from eventcore.projections.views import Views
from eventcore.projections.worker_tables import worker_row
from eventcore.settings import (
    LEASE_SECONDS,
    LEASE_SECONDS_MAX,
    LEASE_SECONDS_MIN,
    SHARES_DEFAULT,
    SHARES_MAX,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """One of the workers that keep projections between them.

    Attributes:
        now: Gives the time, aware; shown to people, compared with nothing.
        lease_seconds: In how long the shares of a worker that was killed are taken over. The same
            for all workers.
        shares: In how many shares projections are kept that are not divided yet.
        worker_id: Unique, and new with every start; made up by default.

    Raises:
        ConfigurationError: A number is out of bounds.
    """

    now: Callable[[], datetime]
    lease_seconds: float = LEASE_SECONDS
    shares: int = SHARES_DEFAULT
    worker_id: str | None = None

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not LEASE_SECONDS_MIN <= self.lease_seconds <= LEASE_SECONDS_MAX:
            raise ConfigurationError(
                message=f"A lease is {LEASE_SECONDS_MIN:g} to {LEASE_SECONDS_MAX:g} seconds, "
                f"not {self.lease_seconds:g}"
            )
        if not 1 <= self.shares <= SHARES_MAX:
            raise ConfigurationError(
                message=f"A projection is kept in 1 to {SHARES_MAX} shares, not {self.shares}"
            )

    def leases(self, views: Views, plans: Iterable[Plan]) -> Leases:
        """The leases of a worker that begins now."""
        host, pid = socket.gethostname(), os.getpid()
        me = worker_row(
            self.worker_id or f"{host}-{pid}-{os.urandom(4).hex()}",
            host=host,
            pid=pid,
            started=to_text(self.now()),
        )
        return Leases(views, plans, me, shares=self.shares, lease_seconds=self.lease_seconds)
