"""Opening: the log that a URL names, and the database of read models at one or beside the log.

What a backend needs is imported only when a URL names it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

from eventcore.errors import ConfigurationError, MissingExtraError
from eventcore.events.codec import Codec
from eventcore.settings import Settings, StoreLocation, parse_store_url, without_creating
from eventcore.stores.log import Log, store_of

if TYPE_CHECKING:
    from eventcore.lake.reading import Archive
    from eventcore.projections.views import Views
    from eventcore.replay.shards import ShardSource
    from eventcore.stores.postgres.connections import PostgresConnections


def open_log(url: str, codec: Codec | None = None, *, archive: str | None = None) -> Log:
    """Open a log alone, without an application around it. Close it after use.

    Args:
        url: See :func:`eventcore.settings.parse_store_url`.
        codec: Reads the events that the log hands out.
        archive: Folder or ``s3://`` URL of the log's archive: what was trimmed is read from there.

    Raises:
        ConfigurationError: The URL is not understood, or the file is no such log.
        StoreUnavailableError: The log cannot be opened.
        ArchiveDamagedError: The archive is not whole.
    """
    if archive is None:
        return _open_store(url, codec)
    from eventcore.lake.reading import open_archive  # noqa: PLC0415 - only what is used
    from eventcore.lake.stitching import ArchivedLog  # noqa: PLC0415 - likewise

    found = open_archive(archive)
    log = _open_store(url, codec)
    try:
        return ArchivedLog(found, log)
    except BaseException:
        log.close()
        raise


def _open_store(url: str, codec: Codec | None) -> Log:
    location = parse_store_url(url)
    if location.scheme == "memory":
        from eventcore.stores.memory.log import MemoryLog  # noqa: PLC0415 - only what is used

        return MemoryLog(codec)
    if location.scheme == "postgresql":
        _require("psycopg", feature="postgresql://", extra="postgres")
        from eventcore.stores.postgres.log import PostgresLog  # noqa: PLC0415 - likewise

        connections = _postgres_connections(location)
        return PostgresLog(connections, codec, create=location.create, notify=location.notify)
    if location.scheme == "dynamodb":
        return _dynamodb_log(location, codec)
    # Importing it takes as long as all the rest, and not every application uses it.
    from eventcore.stores.sqlite.log import SQLiteLog  # noqa: PLC0415

    return SQLiteLog(location.path, codec, synchronous=location.synchronous, create=location.create)


def _dynamodb_log(location: StoreLocation, codec: Codec | None) -> Log:
    _require("boto3", feature="dynamodb://", extra="dynamodb")
    from eventcore.stores.dynamodb.client import open_calls  # noqa: PLC0415 - only what is used
    from eventcore.stores.dynamodb.log import DynamoDBLog  # noqa: PLC0415 - likewise

    calls = open_calls(location.table, region=location.region, endpoint_url=location.endpoint_url)
    return DynamoDBLog(calls, location.table, codec, prefix=location.prefix, create=location.create)


def open_views(  # noqa: PLR0913 - each backend has its own
    url: str | None,
    log: Log,
    *,
    create: bool = True,
    notify: bool = True,
    ttl: bool = True,
    clock: Callable[[], datetime] | None = None,
) -> Views:
    """Open the database of read models. Close it after use.

    Args:
        url: See :func:`eventcore.settings.parse_store_url`; None: the log's own database.
        log: The log they are made from.
        create: Without a URL: create missing tables, else refuse. A URL says so itself.
        notify: Without a URL: wake other processes by NOTIFY, on Postgres. A URL says so itself.
        ttl: Without a URL: rows in DynamoDB expire.
        clock: Gives the time, aware; by default the system's. In DynamoDB, rows expire by it.

    Raises:
        ConfigurationError: The URL is not understood, or the file is no database.
        SchemaMismatchError: It holds no read models, and they are not to be created.
        StoreUnavailableError: It cannot be opened.
    """
    log = store_of(log)
    from eventcore.projections.memory import MemoryViews  # noqa: PLC0415 - only what is used
    from eventcore.stores.memory.log import MemoryLog  # noqa: PLC0415 - likewise

    scheme = None if url is None else parse_store_url(url).scheme
    if scheme == "memory" or (scheme is None and isinstance(log, MemoryLog)):
        return MemoryViews()
    if (postgres := _postgres_views(url, log, create=create, notify=notify)) is not None:
        return postgres
    beside = StoreLocation("dynamodb", create=create, ttl=ttl)
    dynamodb = _dynamodb_views(url, log, beside, clock=clock or system_clock)
    if dynamodb is not None:
        return dynamodb
    from eventcore.projections.sqlite import SQLiteViews  # noqa: PLC0415 - likewise
    from eventcore.stores.sqlite.log import SQLiteLog  # noqa: PLC0415 - likewise

    if url is not None:
        location = parse_store_url(url)
        return SQLiteViews(location.path, create=location.create, synchronous=location.synchronous)
    if isinstance(log, SQLiteLog):
        # The same connections: a page of rows and an append never wait for each other's file lock.
        return SQLiteViews(log.connections, create=create)
    raise ConfigurationError(
        message=f"A {type(log).__name__} holds no read models: name their database with views=URL"
    )


@contextmanager
def views_at(
    into: str | Views, log: Log, *, clock: Callable[[], datetime] | None = None
) -> Iterator[Views]:
    """Views at a URL, closed after the block; or such as are open already, and stay so.

    Args:
        into: Which.
        log: See :func:`open_views`, as is the clock.
        clock: Likewise.
    """
    if not isinstance(into, str):
        yield into
        return
    with closing(open_views(into, log, clock=clock)) as views:
        yield views


def _postgres_views(url: str | None, log: Log, *, create: bool, notify: bool) -> Views | None:
    """Views on Postgres, if that is where they are."""
    location = None if url is None else parse_store_url(url)
    if location is not None and location.scheme != "postgresql":
        return None
    # Importing it costs as much as all the rest; a log of it exists only where that was done.
    if location is None and "eventcore.stores.postgres.log" not in sys.modules:
        return None
    _require("psycopg", feature="postgresql://", extra="postgres")
    from eventcore.projections.postgres import PostgresViews  # noqa: PLC0415 - only what is used
    from eventcore.stores.postgres.log import PostgresLog  # noqa: PLC0415 - likewise

    if location is not None:
        return PostgresViews(
            _postgres_connections(location),
            create=location.create,
            notify=location.notify,
            owned=True,
        )
    if not isinstance(log, PostgresLog):
        return None
    return PostgresViews(log.connections, create=create, notify=notify)


def _postgres_connections(location: StoreLocation) -> PostgresConnections:
    from eventcore.stores.postgres.connections import (  # noqa: PLC0415 - only what is used
        PostgresConnections,
    )

    return PostgresConnections(
        location.conninfo,
        schema=location.schema,
        prepare=location.prepare,
        pool_size_max=location.pool,
    )


def _dynamodb_views(
    url: str | None, log: Log, beside: StoreLocation, *, clock: Callable[[], datetime]
) -> Views | None:
    """Views on DynamoDB, if that is where they are."""
    location = None if url is None else parse_store_url(url)
    if location is not None and location.scheme != "dynamodb":
        return None
    if location is None and "eventcore.stores.dynamodb.log" not in sys.modules:
        return None
    _require("boto3", feature="dynamodb://", extra="dynamodb")
    from eventcore.projections.dynamodb import DynamoDBViews  # noqa: PLC0415 - only what is used
    from eventcore.stores.dynamodb.client import open_calls  # noqa: PLC0415 - likewise
    from eventcore.stores.dynamodb.log import DynamoDBLog  # noqa: PLC0415 - likewise

    if location is not None:
        calls = open_calls(
            location.table, region=location.region, endpoint_url=location.endpoint_url
        )
        return DynamoDBViews(
            calls,
            prefix=location.view_tables,
            create=location.create,
            with_ttl=location.ttl,
            clock=clock,
            owns_calls=True,
        )
    if isinstance(log, DynamoDBLog):
        beside = beside._replace(table=log.keys.table, prefix=log.keys.prefix)
        return DynamoDBViews(
            log.calls,
            prefix=beside.view_tables,
            create=beside.create,
            with_ttl=beside.ttl,
            clock=clock,
        )
    return None


def _require(package: str, *, feature: str, extra: str) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(feature=feature, package=package, extra=extra)


def system_clock() -> datetime:
    """The time, aware UTC, for whoever brings no clock."""
    return datetime.now(UTC)  # noqa: TID251 - read models are opened without an application too


def shard_source(settings: Settings, codec: Codec) -> ShardSource | None:
    """The events of a log in shards, for replays in other processes; None: it is in memory.

    Args:
        settings: Name the log, and perhaps its archive: its shards are read from there, as far as
            it goes.
        codec: Reads the events.
    """
    url, archive = settings.store, settings.archive
    from eventcore.replay.sources import LogShards  # noqa: PLC0415 - only where used

    if parse_store_url(url).scheme == "memory":
        return None
    log = LogShards(open_log, without_creating(url), codec)
    if archive is None:
        return log
    from eventcore.lake.layout import shard_of  # noqa: PLC0415 - an extra
    from eventcore.lake.reading import open_archive, recorded_of  # noqa: PLC0415 - likewise
    from eventcore.replay.archives import ArchiveAccess, ArchiveShards  # noqa: PLC0415 - likewise

    shards = len(open_archive(archive).shards())
    if not shards:
        return log  # nothing is archived yet
    access = ArchiveAccess(open_archive, recorded_of, shard_of, _paths_of)
    return ArchiveShards(access, archive, shards, log=log)


def _paths_of(archive: Archive) -> tuple[str, ...] | None:
    """Paths of an archive's files; None if they are not on this machine."""
    from eventcore.lake.folders import LocalFolder  # noqa: PLC0415 - an extra

    folder = archive.folder
    if not isinstance(folder, LocalFolder):
        return None
    return tuple(str(folder.path / file.name) for file in archive.files())
