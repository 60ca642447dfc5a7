"""Pieces: what an event is to do, in parts that each are done whole or not at all.

An event may change several rows. Calls that change a row in common are one piece; others go apart,
so that what is wrong with one row does not hold up another. This takes an event at a time and
spells out every key: pages that nothing is wrong with are folded without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from eventcore.projections.applying import (
    Apply,
    Event,
    appending,
    grouping,
    keying,
    keying_each,
    refuse,
    touching,
)
from eventcore.projections.plan import Plan, Step
from eventcore.projections.projection import Fold
from eventcore.projections.remembered import Remembered
from eventcore.projections.units import Unit, key_unit, stream_unit


class Job(NamedTuple):
    """One call to make.

    Attributes:
        apply: Calls the handler.
        key: What it is given beside the event.
        units: What it changes.
        wants: Tables and the keys of the rows it needs.
        appends: Where it adds rows unseen.
    """

    apply: Apply
    key: Any
    units: tuple[Unit, ...]
    wants: tuple[tuple[Remembered, Any], ...]
    appends: Remembered | None = None


class Piece(NamedTuple):
    """Calls that are made together or not at all.

    Attributes:
        event: For which.
        units: Everything they change.
        jobs: The calls.
        cause: Why it cannot be told what the event touches; its units are then those that can be
            told and its stream as a whole.
    """

    event: Event
    units: tuple[Unit, ...]
    jobs: tuple[Job, ...]
    cause: Exception | None = None


_Locator = Callable[[Event], Iterator[Job]]


class Pieces:
    """Takes events to pieces.

    Args:
        plan: The handlers.
        tables: The rows they change, by table.
    """

    def __init__(self, plan: Plan, tables: Mapping[str, Remembered]) -> None:
        self._plan = plan
        self._tables = tables
        self._locators: dict[str, tuple[_Locator, ...]] = {}

    def of(self, event: Event) -> list[Piece]:
        """The pieces of an event; none if it touches nothing."""
        locators = self._locators.get(event.type)
        if locators is None:
            steps = self._plan.steps_for(event.type)
            locators = self._locators[event.type] = tuple(map(self._locator, steps))
        jobs: list[Job] = []
        cause: Exception | None = None
        for locator in locators:
            try:
                jobs.extend(locator(event))
            except Exception as error:  # noqa: BLE001 - a key function is anybody's code
                cause = cause or error
        if cause is not None:
            units = dict.fromkeys((stream_unit(event.stream), *_units(jobs)))
            return [Piece(event, tuple(units), tuple(jobs), cause)]
        if len(jobs) < 2:  # noqa: PLR2004 - nothing to join
            return [Piece(event, job.units, (job,)) for job in jobs]
        return [Piece(event, _units(joined), tuple(joined)) for joined in _joined(jobs)]

    def _locator(self, step: Step) -> _Locator:
        if step.table is None:
            return _touched(step, self._tables, self._plan)
        remembered = self._tables[step.table.name]
        match step.fold:
            case Fold.APPEND:
                return _appended(remembered, appending(step, remembered))
            case Fold.KEYS:
                return _keys(step, remembered, keying_each(step, remembered))
            case Fold.GROUP:
                return _key(step, remembered, grouping(step, remembered))
            case _:
                return _key(step, remembered, keying(step, remembered))


def _units(jobs: Sequence[Job]) -> tuple[Unit, ...]:
    return tuple(dict.fromkeys(unit for job in jobs for unit in job.units))


def _joined(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs, those together that share a unit."""
    groups: list[tuple[set[Unit], list[int]]] = []
    for index, job in enumerate(jobs):
        units, members = set(job.units), [index]
        apart = []
        for other in groups:
            if units.isdisjoint(other[0]):
                apart.append(other)
            else:
                units |= other[0]
                members += other[1]
        groups = [*apart, (units, members)]
    in_order = sorted(sorted(members) for _, members in groups)
    return [[jobs[index] for index in members] for members in in_order]


def _appended(remembered: Remembered, apply: Apply) -> _Locator:
    def locate(event: Event) -> Iterator[Job]:
        unit = Unit(remembered.table.name, (event.stream,))
        yield Job(apply, None, (unit,), (), remembered)

    return locate


def _key(step: Step, remembered: Remembered, apply: Apply) -> _Locator:
    def locate(event: Event) -> Iterator[Job]:
        key = step.locate(event)
        if key is not None:
            yield Job(apply, key, (_unit(remembered, key),), ((remembered, key),))

    return locate


def _keys(step: Step, remembered: Remembered, apply: Apply) -> _Locator:
    def locate(event: Event) -> Iterator[Job]:
        for key in dict.fromkeys(step.locate(event)):
            yield Job(apply, key, (_unit(remembered, key),), ((remembered, key),))

    return locate


def _touched(step: Step, tables: Mapping[str, Remembered], plan: Plan) -> _Locator:
    apply = touching(step, dict(tables))
    changeable = set(tables) - plan.grouped - plan.appended

    def locate(event: Event) -> Iterator[Job]:
        pairs = tuple(step.locate(event))
        for table, _ in pairs:
            if table.name not in changeable:
                refuse(table, "is not one that touches= can change")
        if pairs:
            wants = tuple((tables[table.name], key) for table, key in pairs)
            units = dict.fromkeys(_unit(*want) for want in wants)
            yield Job(apply, pairs, tuple(units), wants)

    return locate


def _unit(remembered: Remembered, key: Any) -> Unit:
    table = remembered.table
    columns = table.group_columns if remembered.grouped else table.key_columns
    unit = key_unit(table, columns, key)
    # Rows are remembered by it; else the page would be refused as a whole later on.
    hash(key)
    return unit
