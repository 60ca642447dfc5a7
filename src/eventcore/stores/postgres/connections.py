"""Connections to one schema of a Postgres database, and the server's errors in our own words."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, NoReturn

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from eventcore.errors import (
    ConfigurationError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from eventcore.stores.postgres.arrays import register
from eventcore.stores.signals import Slots

POOL_SIZE_MAX: Final = 10
"""Connections one process opens at most for reading and for read models; the log's writer and the
listener have one each besides."""

POOL_TIMEOUT_SECONDS: Final = 30.0
"""How long a caller waits for a connection that others are using."""

CONNECT_TIMEOUT_SECONDS: Final = 10
"""How long to wait for the server to answer, unless the URL says ``connect_timeout``."""

RETRY_SECONDS: Final = 15.0
"""How long reading, or an append, goes on trying to reach a server that went away: a restart or a
failover usually takes less."""

RETRY_PAUSE_SECONDS: Final = 0.1
"""Pause between two attempts to reach it."""

SERVER_VERSION_MIN: Final = 13_00_00
"""Postgres 13 (2020), as ``server_version_num`` spells it."""

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresConnections:
    """Hands out connections to a Postgres server, all of them in autocommit mode.

    Nothing depends on the state of a session (``search_path``, settings, advisory locks), so a
    proxy that shares sessions between transactions may lie in between. It is noticed: statements
    are then not prepared, and no session is changed, since it may be somebody else's next.

    Connections do not survive a ``fork``: in the child, everything but :meth:`close` is refused.

    Args:
        conninfo: A ``postgresql://`` URL or a libpq connection string.
        schema: Where the tables are; named in every statement, whatever the ``search_path``.
        prepare: Use prepared statements, and settings of the session, where no proxy is noticed.
        pool_size_max: Connections opened at most.

    Attributes:
        prepare: Whether statements are prepared and sessions may be changed.
        opened: Another number after each connection that was opened, perhaps to another server.
        is_pooled: A proxy was noticed that may give each transaction another session.

    Raises:
        ConfigurationError: The connection string is not understood, the database or role does not
            exist or may not be used, or the server is too old.
        StoreUnavailableError: The server cannot be reached, or is a replica.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str = "public",
        prepare: bool = True,
        pool_size_max: int = POOL_SIZE_MAX,
    ) -> None:
        if "%" in schema:
            # It would be taken for a parameter's place wherever the name is part of a statement.
            raise ConfigurationError(message=f"A schema's name has no %, as {schema!r} has")
        self.schema = schema
        self.prepare = prepare
        self.is_pooled = False
        self.conninfo, self.name = _described(conninfo, schema)
        self._closed = threading.Event()
        self._process = os.getpid()
        self._numbers = count(1)
        self.opened = 0
        self._free = Slots(pool_size_max)
        self._idle: deque[Connection] = deque()
        self._joined = threading.local()
        with self.using() as connection:
            version = connection.info.server_version
            self._encoding = connection.info.parameter_status("server_encoding")
        if version < SERVER_VERSION_MIN:
            raise ConfigurationError(
                message=f"{self.name} is version {version // 10_000}, "
                f"{SERVER_VERSION_MIN // 10_000} or later is needed"
            )

    def check_encoding(self) -> None:
        """Refuse a database that cannot hold every text.

        One name of a stream that it cannot hold would stop every reader and writer that meets it.

        Raises:
            ConfigurationError: Which encoding it has, and which it needs.
        """
        # SQL_ASCII keeps bytes as they are, and ours are UTF-8.
        if self._encoding not in {"UTF8", "SQL_ASCII"}:
            raise ConfigurationError(
                message=f"{self.name} keeps text as {self._encoding}, which has not every "
                "character: use a database with ENCODING 'UTF8'"
            )

    def connect(self) -> Connection:
        """A connection of the caller's own, outside the pool; close it."""
        self.opened = next(self._numbers)
        connection = psycopg.connect(
            self.conninfo, autocommit=True, prepare_threshold=0 if self.prepare else None
        )
        try:
            register(connection)
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            self._introduce(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _introduce(self, connection: Connection) -> None:
        """Find out whether the session is this connection's own, and prepare it if it is."""
        # A role or a database may have another isolation by default, which single statements would
        # run in: readers would fail for the sake of writers they have nothing to do with.
        row = connection.execute(
            b"SELECT pg_catalog.pg_backend_pid(), CASE WHEN pg_catalog.pg_backend_pid() = %s AND %s"
            b" THEN pg_catalog.set_config('default_transaction_isolation', 'read committed', false)"
            b" END",
            (connection.info.backend_pid, self.prepare),
            prepare=False,
        ).fetchone()
        # A proxy makes a number up, since the session is another one each time.
        if row is not None and row[0] != connection.info.backend_pid:
            self.is_pooled = True
            self.prepare = False
            connection.prepare_threshold = None

    def formatted(self, statements: Mapping[str, str]) -> dict[str, bytes]:
        """Statements with this schema in place of ``{schema}``, by name."""
        schema = sql.Identifier(self.schema)
        return {
            # The text is that of a packaged file, not of a user.
            name: sql.SQL(text).format(schema=schema).as_bytes()
            for name, text in statements.items()
        }

    @contextmanager
    def using(self) -> Iterator[Connection]:
        """A connection in autocommit mode: each statement is a transaction.

        Raises:
            StoreUnavailableError: None was free in time, or the server went away.
            StoreClosedError: They are closed.
        """
        self.check_usable()
        if (joined := self._joined_connection) is not None:
            with self.translating_errors():
                yield joined
            return
        if not self._free.take(POOL_TIMEOUT_SECONDS):
            raise StoreUnavailableError(
                store=self.name,
                problem=f"no connection of this process's pool was free for "
                f"{POOL_TIMEOUT_SECONDS:.0f} s: raise pool= in the URL, or use fewer threads",
            )
        connection: Connection | None = None
        try:
            # A new one is opened in the caller's own thread: what is wrong is said at once.
            connection = self._pop_idle() or self.connect()
            yield connection
        except psycopg.Error as error:
            self.raise_translated(error)
        finally:
            self._give_back(connection)
            self._free.give_back()

    @contextmanager
    def joining(self, connection: Connection) -> Iterator[None]:
        """Let everything that this thread does here be part of a transaction that is open.

        What it then begins as a transaction is a savepoint of that one, and what it reads has what
        that one wrote.

        Args:
            connection: Inside the transaction.
        """
        before = self._joined_connection
        self._joined.connection = connection
        try:
            yield
        finally:
            self._joined.connection = before

    @property
    def is_joined(self) -> bool:
        """Whether this thread is inside :meth:`joining`."""
        return self._joined_connection is not None

    @property
    def _joined_connection(self) -> Connection | None:
        return getattr(self._joined, "connection", None)

    def _pop_idle(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if _is_quiet(connection):
                return connection
            connection.close()

    def _give_back(self, connection: Connection | None) -> None:
        if connection is None:
            return
        if self._closed.is_set() or (
            connection.info.transaction_status is not TransactionStatus.IDLE
        ):
            # Broken, or left inside something by an interrupt: what it did is rolled back.
            connection.close()
        else:
            self._idle.append(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection inside a transaction: committed when the block ends well, else rolled back.

        READ COMMITTED, whatever the server's default: each statement sees what is committed.

        Raises:
            StoreUnavailableError: As :meth:`using`; if it comes from the end of the block, whether
                it was committed is unknown.
        """
        with self.using() as connection, connection.transaction():
            yield connection

    def fetch(
        self,
        statement: bytes,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        prepare: bool | None = False,
        retry_seconds: float = RETRY_SECONDS,
    ) -> list[tuple[Any, ...]]:
        """Read all rows of one statement that changes nothing, in binary form.

        A server that went away is looked for again for ``retry_seconds``. The statement is
        planned anew each time: a prepared one would keep a plan for the table sizes of its
        beginning, such as reading a whole table, until the next ANALYZE.

        Raises:
            StoreUnavailableError: It did not come back.
        """
        deadline = None
        while True:
            try:
                with self.using() as connection, connection.cursor(binary=True) as cursor:
                    return cursor.execute(statement, parameters, prepare=prepare).fetchall()
            except StoreUnavailableError as error:
                deadline = self.retry(error, deadline, seconds=retry_seconds)

    def retry(
        self, error: Exception, deadline: float | None, *, seconds: float = RETRY_SECONDS
    ) -> float:
        """Prepare for repeating something that failed because the server went away.

        Args:
            error: What was raised.
            deadline: What this gave the time before; None at first.
            seconds: How long to go on at most.

        Returns: The deadline, to hand in the next time.

        Raises:
            Exception: The error itself, if repeating would not help or the time is over.
            StoreClosedError: Closed meanwhile.
        """
        cause = error if isinstance(error, psycopg.Error) else error.__cause__
        if self.is_joined or not (is_lost(cause) or isinstance(cause, _REPEATABLE)):
            raise error
        now = time.monotonic()
        deadline = deadline or now + seconds
        if now >= deadline:
            raise error
        self.revive(RETRY_PAUSE_SECONDS)
        return deadline

    def revive(self, pause_seconds: float) -> None:
        """Throw away the pool's connections, after a pause that ``close`` ends."""
        self._drop_idle()
        if self._closed.wait(pause_seconds):
            raise StoreClosedError(store=self.name)

    @contextmanager
    def translating_errors(self) -> Iterator[None]:
        """Raise what the server reports in words of this library; conflicts of keys pass through.

        Values never appear: of the server's message only the first line is kept, which names
        tables, columns and constraints; the values are in its detail.
        """
        try:
            yield
        except psycopg.Error as error:
            self.raise_translated(error)

    def raise_translated(self, error: psycopg.Error) -> NoReturn:
        """See :meth:`translating_errors`."""
        problem = describe(error)
        match error:
            case psycopg.IntegrityError():
                raise error
            case psycopg.OperationalError() if error.sqlstate in _MISCONFIGURED or (
                error.sqlstate is None and any(text in str(error) for text in _REFUSALS)
            ):
                raise ConfigurationError(
                    message=f"{self.name} cannot be used: {problem}"
                ) from error
            case psycopg.OperationalError() | psycopg.InterfaceError():
                raise StoreUnavailableError(store=self.name, problem=problem) from error
            case psycopg.ProgrammingError() | psycopg.NotSupportedError():
                raise ConfigurationError(
                    message=f"{self.name} cannot be used: {problem}"
                ) from error
            case _:
                raise StoreError(store=self.name, problem=problem) from error

    def stop(self) -> None:
        """Refuse every further use; whoever waits for a server to come back is refused promptly."""
        self._closed.set()

    def close(self) -> None:
        """Close every connection, those in use when they come back. Closing twice is fine."""
        if os.getpid() != self._process:
            return  # The connections are the parent's.
        self.stop()
        self._drop_idle()

    def _drop_idle(self) -> None:
        while (connection := self._pop_idle()) is not None:
            connection.close()

    @property
    def closed(self) -> threading.Event:
        """Set once these are closed."""
        return self._closed

    def check_usable(self) -> None:
        """Refuse a use after ``close()`` or a fork.

        Raises:
            StoreClosedError: Closed.
            StoreError: Opened before a fork.
        """
        if os.getpid() != self._process:
            raise StoreError(
                store=self.name, problem="opened before a fork; open it again in the child process"
            )
        if self._closed.is_set():
            raise StoreClosedError(store=self.name)


_REPEATABLE: Final = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
"""Nothing was done and nothing is wrong; also where a session may not be changed."""

_MISCONFIGURED: Final = frozenset({"3D000", "28000", "28P01"})
"""No such database; no such role; wrong password (PostgreSQL manual, "Error Codes")."""

# libpq reports what fails before a session exists without a code.
_REFUSALS: Final = (
    'role "',
    'database "',
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
)


def is_lost(error: BaseException | None) -> bool:
    """Whether an error means that the server, or the way to it, went away, or only is busy."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    state = error.sqlstate
    # Class 08: connection; 57P: shut down, crashed, starting up. Without a code: libpq's own words.
    return state is None or state.startswith(("08", "57P")) or state == "25006"


def _is_quiet(connection: Connection) -> bool:
    """Whether an idle connection is as it was left: a server says something only as it hangs up."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)


def describe(error: BaseException) -> str:
    """The first line of an error's message, without values."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


_PRIMARY: Final = ("primary", "read-write")
"""Values of ``target_session_attrs`` that no replica meets."""


def _described(conninfo: str, schema: str) -> tuple[str, str]:
    try:
        parameters = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        # Its message would repeat the string, password and all.
        raise ConfigurationError(
            message="The Postgres URL is not understood; its form is "
            "postgresql://user:password@host:5432/database?schema=public"
        ) from None
    wanted = parameters.get("target_session_attrs", "primary")
    if wanted not in _PRIMARY:
        raise ConfigurationError(
            message=f"target_session_attrs={wanted} may lead to a replica, which does not show the "
            "locks of writers: followers could skip events. Leave it out; of several hosts the "
            "primary is found"
        )
    defaults: dict[str, Any] = {
        "application_name": "eventcore",
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        # Locks of writers are seen on the primary only; after a failover this finds the new one.
        "target_session_attrs": "primary",
    }
    chosen = {name: value for name, value in defaults.items() if name not in parameters}
    # Names and texts are sent as UTF-8, whatever the database keeps them in.
    chosen["client_encoding"] = "UTF8"
    host = parameters.get("host") or parameters.get("hostaddr") or "local"
    database = parameters.get("dbname") or parameters.get("user") or ""
    port = parameters.get("port") or 5432
    name = f"Postgres {host}:{port}/{database}, schema {schema}"
    return make_conninfo(conninfo, **chosen), name
