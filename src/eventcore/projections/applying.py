"""Applying: calls a handler with the rows an event touches, and keeps what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from eventcore.events.recorded import Recorded
from eventcore.projections.plan import Step
from eventcore.projections.projection import AnyTable
from eventcore.projections.remembered import Remembered

Event = Recorded[Any]
Apply = Callable[[Event, Any], None]
"""Calls one handler for an event and what it touches, and keeps the outcome for the page's end."""


def keying(step: Step, remembered: Remembered) -> Apply:
    """For ``key=``: one row."""
    call, rows, table, key_of = (
        step.call,
        remembered.rows,
        remembered.table,
        remembered.table.key_of,
    )
    settled = table.settled

    def apply(event: Event, key: Any) -> None:
        before = rows.get(key)
        row = call(before if before is None or settled is None else settled(before), event)
        if row is not None and key_of(row) != key:
            refuse(table, "got a row whose key is not the one the event touches")
        rows[key] = row

    return apply


def keying_each(step: Step, remembered: Remembered) -> Apply:
    """For ``keys=``: one row, and which."""
    call, rows, table, key_of = (
        step.call,
        remembered.rows,
        remembered.table,
        remembered.table.key_of,
    )

    settled = table.settled

    def apply(event: Event, key: Any) -> None:
        before = rows.get(key)
        row = call(before if before is None or settled is None else settled(before), event, key)
        if row is not None and key_of(row) != key:
            refuse(table, "got a row whose key is not the one the event touches")
        rows[key] = row

    return apply


def grouping(step: Step, remembered: Remembered) -> Apply:
    """For ``group=``: the rows of a group."""
    call, groups, table = step.call, remembered.rows, remembered.table
    key_of, group_of, settled = table.key_of, table.group_of, table.settled

    def apply(event: Event, group: Any) -> None:
        before = groups.get(group) or ()
        rows = list(call(list(map(settled, before) if settled else before), event))
        if rows and set(map(group_of, rows)) != {group}:
            refuse(table, "got a row of another group than the one the event touches")
        if len(rows) > 1:
            rows.sort(key=key_of)
            if len(set(map(key_of, rows))) < len(rows):
                refuse(table, "got two rows with one key")
        groups[group] = rows

    return apply


def touching(step: Step, tables: dict[str, Remembered]) -> Apply:
    """For ``touches=``: rows of several tables."""
    call = step.call
    rows_of = {table.table: table.rows for table in tables.values()}

    def apply(event: Event, pairs: Sequence[tuple[AnyTable, Any]]) -> None:
        held = [rows_of[table].get(key) for table, key in pairs]
        # The handler has this list for itself: it may put rows into it and give it back.
        given = [
            row if row is None or table.settled is None else table.settled(row)
            for (table, _), row in zip(pairs, held, strict=True)
        ]
        for (table, key), before, row in zip(pairs, held, call(given, event), strict=True):
            if row is before:
                continue
            if row is not None and table.key_of(row) != key:
                refuse(table, "got a row whose key is not the one the event touches")
            rows_of[table][key] = row

    return apply


def appending(step: Step, remembered: Remembered) -> Apply:
    """For ``@appends``: no row."""
    call, row_type = step.call, remembered.table.row
    add, add_all = remembered.appended.append, remembered.appended.extend

    def apply(event: Event, _key: Any) -> None:
        made = call(event)
        if type(made) is row_type:
            add(made)
        elif made is not None:
            add_all(made)

    return apply


def refuse(table: AnyTable, problem: str) -> NoReturn:
    """Say what is wrong with what a handler named or gave."""
    msg = f"table {table.name} {problem}"
    raise ValueError(msg)
