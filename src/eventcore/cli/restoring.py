"""Restoring a backup into scratch: a copied SQLite file, a database of its own on Postgres."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from eventcore.errors import ConfigurationError, InputError
from eventcore.settings import parse_store_url, without_creating

SQLITE_MAGIC: Final = b"SQLite format 3\0"
DUMP_MAGIC: Final = b"PGDMP"
"""How a file begins that ``pg_dump --format=custom`` wrote."""

_OPTIONS: Final = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}
"""What the client programs are told by their environment: arguments are seen by every user."""


@contextmanager
def restored(backup: str, scratch: str | None) -> Iterator[str]:
    """Restore a backup; gives the URL of the log in it. Everything is gone afterwards.

    Args:
        backup: A SQLite file, a file of ``pg_dump``, or the URL of a store that was restored.
        scratch: For a file of ``pg_dump``: URL of a database that is made for it.

    Raises:
        InputError: The file is missing or no backup.
        ConfigurationError: A scratch database is not named, or is there already.
    """
    if "://" in backup and parse_store_url(backup).scheme != "sqlite":
        yield without_creating(backup)
        return
    path = Path(parse_store_url(backup).path if "://" in backup else backup)
    begins = _beginning(path)
    if begins.startswith(SQLITE_MAGIC):
        with TemporaryDirectory(prefix="eventcore-backup-") as folder:
            yield _copied(path, Path(folder))
        return
    if scratch is None:
        raise ConfigurationError(
            message=f"{backup} is taken for a file of pg_dump: name a database to restore it into, "
            "which is made for it and dropped again, with --scratch postgresql://host/NAME"
        )
    with _database(scratch) as conninfo:
        _restore_dump(path, conninfo, custom=begins.startswith(DUMP_MAGIC))
        yield without_creating(scratch)


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_MAGIC))
    except OSError as error:
        raise InputError(name=str(path), problem=error.strerror or str(error)) from error


def _copied(path: Path, folder: Path) -> str:
    """The file and what SQLite keeps beside it: to open a backup itself would change it."""
    target = folder / "backup.db"
    shutil.copyfile(path, target)
    beside = path.with_name(f"{path.name}-wal")
    if beside.exists():
        shutil.copyfile(beside, folder / "backup.db-wal")
    return f"sqlite:///{target}?create=no"


@contextmanager
def _database(url: str) -> Iterator[dict[str, Any]]:
    """A database of its own on a server, dropped afterwards."""
    location = parse_store_url(url)
    if location.scheme != "postgresql":
        raise ConfigurationError(message="--scratch names a database of a Postgres server")
    import psycopg  # noqa: PLC0415 - only for a backup of Postgres
    from psycopg import sql  # noqa: PLC0415 - likewise
    from psycopg.conninfo import conninfo_to_dict, make_conninfo  # noqa: PLC0415 - likewise

    parts = conninfo_to_dict(location.conninfo)
    name = parts.get("dbname")
    if not name:
        raise ConfigurationError(message="--scratch names no database: postgresql://host/NAME")
    identifier = sql.Identifier(str(name))
    try:
        server = psycopg.connect(
            make_conninfo(location.conninfo, dbname="postgres"), autocommit=True
        )
    except psycopg.OperationalError as error:
        problem = f"the server of --scratch cannot be reached: {str(error).splitlines()[0]}"
        raise ConfigurationError(message=problem) from error
    with server:
        try:
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
        except psycopg.errors.DuplicateDatabase as error:
            raise ConfigurationError(
                message=f"The database {name} is there already, and might be needed: "
                "name one that is not, it is dropped afterwards"
            ) from error
        try:
            yield dict(parts)
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def _restore_dump(path: Path, parts: dict[str, Any], *, custom: bool) -> None:
    database = f"--dbname={parts['dbname']}"
    if custom:
        quiet = ["--no-owner", "--no-privileges", "--exit-on-error"]
        _run("pg_restore", parts, [*quiet, database, str(path)])
    else:
        quiet = ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
        _run("psql", parts, [*quiet, database, f"--file={path}"])


def _run(program: str, parts: dict[str, Any], arguments: list[str]) -> None:
    found = shutil.which(program)
    if found is None:
        raise ConfigurationError(
            message=f"{program} is not found: install the client programs of Postgres"
        )
    told = {_OPTIONS[name]: str(value) for name, value in parts.items() if name in _OPTIONS}
    done = subprocess.run(  # noqa: S603 - no shell; the program is the one of that name
        [found, *arguments],
        env=os.environ | told,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        problem = done.stderr.strip().splitlines()
        raise InputError(
            name=arguments[-1].removeprefix("--file="),
            problem=f"{program} cannot restore it: {problem[0] if problem else done.returncode}",
        )
