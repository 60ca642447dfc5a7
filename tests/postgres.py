"""The Postgres server that the tests use, one for the whole run, and the fixtures around it.

``EVENTCORE_TEST_POSTGRES`` names one that is there already (a superuser's URL of a database in
which schemas may come and go). Otherwise the first test that asks starts one, whichever of the
run's processes it is in; the process that began the run stops it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests import backends
from tests.dropping_proxy import DroppingProxy
from tests.postgres_cluster import Cluster, NoPostgresError, remove

DROP_TIMEOUT = "20s"
"""A test that left a transaction open on its tables fails instead of hanging."""

_FOLDER = pytest.StashKey[Path]()

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """A server to test against.

    Attributes:
        url: ``postgresql://…`` without options of ours.
    """

    url: str
    host: str
    port: int
    user: str
    dbname: str

    @classmethod
    def at(cls, url: str) -> PostgresServer:
        parts = conninfo_to_dict(url)
        return cls(
            url=url,
            host=str(parts.get("host") or "localhost"),
            port=int(parts.get("port") or 5432),
            user=str(parts.get("user") or "postgres"),
            dbname=str(parts.get("dbname") or parts.get("user") or "postgres"),
        )

    def connect(self, **parameters: Any) -> Connection:
        """A plain psycopg connection in autocommit mode; close it."""
        return psycopg.connect(self.url, **{"autocommit": True, **parameters})


@dataclass(frozen=True, kw_only=True)
class PostgresSchema(PostgresServer):
    """An empty schema of a test's own.

    Attributes:
        schema: Its name, which needs no quotes.
        store_url: What an application is opened with to keep everything there.
    """

    schema: str

    @property
    def store_url(self) -> str:
        return store_url(self.url, self.schema)


def store_url(url: str, schema: str, **options: str) -> str:
    """A store's URL: that of the server with options of ours."""
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}{urlencode({'schema': schema, **options})}"


def pytest_configure(config: pytest.Config) -> None:
    """Choose where the run's server is going to be, for this process and those it starts."""
    given: dict[str, str] | None = getattr(config, "workerinput", None)
    folder = given["postgres_folder"] if given else tempfile.mkdtemp(prefix="eventcore-postgres-")
    config.stash[_FOLDER] = Path(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the server is going to be."""
    node.workerinput["postgres_folder"] = str(node.config.stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server if this process began the run; also after Ctrl-C."""
    folder = config.stash.get(_FOLDER, None)
    if folder is None or hasattr(config, "workerinput"):
        return
    remove(folder)


def _url_of_the_run(folder: Path, controller_pid: int) -> str:
    """Start the run's server, if no other process of the run did, and say where it is."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = folder / "running"
        if not running.exists():
            cluster = Cluster(folder, controller_pid)
            cluster.start()
            running.write_text(cluster.url)
        return running.read_text()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """The run's server. Tests leave nothing behind on it, and never restart it."""
    url = os.environ.get(backends.POSTGRES_URL)
    config = request.config
    try:
        if url is None:
            is_worker = hasattr(config, "workerinput")
            url = _url_of_the_run(config.stash[_FOLDER], os.getppid() if is_worker else os.getpid())
        psycopg.connect(url, connect_timeout=10).close()
    except (NoPostgresError, psycopg.OperationalError) as error:
        backends.require("postgres", str(error))
    return PostgresServer.at(url)


@pytest.fixture
def postgres_schema(postgres_server: PostgresServer) -> Iterator[PostgresSchema]:
    """An empty schema on the run's server, dropped after the test."""
    server = postgres_server
    name = f"test_{uuid.uuid4().hex[:16]}"
    identifier = sql.Identifier(name)
    with server.connect() as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(identifier))
    try:
        yield PostgresSchema(**vars(server), schema=name)
    finally:
        with server.connect(options=f"-c lock_timeout={DROP_TIMEOUT}") as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(identifier))


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """An empty database on the run's server, for tests that look at all of one; dropped after."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    identifier = sql.Identifier(name)
    with postgres_server.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    try:
        url = urlsplit(postgres_server.url)._replace(path=f"/{name}").geturl()
        yield PostgresServer.at(url)
    finally:
        with postgres_server.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@pytest.fixture
def own_postgres() -> Iterator[Callable[..., Cluster]]:
    """``own_postgres(standby_of=None, **settings)``: a running server to kill and restart."""
    folders: list[Path] = []

    def begin(standby_of: Cluster | None = None, **settings: str) -> Cluster:
        # Not below tmp_path, which only its owner may enter.
        folders.append(Path(tempfile.mkdtemp(prefix="eventcore-postgres-own-")))
        try:
            cluster = Cluster(folders[-1], os.getpid(), standby_of, **settings)
            cluster.start()
        except NoPostgresError as error:
            backends.require("postgres", str(error))
        return cluster

    yield begin
    for folder in folders:
        remove(folder)


@pytest.fixture
def dropping_proxy() -> Iterator[Callable[[PostgresServer | Cluster], DroppingProxy]]:
    """``dropping_proxy(server)``: a way to the server that loses connections when told to."""
    proxies: list[DroppingProxy] = []

    def begin(server: PostgresServer | Cluster) -> DroppingProxy:
        proxies.append(DroppingProxy(server.url))
        return proxies[-1]

    yield begin
    for proxy in proxies:
        proxy.close()
