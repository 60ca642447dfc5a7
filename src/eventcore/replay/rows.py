"""Rows that never leave memory: given to a handler as a database would give them, at less cost.

The engine brings a row to the form it is stored in whenever a handler gets it, since it cannot know
whether it came from a database meanwhile. Here it never did. So values that nobody can change are
brought to that form once, when they are new; JSON, which may be changed in place, every time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from eventcore.events.recorded import Recorded
from eventcore.projections.applying import refuse
from eventcore.projections.columns import Kind
from eventcore.projections.plan import Step
from eventcore.projections.remembered import Remembered
from eventcore.projections.tables import AnyTable

_JSON: Final = frozenset({Kind.OBJECT, Kind.ARRAY})


def folding_rows(step: Step, kept: Remembered) -> Callable[[Recorded[Any]], None]:
    """Does what :func:`eventcore.projections.applying.keying` does, and finds the key.

    Args:
        step: The handler, of the kind ``key=``.
        kept: The rows, all there are.
    """
    table, rows = kept.table, kept.rows
    locate, call, key_of = step.locate, step.call, table.key_of
    hand_out, settle = _handing_out(table), _settling(table)

    def fold(event: Recorded[Any]) -> None:
        key = locate(event)
        if key is None:
            return
        before = rows.get(key)
        given = before if before is None else hand_out(before)
        row = call(given, event)
        if row is not None and row is not given:
            if key_of(row) != key:
                refuse(table, "got a row whose key is not the one the event touches")
            row = settle(row, before)
        rows[key] = row

    return fold


def _handing_out(table: AnyTable) -> Callable[[Any], Any]:
    """Gives a row with JSON of its own."""
    places = [(place, one.settle) for place, one in enumerate(table.columns) if one.kind in _JSON]
    make: Any = table.row

    def hand_out(row: Any) -> Any:
        for place, copied in places:
            value = row[place]
            if value is not None and copied is not None:
                row = make(*row[:place], copied(value), *row[place + 1 :])
        return row

    return hand_out if places else _as_it_is


def _settling(table: AnyTable) -> Callable[[Any, Any], Any]:
    """Gives a row as it would come back, except for its JSON."""
    places = [
        (place, one.settle)
        for place, one in enumerate(table.columns)
        if one.settle is not None and one.kind not in _JSON
    ]
    make: Any = table.row

    def settle(row: Any, before: Any) -> Any:
        for place, settled in places:
            value = row[place]
            if value is None or (before is not None and value is before[place]):
                continue
            after = settled(value)
            if after is not value:
                row = make(*row[:place], after, *row[place + 1 :])
        return row

    return settle


def _as_it_is(row: Any) -> Any:
    return row
