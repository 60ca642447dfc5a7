"""Databases of read models that break down behind a chosen statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from typing_extensions import override

from eventcore.projections.views import Views
from eventcore.stores.sqlite.connections import SQLiteConnections

WORDS_MAX: Final = 60
"""Characters of a statement that a message shows."""


class CrashError(BaseException):
    """The process ended here, as far as the database can tell."""


class Fuse:
    """Counts statements, and breaks behind the chosen one. Does nothing unless it is set.

    Attributes:
        page: Number of the page at hand, for messages; the caller counts.
        burned: Statements since it was set.
        blown: Where it broke, in words; None if it did not.
    """

    def __init__(self) -> None:
        self.page = 0
        self.burned = 0
        self.blown: str | None = None
        self._chosen: int | None = None
        self._in_page = 0

    def set(self, statement: int) -> None:
        """Break behind the statement of this number, counted from 1 and from now."""
        self._chosen, self.burned = statement, 0

    def mend(self) -> None:
        """Do nothing from now on."""
        self._chosen, self.blown, self._in_page = None, None, 0

    def begin_page(self) -> None:
        """The statements from now on belong to the next page."""
        self.page += 1
        self._in_page = 0

    def burn(self, statement: str) -> None:
        """Note that a statement was done.

        Raises:
            CrashError: It was the chosen one, or one was before: nothing works after a crash.
        """
        if self._chosen is None:
            return
        self.burned += 1
        self._in_page += 1
        if self.burned >= self._chosen:
            if self.blown is None:
                lines = [line for line in statement.splitlines() if not line.startswith("--")]
                words = " ".join(" ".join(lines).split())
                if len(words) > WORDS_MAX:
                    words = f"{words[:WORDS_MAX]}…"
                self.blown = f"statement {self._in_page} of page {self.page} ({words})"
            raise CrashError


class _FusedConnection:
    """Passes on to a connection, counting statements and the rows of those that have many."""

    def __init__(self, connection: Any, fuse: Fuse) -> None:
        self._connection = connection
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: Any, *arguments: Any, **options: Any) -> Any:
        found = self._connection.execute(sql, *arguments, **options)
        self._fuse.burn(str(sql))
        return found

    def executemany(self, sql: Any, rows: Any) -> Any:
        def counted() -> Iterator[Any]:
            for row in rows:
                yield row
                self._fuse.burn(str(sql))

        return self._connection.executemany(sql, counted())


class FusedConnections(SQLiteConnections):
    """Connections to an SQLite file of which the writing one breaks down.

    Args:
        path: The file.
        fuse: Says when.
    """

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path, synchronous="NORMAL")
        self._fuse = fuse

    @override
    @contextmanager
    def writing(self) -> Iterator[Any]:
        with super().writing() as connection:
            yield _FusedConnection(connection, self._fuse)
            self._fuse.burn("the last before the commit")
        self._fuse.burn("the commit, of which nobody heard")


class FusedViews:
    """Read models in any database, which breaks down between the calls that it is given.

    Args:
        views: The database.
        fuse: Says when.
    """

    def __init__(self, views: Views, fuse: Fuse) -> None:
        self._views = views
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._views, name)

    def load_rows(self, table: Any, keys: Any) -> Any:
        """See :meth:`eventcore.projections.views.Views.load_rows`."""
        found = self._views.load_rows(table, keys)
        self._fuse.burn(f"load rows of {table.name}")
        return found

    def load_groups(self, table: Any, groups: Any) -> Any:
        """See :meth:`eventcore.projections.views.Views.load_groups`."""
        found = self._views.load_groups(table, groups)
        self._fuse.burn(f"load groups of {table.name}")
        return found

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """See :meth:`eventcore.projections.views.Views.transaction`."""
        with self._views.transaction() as transaction:
            self._fuse.burn("begin")
            yield _FusedTransaction(transaction, self._fuse)
            self._fuse.burn("the last before the commit")
        self._fuse.burn("the commit, of which nobody heard")


class _FusedTransaction:
    def __init__(self, transaction: Any, fuse: Fuse) -> None:
        self._transaction = transaction
        self._fuse = fuse

    @property
    def connection(self) -> Any:
        connection = self._transaction.connection
        return None if connection is None else _FusedConnection(connection, self._fuse)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._transaction, name)
        if not callable(method):
            return method

        def fused(*arguments: Any, **options: Any) -> Any:
            found = method(*arguments, **options)
            self._fuse.burn(name)
            return found

        return fused
