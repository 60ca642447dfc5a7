"""Tables that take another name in DynamoDB, where a table keeps its own for ever.

The item that says whose a table is (``table#orders``) also names the table its rows are in. A
renaming moves such items and those of checkpoints in one transaction: from then on ``orders`` is
found in ``orders__2``. Whoever keeps rows is refused by the checkpoint's revision; whoever reads
looks the name up with every query.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import orjson

from eventcore.errors import CheckpointMovedError, LimitExceededError, StoreUnavailableError
from eventcore.projections.dynamodb.checkpoints import (
    Checkpoints,
    KeptCheckpoint,
    Pending,
    checkpoint_key,
    owner_key,
)
from eventcore.projections.dynamodb.commits import (
    TRANSACTION_BYTES_MAX,
    Commit,
    DynamoDBCommits,
    RowAction,
)
from eventcore.projections.dynamodb.keys import Item, Shape
from eventcore.projections.dynamodb.layouts import Layout
from eventcore.projections.dynamodb.requests import ACTIONS_MAX, Action, DynamoDBRequests
from eventcore.projections.dynamodb.rows import DynamoDBRows
from eventcore.projections.dynamodb.shapes import shape_of
from eventcore.projections.dynamodb.tables import DynamoDBTables
from eventcore.projections.snapshots import UnreadableRowsError
from eventcore.projections.tables import AnyTable, StoredRow
from eventcore.projections.transactions import Checkpoint, Renaming, revisions_after
from eventcore.stores.dynamodb.calls import DynamoDBCalls, TransactionCanceledError


class RenamedViews(Protocol):
    """What a snapshot needs of the views it is of."""

    calls: DynamoDBCalls

    def found(self, table: AnyTable) -> Layout:
        """How a table lies in DynamoDB now."""

    def columns(self, table: AnyTable) -> list[str]:
        """Names of the columns a table was made with."""

    def rows(self) -> DynamoDBRows:
        """Reads rows."""


def shape_of_generation(table: AnyTable) -> Shape | None:
    """A table's shape; under another name if the table is a generation of the declared one."""
    shape = shape_of(table)
    if shape is None or table.name == table.original.name:
        return shape
    return replace(shape, name=f"{shape.name}__{table.name.rpartition('__')[2]}")


def rename(  # noqa: PLR0917 - one collaborator each
    requests: DynamoDBRequests,
    checkpoints: Checkpoints,
    commits: DynamoDBCommits,
    renamings: Sequence[Renaming],
    commit: Commit | None,
) -> None:
    """Do what :meth:`eventcore.projections.transactions.Transaction.rename` asked for.

    Rows that are too many for one transaction, such as notes of what is parked, are decided with
    the renaming as a pending page of the renamed projections: whoever begins to keep one of them
    finds it and finishes it first. Those of the table that was written first, which tell of the
    renaming, are in the transaction itself.

    Raises:
        CheckpointMovedError: Something moved meanwhile. Nothing was written.
        LimitExceededError: The projection has too many tables or shares for one transaction.
    """
    renamed = _renamed(requests, checkpoints, commits, renamings)
    others: list[Action] = []
    if commit is not None:
        others += [
            checkpoints.advance(name, before, reached)
            for name, (before, reached) in commit.advances.items()
        ]
        others += [checkpoints.check_idle(name) for name in commit.others]
    rows = [] if commit is None else list(commit.rows)
    count = len(renamed.actions(checkpoints)) + len(others)
    at_once = _fitting(rows, ACTIONS_MAX - count)
    needed = sum(1 for row in rows if _table_of(row) == _table_of(rows[0]))
    if at_once < needed:
        raise LimitExceededError(
            what=f"The swap of projection {renamings[0].projection} with its tables and shares "
            "(unite it first, or rebuild it in place)",
            actual=count + needed,
            limit=ACTIONS_MAX - 1,
            unit="changes of one transaction",
        )
    page = None
    if at_once < len(rows):
        page = commits.prepare({one.becomes: None for one in renamings}, rows[at_once:])
        others.append(commits.use(page))
    actions = renamed.actions(checkpoints, pending=None if page is None else page.pending)
    try:
        requests.transact([*actions, *others, *(row.action for row in rows[:at_once])])
    except TransactionCanceledError as error:
        if page is not None:
            commits.give_up(page)
        first = renamings[0]
        kept = commits.kept(first.projection)
        raise CheckpointMovedError(
            projection=first.projection, expected=first.before, found=kept and kept.checkpoint
        ) from error
    if page is not None:
        commits.write(page)


def _table_of(row: RowAction) -> str:
    (parameters,) = row.action.values()
    name: str = parameters["TableName"]
    return name


def _fitting(rows: Sequence[RowAction], room: int) -> int:
    """How many of the rows go into a transaction; one action is left for what decides the rest."""
    if len(rows) <= room and sum(row.size for row in rows) <= TRANSACTION_BYTES_MAX:
        return len(rows)
    size, count = 0, 0
    for row in rows[: max(0, room - 1)]:
        size += row.size
        if size > TRANSACTION_BYTES_MAX:
            break
        count += 1
    return count


class _Renamed(NamedTuple):
    """Items as they are to be.

    Attributes:
        puts: Those of checkpoints, and what they take the place of.
        deletes: Checkpoints that are no more, by name.
        owners: Whose each table is; None: nobody's.
    """

    puts: list[tuple[Item, Checkpoint | None]]
    deletes: list[tuple[str, Checkpoint]]
    owners: dict[str, Item | None]

    def actions(self, checkpoints: Checkpoints, *, pending: Pending | None = None) -> list[Action]:
        """What makes them so."""
        return [
            *(checkpoints.put_renamed(item, over, pending=pending) for item, over in self.puts),
            *(checkpoints.delete(name, before) for name, before in self.deletes),
            *(_owner_action(checkpoints.table, name, one) for name, one in self.owners.items()),
        ]


def _renamed(  # noqa: PLR0917 - one collaborator each
    requests: DynamoDBRequests,
    checkpoints: Checkpoints,
    commits: DynamoDBCommits,
    renamings: Sequence[Renaming],
) -> _Renamed:
    owners: dict[str, Item | None] = {}
    for one in renamings:
        _move_owners(requests, checkpoints.table, one, owners)
    # Last, and the live one's last of all: it moves on meanwhile.
    items = {
        one.projection: _idle(requests, checkpoints, commits, one) for one in reversed(renamings)
    }
    found = {
        name: None if item is None else KeptCheckpoint.of_item(item) for name, item in items.items()
    }
    standing = {name: kept and kept.checkpoint for name, kept in found.items()}
    # That the new names are free is a condition of the transaction itself.
    before_all = [standing[one.projection] for one in renamings]
    revisions = revisions_after(renamings, before_all, lambda _: None)
    renamed = _Renamed([], [], owners)
    names = {one.becomes for one in renamings}
    for one, revision in zip(renamings, revisions, strict=True):
        item, kept, before = items[one.projection], found[one.projection], standing[one.projection]
        assert item is not None
        assert kept is not None
        assert before is not None
        tables = {one.tables[name]: columns for name, columns in kept.tables.items()}
        moved = {
            **item,
            **checkpoint_key(one.becomes),
            "revision": {"N": str(revision)},
            "tables": {"S": orjson.dumps(tables).decode()},
        }
        renamed.puts.append((moved, standing.get(one.becomes)))
        if one.projection not in names:
            renamed.deletes.append((one.projection, before))
    return renamed


def _move_owners(  # noqa: PLR0917 - all of them of one renaming
    requests: DynamoDBRequests, table: str, one: Renaming, owners: dict[str, Item | None]
) -> None:
    for name, becomes in one.tables.items():
        # As it was before the first of the renamings.
        item = requests.get(table, owner_key(name))
        if item is not None:
            owners[becomes] = {
                **item,
                **owner_key(becomes),
                "projection": {"S": one.becomes},
            }
            owners.setdefault(name, None)


def _owner_action(table: str, name: str, item: Item | None) -> Action:
    if item is None:
        return {"Delete": {"TableName": table, "Key": owner_key(name)}}
    return {"Put": {"TableName": table, "Item": item}}


def _idle(  # noqa: PLR0917 - likewise
    requests: DynamoDBRequests, checkpoints: Checkpoints, commits: DynamoDBCommits, one: Renaming
) -> Item | None:
    """The item of a checkpoint, with nothing under way."""
    item = requests.get(checkpoints.table, checkpoint_key(one.projection))
    if item is None:
        return None
    kept = KeptCheckpoint.of_item(item)
    if kept.resetting is not None:
        problem = f"projection {one.projection} is being reset"
        raise StoreUnavailableError(store=requests.calls.name, problem=problem)
    if kept.pending is None:
        return item
    commits.finish(kept.pending)
    return requests.get(checkpoints.table, checkpoint_key(one.projection))


class DynamoDBSnapshot:
    """What there is at the moment of each question; DynamoDB keeps no older states."""

    steady = False

    def __init__(
        self, views: RenamedViews, commits: DynamoDBCommits, requests: DynamoDBRequests
    ) -> None:
        self._views = views
        self._commits = commits
        self._requests = requests
        self._tables: dict[str, AnyTable] = {}

    def checkpoint(self, projection: str) -> Checkpoint | None:
        """See :class:`eventcore.projections.snapshots.Snapshot`; what is pending is finished."""
        kept = self._commits.kept(projection)
        if kept is not None and kept.pending is not None:
            self._commits.finish(kept.pending)
            kept = self._commits.kept(projection)
        return None if kept is None or kept.pending is not None else kept.checkpoint

    def columns(self, table: AnyTable) -> list[str]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        return self._views.columns(table)

    def pages(self, table: AnyTable) -> Generator[list[StoredRow]]:
        """See :class:`eventcore.projections.snapshots.Snapshot`; reads the whole table by Scan."""
        whole, places = self._whole(table)
        layout = self._views.found(whole)
        found = DynamoDBTables(self._views.calls).describe(layout.name)
        if found is None or found["KeySchema"] != layout.key_schema:
            raise UnreadableRowsError(table=table.name)
        parameters = {"TableName": layout.name, "ConsistentRead": True}
        for items in self._requests.pages("Scan", parameters):
            rows = [layout.row(item) for item in items if not layout.is_locator(item)]
            yield [tuple(row[place] for place in places) for row in rows]

    def at(self, table: AnyTable, keys: Sequence[StoredRow]) -> list[StoredRow]:
        """See :class:`eventcore.projections.snapshots.Snapshot`."""
        whole, places = self._whole(table)
        rows = self._views.rows().by_key(self._views.found(whole), keys)
        return [tuple(row[place] for place in places) for row in rows]

    def count(self, table: AnyTable) -> int:
        """See :class:`eventcore.projections.snapshots.Snapshot`; reads the whole table."""
        if not self.columns(table):
            return 0
        layout = self._views.found(self._whole(table)[0])
        # Locators are no rows, whether or not this definition has any.
        parameters = {
            "TableName": layout.name,
            "ConsistentRead": True,
            "FilterExpression": "attribute_not_exists(#located)",
            "ExpressionAttributeNames": {"#located": layout.locator_mark},
        }
        return self._requests.count(parameters)

    def _whole(self, table: AnyTable) -> tuple[AnyTable, list[int]]:
        """A table with all columns it declares, and the places of those that are asked for."""
        if table.name not in self._tables:
            self._tables[table.name] = table.original.renamed(table.name)
        whole = self._tables[table.name]
        places: Mapping[str, int] = {one.name: n for n, one in enumerate(whole.columns)}
        return whole, [places[one.name] for one in table.columns]
