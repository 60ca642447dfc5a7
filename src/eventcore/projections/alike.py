"""Events that are all folded in one way: each changes one row of one table, found by one function.

Most read models are like that. Then a page needs no work noted for each event, and what is the same
for all is looked up once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from eventcore.projections.applying import Event, refuse
from eventcore.projections.plan import Plan
from eventcore.projections.projection import Fold, Locate
from eventcore.projections.remembered import Remembered

Call = Callable[..., Any]
ApplyAll = Callable[[Sequence[Call | None], Sequence[Event], Sequence[Any]], None]


class Alike(NamedTuple):
    """How.

    Attributes:
        locate: Gives an event's key.
        remembered: Rows of the one table.
        calls: From an event's type to the handler: None if there is none, :func:`several`.
        apply_all: Calls handlers for events and their keys, and keeps the outcomes.
    """

    locate: Locate
    remembered: Remembered
    calls: dict[str, Call | None]
    apply_all: ApplyAll


def several(*_given: Any) -> None:
    """Stands for more than one handler; never called."""


class _Calls(dict[str, "Call | None"]):
    """Handlers by type; one more is looked up when its first event comes."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def __missing__(self, event_type: str) -> Call | None:
        calls: list[Call | None] = [step.call for step in self._plan.steps_for(event_type)]
        calls = calls or [None]
        self[event_type] = found = several if len(calls) > 1 else calls[0]
        return found


def alike_of(plan: Plan, tables: dict[str, Remembered]) -> Alike | None:
    """The one way in which a projection's events are folded; None if there is not only one."""
    steps = plan.steps
    if not steps or plan.by_page:
        return None
    first = steps[0]
    if first.table is None or any(
        step.fold is not Fold.KEY or step.table is not first.table or step.locate != first.locate
        for step in steps
    ):
        return None
    remembered = tables[first.table.name]
    return Alike(first.locate, remembered, _Calls(plan), _applying_all(plan, remembered))


def _applying_all(plan: Plan, remembered: Remembered) -> ApplyAll:
    """See :func:`eventcore.projections.applying.keying`, of which this is the loop."""
    rows, table, key_of = remembered.rows, remembered.table, remembered.table.key_of
    settled, lent, is_alone = table.settled, table.lent, plan.is_alone

    def apply_all(calls: Sequence[Any], events: Sequence[Event], keys: Sequence[Any]) -> None:
        row_of = rows.get
        for call, event, key in zip(calls, events, keys, strict=True):
            before = row_of(key)
            if before is not None and lent is not None:
                before = lent(before)
            row = call(before, event)
            if is_alone:
                event.forget()
            if row is not None and row is not before:
                if key_of(row) != key:
                    refuse(table, "got a row whose key is not the one the event touches")
                if settled is not None:
                    row = settled(row, before)
            rows[key] = row

    return apply_all
