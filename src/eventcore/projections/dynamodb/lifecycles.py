"""Beginning and resetting projections in DynamoDB: whose tables are whose, and when they are empty.

A reset first notes on the projection's checkpoint what is to be emptied, which keeps every page out
(:meth:`~eventcore.projections.dynamodb.checkpoints.Checkpoints.advance` asks for it), then empties
it, then removes the note. Interrupted, whoever begins the projection next goes on. Rows are deleted
in transactions that look at the note, so that one who is late deletes nothing of what came after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from eventcore.errors import ConfigurationError, SchemaMismatchError, StoreUnavailableError
from eventcore.projections.definitions import (
    check_acceptable,
    fingerprint_of,
    is_other_definition,
)
from eventcore.projections.dynamodb.checkpoints import Checkpoints, KeptCheckpoint, owner_key
from eventcore.projections.dynamodb.commits import DynamoDBCommits
from eventcore.projections.dynamodb.layouts import Layout, check_distinct
from eventcore.projections.dynamodb.requests import ACTIONS_MAX, Action, DynamoDBRequests
from eventcore.projections.dynamodb.rows import DynamoDBRows
from eventcore.projections.dynamodb.tables import (
    DynamoDBTables,
    differences,
    table_definition,
)
from eventcore.projections.ownership import (
    check_may_begin,
    check_own,
    check_shape,
    names_of,
    rebuilding,
)
from eventcore.projections.projection import Projection
from eventcore.projections.shares import count_name, share_name
from eventcore.projections.tables import AnyTable
from eventcore.projections.transactions import Checkpoint
from eventcore.stores.dynamodb.calls import TransactionCanceledError

ATTEMPTS_MAX: Final = 20
"""Of beginning or resetting a projection while other processes do so too."""


class Owner(NamedTuple):
    """Whose a table is.

    Attributes:
        projection: Its name.
        name: The table's name in DynamoDB.
        columns: It was made with.
    """

    projection: str
    name: str
    columns: list[str]


class DynamoDBLifecycles:
    """Begins projections, and sets them to their start.

    Args:
        requests: Sends the requests.
        checkpoints: Makes the actions for the table of checkpoints.
        commits: Finishes what is pending.
        layout: Gives the layout of a table.
        name: Of the database, for messages.
        create: Whether tables may be created.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        requests: DynamoDBRequests,
        checkpoints: Checkpoints,
        commits: DynamoDBCommits,
        *,
        layout: Callable[[AnyTable], Layout],
        name: str,
        create: bool,
    ) -> None:
        self._requests = requests
        self._checkpoints = checkpoints
        self._commits = commits
        self._layout = layout
        self._name = name
        self._create_allowed = create
        self._tables = DynamoDBTables(requests.calls)
        self._rows = DynamoDBRows(requests)

    def owner(self, table: str) -> Owner | None:
        """Whose a table is; None if it was made for nobody."""
        item = self._requests.get(self._checkpoints.table, owner_key(table))
        if item is None:
            return None
        columns: list[str] = orjson.loads(item["columns"]["S"])
        return Owner(item["projection"]["S"], item["name"]["S"], columns)

    def begin(self, projection: Projection) -> Checkpoint:
        """Make what is absent and finish what was under way; gives the checkpoint.

        Raises:
            SchemaMismatchError, ConfigurationError: As ``Views.ensure``.
        """
        check_distinct(map(self._layout, projection.tables))
        for _ in range(ATTEMPTS_MAX):
            kept = self._commits.kept(projection.name)
            if kept is not None and self._finished_something(projection, kept):
                continue
            absent = [one for one in projection.tables if not self._has_own(projection, one)]
            if kept is not None and (
                (not absent and kept.fingerprint is not None)
                or is_other_definition(kept.checkpoint, projection, kept.fingerprint)
            ):
                return kept.checkpoint
            if not self._are_free(projection, absent):
                continue
            self._make(projection, absent)
            self._try(self._beginning(projection, kept))
        raise self._too_busy(projection)

    def _finished_something(self, projection: Projection, kept: KeptCheckpoint) -> bool:
        if kept.pending is not None:
            self._commits.finish(kept.pending)
            return True
        if kept.resetting is not None:
            self._empty(projection, kept)
            return True
        return False

    def _beginning(self, projection: Projection, kept: KeptCheckpoint | None) -> list[Action]:
        if kept is None:
            first = self._checkpoints.begin(
                projection.name,
                projection.version,
                _declared(projection),
                fingerprint=fingerprint_of(projection),
            )
        else:
            made = {**kept.tables, **_declared(projection)}
            first = self._checkpoints.keep_tables(
                projection.name, made, fingerprint=fingerprint_of(projection)
            )
        return [first, *self._owning(projection)]

    def _owning(self, projection: Projection) -> list[Action]:
        return [
            self._checkpoints.own(
                table.name,
                projection=projection.name,
                name=self._layout(table).name,
                columns=names_of(table),
            )
            for table in projection.tables
        ]

    def _has_own(self, projection: Projection, table: AnyTable, *, shaped: bool = True) -> bool:
        """Whether the table is there; refuses one of another projection, or of another shape."""
        owner = self.owner(table.name)
        if owner is None:
            return False
        made = owner.columns if owner.projection == projection.name else None
        check_own(projection, table, database=self._name, found=owner.columns, made=made)
        if shaped:
            check_shape(
                table, database=self._name, found=owner.columns, action=rebuilding(projection)
            )
        return True

    def _are_free(self, projection: Projection, tables: Sequence[AnyTable]) -> bool:
        """Whether tables can be made; False if one was made for the projection meanwhile.

        One that is there, empty and of the right keys, is taken: somebody made it beforehand.

        Raises:
            SchemaMismatchError: Another table has the name.
        """
        for table in tables:
            layout = self._layout(table)
            found = self._tables.describe(layout.name)
            if found is None or found["TableStatus"] not in {"ACTIVE", "UPDATING"}:
                continue
            problems = differences(table_definition(layout), found)
            if not problems and self._tables.is_empty(layout.name):
                continue
            if self.owner(table.name) is not None:
                return False
            raise SchemaMismatchError(
                table=layout.name,
                database=self._name,
                found=problems[0].found if problems else "rows that no projection made",
                expected=problems[0].expected if problems else "none",
                action=f"It was not made for projection {projection.name} and is left as it is. "
                "Keep the read models under another prefix (EVENTCORE_VIEWS), or drop that table",
            )
        return True

    def _make(self, projection: Projection, tables: Sequence[AnyTable]) -> None:
        """Have tables; where none may be made, they are to be there already."""
        if not self._create_allowed:
            tables = [
                one for one in tables if self._tables.describe(self._layout(one).name) is None
            ]
            if tables:
                self._check_may_begin(projection)
        for table in tables:
            self._create(table)

    def _create(self, table: AnyTable) -> None:
        layout = self._layout(table)
        self._tables.create(table_definition(layout), layout.ttl)

    def _try(self, actions: Sequence[Action]) -> bool:
        try:
            self._requests.transact(actions)
        except TransactionCanceledError:
            return False  # another process did something; look again
        return True

    def accept(self, projection: Projection) -> Checkpoint:
        """Note that a projection, as it is now, would have made the rows that are there.

        Raises:
            SchemaMismatchError, ConfigurationError: As ``Views.accept``.
        """
        for _ in range(ATTEMPTS_MAX):
            kept = self._commits.kept(projection.name)
            absent = [one for one in projection.tables if not self._has_own(projection, one)]
            before = kept and kept.checkpoint
            check_acceptable(projection, before, absent, database=self._name)
            assert before is not None
            by = fingerprint_of(projection)
            action = self._checkpoints.accept(
                projection.name, before, version=projection.version, by=by
            )
            if self._try([action]):
                return before._replace(version=projection.version, revision=before.revision + 1)
        raise self._too_busy(projection)

    def drop(self, projection: str) -> None:
        """Drop a projection's tables, then forget them; interrupted, it can be done again."""
        kept = self._commits.kept(projection)
        if kept is not None and kept.pending is not None:
            # A swap may have left notes of it to be written, which would come after the drop.
            self._commits.finish(kept.pending)
            kept = self._commits.kept(projection)
        if kept is None:
            return
        owners = {table: self.owner(table) for table in kept.tables}
        own = {
            table: owner
            for table, owner in owners.items()
            if owner is not None and owner.projection == projection
        }
        for owner in own.values():
            self._tables.drop(owner.name)
        forget = [self._checkpoints.disown(table, projection=projection) for table in own]
        self._requests.transact([self._checkpoints.delete(projection, kept.checkpoint), *forget])

    def reset(self, projection: Projection) -> Checkpoint:
        """Empty a projection's tables and set its checkpoint to the start.

        Raises:
            SchemaMismatchError, ConfigurationError: As ``Views.reset``.
        """
        for _ in range(ATTEMPTS_MAX):
            kept = self._commits.kept(projection.name)
            own = [self._has_own(projection, one, shaped=False) for one in projection.tables]
            if kept is None:
                return self.begin(projection)
            if kept.pending is not None:
                self._commits.finish(kept.pending)
                continue
            absent = [one for one, has in zip(projection.tables, own, strict=True) if not has]
            if absent and not self._are_free(projection, absent):
                continue
            shares = self.shares(projection)
            pending = [one.pending for one in shares.values() if one.pending is not None]
            for page in pending:
                self._commits.finish(page)
            rewinds = [
                self._checkpoints.rewind(name, one.checkpoint) for name, one in shares.items()
            ]
            if not pending and self._try([self._resetting(projection, kept), *rewinds]):
                return self.begin(projection)
        raise self._too_busy(projection)

    def shares(self, projection: Projection) -> dict[str, KeptCheckpoint]:
        """Checkpoints that are kept beside a projection's own; none if it is not split."""
        count = self._commits.kept(count_name(projection.name))
        if count is None or not count.checkpoint.position:
            return {}
        names = [share_name(projection.name, one) for one in range(count.checkpoint.position)]
        found = {name: self._commits.kept(name) for name in names}
        kept = {name: one for name, one in found.items() if one is not None}
        return {**kept, count_name(projection.name): count}

    def _resetting(self, projection: Projection, kept: KeptCheckpoint) -> Action:
        owners = {table: self.owner(table) for table in kept.tables}
        to_empty = {table: owner.name for table, owner in owners.items() if owner is not None}
        return self._checkpoints.reset(
            projection.name,
            kept.checkpoint,
            version=projection.version,
            tables=_declared(projection),
            resetting={**(kept.resetting or {}), **to_empty},
            fingerprint=fingerprint_of(projection),
        )

    def _empty(self, projection: Projection, kept: KeptCheckpoint) -> None:
        """Do what a reset noted: empty tables, drop those that changed, make those that are new."""
        assert kept.resetting is not None
        if kept.tables != _declared(projection):
            raise ConfigurationError(
                message=f"Projection {projection.name} is being reset in {self._name} by another "
                "version of it: use that one, or reset it again"
            )
        revision = kept.checkpoint.revision
        declared = {table.name: table for table in projection.tables}
        for name, there in kept.resetting.items():
            self._empty_one(projection, revision, declared.get(name), there)
        for table in projection.tables:
            if self._tables.describe(self._layout(table).name) is None:
                self._check_may_begin(projection)
                self._create(table)
        left = [name for name in kept.resetting if name not in declared]
        self._try(
            [
                self._checkpoints.reset_done(projection.name, revision),
                *self._owning(projection),
                *(self._checkpoints.disown(one, projection=projection.name) for one in left),
            ]
        )

    def _empty_one(  # noqa: PLR0917 - all of them of one table
        self, projection: Projection, revision: int, table: AnyTable | None, there: str
    ) -> None:
        found = self._tables.describe(there)
        if found is None:
            return
        if table is not None:
            layout = self._layout(table)
            if layout.name == there and not differences(table_definition(layout), found):
                self._delete_rows(projection.name, revision, layout)
                return
        self._check_may_begin(projection)
        # As late as can be: what was emptied meanwhile by somebody else is in use again.
        kept = self._commits.kept(projection.name)
        if kept is not None and kept.resetting and kept.checkpoint.revision == revision:
            self._tables.drop(there)

    def _delete_rows(self, projection: str, revision: int, layout: Layout) -> None:
        check = self._checkpoints.check_resetting(projection, revision)
        for keys in self._rows.keys_of_all(layout):
            for first in range(0, len(keys), ACTIONS_MAX - 1):
                deletes: list[Mapping[str, Any]] = [
                    {"Delete": {"TableName": layout.name, "Key": key}}
                    for key in keys[first : first + ACTIONS_MAX - 1]
                ]
                if not self._try([check, *map(dict, deletes)]):
                    return

    def _check_may_begin(self, projection: Projection) -> None:
        check_may_begin(
            projection.name,
            database=self._name,
            allowed=self._create_allowed,
            is_kept=lambda base: self._commits.kept(base) is not None,
        )

    def _too_busy(self, projection: Projection) -> StoreUnavailableError:
        problem = f"other processes keep beginning or resetting projection {projection.name}"
        return StoreUnavailableError(store=self._name, problem=problem)


def _declared(projection: Projection) -> dict[str, list[str]]:
    return {table.name: names_of(table) for table in projection.tables}
