"""A Postgres server of a benchmark's own: default settings, every commit flushed to disk.

A server that others use at the same time measures them as well.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.postgres_cluster import Cluster, remove


@contextmanager
def server(**settings: Any) -> Iterator[str]:
    """A fresh server while the block runs; yields the URL of its database.

    Args:
        settings: Of ``postgresql.conf``, beside the defaults, e.g. ``commit_delay="1000"``.
    """
    folder = Path(tempfile.mkdtemp(prefix="eventcore-bench-"))
    try:
        cluster = Cluster(folder, os.getpid(), **settings)
        cluster.start()
        yield cluster.url
    finally:
        remove(folder)


def new_schema(url: str, name: str) -> str:
    """Make an empty schema and give its name back."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return name


def settle(url: str) -> None:
    """Write out what was loaded, so that no case pays for another's checkpoint."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def version(url: str) -> str:
    """The server's version, e.g. ``15.18``."""
    with psycopg.connect(url) as connection:
        row: Any = connection.execute("SHOW server_version").fetchone()
    return str(row[0]).split()[0]
