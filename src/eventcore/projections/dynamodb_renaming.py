"""Tables that take another name in DynamoDB, where a table keeps its own for ever.

The item that says whose a table is (``table#orders``) also names the table its rows are in. A
renaming moves such items and those of checkpoints in one transaction: from then on ``orders`` is
found in ``orders__2``. Whoever keeps rows is refused by the checkpoint's revision; whoever reads
looks the name up with every query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import orjson

from eventcore.errors import CheckpointMovedError, LimitExceededError, StoreUnavailableError
from eventcore.projections.dynamodb_checkpoints import (
    Checkpoints,
    KeptCheckpoint,
    checkpoint_key,
    owner_key,
)
from eventcore.projections.dynamodb_commits import Commit, DynamoDBCommits
from eventcore.projections.dynamodb_keys import Item, Shape
from eventcore.projections.dynamodb_layouts import Layout
from eventcore.projections.dynamodb_requests import ACTIONS_MAX, Action, DynamoDBRequests
from eventcore.projections.dynamodb_rows import DynamoDBRows
from eventcore.projections.dynamodb_shapes import shape_of
from eventcore.projections.dynamodb_tables import DynamoDBTables
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

    Raises:
        CheckpointMovedError: Something moved meanwhile. Nothing was written.
        LimitExceededError: What is parked, and goes along, is too much for one transaction.
    """
    actions = _actions(requests, checkpoints, commits, renamings)
    if commit is not None:
        actions += [
            checkpoints.advance(name, before, reached)
            for name, (before, reached) in commit.advances.items()
        ]
        actions += [checkpoints.check_idle(name) for name in commit.others]
        actions += [row.action for row in commit.rows]
    if len(actions) > ACTIONS_MAX:
        name = renamings[0].projection
        raise LimitExceededError(
            what=f"The swap of projection {name} with all that is parked for it (give the rebuild "
            "up, retry or skip what is parked, and begin anew; or rebuild in place)",
            actual=len(actions),
            limit=ACTIONS_MAX,
            unit="changes of one transaction",
        )
    try:
        requests.transact(actions)
    except TransactionCanceledError as error:
        first = renamings[0]
        kept = commits.kept(first.projection)
        raise CheckpointMovedError(
            projection=first.projection, expected=first.before, found=kept and kept.checkpoint
        ) from error


def _actions(  # noqa: PLR0917 - one collaborator each
    requests: DynamoDBRequests,
    checkpoints: Checkpoints,
    commits: DynamoDBCommits,
    renamings: Sequence[Renaming],
) -> list[Action]:
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
    actions: list[Action] = []
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
        actions.append(checkpoints.put_renamed(moved, standing.get(one.becomes)))
        if one.projection not in names:
            actions.append(checkpoints.delete(one.projection, before))
    return actions + [_owner_action(checkpoints.table, name, owners[name]) for name in owners]


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

    def pages(self, table: AnyTable) -> Iterator[list[StoredRow]]:
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
