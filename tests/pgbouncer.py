"""A PgBouncer of the tests' own, in transaction mode: sessions are shared between transactions."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

START_SECONDS = 60.0
STOP_SECONDS = 10.0
POOL_SIZE = 4
"""Sessions with the server: fewer than clients, so that clients do get each other's."""

CONFIGURATION = """
[databases]
* = host={host} port={server_port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
logfile = {folder}/log
admin_users = postgres
"""


def find_pgbouncer() -> str | None:
    """The program, None if it is not installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


class PgBouncer:
    """Stands between clients and a server.

    Args:
        url: Of the server.

    Attributes:
        url: To hand to clients.
    """

    def __init__(self, url: str) -> None:
        program = find_pgbouncer()
        assert program is not None
        self._parts = conninfo_to_dict(url)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._folder = Path(tempfile.mkdtemp(prefix="eventcore-pgbouncer-"))
        self._file = self._folder / "pgbouncer.ini"
        self._configure(int(self._parts.get("port") or 5432))
        self._process = subprocess.Popen(
            [program, "-q", str(self._file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._account(),
        )
        self.url = (
            f"postgresql://{self._parts['user']}@127.0.0.1:{self._port}/{self._parts['dbname']}"
        )
        self._wait()

    def lead_to(self, port: int) -> None:
        """Lead every transaction from now on to another server; clients stay connected."""
        self._configure(port)
        with self._console() as console:
            console.execute("RELOAD")
            console.execute("RECONNECT")

    def _console(self) -> psycopg.Connection[Any]:
        # It knows the simple protocol only.
        return psycopg.connect(
            f"postgresql://postgres@127.0.0.1:{self._port}/pgbouncer",
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
        )

    def _configure(self, server_port: int) -> None:
        self._file.write_text(
            CONFIGURATION.format(
                host=self._parts["host"],
                user=self._parts["user"],
                server_port=server_port,
                port=self._port,
                pool_size=POOL_SIZE,
                folder=self._folder,
            )
        )

    def _account(self) -> dict[str, Any]:
        """It refuses to run as root."""
        if os.geteuid() != 0:
            return {}
        name = next(one for one in ("postgres", "nobody") if one in _accounts())
        entry = pwd.getpwnam(name)
        os.chown(self._folder, entry.pw_uid, entry.pw_gid)
        os.chown(self._file, entry.pw_uid, entry.pw_gid)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it; nothing of it is left."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _accounts() -> set[str]:
    return {entry.pw_name for entry in pwd.getpwall()}
