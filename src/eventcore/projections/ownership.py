"""Whose table it is: a read model is only ever kept in tables that were made for it.

An application's own table may lie in the same file under the same name. It is never written to,
never emptied and never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eventcore.errors import ConfigurationError, SchemaMismatchError
from eventcore.projections.projection import Projection
from eventcore.projections.tables import AnyTable


def check_own(
    projection: Projection,
    table: AnyTable,
    *,
    database: str,
    found: Sequence[str],
    made: Sequence[str] | None,
) -> None:
    """Refuse a table that was not made for the projection, or was changed since.

    Args:
        projection: Who is about to use it.
        table: As it declares it.
        database: Where, for the message.
        found: The columns there are.
        made: The columns it was made with for this projection; None if it never was.

    Raises:
        SchemaMismatchError: It is somebody else's.
    """
    if made is None or list(made) != list(found):
        expected = names_of(table)
        raise SchemaMismatchError(
            table=table.name,
            database=database,
            found="been made by someone else" if found == expected else _columns(found),
            expected="to have made it" if found == expected else ", ".join(expected),
            action=f"It was not made for projection {projection.name} and is left as it is. Keep "
            "the read models in another file (EVENTCORE_VIEWS), or rename that table",
        )


def check_may_begin(
    name: str, *, database: str, allowed: bool, is_kept: Callable[[str], bool]
) -> None:
    """Refuse to begin what is not kept where nothing is to be created.

    A share or a generation of a projection that is kept is no beginning: whether the tables of a
    rebuild may be made is a matter of the role's rights.

    Args:
        name: Of the checkpoint.
        database: Where, for the message.
        allowed: Whether anything may be begun.
        is_kept: Whether there is a checkpoint of a name.

    Raises:
        ConfigurationError: It is not allowed.
    """
    base = name.partition("/")[0].partition("+")[0]
    if not allowed and (base == name or not is_kept(base)):
        raise ConfigurationError(
            message=f"Projection {name} is not kept in {database}, and create=no "
            "forbids to begin it there"
        )


def check_shape(table: AnyTable, *, database: str, found: Sequence[str], action: str) -> None:
    """Refuse a table that has other columns than declared.

    Raises:
        SchemaMismatchError: It has.
    """
    expected = names_of(table)
    if list(found) != expected:
        raise SchemaMismatchError(
            table=table.name,
            database=database,
            found=_columns(found),
            expected=", ".join(expected),
            action=action,
        )


def rebuilding(projection: Projection) -> str:
    """What to do about a table of the projection's own that has another shape."""
    return f"Rebuild the projection: eventcore projections rebuild {projection.name}"


def names_of(table: AnyTable) -> list[str]:
    """The stored names of a table's columns."""
    return [column.name for column in table.columns]


def _columns(names: Sequence[str]) -> str:
    return f"the columns {', '.join(names)}"
