"""Transactions: what moves a read model forward, its rows and its checkpoint together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from eventcore.errors import CheckpointMovedError
from eventcore.projections.anchors import Anchor
from eventcore.projections.tables import AnyTable, Key, RowT, StoredRow, Table


class Checkpoint(NamedTuple):
    """How far a projection's rows are.

    Attributes:
        position: Every event up to it is applied, none above.
        version: The projection's version that made the rows.
        revision: Grows when rows change other than by events (rebuilt, expired): what a runner
            remembers of them is then out of date.
        anchor: The event it stands on, which tells this log from others; None if not known.
    """

    position: int
    version: int
    revision: int
    anchor: Anchor | None = None


class Renaming(NamedTuple):
    """A checkpoint and its tables that take another name.

    Attributes:
        projection: Name of the checkpoint now.
        before: What it is to be still: version and revision as here, the position at most this.
        becomes: Its name after.
        tables: All tables made for it, now and after; none of the new names is taken, unless by a
            table that is renamed in the same call before it.
    """

    projection: str
    before: Checkpoint
    becomes: str
    tables: Mapping[str, str]


class TableChanges(NamedTuple):
    """What one page changes in one table: stored rows to write, stored keys to delete."""

    table: AnyTable
    upserts: Sequence[StoredRow]
    deletes: Sequence[StoredRow]


class Transaction(Protocol):
    """Changes to rows and checkpoints that become visible together or not at all."""

    @property
    def connection(self) -> Any:
        """The backend's own, inside the transaction (``sqlite3.Connection``); None in memory."""

    def write(self, changes: TableChanges) -> None:
        """Write rows that were encoded by their table."""

    def upsert(self, table: Table[RowT], rows: Sequence[RowT]) -> None:
        """Insert rows, or replace those with the same key.

        Raises:
            StoreError: A row does not fit the table's declaration.
        """

    def delete(self, table: AnyTable, keys: Sequence[Key]) -> None:
        """Delete rows by key; absent ones are no error."""

    def load_rows(self, table: Table[RowT], keys: Sequence[Key]) -> list[RowT]:
        """Those of the rows that are there, as this transaction sees them."""

    def begin(self, name: str, version: int) -> Checkpoint:
        """Have a checkpoint without tables: at the start, if there is none; gives what it is.

        Where this cannot be part of the transaction (in DynamoDB), the start stays if the rest is
        undone.

        Args:
            name: Its name; of a share, ``projection/share``.
            version: Kept with it, if it is new.

        Raises:
            ConfigurationError: There is none, and these views are to create nothing.
        """

    def name_of(self, table: AnyTable) -> str:
        """What a table is named in the database: another name while its projection is rebuilt."""

    def rename(self, renamings: Sequence[Renaming]) -> None:
        """Give checkpoints and their tables other names, one after another.

        Their revision grows: who remembers rows under the old name or the new one loads them anew.

        Raises:
            CheckpointMovedError: One is not as the caller saw it.
            StoreUnavailableError: Readers or writers kept a table for too long. Try again.
            SchemaMismatchError: Something else of the database is bound to a table.
        """

    def advance(
        self,
        projection: str,
        before: Checkpoint,
        position: int,
        *,
        anchor: Anchor | None = None,
        revise: bool = False,
    ) -> None:
        """Move a checkpoint on, if it still is what the caller built on.

        Args:
            projection: Whose.
            before: Where it is to be still.
            position: Where it goes.
            anchor: The last event at or below that, if known.
            revise: Raise the revision by one as well: rows change other than by the events between
                the two positions, so whoever remembers rows is to drop them.

        Raises:
            CheckpointMovedError: It is not; let the transaction roll back, read again, go on.
        """


def check_renamed(renaming: Renaming, found: Checkpoint | None) -> int:
    """Refuse to rename a checkpoint that is not as the caller saw it; gives its next revision.

    Raises:
        CheckpointMovedError: It is not.
    """
    before = renaming.before
    if (
        found is None
        or (found.version, found.revision) != (before.version, before.revision)
        or found.position > before.position
    ):
        raise CheckpointMovedError(projection=renaming.projection, expected=before, found=found)
    return found.revision + 1


def revisions_after(
    renamings: Sequence[Renaming],
    found: Sequence[Checkpoint | None],
    checkpoint: Callable[[str], Checkpoint | None],
) -> list[int]:
    """Revisions of renamed checkpoints: above every one that was known under either name.

    Args:
        renamings: What is asked for.
        found: The checkpoints under their names now.
        checkpoint: Gives the one of a name.

    Raises:
        CheckpointMovedError: One is not as the caller saw it, or a new name is taken.
    """
    highest = max(map(check_renamed, renamings, found), default=1)
    freed: set[str] = set()
    for one in renamings:
        taken = None if one.becomes in freed else checkpoint(one.becomes)
        if taken is not None:
            raise CheckpointMovedError(projection=one.becomes, expected=None, found=taken)
        freed.add(one.projection)
    return [highest] * len(renamings)
