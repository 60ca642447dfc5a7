"""How a checkpoint is kept in SQL: the columns of its row, and what is written into them.

The same in every database; how a row is read or written there is a matter of its own statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from eventcore.projections.anchors import Anchor
from eventcore.projections.definitions import fingerprint_of
from eventcore.projections.ownership import names_of
from eventcore.projections.projection import Projection
from eventcore.projections.transactions import Checkpoint

CHECKPOINTS: Final = "eventcore_checkpoints"
"""The table that the checkpoints are in."""

CHECKPOINT_COLUMNS_NO_ANCHORS: Final = ["projection", "position", "version", "revision"]
"""Its columns before it noted the last event, and the tables that were made."""

CHECKPOINT_COLUMNS_NO_FINGERPRINT: Final = [
    *CHECKPOINT_COLUMNS_NO_ANCHORS,
    *("anchor_position", "anchor_event", "tables"),
]
"""Its columns before it noted the definition."""

CHECKPOINT_COLUMNS: Final = [*CHECKPOINT_COLUMNS_NO_FINGERPRINT, "fingerprint"]
"""Its columns, in their order."""


def checkpoint_of(row: Sequence[Any] | None) -> Checkpoint | None:
    """The checkpoint that the statement ``select_checkpoint`` found, if it found one."""
    if row is None:
        return None
    position, version, revision, anchor_position, anchor_event = row
    anchor = None if anchor_event is None else Anchor(anchor_position, anchor_event)
    return Checkpoint(position, version, revision, anchor)


def tables_of(row: Sequence[Any] | None) -> dict[str, list[str]] | None:
    """The tables, with their columns, that ``select_tables`` found; None if it found none noted."""
    return None if row is None or row[0] is None else orjson.loads(row[0])


def noted(projection: Projection, made: dict[str, list[str]]) -> tuple[str, int, str, str]:
    """What a checkpoint says of the definition."""
    return projection.name, projection.version, as_json(made), fingerprint_of(projection)


def declared(projection: Projection) -> dict[str, list[str]]:
    """The tables that a projection asks for, with their columns."""
    return {table.name: names_of(table) for table in projection.tables}


def with_shares(projection: str) -> tuple[str, str]:
    """A projection's name, and what the names of its shares begin with."""
    return projection, f"{projection}/"


def as_json(value: object) -> str:
    """A value as the text of a JSON document."""
    return orjson.dumps(value).decode()
