"""Five third-party data sets go in through the command line and come out as correct totals.

What is correct is computed from the sources by ``independent_totals``, which knows nothing of
eventcore.
"""

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from tests.backends import REPOSITORY
from tests.integration import independent_totals as expected

SOURCE_OF = {
    "online_retail": expected.ONLINE_RETAIL,
    "people": expected.PEOPLE,
    "web_sessions": expected.WEB_LOG,
    "github_webhooks": expected.WEBHOOKS,
    "amlb_models": expected.MODEL_RUNS,
}
EVENTCORE = Path(sys.executable).with_name("eventcore")
KILLS = 5
LONG_SECONDS = 240.0
SEED = 20_261_122


@dataclass(frozen=True)
class Imported:
    """A log that holds all data sets, its read models, and how each import ended."""

    store: str
    reports: dict[str, dict]
    letters: dict[str, list[dict]]

    def rows(self, table: str) -> list[dict]:
        done = eventcore("query", table, "--limit", "1000000", "--json", "--store", self.store)
        return [json.loads(line) for line in done.splitlines()]


def eventcore(*arguments: str, stdin=None) -> str:
    done = subprocess.run(
        [EVENTCORE, *arguments], stdin=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wire_lines(script: str, data: Path, into: Path) -> Path:
    with into.open("wb") as out:
        source = data / SOURCE_OF[script]
        subprocess.run(
            [sys.executable, REPOSITORY / "examples" / f"{script}.py", source],
            stdout=out,
            check=True,
        )
    return into


def ingest(path: Path, store: str, letters: Path) -> dict:
    # As the README has it: from a pipe.
    with path.open("rb") as stream:
        out = eventcore(
            "ingest", "-", "--dead-letters", str(letters), "--store", store, stdin=stream
        )
    report: dict = json.loads(out.splitlines()[-1])
    return report


@pytest.fixture(scope="module")
def wire(shared_data, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wire")
    return {
        script: wire_lines(script, shared_data, folder / f"{script}.jsonl") for script in SOURCE_OF
    }


@pytest.fixture(scope="module")
def imported(wire, tmp_path_factory) -> Imported:
    folder = tmp_path_factory.mktemp("imported")
    store = f"sqlite:///{folder}/all.db"
    reports, letters = {}, {}
    for script, path in wire.items():
        dead = folder / f"{script}.dead.jsonl"
        reports[script] = ingest(path, store, dead)
        letters[script] = [json.loads(line) for line in dead.read_text().splitlines()]
    eventcore("projections", "run", "--once", "--store", store)
    return Imported(store, reports, letters)


def totals(shared_data: Path, script: str):
    return getattr(expected, script)(shared_data / SOURCE_OF[script])


@pytest.mark.parametrize("script", SOURCE_OF)
def test_accepted_duplicate_and_rejected_are_those_of_the_source(imported, shared_data, script):
    report, source = imported.reports[script], totals(shared_data, script)

    rejected = getattr(source, "rejected", {})
    assert report["read"] == source.emitted
    assert report["accepted"] == source.accepted
    assert report["duplicate"] == 0
    assert report["rejected"] == sum(rejected.values()) == len(imported.letters[script])
    assert report["reasons"] == rejected
    assert Counter(letter["reason"] for letter in imported.letters[script]) == rejected


@pytest.mark.parametrize("script", ["online_retail", "people"])
def test_each_refused_line_is_kept_with_its_own_reason(  # noqa: PLR0917 - fixtures
    imported, shared_data, wire, script
):
    source = totals(shared_data, script)
    key = "orderId" if script == "online_retail" else "userId"
    lines = wire[script].read_text().splitlines()

    found = {}
    for letter in imported.letters[script]:
        assert lines[letter["line"] - 1] == letter["raw"]
        found[json.loads(letter["raw"])["data"]["payload"][key]] = letter["reason"]
    assert found == source.refused


def test_the_orders_are_those_of_the_invoices(imported, shared_data):
    source = totals(shared_data, "online_retail")

    orders = {row["order_id"]: row for row in imported.rows("orders")}

    assert len(orders) == len(source.orders)
    assert {key: row["user_id"] for key, row in orders.items()} == {
        key: order.user_id for key, order in source.orders.items()
    }
    assert {key: Decimal(row["total_amount"]) for key, row in orders.items()} == {
        key: order.total for key, order in source.orders.items()
    }
    assert {key: row["created_at"] for key, row in orders.items()} == {
        key: order.created_at for key, order in source.orders.items()
    }
    assert {(row["status"], row["currency"]) for row in orders.values()} == {("created", "GBP")}


def test_the_order_items_are_the_lines_of_the_invoices(imported, shared_data):
    source = totals(shared_data, "online_retail")

    items = defaultdict(list)
    for row in imported.rows("order_items"):
        items[row["order_id"]].append(row)

    assert sum(map(len, items.values())) == source.items
    for order_id, order in source.orders.items():
        rows = sorted(items[order_id], key=lambda row: int(row["item_id"].rpartition("#")[2]))
        found = tuple((r["product_id"], r["quantity"], Decimal(r["price"])) for r in rows)
        assert found == order.lines, order_id


def test_the_revenue_of_each_day_and_month_is_that_of_the_invoices(imported, shared_data):
    source = totals(shared_data, "online_retail")

    by_day = {
        row["date"]: Decimal(row["value"])
        for row in imported.rows("analytics")
        if row["metric_type#dimensions"] == "revenue#currency=GBP"
    }
    by_month: defaultdict[str, Decimal] = defaultdict(Decimal)
    for day, value in by_day.items():
        by_month[day[:7]] += value

    assert by_day == source.revenue_by_day
    assert by_month == source.revenue_by_month


@pytest.mark.parametrize("processes", [[], ["--processes", "2"]])
def test_a_replay_until_a_day_has_the_invoices_of_before(
    imported, shared_data, tmp_path, *, processes
):
    # The log was imported data set by data set: its times go back and forth between years.
    source, first = totals(shared_data, "online_retail"), "2011-03-01"
    into = f"sqlite:///{tmp_path}/past.db"
    names = ["--projection", "orders", "--projection", "analytics", *processes]
    eventcore(
        *("replay", "--until", f"{first}T00:00:00Z", "--into", into, *names),
        *("--store", imported.store),
    )

    def rows(table: str) -> list[dict]:
        options = ["--limit", "1000000", "--json", "--views", into, "--store", imported.store]
        return [json.loads(line) for line in eventcore("query", table, *options).splitlines()]

    assert {row["order_id"]: Decimal(row["total_amount"]) for row in rows("orders")} == {
        key: order.total for key, order in source.orders.items() if order.created_at < first
    }
    assert {
        row["date"]: Decimal(row["value"])
        for row in rows("analytics")
        if row["metric_type#dimensions"] == "revenue#currency=GBP"
    } == {day: value for day, value in source.revenue_by_day.items() if day < first}


def test_the_top_customers_are_those_of_the_invoices(imported, shared_data):
    spent: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in imported.rows("orders"):
        if row["user_id"] is not None:
            spent[row["user_id"]] += Decimal(row["total_amount"])

    ranked = sorted(spent.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    assert ranked == totals(shared_data, "online_retail").top_customers(10)


def test_the_users_are_the_people_who_could_register(imported, shared_data):
    source = totals(shared_data, "people")

    users = {row["user_id"]: row for row in imported.rows("users")}

    assert users.keys() == source.users.keys()
    for user_id, registration in source.users.items():
        row = users[user_id]
        assert row["email"] == registration["email"].strip()
        assert row["first_name"] == registration.get("firstName")
        assert row["last_name"] == registration.get("lastName")
        assert row["status"] == "active"


def test_the_sessions_are_those_of_the_web_log(imported, shared_data):
    source = totals(shared_data, "web_sessions")

    rows = imported.rows("user_sessions")

    assert len(rows) == len(source.sessions)
    assert {row["session_id"]: (row["started_at"], row["ended_at"]) for row in rows} == {
        session.session_id: (session.started_at, session.ended_at) for session in source.sessions
    }
    assert {row["user_id"] for row in rows} == {None}


def test_the_models_are_those_of_the_benchmark(imported, shared_data):
    source = totals(shared_data, "amlb_models")

    rows = imported.rows("ml_models")

    assert len(rows) == len(source.versions) + len(source.untrained)
    assert Counter(row["status"] for row in rows) == {
        "trained": len(source.versions),
        "registered": len(source.untrained),
    }
    assert {row["version"] for row in rows if row["status"] == "registered"} == {"0"}
    assert {row["model_id"] for row in rows} == {":".join(key) for key in source.registered_at}
    assert {(row["model_id"], row["model_type"]) for row in rows} == {
        (":".join(key), kind) for key, kind in source.type_of.items()
    }


def test_each_trained_version_has_the_metrics_and_the_time_of_its_run(imported, shared_data):
    source = totals(shared_data, "amlb_models")

    trained = Counter(
        (row["model_id"], row["updated_at"], frozenset(row["metrics"].items()))
        for row in imported.rows("ml_models")
        if row["status"] == "trained"
    )

    assert trained == Counter(
        (
            f"{framework}:{task}",
            version.trained_at,
            frozenset((name, float(value)) for name, value in version.metrics.items()),
        )
        for (framework, task, _), version in source.versions.items()
    )


def test_the_webhooks_are_kept_as_they_came(imported, shared_data):
    source = totals(shared_data, "github_webhooks")

    out = eventcore(
        "events",
        "read",
        *("--category", "webhook", "--limit", "100000"),
        *("--json", "--store", imported.store),
    )

    events = [json.loads(line, parse_float=Decimal) for line in out.splitlines()]
    assert [event["payload"]["payload"] for event in events] == [
        payload for _, payload in source.webhooks
    ]
    assert Counter(event["metadata"]["headers"]["X-GitHub-Event"] for event in events) == (
        source.by_event
    )


def test_every_accepted_event_is_in_the_index_of_events_once(imported):
    accepted = sum(report["accepted"] for report in imported.reports.values())

    rows = imported.rows("events")

    assert len(rows) == accepted
    assert len({row["event_id"] for row in rows}) == accepted
    assert len({row["position"] for row in rows}) == accepted


def test_a_second_run_accepts_nothing_and_refuses_the_same(imported, wire, tmp_path):
    for script, path in wire.items():
        letters = tmp_path / "again.jsonl"
        report = ingest(path, imported.store, letters)

        first = imported.reports[script]
        assert report["accepted"] == 0, script
        assert report["duplicate"] == first["accepted"], script
        assert report["reasons"] == first["reasons"], script
        again = [json.loads(line) for line in letters.read_text().splitlines()]
        assert again == imported.letters[script]


def test_an_import_killed_five_times_reaches_the_same_log(imported, wire, tmp_path):
    whole = tmp_path / "all.jsonl"
    whole.write_bytes(b"".join(path.read_bytes() for path in wire.values()))
    lines = whole.read_bytes().splitlines(keepends=True)
    database = tmp_path / "killed.db"
    store = f"sqlite:///{database}"
    moments = random.Random(SEED)
    options = ["--batch", "500", "--store", store]

    for killed in range(KILLS):
        # Each time there is more to read, so that it always comes to write.
        part = b"".join(lines[: len(lines) * (killed + 1) // (KILLS + 1)])
        kill_an_import(part, database, options, after_seconds=moments.uniform(0.0, 0.6))
    command = ["ingest", str(whole), *options]
    report = json.loads(eventcore(*command).splitlines()[-1])
    eventcore("projections", "run", "--once", "--store", store)

    rejected = sum(first["rejected"] for first in imported.reports.values())
    assert report["rejected"] == rejected
    assert 0 < report["duplicate"] < report["read"]
    assert report["accepted"] + report["duplicate"] == report["read"] - rejected
    other = Imported(store, {}, {})
    for table in ("users", "user_sessions", "orders", "order_items", "ml_models", "analytics"):
        assert other.rows(table) == imported.rows(table), table
    key = ("event_id", "timestamp", "event_type", "stream", "version")
    assert {tuple(row[k] for k in key) for row in other.rows("events")} == {
        tuple(row[k] for k in key) for row in imported.rows("events")
    }


def kill_an_import(
    part: bytes, database: Path, options: list[str], *, after_seconds: float
) -> None:
    """Import from a pipe that stays open, and kill that so long after it began to write."""
    before = head_of(database)
    child = subprocess.Popen(
        [EVENTCORE, "ingest", "-", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    feeding = threading.Thread(target=feed, args=(child, part), daemon=True)
    feeding.start()
    # Not before it writes: a kill during the start-up of the interpreter proves nothing.
    deadline = time.monotonic() + LONG_SECONDS
    while head_of(database) == before:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(after_seconds)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    feeding.join(LONG_SECONDS)


def feed(child: subprocess.Popen[bytes], part: bytes) -> None:
    """Write into a process, until all is written or the process is gone."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(part)
        child.stdin.flush()
        child.wait()
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()


def head_of(database: Path) -> int:
    """Position of the newest event, asked without eventcore; 0 while there is no log."""
    if not database.exists():
        return 0
    connection = sqlite3.connect(database, timeout=60)
    try:
        return connection.execute("SELECT max(position) FROM eventcore_log").fetchone()[0] or 0
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
