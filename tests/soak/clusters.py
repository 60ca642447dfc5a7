"""Replays on Ray, Spark and Dask, by the script in ``examples/``: ``make clusters``.

Fails if one ends in other rows than a replay in one process does.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from eventcore import open_app
from eventcore.commands import CancelOrder, CreateOrder, PayOrder
from eventcore.events.catalogue import OrderItem

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "replay_on_a_cluster.py"
ORDERS = 1_000
KINDS = ("dask", "ray", "spark")
REPLAY_SECONDS_MAX = 600


def fill(url: str, first: int, last: int) -> None:
    """Append orders, some of them paid or cancelled."""
    with open_app(url, projections=[]) as app:
        for number in range(first, last):
            id_, quantity = f"o-{number}", number % 5 + 1
            pear = OrderItem(product_id="pear", quantity=quantity, price=Decimal("1.10"))
            app.execute(CreateOrder(order_id=id_, items=(pear,), currency="GBP"))
            if number % 3 == 0:
                app.execute(PayOrder(order_id=id_, amount=pear.price * quantity))
            elif number % 3 == 1:
                app.execute(CancelOrder(order_id=id_, reason="no pears"))


def rows(path: Path) -> list[tuple[object, ...]]:
    """The orders in a database."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM orders ORDER BY order_id").fetchall()


def run(folder: Path, *arguments: str) -> None:
    """Run a command of this Python's."""
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, timeout=REPLAY_SECONDS_MAX)


def main() -> None:
    """Replay one log everywhere: what is archived of it, and what came later."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url, archive = f"sqlite:///{folder / 'shop.db'}?synchronous=normal", str(folder / "lake")
        fill(url, 0, ORDERS)
        run(folder, "-m", "eventcore", "archive", "--to", archive, "--store", url)
        fill(url, ORDERS, ORDERS + ORDERS // 10)
        source = ["--store", url, "--archive", archive]
        into = f"sqlite:///{folder / 'one.db'}"
        run(folder, "-m", "eventcore", "replay", "--projection", "orders", "--into", into, *source)
        expected = rows(folder / "one.db")
        for kind in KINDS:
            began = time.monotonic()
            into = f"sqlite:///{folder / kind}.db"
            run(folder, str(SCRIPT), "--on", kind, "--into", into, *source)
            if rows(folder / f"{kind}.db") != expected:
                sys.exit(f"{kind} made other rows")
            seconds = time.monotonic() - began
            sys.stdout.write(f"{kind}: the same {len(expected):,} rows, {seconds:.0f} s\n")


if __name__ == "__main__":
    main()
