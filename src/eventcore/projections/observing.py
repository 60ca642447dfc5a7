"""Observing: an engine whose pages, loads and writes are told to OpenTelemetry."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from typing_extensions import override

from eventcore.events.registry import EventRegistry
from eventcore.projections.engine import Applied, Engine
from eventcore.projections.kept import Held
from eventcore.projections.parking import Clock
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Projection
from eventcore.projections.tables import Key, RowT, Table
from eventcore.projections.transactions import Transaction
from eventcore.projections.views import Views
from eventcore.stores.log import Log, Page
from eventcore.telemetry import Telemetry


class ObservedEngine(Engine):
    """Does what an engine does, and tells what that took.

    Args:
        telemetry: Where it is told.
        views: See :class:`~eventcore.projections.engine.Engine`, as are the others.
        projections: Likewise.
        registry: Likewise.
        log: Likewise.
        held: Likewise.
        clock: Likewise.
    """

    def __init__(  # noqa: PLR0913 - an engine's, and one
        self,
        telemetry: Telemetry,
        views: Views,
        projections: Iterable[Projection],
        *,
        registry: EventRegistry,
        log: Log,
        held: Held | None = None,
        clock: Clock | None = None,
    ) -> None:
        chosen = list(projections)
        observed = cast("Views", _ObservedViews(telemetry, views, chosen))
        super().__init__(observed, chosen, registry, log=log, held=held, clock=clock)
        self._telemetry = telemetry
        self._plan_of = {one.name: Plan(one, registry) for one in chosen}

    @override
    def apply(self, page: Page) -> Applied:
        before = {name: one.position for name, one in self.checkpoints.items()}
        attributes = {"eventcore.events": len(page.events), "eventcore.position": page.end}
        with self._telemetry.span("eventcore.page", attributes):
            began_ns, began = time.time_ns(), time.monotonic()
            applied = super().apply(page)
            if not applied.moved:
                self._tell(page, before, began_ns, took_seconds=time.monotonic() - began)
        return applied

    def _tell(
        self, page: Page, before: dict[str, int], began_ns: int, *, took_seconds: float
    ) -> None:
        for name, checkpoint in self.checkpoints.items():
            after = checkpoint.position
            if after <= before.get(name, after):
                continue
            events = sum(
                1
                for event in page.events
                if before[name] < event.position <= after
                and self._plan_of[name].steps_for(event.type)
            )
            self._telemetry.processed(name, events, took_seconds)
            self._telemetry.past_span(
                f"eventcore.{name}.execution",
                began_ns,
                {"eventcore.events": events, "eventcore.position": after},
            )


def engine_for(  # noqa: PLR0913, PLR0917 - an engine's, and one
    telemetry: Telemetry | None,
    views: Views,
    projections: Sequence[Projection],
    registry: EventRegistry,
    *,
    log: Log,
    held: Held | None = None,
    clock: Clock | None = None,
) -> Engine:
    """An engine, observed if there is somebody to tell.

    Args:
        telemetry: Where it is told; None: nowhere.
        views: See :class:`~eventcore.projections.engine.Engine`, as are the others.
        projections: Likewise.
        registry: Likewise.
        log: Likewise.
        held: Likewise.
        clock: Likewise.
    """
    if telemetry is None:
        return Engine(views, projections, registry, log=log, held=held, clock=clock)
    return ObservedEngine(
        telemetry, views, projections, registry=registry, log=log, held=held, clock=clock
    )


class _ObservedViews:
    """Views that tell what loading and writing take; everything else goes through."""

    def __init__(
        self, telemetry: Telemetry, views: Views, projections: Sequence[Projection]
    ) -> None:
        self._telemetry = telemetry
        self._views = views
        self._owners = {
            table.name: one.name for one in projections for table in (*one.tables, *one.beside)
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._views, name)

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        with self._loading(table) as set_attributes:
            rows = self._views.load_rows(table, keys)
            set_attributes({"eventcore.rows": len(rows)})
        return rows

    def load_groups(self, table: Table[RowT], groups: Sequence[Key]) -> list[RowT]:
        with self._loading(table) as set_attributes:
            rows = self._views.load_groups(table, groups)
            set_attributes({"eventcore.rows": len(rows)})
        return rows

    def _loading(self, table: Table[Any]) -> Any:
        owner = self._owners.get(table.name, table.name)
        return self._telemetry.span(f"eventcore.{owner}.loading", {"eventcore.table": table.name})

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        began_ns = time.time_ns()
        with self._views.transaction() as transaction:
            observed = _ObservedTransaction(transaction)
            yield cast("Transaction", observed)
        for name in observed.advanced:
            self._telemetry.past_span(f"eventcore.{name}.writing", began_ns, {})


class _ObservedTransaction:
    """A transaction that remembers whose checkpoints it moved."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.advanced: dict[str, None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def advance(self, projection: str, *arguments: Any, **options: Any) -> None:
        self._transaction.advance(projection, *arguments, **options)
        self.advanced[projection.partition("/")[0]] = None
