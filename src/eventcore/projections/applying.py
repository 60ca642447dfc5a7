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
    settled, lent = table.settled, table.lent

    def apply(event: Event, key: Any) -> None:
        before = rows.get(key)
        if before is not None and lent is not None:
            before = lent(before)
        row = call(before, event)
        if row is not None:
            if key_of(row) != key:
                refuse(table, "got a row whose key is not the one the event touches")
            if settled is not None and row is not before:
                row = settled(row, before)
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
    settled, lent = table.settled, table.lent

    def apply(event: Event, key: Any) -> None:
        before = rows.get(key)
        if before is not None and lent is not None:
            before = lent(before)
        row = call(before, event, key)
        if row is not None:
            if key_of(row) != key:
                refuse(table, "got a row whose key is not the one the event touches")
            if settled is not None and row is not before:
                row = settled(row, before)
        rows[key] = row

    return apply


def grouping(step: Step, remembered: Remembered) -> Apply:
    """For ``group=``: the rows of a group."""
    call, groups, table = step.call, remembered.rows, remembered.table
    key_of, group_of = table.key_of, table.group_of
    settled, lent = table.settled, table.lent

    def apply(event: Event, group: Any) -> None:
        before = groups.get(group) or ()
        given = list(map(lent, before) if lent else before)
        known = set(map(id, given)) if settled else ()
        rows = list(call(list(given), event))
        if rows and set(map(group_of, rows)) != {group}:
            refuse(table, "got a row of another group than the one the event touches")
        if len(rows) > 1:
            rows.sort(key=key_of)
            if len(set(map(key_of, rows))) < len(rows):
                refuse(table, "got two rows with one key")
        if settled is not None:
            rows = [row if id(row) in known else settled(row, None) for row in rows]
        groups[group] = rows

    return apply


def touching(step: Step, tables: dict[str, Remembered]) -> Apply:
    """For ``touches=``: rows of several tables."""
    call = step.call
    rows_of = {table.table: table.rows for table in tables.values()}

    def apply(event: Event, pairs: Sequence[tuple[AnyTable, Any]]) -> None:
        held = [rows_of[table].get(key) for table, key in pairs]
        given = [
            row if row is None or table.lent is None else table.lent(row)
            for (table, _), row in zip(pairs, held, strict=True)
        ]
        # The handler has a list for itself: it may put rows into it and give it back.
        found = call(list(given), event)
        for (table, key), before, known, row in zip(pairs, held, given, found, strict=True):
            if row is before:
                continue
            if row is not None:
                if table.key_of(row) != key:
                    refuse(table, "got a row whose key is not the one the event touches")
                if table.settled is not None:
                    row = table.settled(row, known)  # noqa: PLW2901 - the same row
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
