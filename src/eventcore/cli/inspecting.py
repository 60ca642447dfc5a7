"""What an SQLite file holds, what this version of eventcore expects in it, and the difference."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from eventcore.cli.readmodels import all_projections
from eventcore.errors import ConfigurationError, StoreUnavailableError
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.stores.statements import load_statements

SQL: Final = load_statements("eventcore.cli", "sql/inspect.sql")

TRIMS_TABLE: Final = "eventcore_log_trims"
"""Is in a file whose log was trimmed."""

_COMMENT = re.compile(r"--[^\n]*")
_SPACE = re.compile(r"\s+")


class SchemaObject(NamedTuple):
    """A table, index, trigger or view.

    Attributes:
        kind: ``table``, ``index``, ``trigger`` or ``view``.
        name: Its name.
        table: The table it belongs to.
        sql: The statement that creates it.
    """

    kind: str
    name: str
    table: str
    sql: str


class Difference(NamedTuple):
    """Something that is not as expected.

    Attributes:
        expected: What should be there.
        present: What is there under its name; None if nothing is.
    """

    expected: SchemaObject
    present: SchemaObject | None

    @property
    def problem(self) -> str:
        """In words."""
        kind, name = self.expected.kind, self.expected.name
        if self.present is None:
            return f"{kind} {name} is missing"
        return f"{kind} {name} differs from what this version of eventcore creates"


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that can change nothing, to a file that exists.

    Raises:
        StoreUnavailableError: The file is missing or cannot be read.
        ConfigurationError: It is no SQLite database.
    """
    name = f"SQLite file {path}"
    if not path.is_file():
        raise StoreUnavailableError(store=name, problem="there is no such file")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        raise StoreUnavailableError(store=name, problem=str(error)) from error
    except sqlite3.DatabaseError as error:
        raise ConfigurationError(message=f"{name} cannot be used: {error}") from error


def present_objects(path: Path) -> dict[str, SchemaObject]:
    """What a file holds, by name, in the order it was created; nothing if the file is absent."""
    if not path.exists():
        return {}
    with opened(path) as connection:
        rows = connection.execute(SQL["select_objects"]).fetchall()
    return {row[1]: SchemaObject(*row) for row in rows}


def create_objects(path: Path, objects: Sequence[SchemaObject]) -> None:
    """Create what is missing in a file that exists, all of it or nothing.

    Raises:
        StoreUnavailableError: The file cannot be written.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for wanted in objects:
                connection.execute(wanted.sql)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreUnavailableError(store=f"SQLite file {path}", problem=str(error)) from error


def expected_objects(*, log: bool, views: bool, trimmed: bool = False) -> dict[str, SchemaObject]:
    """What this version creates in an empty file: found out by letting it.

    Args:
        log: A log is in it.
        views: Read models are in it.
        trimmed: Events of the log were moved to an archive, through what that adds to it.
    """
    with tempfile.TemporaryDirectory(prefix="eventcore-") as folder:
        path = Path(folder) / "expected.db"
        if log:
            log_in_file = SQLiteLog(path, synchronous="NORMAL")
            if trimmed:
                log_in_file.trim([], archive="")
            log_in_file.close()
        if views:
            with closing(SQLiteViews(path)) as kept:
                for projection in all_projections():
                    kept.ensure(projection)
        return present_objects(path)


def differences(
    expected: Mapping[str, SchemaObject], present: Mapping[str, SchemaObject]
) -> list[Difference]:
    """Where a file is not as expected; other objects in it are nobody's concern.

    An index may have any name: those of rows that a rebuild made are named after their generation,
    and those of the rows it replaced keep the names.
    """
    indexes = {_index_of(one) for one in present.values() if one.kind == "index"}
    found = []
    for name, wanted in expected.items():
        there = present.get(name)
        if wanted.kind == "index":
            if _index_of(wanted) in indexes:
                continue
            there = there if there is not None and there.table == wanted.table else None
        if there is None or _plain(there.sql) != _plain(wanted.sql):
            found.append(Difference(wanted, there))
    return found


def _index_of(index: SchemaObject) -> tuple[str, str]:
    """What an index is, without its name."""
    return index.table, _plain(index.sql).replace(f'"{index.name}"', "", 1).replace(
        f" {index.name} ", "  ", 1
    )


def _plain(sql: str) -> str:
    """The statement without what a database keeps and does not mean."""
    return _SPACE.sub(" ", _COMMENT.sub("", sql)).replace("( ", "(").replace(" )", ")").strip()
