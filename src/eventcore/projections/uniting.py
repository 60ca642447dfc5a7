"""Uniting: a projection that is kept in shares is one again, beside workers that go on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eventcore.errors import StoreError, StoreUnavailableError
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.projections.engine import Engine
from eventcore.projections.leases import Heart, Leases
from eventcore.projections.projection import Projection
from eventcore.projections.shares import merge
from eventcore.projections.transactions import Checkpoint
from eventcore.projections.views import Views
from eventcore.projections.worker_tables import have_tables, worker_row
from eventcore.stores.log import Log

PAGE_EVENTS: Final = 1_000

ATTEMPTS_MAX: Final = 50
"""Of bringing all shares to one place: whoever still keeps one may move it on in between."""


def unite(
    log: Log,
    views: Views,
    projection: Projection,
    *,
    registry: EventRegistry = default_registry,
) -> Checkpoint:
    """Bring all shares of a projection to one place, and make it one again; gives where it is.

    Its workers are fenced and leave it alone meanwhile; those that still run divide it again
    afterwards, when they next look. Broken off, it stays in shares, and its workers go on.

    Raises:
        ProjectionFailedError: A handler raised on the way.
        StoreUnavailableError: Others kept moving it; try again.
    """
    with _seized(views, projection):
        engine = Engine(views, [projection], registry, log=log)
        for _ in range(ATTEMPTS_MAX):
            head = log.head()
            while engine.running and engine.position < head:
                engine.apply(log.read_page(engine.position, PAGE_EVENTS, engine.where()))
            if engine.failures:
                raise engine.failures[0]
            united = merge(views, projection)
            if united is not None:
                return united
            engine.reload()
    problem = f"others kept moving shares of projection {projection.name}"
    raise StoreUnavailableError(store=views.name, problem=problem)


@contextmanager
def _seized(views: Views, projection: Projection) -> Iterator[None]:
    """Have all shares of a projection, if there are workers that might have them."""
    if not have_tables(views):
        yield
        return
    host, pid = socket.gethostname(), os.getpid()
    name = f"{host}-{pid}-{os.urandom(4).hex()}"
    me = worker_row(name, host=host, pid=pid, started="", takes_shares=False)
    leases = Leases(views, [], me)
    leases.join()
    try:
        with Heart(leases, _passed_over):
            leases.seize(projection)
            yield
    finally:
        leases.leave()


def _passed_over(_error: StoreError) -> None:
    """What a beat failed on, the work itself meets as well."""
