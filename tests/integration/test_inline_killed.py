"""A process that is killed while it appends leaves no event without its rows, and no rows without.

Several threads of it append at once, to a read model that is kept inline, in the append's own
transaction.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eventcore.app import App, open_app
from eventcore.projections.read_models import ORDERS, Orders

KILLS = 5
APPENDS_BEFORE = 20
"""Events that a process gets done at least before it is killed."""

WRITER = """
import itertools, sys, threading, uuid
from decimal import Decimal

from eventcore.app import open_app
from eventcore.commands import CreateOrder, PayOrder
from eventcore.events.catalogue.orders import OrderItem
from eventcore.projections.read_models import Orders

app = open_app(sys.argv[1], projections=[Orders()], inline=["orders"])


def write():
    for _ in itertools.count():
        order_id = str(uuid.uuid4())
        item = OrderItem(product_id="p", quantity=1, price=Decimal(5))
        app.execute(CreateOrder(order_id=order_id, items=(item,), currency="GBP"))
        app.execute(PayOrder(order_id=order_id, amount=Decimal(5)))


for _ in range(3):
    threading.Thread(target=write).start()
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    found: str = request.getfixturevalue("postgres_schema").store_url
    return found


def head_and_checkpoint(app: App) -> tuple[int, int]:
    head = app.log.head()
    checkpoint = app.views.checkpoint("orders")
    return head, 0 if checkpoint is None else checkpoint.position


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_rows_and_events_together(url: str):
    seen = []
    with open_app(url, projections=[Orders()]) as app:
        for _ in range(KILLS):
            before = app.log.head()
            with subprocess.Popen([sys.executable, "-c", WRITER, url]) as writer:
                try:
                    while app.log.head() < before + APPENDS_BEFORE:
                        assert writer.poll() is None
                        time.sleep(0.005)
                finally:
                    writer.send_signal(signal.SIGKILL)
            head, position = settled(app)
            seen.append((head > before, head == position))
        rows, folded = rows_and_folded(app)

    assert seen == [(True, True)] * KILLS
    assert rows == folded


def rows_and_folded(app: App) -> tuple[list[Any], list[Any]]:
    """Of one moment: a server may still be at work on what it was sent before the kill."""
    while True:
        before = head_and_checkpoint(app)
        rows, folded = sorted(app.query(ORDERS)), sorted(app.live(Orders()).query(ORDERS))
        if head_and_checkpoint(app) == before:
            return rows, folded


def settled(app: App) -> tuple[int, int]:
    """Once a server has noticed, too, that nobody is there any more."""
    found, before = head_and_checkpoint(app), (0, 0)
    while found != before:
        time.sleep(0.2)
        before, found = found, head_and_checkpoint(app)
    return found
