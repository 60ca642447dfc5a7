"""Services in processes of their own: workers killed, stopped, continued; databases restarted."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventcore.app import App, open_app
from eventcore.events.catalogue import OrderItemAdded, OrderItemRemoved, UserRegistered
from eventcore.projections import MemoryViews, Projection, ProjectionRunner, built_in_projections
from eventcore.projections.worker_tables import all_owners, all_workers
from eventcore.settings import parse_store_url
from tests.postgres import store_url
from tests.unit.projections.histories import order, record, rows_of

NAMES = ["analytics", "order_items", "orders", "users"]
PATIENCE_SECONDS = 90.0
"""How long anything may take on a busy machine."""

COMMAND = [sys.executable, "-P", "-m", "eventcore", "projections", "run"]


def kept() -> list[Projection]:
    return [projection for projection in built_in_projections() if projection.name in NAMES]


def fill(app: App, first: int, last: int) -> int:
    for number in range(first, last + 1):
        one = f"o{number}"
        record(
            app.log,
            UserRegistered(user_id=f"u{number}", email=f"{number}@example.com"),
            order(one, ("apple", 2, "1.50"), ("pear", 1, "2"), user_id=f"u{number % 3}"),
            OrderItemAdded(order_id=one, product_id="fig", quantity=1, price=Decimal(2)),
            OrderItemRemoved(order_id=one, product_id="pear", quantity=1),
        )
    return app.log.head()


def in_one_pass(app: App) -> dict[str, list[Any]]:
    views = MemoryViews()
    ProjectionRunner(app.log, views, kept()).run_to_head()
    return rows_of(views, kept())


def until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.1)


class Service:
    """A service, and what it logs."""

    def __init__(self, url: str, *options: str) -> None:
        self.logged: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [*COMMAND, "--log", "json", *options, *NAMES],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "EVENTCORE_STORE": url},
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self.logged.append(json.loads(line) if line.startswith(b"{") else {"text": line})

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self, words: str) -> bool:
        return any(words in str(record.get("message", "")) for record in self.logged)

    def workers(self) -> list[int]:
        """The processes it started, the last ones last."""
        started = [one for one in list(self.logged) if "is process" in one.get("message", "")]
        return [one["worker_pid"] for one in started]

    def end(self, number: int = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        code = self._process.wait(PATIENCE_SECONDS)
        self._listener.join(PATIENCE_SECONDS)
        return code

    def release(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.ended()


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def begin(url: str, *options: str) -> Service:
        services.append(Service(url, *options))
        return services[-1]

    yield begin
    for service in services:
        service.release()


@pytest.fixture(params=["sqlite", "postgres", "dynamodb"])
def url(request, tmp_path: Path) -> str:
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path / 'shop.db'}?synchronous=normal"
        case "postgres":
            return str(request.getfixturevalue("postgres_schema").store_url)
        case _:
            return str(request.getfixturevalue("dynamodb").store_url)


@contextmanager
def stopped(pid: int, url: str) -> Iterator[None]:
    """A process stands still, but not in the middle of a transaction that keeps all others out."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while is_locked(url):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def is_locked(url: str) -> bool:
    """Whether somebody has written and not committed, which others would have to wait for."""
    match url.partition(":")[0]:
        case "sqlite":
            return is_file_locked(url)
        case "postgresql":
            return any(is_schema_written_to(url) for _ in range(LOOKS))
        case _:
            return False


def is_schema_written_to(url: str) -> bool:
    location = parse_store_url(url)
    with psycopg.connect(location.conninfo, autocommit=True) as connection:
        # What the process had sent before it was stopped may be at work still.
        time.sleep(0.05)
        return connection.execute(WRITERS, (location.schema,)).fetchall() != []


WRITERS = """
    SELECT pid FROM pg_locks JOIN pg_class ON pg_class.oid = relation
    WHERE relnamespace = %s::regnamespace AND mode = 'RowExclusiveLock'
"""
LOOKS = 3


def is_file_locked(url: str) -> bool:
    path = url.removeprefix("sqlite:///").partition("?")[0]
    with closing(sqlite3.connect(path, timeout=2.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def owner_pids(app: App) -> set[int]:
    """Processes that have shares, and are taken to be there."""
    pids = {row.worker_id: row.pid for row in all_workers(app.views)}
    return {pids.get(owner, 0) for owner in all_owners(app.views).values()}


@pytest.mark.slow
def test_workers_of_two_hosts_that_are_killed_and_stopped_end_in_the_rows_of_one_pass(url, start):
    with open_app(url) as app:
        fill(app, 1, 20)
        here, there = [start(url, "--workers", n, "--lease", "2", "--shares", "4") for n in "21"]
        until(lambda: app.views.checkpoint("eventcore_workers") is not None, "a worker joined")
        until(lambda: len(here.workers()) == 2, "two of them are on one host")
        first, second = here.workers()
        three = {first, second, there.pid}
        until(lambda: owner_pids(app) == three, "three workers divide the work")

        os.kill(first, signal.SIGKILL)
        fill(app, 21, 30)
        until(lambda: len(here.workers()) == 3, "the killed one is started again")
        until(lambda: first not in owner_pids(app), "its shares are taken over")
        with stopped(second, url):
            fill(app, 31, 40)
            until(lambda: second not in owner_pids(app) - {0}, "a stopped one is taken over")
            app.wait_for(fill(app, 41, 45), NAMES, timeout_seconds=PATIENCE_SECONDS)
        head = fill(app, 46, 50)
        until(lambda: second in owner_pids(app), "it has a part again when it goes on")

        assert here.end() == 0
        until(lambda: owner_pids(app) == {there.pid}, "who is left has everything")
        app.wait_for(head, NAMES, timeout_seconds=PATIENCE_SECONDS)
        app.wait_for(fill(app, 51, 52), NAMES, timeout_seconds=PATIENCE_SECONDS)
        assert there.end(signal.SIGINT) == 130

        assert rows_of(app.views, kept()) == in_one_pass(app)
        assert all_workers(app.views) == []


def test_workers_end_with_their_supervisor_however_it_ends(tmp_path, start):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    service = start(url, "--workers", "2")
    until(lambda: service.said("keeping"), "it works")
    workers = service.workers()

    os.kill(service.pid, signal.SIGKILL)

    until(lambda: not any(map(is_running, workers)), "all have ended")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_what_another_start_would_not_mend_ends_all_workers(tmp_path, start):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    open_app(url).close()  # the log alone, and nothing is to be created beside it

    service = start(f"{url}?create=no", "--workers", "2")

    assert service.ended() == 2
    assert not any(map(is_running, service.workers()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("--workers", "1", "--lease", "2")], ids=["alone", "worker"]
)
def test_a_service_goes_on_when_its_database_was_away_and_ends_while_it_waits(
    own_postgres, start, options
):
    cluster = own_postgres()
    url = store_url(cluster.url, "shop")
    with open_app(url) as app:
        first = fill(app, 1, 3)
    cluster.stop()
    service = start(url, *options)
    until(lambda: service.said("a database is away"), "it waits for the database at its start")

    cluster.start()
    with open_app(url) as app:
        app.wait_for(first, NAMES, timeout_seconds=PATIENCE_SECONDS)
    cluster.kill()
    cluster.start()
    with open_app(url) as app:
        second = fill(app, 4, 6)
        app.wait_for(second, NAMES, timeout_seconds=PATIENCE_SECONDS)
        assert rows_of(app.views, kept()) == in_one_pass(app)

    cluster.stop()
    until(lambda: not is_running(service.pid) or waits(service), "it waits once more")
    assert service.end() == 0


def waits(service: Service) -> bool:
    """Whether it has said that something is away since it was last well."""
    return any(record.get("level") == "warning" for record in service.logged[-1:])
