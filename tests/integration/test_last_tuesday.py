"""The script that looks back, as somebody would call it."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from eventcore.app import open_app
from eventcore.commands import CreateOrder, PayOrder
from eventcore.events.catalogue import OrderItem
from eventcore.lake.archiving import Archiver
from eventcore.lake.reading import open_archive
from tests.backends import REPOSITORY

SCRIPT = REPOSITORY / "examples" / "last_tuesday.py"
MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)
PEAR = OrderItem(product_id="pear", quantity=1, price=Decimal("2.50"))
TUESDAY_NIGHT = "2026-11-24T23:59:59Z"
EXPECTED = """\
as of 2026-11-24T23:59:59.000000Z
  created          2 orders
  paid             1 orders
  EUR            2.50 in 1 orders
  GBP            5.00 in 2 orders
"""


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Three orders of Monday, archived; one is paid on Tuesday, one on Wednesday."""
    url, time = f"sqlite:///{tmp_path}/shop.db", MONDAY
    with open_app(url, clock=lambda: time) as app:
        for number, currency in enumerate(("GBP", "EUR", "GBP")):
            app.execute(CreateOrder(order_id=str(number), items=(PEAR,), currency=currency))
        Archiver(open_archive(str(tmp_path / "lake"))).run(app.log)
        for number in range(2):
            time += timedelta(days=1)
            app.execute(PayOrder(order_id=str(number), amount=Decimal("2.50")))
    return url


def look_back(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("archived", [False, True])
def test_it_tells_how_things_stood(tmp_path: Path, store: str, *, archived: bool):
    into = f"sqlite:///{tmp_path}/tuesday.db"
    archive = ["--archive", str(tmp_path / "lake"), "--processes", "1"] if archived else []

    told = [
        look_back("--store", store, "--at", TUESDAY_NIGHT, "--into", into, *archive)
        for _ in range(2)  # the second time there is nothing to do
    ]

    assert [(one.returncode, one.stdout, one.stderr) for one in told] == [(0, EXPECTED, "")] * 2


def test_another_time_needs_another_database(tmp_path: Path, store: str):
    into = f"sqlite:///{tmp_path}/tuesday.db"
    look_back("--store", store, "--at", TUESDAY_NIGHT, "--into", into)

    refused = look_back("--store", store, "--at", "2026-11-25T23:59:59Z", "--into", into)

    assert refused.returncode == 1
    assert "is not replayed into" in refused.stderr
