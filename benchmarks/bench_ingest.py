"""How many wire events a second ``eventcore ingest`` takes into SQLite (WAL, synchronous=FULL).

Two inputs are made here: web sessions (small events, two thousand streams at a time) and a shop
(users with unique addresses, orders of one to three lines, payments, shipments). Where the folder
``../shared/data`` stands beside the repository, the real web log and invoices are measured as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring import Figure, arguments, rate, report
from eventcore.events.codec import Codec
from eventcore.ingestion.dead_letters import DiscardedDeadLetters
from eventcore.ingestion.lines import open_input, read_lines
from eventcore.ingestion.pipeline import Ingestion
from eventcore.stores.sqlite.log import SQLiteLog

START = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = 20_000
REAL = {
    "web_sessions": "sessions/nasa_http_1995-08-01.tsv.gz",
    "online_retail": "orders/online_retail_2010-12_to_2011-08.csv.gz",
}


def wire(number: int, event_type: str, payload: dict[str, Any], **context: str) -> bytes:
    """One line of the wire form, with an id and a time that follow from its number."""
    moment = (START + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    record = {
        "eventId": str(uuid.UUID(int=(0x0190 << 112) | (7 << 76) | (2 << 62) | number)),
        "eventType": event_type,
        "eventSource": "shop",
        "timestamp": moment,
        "version": "1",
        "data": {"payload": payload, "metadata": {}},
        **context,
    }
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def sessions(count: int) -> Iterator[bytes]:
    """Sessions of twelve events, two thousand of them interleaved."""
    for number in range(count):
        block, place = divmod(number, 24_000)
        step, which = divmod(place, 2_000)
        session_id = f"s-{block}-{which}"
        if step == 0:
            yield wire(number, "session.started", {"sessionId": session_id, "userId": f"u-{which}"})
        elif step == 11:
            yield wire(number, "session.ended", {"sessionId": session_id, "reason": "timeout"})
        else:
            payload = {
                "sessionId": session_id,
                "action": "view",
                "target": f"/products/{which}/{step}",
            }
            yield wire(number, "session.activity", payload)


def shop(count: int) -> Iterator[bytes]:
    """A user, then three orders of theirs: created, paid, shipped, delivered."""
    for number in range(count):
        customer, step = divmod(number, 13)
        user_id = f"u-{customer}"
        if step == 0:
            payload = {
                "userId": user_id,
                "email": f"user.{customer}@example.com",
                "firstName": "Ada",
            }
            yield wire(number, "user.registered", payload)
            continue
        order, stage = divmod(step - 1, 4)
        order_id = f"o-{customer}-{order}"
        lines = [
            {"productId": f"p-{n}", "quantity": n + 1, "price": "2.50"} for n in range(order + 1)
        ]
        total = f"{sum((n + 1) * 2.5 for n in range(order + 1)):.2f}"
        created: dict[str, Any] = {
            "orderId": order_id,
            "userId": user_id,
            "items": lines,
            "totalAmount": total,
            "currency": "EUR",
        }
        name, payload = (
            ("order.created", created),
            ("order.paid", {"orderId": order_id, "amount": total}),
            ("order.shipped", {"orderId": order_id, "carrier": "post"}),
            ("order.delivered", {"orderId": order_id}),
        )[stage]
        yield wire(number, name, payload, correlationId=order_id)


def seconds_of(path: Path, folder: Path) -> tuple[int, float]:
    """Ingest a file into a new log; lines and seconds."""
    database = folder / f"{uuid.uuid4()}.db"
    codec = Codec()
    log = SQLiteLog(database, codec)
    ingestion = Ingestion(log, codec, clock=lambda: datetime.now(UTC))
    started = time.perf_counter()
    with open_input(str(path)) as stream:
        found = ingestion.run(read_lines(stream, str(path)), DiscardedDeadLetters())
    seconds = time.perf_counter() - started
    log.close()
    for left in folder.glob(f"{database.name}*"):
        left.unlink()
    return found.read, seconds


def main() -> None:
    """Measure each input several times."""
    options = arguments(__doc__ or "", events=100_000, rounds=3)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = {"web sessions, made": sessions, "shop, made": shop}
        paths: dict[str, Path] = {}
        for title, make in inputs.items():
            paths[title] = folder / f"{len(paths)}.jsonl"
            paths[title].write_bytes(b"".join(make(options.events)))
        shared = Path(__file__).resolve().parents[2] / "shared" / "data"
        for script, source in REAL.items():
            if (shared / source).exists():
                paths[f"{script}.py, real"] = path = folder / f"{script}.jsonl"
                with path.open("wb") as out:
                    subprocess.run(
                        [sys.executable, f"examples/{script}.py", str(shared / source)],
                        stdout=out,
                        check=True,
                    )
        for title, path in paths.items():
            rates = []
            for _ in range(options.rounds):
                lines, seconds = seconds_of(path, folder)
                rates.append(lines / seconds)
            # An invoice has 23 lines on average: no figure of single events, so no target either.
            target = None if "retail" in title else TARGET
            figures.append(rate(f"ingest {title}", rates, target))
    report("ingestion into SQLite, one process", figures)


if __name__ == "__main__":
    main()
