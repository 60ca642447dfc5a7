"""Whose position a row of the table ``tracking`` is.

``eventsourcing`` keeps one table ``tracking`` per SQLite *file*, with one row per application
followed. Two projections of one application in one file thus share a position, and the second one
fails. Here each projection has a position of its own, in the same table, so that a file goes from
the base library to this one and back. A recorder knows its projection's name from the environment
it was built with (``ProjectionRunner`` names that after the projection); without a name nothing
differs from the base library.

The rows, for application ``A`` and projections ``P`` and ``Q``:

================================  ===========================================================
``application_name``              ``notification_id``
================================  ===========================================================
``A``                             the position of the one projection that *owns* this row
``__owner__["A","P"]``            P owns it; the position P found when it took it, 0 if none
``__projection__["Q","A"]``       Q's own position, because the row ``A`` is not Q's
``__new__["Q"]``                  1: Q's tables were created here, so its view was empty
================================  ===========================================================

The plain row is what the base library reads and writes; its owner can therefore switch at any time.

**Who becomes the owner.** The first projection that records a position of ``A``, in the
transaction that records it. If the row was there already, written by the base library, it belongs
to the projection whose read model was built up to it, and taking it wrongly would skip events
without a word. The evidence is the read model: a projection whose tables did not exist before
starts from the beginning and never takes an existing row; any other (its tables are there, or it
has none in this file) goes on from that row.

**When that cannot be told.** If a projection whose tables existed finds the row of the base
library taken by another projection, then one of the two is not what it seems (a projection was
renamed, or a new one without tables took the row first). Starting it from the beginning would
count everything twice, so it is refused.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from eventsourcing import sqlite as base
from eventsourcing.persistence import OperationalError

RESERVED_PREFIX: Final = "__"
"""Names that are never an application followed: ours, and the base library's ``__migration__``."""


class Place(NamedTuple):
    """Where a projection's position is kept.

    Attributes:
        row: The ``application_name`` of its row in ``tracking``.
        taken_at: None if that is settled; else the row is the plain one, still nobody's, and this
            is the position that is in it (0 if none).
    """

    row: str
    taken_at: int | None = None


def owner_row(application_name: str, projection_name: str) -> str:
    """Name the row that says the projection owns the plain row of the application."""
    return f"__owner__{_compact([application_name, projection_name])}"


def own_row(application_name: str, projection_name: str) -> str:
    """Name the row that holds the position of a projection which does not own the plain row."""
    return f"__projection__{_compact([projection_name, application_name])}"


def new_row(projection_name: str) -> str:
    """Name the row that says the projection's read model was empty when first opened here."""
    return f"__new__{_compact([projection_name])}"


def find_place(
    cursor: base.SQLiteCursor, application_name: str, projection_name: str, *, has_tables: bool
) -> Place:
    """Decide where a projection's position is, from what the table says in this transaction.

    Args:
        cursor: Inside a transaction; the answer holds as long as that lasts.
        application_name: The application followed.
        projection_name: The projection, not empty.
        has_tables: Whether the projection keeps tables of its own in this database.

    Raises:
        OperationalError: The position cannot be told; nothing was written. The message says what
            to do.
    """
    own = own_row(application_name, projection_name)
    claim = owner_row(application_name, projection_name)
    if recorded_position(cursor, own) is not None:
        return Place(own)
    if recorded_position(cursor, claim) is not None:
        return Place(application_name)
    is_new = recorded_position(cursor, new_row(projection_name)) is not None
    other = _other_owner(cursor, application_name)
    if other is not None:
        other_claim, taken_at = other
        if taken_at and has_tables and not is_new:
            message = _AMBIGUOUS.format(
                projection=projection_name,
                application=application_name,
                taken_at=taken_at,
                taken_by=other_claim,
                claim=claim,
            )
            raise OperationalError(message)
        return Place(own)
    position = recorded_position(cursor, application_name)
    if position is not None and is_new:
        return Place(own)
    return Place(application_name, taken_at=position or 0)


_AMBIGUOUS: Final = (
    "Cannot tell the position of projection {projection!r} in application {application!r}: its "
    "tables exist, but the position recorded by eventsourcing.sqlite ({taken_at}) was taken by the "
    "row {taken_by}. If {projection!r} is that projection under a new name, rename that row in the "
    "table 'tracking' to {claim}. If its tables are to be rebuilt, drop them and start it again"
)


def _other_owner(cursor: base.SQLiteCursor, application_name: str) -> tuple[str, int] | None:
    prefix = f"__owner__{_compact([application_name])[:-1]},"
    cursor.execute(
        "SELECT application_name, notification_id FROM tracking "
        "WHERE application_name >= ? AND substr(application_name, 1, ?) = ? LIMIT 1",
        (prefix, len(prefix), prefix),
    )
    row = cursor.fetchone()
    return None if row is None else (str(row[0]), int(row[1]))


def recorded_position(cursor: base.SQLiteCursor, name: str) -> int | None:
    """Read a row of ``tracking`` by its exact name; None if there is none."""
    cursor.execute("SELECT MAX(notification_id) FROM tracking WHERE application_name = ?", (name,))
    value = cursor.fetchone()[0]
    return None if value is None else int(value)


def _compact(names: list[str]) -> str:
    # JSON, so that no application or projection name can be mistaken for another pair of names.
    return json.dumps(names, separators=(",", ":"), ensure_ascii=False)
