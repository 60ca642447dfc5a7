"""A small application in memory or in a file, whose clock ticks a second a look."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from eventcore.app import open_log
from eventcore.commands import CommandExecutor, CreateOrder, Envelopes, Repository
from eventcore.events.catalogue import OrderItem
from eventcore.events.context import EMPTY_CONTEXT, EventContext
from eventcore.stores.log import Log

START = datetime(2026, 1, 1, tzinfo=UTC)
PRICE = Decimal("5.00")


class Shop:
    """An executor with everything it needs, each part within reach."""

    def __init__(
        self, log: Log | None = None, *, defaults: EventContext = EMPTY_CONTEXT, **options
    ):
        self.log: Any = log or open_log("memory://")
        self.ticks: Iterator[int] = itertools.count()
        self.ids: Iterator[Any] = itertools.count(1)
        self.pauses: list[int] = []
        executor_options = {
            name: options.pop(name)
            for name in ("attempts_max", "reservation_key")
            if name in options
        }
        self.repository = Repository(self.log, store="the test's log", **options)
        self.executor = CommandExecutor(
            self.log,
            repository=self.repository,
            envelopes=Envelopes(now=self.now, new_id=self.new_id, defaults=defaults),
            pause=self.pauses.append,
            **executor_options,
        )

    def now(self) -> datetime:
        return START + timedelta(seconds=next(self.ticks))

    def new_id(self) -> UUID:
        return UUID(int=next(self.ids))

    def create_order(self, order_id: str = "o-1", **facts):
        item = OrderItem(product_id="a", quantity=1, price=PRICE)
        command = CreateOrder(order_id=order_id, items=(item,), currency="GBP", **facts)
        return self.executor.execute(command)


def log_of(kind: str, folder: Path) -> Log:
    return open_log("memory://" if kind == "memory" else f"sqlite:///{folder / 'log.db'}")
