"""Checkpoints as items: how far each projection is, whose a table is, and what is under way.

=========================  ============  ==========================================================
partition                  sort          item
=========================  ============  ==========================================================
``projection#NAME``        checkpoint    position, version, revision, anchor; its tables;
                                         ``pending``: a page that is decided and being written;
                                         ``resetting``: tables that are being emptied
``table#NAME``             owner         the projection a table was made for, and its columns
``journal``                a token       a page that is being prepared, see
                                         :mod:`eventcore.projections.dynamodb.commits`
``journal#TOKEN#n``        chunk         rows of a page, packed
=========================  ============  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from eventcore.projections.anchors import Anchor
from eventcore.projections.dynamodb.keys import Item
from eventcore.projections.dynamodb.requests import Action
from eventcore.projections.dynamodb.tables import PARTITION, SORT
from eventcore.projections.transactions import Checkpoint

_NAMES: Final = {
    "#position": "position",
    "#version": "version",
    "#revision": "revision",
    "#pending": "pending",
    "#resetting": "resetting",
}
_IDLE: Final = "attribute_not_exists(#pending) AND attribute_not_exists(#resetting)"
_IDLE_NAMES: Final = {name: _NAMES[name] for name in ("#pending", "#resetting")}
_STANDS: Final = (
    f"#position = :position AND #version = :version AND #revision = :revision AND {_IDLE}"
)


class Reached(NamedTuple):
    """Where a page takes a projection.

    Attributes:
        position: Its new position.
        anchor: The event that stands on.
        revise: Whether its revision grows by one as well.
    """

    position: int
    anchor: Anchor | None
    revise: bool = False


class Pending(NamedTuple):
    """A page that is decided: whoever finds it writes what is left of it.

    Attributes:
        token: Its name.
        chunks: How many there were.
        reached: Where it takes each projection; None for those whose tables it changes only.
    """

    token: str
    chunks: int
    reached: dict[str, Reached | None]

    def text(self) -> str:
        """As it is kept."""
        reached = {
            name: one and [one.position, one.anchor and list(one.anchor), one.revise]
            for name, one in self.reached.items()
        }
        return orjson.dumps([self.token, self.chunks, reached]).decode()

    @classmethod
    def of_text(cls, text: str) -> Pending:
        """What :meth:`text` wrote."""
        token, chunks, kept = orjson.loads(text)
        reached: dict[str, Reached | None] = {
            name: one and Reached(one[0], one[1] and Anchor(*one[1]), *one[2:])
            for name, one in kept.items()
        }
        return cls(token, chunks, reached)


class KeptCheckpoint(NamedTuple):
    """The item of a projection.

    Attributes:
        checkpoint: How far it is, without what is pending.
        tables: Those made for it, with their columns.
        pending: A page that is decided and not yet written as a whole.
        resetting: Tables that are to be emptied or dropped, with their names in DynamoDB.
        fingerprint: Of the definition that made the rows; None if not known.
    """

    checkpoint: Checkpoint
    tables: dict[str, list[str]]
    pending: Pending | None
    resetting: dict[str, str] | None
    fingerprint: str | None = None

    @classmethod
    def of_item(cls, item: Item) -> KeptCheckpoint:
        """What an item says."""
        anchor = None
        if "anchor_event" in item:
            anchor = Anchor(int(item["anchor_position"]["N"]), item["anchor_event"]["S"])
        checkpoint = Checkpoint(
            int(item["position"]["N"]),
            int(item["version"]["N"]),
            int(item["revision"]["N"]),
            anchor,
        )
        pending = item.get("pending")
        resetting = item.get("resetting")
        return cls(
            checkpoint,
            orjson.loads(item["tables"]["S"]),
            Pending.of_text(pending["S"]) if pending else None,
            orjson.loads(resetting["S"]) if resetting else None,
            item["fingerprint"]["S"] if "fingerprint" in item else None,
        )


def checkpoint_key(projection: str) -> Item:
    """Key of a projection's item."""
    return {PARTITION: {"S": f"projection#{projection}"}, SORT: {"S": "checkpoint"}}


def owner_key(table: str) -> Item:
    """Key of the item that says whose a table is."""
    return {PARTITION: {"S": f"table#{table}"}, SORT: {"S": "owner"}}


class Checkpoints:
    """Makes the actions that move projections' items; does nothing by itself.

    Args:
        table: Name of the table of checkpoints.
    """

    def __init__(self, table: str) -> None:
        self.table = table

    def begin(
        self, projection: str, version: int, tables: Mapping[str, list[str]], *, fingerprint: str
    ) -> Action:
        """Put a projection's first item, if it has none."""
        item = {
            **checkpoint_key(projection),
            "position": _number(0),
            "version": _number(version),
            "revision": _number(1),
            "tables": _json(tables),
            "fingerprint": {"S": fingerprint},
        }
        return {
            "Put": {
                "TableName": self.table,
                "Item": item,
                "ConditionExpression": f"attribute_not_exists({PARTITION})",
            }
        }

    def own(self, table: str, *, projection: str, name: str, columns: list[str]) -> Action:
        """Note whose a table is, unless it is somebody else's."""
        item = {
            **owner_key(table),
            "projection": {"S": projection},
            "name": {"S": name},
            "columns": _json(columns),
        }
        return {
            "Put": {
                "TableName": self.table,
                "Item": item,
                "ConditionExpression": f"attribute_not_exists({PARTITION}) OR #of = :of",
                "ExpressionAttributeNames": {"#of": "projection"},
                "ExpressionAttributeValues": {":of": {"S": projection}},
            }
        }

    def disown(self, table: str, *, projection: str) -> Action:
        """Forget whose a table was, if it was the projection's."""
        return {
            "Delete": {
                "TableName": self.table,
                "Key": owner_key(table),
                "ConditionExpression": f"attribute_not_exists({PARTITION}) OR #of = :of",
                "ExpressionAttributeNames": {"#of": "projection"},
                "ExpressionAttributeValues": {":of": {"S": projection}},
            }
        }

    def keep_tables(
        self, projection: str, tables: Mapping[str, list[str]], *, fingerprint: str
    ) -> Action:
        """Note which tables were made for a projection, and by what if that is not known yet."""
        values = {":tables": _json(tables), ":by": {"S": fingerprint}}
        update = "SET #tables = :tables, fingerprint = if_not_exists(fingerprint, :by)"
        return self._update(projection, update, values, {"#tables": "tables"})

    def accept(self, projection: str, before: Checkpoint, *, version: int, by: str) -> Action:
        """Note that another definition would have made the rows; the revision grows."""
        values = {
            **_standing(before),
            ":to": _number(version),
            ":by": {"S": by},
            ":one": _number(1),
        }
        update = "SET #version = :to, fingerprint = :by ADD #revision :one"
        return self._update(projection, update, values, condition=_STANDS)

    def put_renamed(
        self, item: Item, before: Checkpoint | None, *, pending: Pending | None = None
    ) -> Action:
        """Put an item under another name, in place of one that is as it was seen, or of none.

        Args:
            item: Without anything under way.
            before: What it takes the place of; None: of nothing.
            pending: What is decided with it, and written later.
        """
        if pending is not None:
            noted = {"pending": {"S": pending.text()}, "pending_token": {"S": pending.token}}
            item = {**item, **noted}
        return {"Put": {"TableName": self.table, "Item": item, **_condition(before)}}

    def delete(self, projection: str, before: Checkpoint) -> Action:
        """Delete a projection's item, if it is as it was seen."""
        key = checkpoint_key(projection)
        return {"Delete": {"TableName": self.table, "Key": key, **_condition(before)}}

    def advance(self, projection: str, before: Checkpoint, reached: Reached) -> Action:
        """Move on from where it is to be still, if nothing is under way."""
        values = {**_standing(before), **_moved_values(reached)}
        return self._update(projection, _move(reached), values, condition=_STANDS)

    def decide(self, projection: str, before: Checkpoint | None, pending: Pending) -> Action:
        """Note a page that is decided, if the projection stands where that builds on.

        Args:
            projection: Whose.
            before: Where it is to be still; None: only its tables are changed.
            pending: The page.
        """
        values = {":pending": {"S": pending.text()}, ":token": {"S": pending.token}}
        update = "SET #pending = :pending, pending_token = :token"
        if before is None:
            condition = f"attribute_exists({PARTITION}) AND {_IDLE}"
            return self._update(projection, update, values, _IDLE_NAMES, condition=condition)
        return self._update(projection, update, {**values, **_standing(before)}, condition=_STANDS)

    def finish(self, projection: str, pending: Pending) -> Action:
        """Move to where a page takes it, now that all of it is written."""
        reached = pending.reached[projection]
        values = {":token": {"S": pending.token}}
        update, names = "REMOVE #pending, pending_token", {"#pending": "pending"}
        if reached is not None:
            values |= _moved_values(reached)
            names["#position"] = "position"
            if reached.revise:
                names["#revision"] = "revision"
            update = _move(reached, "#pending", "pending_token")
        return self._update(projection, update, values, names, condition="pending_token = :token")

    def check_pending(self, projection: str, pending: Pending) -> Action:
        """Check that a page is being written still, and change nothing."""
        return {
            "ConditionCheck": {
                "TableName": self.table,
                "Key": checkpoint_key(projection),
                "ConditionExpression": "pending_token = :token",
                "ExpressionAttributeValues": {":token": {"S": pending.token}},
            }
        }

    def check_idle(self, projection: str) -> Action:
        """Check that nothing is under way, and change nothing."""
        return {
            "ConditionCheck": {
                "TableName": self.table,
                "Key": checkpoint_key(projection),
                "ConditionExpression": _IDLE,
                "ExpressionAttributeNames": _IDLE_NAMES,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def reset(  # noqa: PLR0913 - all that a reset notes
        self,
        projection: str,
        before: Checkpoint,
        *,
        version: int,
        tables: Mapping[str, list[str]],
        resetting: Mapping[str, str],
        fingerprint: str,
    ) -> Action:
        """Set a projection to its start, and note what is to be emptied first."""
        values = {
            ":zero": _number(0),
            ":to": _number(version),
            ":next": _number(before.revision + 1),
            ":tables": _json(tables),
            ":resetting": _json(resetting),
            ":by": {"S": fingerprint},
            ":revision": _number(before.revision),
        }
        update = (
            "SET #position = :zero, #version = :to, #revision = :next, #tables = :tables, "
            "#resetting = :resetting, fingerprint = :by REMOVE anchor_position, anchor_event"
        )
        condition = "#revision = :revision AND attribute_not_exists(#pending)"
        return self._update(
            projection, update, values, {**_NAMES, "#tables": "tables"}, condition=condition
        )

    def rewind(self, share: str, before: Checkpoint) -> Action:
        """Set a share's checkpoint to the start, when its projection is reset."""
        values = {
            ":zero": _number(0),
            ":next": _number(before.revision + 1),
            ":revision": _number(before.revision),
        }
        return self._update(
            share,
            "SET #position = :zero, #revision = :next REMOVE anchor_position, anchor_event",
            values,
            {name: _NAMES[name] for name in ("#position", "#revision", "#pending")},
            condition="#revision = :revision AND attribute_not_exists(#pending)",
        )

    def reset_done(self, projection: str, revision: int) -> Action:
        """Note that everything is empty."""
        return self._update(
            projection,
            "REMOVE #resetting",
            {":revision": _number(revision)},
            {"#resetting": "resetting", "#revision": "revision"},
            condition="#revision = :revision AND attribute_exists(#resetting)",
        )

    def check_resetting(self, projection: str, revision: int) -> Action:
        """Check that tables are still being emptied, and change nothing."""
        return {
            "ConditionCheck": {
                "TableName": self.table,
                "Key": checkpoint_key(projection),
                "ConditionExpression": "#revision = :revision AND attribute_exists(#resetting)",
                "ExpressionAttributeNames": {"#resetting": "resetting", "#revision": "revision"},
                "ExpressionAttributeValues": {":revision": _number(revision)},
            }
        }

    def revise(self, projection: str) -> Action:
        """Tell runners that rows change other than by events, if nothing is under way."""
        return self._update(
            projection,
            "ADD #revision :one",
            {":one": _number(1)},
            {"#revision": "revision", **_IDLE_NAMES},
            condition=f"attribute_exists({PARTITION}) AND {_IDLE}",
        )

    def _update(  # noqa: PLR0917 - as the request has them
        self,
        projection: str,
        update: str,
        values: Mapping[str, Any],
        names: Mapping[str, str] = _NAMES,
        *,
        condition: str | None = None,
    ) -> Action:
        action = {
            "TableName": self.table,
            "Key": checkpoint_key(projection),
            "UpdateExpression": update,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if condition is not None:
            action["ConditionExpression"] = condition
        return {"Update": action}


def _condition(before: Checkpoint | None) -> dict[str, Any]:
    if before is None:
        return {"ConditionExpression": f"attribute_not_exists({PARTITION})"}
    return {
        "ConditionExpression": _STANDS,
        "ExpressionAttributeNames": _NAMES,
        "ExpressionAttributeValues": _standing(before),
    }


def _standing(before: Checkpoint) -> dict[str, Any]:
    return {
        ":position": _number(before.position),
        ":version": _number(before.version),
        ":revision": _number(before.revision),
    }


def _move(reached: Reached, *removed: str) -> str:
    """The update that moves a checkpoint on, and removes further attributes."""
    update = "SET #position = :to"
    if reached.anchor is None:
        removed = ("anchor_position", "anchor_event", *removed)
    else:
        update += ", anchor_position = :at, anchor_event = :event"
    if removed:
        update += f" REMOVE {', '.join(removed)}"
    return f"{update} ADD #revision :one" if reached.revise else update


def _moved_values(reached: Reached) -> dict[str, Any]:
    values = {":to": _number(reached.position)}
    if reached.anchor is not None:
        values[":at"] = _number(reached.anchor.position)
        values[":event"] = {"S": reached.anchor.event}
    if reached.revise:
        values[":one"] = _number(1)
    return values


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _json(value: object) -> dict[str, str]:
    return {"S": orjson.dumps(value).decode()}
