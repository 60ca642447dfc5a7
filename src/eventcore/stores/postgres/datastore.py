"""What the recorders of ``eventsourcing`` need of a Postgres database, without its traps.

The pool opens connections when they are needed, not all of them at once, and errors of our own
reader come out in the library's words.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from eventsourcing import persistence
from eventsourcing import postgres as base
from psycopg.conninfo import make_conninfo
from typing_extensions import override

from eventcore.errors import ConfigurationError, StoreClosedError, StoreError
from eventcore.stores.postgres.arrays import register
from eventcore.stores.postgres.connections import Connection, PostgresConnections
from eventcore.stores.postgres.wakeup import PostgresWakeup
from eventcore.stores.signals import LocalSignal

READING_CONNECTIONS_MAX: Final = 5
"""Connections for reading notifications, besides those of the pool."""


class _Connections(PostgresConnections):
    """Connections whose password may change from time to time."""

    def __init__(
        self, conninfo: str, *, schema: str, password: Callable[[], str] | None, size: int
    ) -> None:
        self._password = password
        super().__init__(conninfo, schema=schema, pool_size_max=size)

    @override
    def connect(self) -> Connection:
        if self._password is not None:
            self.conninfo = make_conninfo(self.conninfo, password=self._password())
        return super().connect()


class Defining(threading.local):
    """Whether this thread is making tables."""

    active = False


class PostgresDatastore(base.PostgresDatastore):
    """A Postgres database, as the recorders of this package use it.

    Args: As in the base library, with two differences: ``pool_size`` and ``max_overflow`` together
        are the most connections that are opened, none beforehand; ``enable_db_functions`` is taken
        and does nothing, because that function inserts without any lock and its readers lose
        events, and because all tables of a schema share it.
    """

    def __init__(  # noqa: PLR0917, PLR0913 - the base library's parameters
        self,
        dbname: str,
        host: str,
        port: str | int,
        user: str,
        password: str,
        *,
        pool_size: int = 1,
        max_overflow: int = 0,
        get_password_func: Callable[[], str] | None = None,
        enable_db_functions: bool = False,  # noqa: ARG002 - see above
        **options: Any,
    ) -> None:
        super().__init__(
            dbname,
            host,
            port,
            user,
            password,
            pool_size=0,
            max_overflow=max(1, pool_size + max_overflow),
            get_password_func=get_password_func,
            **options,
        )
        self._get_password = get_password_func
        self._conninfo = make_conninfo(
            dbname=dbname, host=host, port=port, user=user, password=password or None
        )
        self._reading: _Connections | None = None
        self._opening = threading.Lock()
        self._wakeups: list[PostgresWakeup] = []
        self._is_closed = False
        self.defining = Defining()
        self.is_pooled = False
        """Whether a proxy was noticed that may give each transaction another session."""
        self.tracked = LocalSignal()
        """Notified after every commit of a transaction here."""

    @classmethod
    def like(cls, other: base.PostgresDatastore) -> PostgresDatastore:
        """The same database as another datastore's, which was not used yet."""
        pool, options = other.pool, dict(other.pool.kwargs)  # type: ignore[arg-type]  # a dict there
        options.pop("row_factory")
        return cls(
            **options,
            connect_timeout=pool.timeout,
            idle_in_transaction_session_timeout=other.idle_in_transaction_session_timeout,
            pool_size=pool.min_size,
            max_overflow=pool.max_size - pool.min_size,
            max_waiting=pool.max_waiting,
            conn_max_age=pool.max_lifetime,
            pre_ping=other.pre_ping,
            lock_timeout=other.lock_timeout,
            schema=other.schema,
            get_password_func=pool.get_password_func,
            single_row_tracking=other.single_row_tracking,
            # In the environment any spelling is taken; in a statement it is a name.
            originator_id_type=other.originator_id_type.lower(),
        )

    @override
    def after_connect_func(self) -> Callable[[psycopg.Connection[Any]], None]:
        configure = super().after_connect_func()

        def after_connect(connection: psycopg.Connection[Any]) -> None:
            configure(connection)
            register(connection)
            row = connection.execute("SELECT pg_catalog.pg_backend_pid() AS pid").fetchone()
            if row is not None and row["pid"] != connection.info.backend_pid:
                self.is_pooled = True
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED

        return after_connect

    @override
    @contextmanager
    def transaction(self, *, commit: bool = False) -> Iterator[Any]:
        with super().transaction(commit=commit) as cursor:
            yield cursor
        if commit:
            self.announce()

    def announce(self) -> None:
        """Wake those who wait for a position to be recorded."""
        self.tracked.notify()

    @property
    def reading(self) -> PostgresConnections:
        """Connections for reading notifications; opened when first asked for.

        Raises:
            OperationalError: The server cannot be reached.
        """
        with self._opening, translating():
            if self._is_closed:
                raise persistence.InterfaceError("The datastore is closed")  # noqa: EM101
            if self._reading is None:
                self._reading = _Connections(
                    self._conninfo,
                    schema=self.schema,
                    password=self._get_password,
                    size=READING_CONNECTIONS_MAX,
                )
            return self._reading

    def wakeup(self, channel: str) -> PostgresWakeup:
        """Tells of commits that are announced on a channel of the base library."""
        wakeup = PostgresWakeup(self.reading, "", channel=channel)
        self._wakeups.append(wakeup)
        return wakeup

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._is_closed

    @override
    def close(self) -> None:
        self._is_closed = True
        for wakeup in getattr(self, "_wakeups", []):
            wakeup.close()
            wakeup.join(1.0)
        if getattr(self, "_reading", None) is not None:
            assert self._reading is not None
            self._reading.close()
        if hasattr(self, "tracked"):
            self.announce()
        super().close()


@contextmanager
def translating() -> Iterator[None]:
    """Raise our own errors, and the driver's, in the words of ``eventsourcing``."""
    try:
        yield
    except ConfigurationError as error:
        raise persistence.ProgrammingError(str(error)) from error
    except StoreClosedError as error:
        raise persistence.InterfaceError(str(error)) from error
    except StoreError as error:
        raise persistence.OperationalError(str(error)) from error
    except psycopg.Error as error:
        for cls in type(error).__mro__:
            match = getattr(persistence, cls.__name__, None)
            if isinstance(match, type) and issubclass(match, persistence.PersistenceError):
                raise match(str(error)) from error
        raise persistence.PersistenceError(str(error)) from error
