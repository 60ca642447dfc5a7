"""The nightly job of the examples: what is old leaves the log, and nothing else changes."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from eventcore.aggregates import Order
from eventcore.app import open_app
from eventcore.commands.orders import AddItem, CreateOrder
from eventcore.events.catalogue import OrderItem
from eventcore.stores.log import store_of
from eventcore.stores.trimming import TrimmableLog
from tests.backends import REPOSITORY

SCRIPT = REPOSITORY / "examples" / "nightly_archive.py"
PEAR = OrderItem(product_id="pear", quantity=1, price=Decimal("2.00"))


class Clock:
    def __init__(self) -> None:
        self.time = datetime.now(UTC) - timedelta(days=200)

    def __call__(self) -> datetime:
        self.time += timedelta(hours=1)
        return self.time


def nightly(store: str, lake: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--store", store, "--archive", str(lake)],
        check=True,
        capture_output=True,
        text=True,
    )
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_quiet_streams_are_saved_and_what_is_old_leaves_the_log(tmp_path: Path):
    store, lake, clock = f"sqlite:///{tmp_path / 'shop.db'}", tmp_path / "lake", Clock()
    with open_app(store, clock=clock) as app:
        for order in ("o-1", "o-2"):
            app.execute(CreateOrder(order_id=order, items=(PEAR,), currency="GBP"))
            for _ in range(3):
                app.execute(AddItem(order_id=order, product_id="fig", quantity=1, price=Decimal(1)))
        clock.time = datetime.now(UTC) - timedelta(days=1)
        app.execute(CreateOrder(order_id="o-3", items=(PEAR,), currency="GBP"))
        events = list(app.log.read())

    first, second = nightly(store, lake), nightly(store, lake)

    assert first == {
        "archived": 9,
        "until": 9,
        "saved_states": 2,
        "trimmed": 6,
        "kept": {"newest": 2},
    }
    assert (second["archived"], second["trimmed"]) == (0, 0)
    with open_app(store, archive=str(lake)) as app:
        assert list(app.log.read()) == events
        assert app.get(Order, "o-2").version == 4
        log = store_of(app.log)
        assert isinstance(log, TrimmableLog)
        assert len(log.trimmed_positions([str(event.event_id) for event in events])) == 6
