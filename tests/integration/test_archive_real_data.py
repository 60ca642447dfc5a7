"""Online Retail and a web log, archived and trimmed: no total and no history changes."""

import json
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eventcore.aggregates import Order
from eventcore.app import App, open_app
from eventcore.events.codec import Codec
from eventcore.lake.reading import open_archive
from tests.integration.test_real_data import Imported, eventcore, ingest, totals, wire_lines

SCRIPTS = ("online_retail", "web_sessions")
PROJECTIONS = ("orders", "order_items", "analytics", "user_sessions")


@dataclass(frozen=True)
class Trimmed:
    """A log most of whose events are in an archive, and what it was before.

    Attributes:
        store: Its URL.
        lake: Where the archive is.
        rows: Of each table, before.
        histories: The events of each stream, before.
        report: What archiving and trimming said.
    """

    store: str
    lake: str
    rows: dict[str, list[dict]]
    histories: dict[str, list]
    report: dict

    def open(self) -> App:
        return open_app(self.store, archive=self.lake, codec=Codec(allow_unknown=True))


@pytest.fixture(scope="module")
def wire(shared_data, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wire")
    return {
        script: wire_lines(script, shared_data, folder / f"{script}.jsonl") for script in SCRIPTS
    }


@pytest.fixture(scope="module")
def trimmed(wire, shared_data, tmp_path_factory) -> Trimmed:
    folder = tmp_path_factory.mktemp("trimmed")
    store = f"sqlite:///{folder}/all.db?synchronous=normal"
    for path in wire.values():
        ingest(path, store, folder / "dead.jsonl")
    # Every order is paid, so that each has a history; and everything that has a saved state may go.
    paid = folder / "paid.jsonl"
    orders = totals(shared_data, "online_retail").orders
    paid.write_text("".join(f"{json.dumps(line)}\n" for line in payments(orders)))
    assert ingest(paid, store, folder / "dead.jsonl")["accepted"] == len(orders)
    eventcore("projections", "run", "--once", *PROJECTIONS, "--store", store)
    rows = {table: Imported(store, {}, {}).rows(table) for table in PROJECTIONS}
    histories = defaultdict(list)
    with open_app(store, codec=Codec(allow_unknown=True)) as app:
        for event in app.log.read():
            histories[event.stream].append(event)
        for order_id in orders:
            assert app.save_snapshot(Order, order_id) == 2
    lake = str(folder / "lake")
    report = eventcore(
        *("archive", "--to", lake, "--then-trim", "--older-than", "1d", "--verify", "--json"),
        *("--store", store),
    )
    return Trimmed(store, lake, rows, dict(histories), json.loads(report))


def payments(orders: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for order_id, order in orders.items():
        yield {
            "eventId": str(uuid.uuid5(uuid.NAMESPACE_OID, f"paid {order_id}")),
            "eventType": "order.paid",
            "timestamp": order.created_at,
            "version": "1",
            "data": {"payload": {"orderId": order_id, "amount": str(order.total)}},
        }


def test_what_is_covered_has_left_the_log(trimmed, shared_data):
    orders = totals(shared_data, "online_retail").orders
    total = sum(map(len, trimmed.histories.values()))

    assert trimmed.report["events"] == trimmed.report["verified"] == total
    assert trimmed.report["trimmed"] >= len(orders)
    with closing(sqlite3.connect(trimmed.store.removeprefix("sqlite:///").split("?")[0])) as file:
        left = file.execute("SELECT count(*) FROM eventcore_log").fetchone()[0]
    assert left == total - trimmed.report["trimmed"]


def test_every_history_is_what_it_was(trimmed):
    found = defaultdict(list)
    with trimmed.open() as app:
        for event in app.log.read():
            found[event.stream].append(event)

    assert found == trimmed.histories


def test_each_order_is_what_its_events_say(trimmed, shared_data):
    orders = list(totals(shared_data, "online_retail").orders.items())

    with trimmed.open() as app:
        for order_id, order in orders[::97]:
            assert (
                list(app.log.read_stream(f"order-{order_id}"))
                == (trimmed.histories[f"order-{order_id}"])
            )
            now, before = app.get(Order, order_id), app.get(Order, order_id, version=1)
            assert (now.paid_amount, now.total_amount, str(now.status)) == (
                order.total,
                order.total,
                "paid",
            )
            assert (before.paid_amount, before.total_amount) == (0, order.total)


def test_read_models_that_are_made_anew_have_the_same_rows(trimmed, tmp_path):
    views = f"sqlite:///{tmp_path}/fresh.db"
    place = ("--store", trimmed.store, "--archive", trimmed.lake, "--views", views)
    eventcore("projections", "run", "--once", *PROJECTIONS, *place)

    for table in PROJECTIONS:
        out = eventcore("query", table, "--limit", "1000000", "--json", *place)
        assert [json.loads(line) for line in out.splitlines()] == trimmed.rows[table], table


def test_the_same_files_bring_nothing_new(  # noqa: PLR0917 - fixtures
    trimmed, wire, tmp_path, monkeypatch
):
    monkeypatch.setenv("EVENTCORE_ARCHIVE", trimmed.lake)
    for script, path in wire.items():
        report = ingest(path, trimmed.store, tmp_path / "dead.jsonl")
        assert report["accepted"] == 0, script


def test_the_archive_takes_little_room(trimmed):
    archive = open_archive(trimmed.lake)
    stored = sum(len(event.state) for each in trimmed.histories.values() for event in each)

    assert trimmed.report["state_bytes"] == stored
    assert sum(file.bytes for file in archive.files()) == trimmed.report["bytes"]


def test_files_lie_by_the_day_of_the_invoices(trimmed, shared_data):
    days = {order.created_at[:10] for order in totals(shared_data, "online_retail").orders.values()}

    archive = open_archive(trimmed.lake)

    assert {file.day for file in archive.files() if file.family == "business"} == days
    path = Path(trimmed.lake)
    assert {one.name for one in (path / "raw/events").iterdir()} >= {
        "business-events",
        "user-events",
        "_manifests",
    }
