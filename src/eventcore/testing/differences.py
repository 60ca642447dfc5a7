"""Where two states of a read model differ, for people."""

from __future__ import annotations

import pprint
from collections.abc import Sequence
from typing import Any, Final

from eventcore.projections.tables import AnyTable, Key
from eventcore.testing.plain_folds import Rows

DIFFERENCES_SHOWN: Final = 3
"""Rows that a message shows; it says how many more there are."""

VALUE_CHARACTERS_MAX: Final = 200


def difference(tables: Sequence[AnyTable], expected: Rows, found: Rows) -> str | None:
    """The first rows that differ, column by column; None if all are equal.

    Args:
        tables: Whose rows; in this order.
        expected: As they ought to be.
        found: As they are.
    """
    shown: list[str] = []
    count = 0
    for table in tables:
        wanted, got = expected.get(table.name, {}), found.get(table.name, {})
        # In the order in which they came to be: the first difference is the one to look at.
        for key in [*wanted, *(key for key in got if key not in wanted)]:
            before, after = wanted.get(key), got.get(key)
            if before == after:
                continue
            count += 1
            if count <= DIFFERENCES_SHOWN:
                shown.append(_row_difference(table, key, before, after=after))
    if count > DIFFERENCES_SHOWN:
        shown.append(f"  and {count - DIFFERENCES_SHOWN} more rows")
    return "\n".join(shown) or None


def _row_difference(table: AnyTable, key: Key, before: Any, *, after: Any) -> str:
    parts = key if len(table.key) > 1 else (key,)
    named = ", ".join(f"{name}={part!r}" for name, part in zip(table.key, parts, strict=True))
    head = f"  table {table.name}, row {named}"
    if after is None:
        return f"{head}\n    is missing; expected {_shown(before)}"
    if before is None:
        return f"{head}\n    ought not to be there: {_shown(after)}"
    lines = [
        (column.name, _shown(one), _shown(other))
        for column, one, other in zip(table.columns, before, after, strict=True)
        if one != other
    ]
    lines.insert(0, ("column", "expected", "found"))
    widths = [max(len(line[place]) for line in lines) for place in range(2)]
    return "\n".join(
        [head, *(f"    {name:<{widths[0]}}  {a:<{widths[1]}}  {b}" for name, a, b in lines)]
    )


def _shown(value: Any) -> str:
    text = pprint.saferepr(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…"
