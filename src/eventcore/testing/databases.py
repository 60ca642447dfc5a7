"""Databases of read models to try a projection on: empty ones, that can be opened again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from typing_extensions import override

from eventcore.errors import ConfigurationError
from eventcore.projections.memory import MemoryViews
from eventcore.projections.projection import Projection
from eventcore.projections.shares import merge, reached
from eventcore.projections.views import Views
from eventcore.settings import without_password
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing.crashes import Fuse, FusedConnections, FusedViews


class Database(ABC):
    """One database, which outlasts the processes that use it."""

    @abstractmethod
    def open(self, fuse: Fuse | None = None) -> Views:
        """Open it as a process does that has just begun.

        Args:
            fuse: Lets it break down.
        """


class Store(ABC):
    """Where databases come from.

    Attributes:
        name: For messages.
    """

    name: str

    @abstractmethod
    def empty(self) -> AbstractContextManager[Database]:
        """A database without rows, until the block ends."""


class _OpenDatabase(Database):
    """One that stays open, since opening it again shows nothing: in memory, or on a server."""

    def __init__(self, views: Views) -> None:
        self._views = views

    @override
    def open(self, fuse: Fuse | None = None) -> Views:
        return self._views if fuse is None else cast("Views", FusedViews(self._views, fuse))


class MemoryStore(Store):
    """Databases in memory."""

    name = "memory"

    @override
    @contextmanager
    def empty(self) -> Iterator[Database]:
        views = MemoryViews()
        yield _OpenDatabase(views)
        views.close()


class _SQLiteDatabase(Database):
    def __init__(self, path: Path, opened: ExitStack) -> None:
        self._path = path
        self._opened = opened

    @override
    def open(self, fuse: Fuse | None = None) -> Views:
        # Importing it takes as long as all the rest, and not every test uses it.
        from eventcore.projections.sqlite import SQLiteViews  # noqa: PLC0415

        # Made first: a database breaks down later than that.
        views = SQLiteViews(self._path)
        self._opened.callback(views.close)
        if fuse is None:
            return views
        connections = FusedConnections(self._path, fuse)
        self._opened.callback(connections.close)
        return SQLiteViews(connections)


class SQLiteStore(Store):
    """Databases in files of a temporary folder."""

    name = "sqlite"

    @override
    @contextmanager
    def empty(self) -> Iterator[Database]:
        with TemporaryDirectory() as folder, ExitStack() as opened:
            yield _SQLiteDatabase(Path(folder) / "views.db", opened)


class NamedStore(Store):
    """A database that is there already.

    Args:
        url: See :func:`eventcore.settings.parse_store_url`.
        projection: Whose rows are made in it, and taken out again.

    Raises:
        ConfigurationError: It holds rows of the projection, which these tests would drop.
        StoreUnavailableError: It cannot be opened.
    """

    def __init__(self, url: str, projection: Projection) -> None:
        from eventcore.app import open_views  # noqa: PLC0415 - only what is used

        self.name = without_password(url)
        self._projection = projection
        self._views = open_views(url, MemoryLog())
        found = reached(self._views, projection.name)
        if found is not None and found.position > 0:
            self._views.close()
            raise ConfigurationError(
                message=f"{self.name} holds rows of projection {projection.name}, which a test "
                "would drop: name a database, or a schema, of its own"
            )

    @override
    @contextmanager
    def empty(self) -> Iterator[Database]:
        self._clear()
        try:
            yield _OpenDatabase(self._views)
        finally:
            self._clear()

    def _clear(self) -> None:
        self._views.reset(self._projection)
        # All shares are at the start.
        merge(self._views, self._projection)

    def close(self) -> None:
        """Close the database, in which nothing is left but empty tables."""
        self._views.close()
