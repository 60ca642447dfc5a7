"""Rows of events in Arrow: sorting them, choosing some, and making recorded events of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eventcore.errors import UndecodableEventError
from eventcore.events.recorded import Recorded, RecordedReader, event_id_of
from eventcore.stores.limits import is_storable
from eventcore.stores.log import EVERYTHING, LogFilter
from eventcore.stores.trimming import TrimmableLog, TrimsByPlace


def by_position(table: pa.Table) -> pa.Table:
    """The same rows by position."""
    places = table["position"].to_numpy()
    if (places[1:] > places[:-1]).all():
        return table.combine_chunks()  # files of one family, day after day: to copy takes long
    order = pc.sort_indices(table.select(["position"]), [("position", "ascending")])
    return table.take(order).combine_chunks()


def choose(  # noqa: PLR0917 - in the order of a log's own reading methods
    table: pa.Table, after: int, until: int | None, where: LogFilter = EVERYTHING
) -> pa.Table:
    """The rows between two positions that pass a filter.

    Args:
        table: By position.
        after: Only positions above this one.
        until: Only positions up to and including this one.
        where: Which types and categories.
    """
    places = table["position"]
    first, last = places[0].as_py(), places[-1].as_py()
    if after >= first or (until is not None and until < last):
        low = pc.sum(pc.less_equal(places, after)).as_py() or 0
        high = len(places) if until is None else pc.sum(pc.less_equal(places, until)).as_py() or 0
        table = table.slice(low, max(high - low, 0))
    if where.types is not None:
        names = pa.array([name for name in sorted(where.types) if is_storable(name)], pa.string())
        table = table.filter(pc.is_in(table["type"], names))
    if where.categories is not None:
        names = [name for name in sorted(where.categories) if is_storable(name)]
        table = _of_categories(table, names)
    return table


def recorded_of(batch: pa.RecordBatch, codec: RecordedReader) -> list[Recorded[Any]]:
    """The events of a batch of :data:`~eventcore.lake.columns.EVENT_SCHEMA`, as they were recorded.

    Args:
        batch: From an archive's reader.
        codec: Reads the events.
    """
    rows = zip(
        batch.column("position").to_numpy().tolist(),
        _texts(batch.column("stream")),
        batch.column("version").to_numpy().tolist(),
        _texts(batch.column("type")),
        batch.column("state").to_pylist(),
        strict=True,
    )
    return [Recorded(*row, codec) for row in rows]


def id_of(event: Recorded[Any]) -> str:
    """An event's id, canonical text; empty if its bytes are damaged, and do not tell."""
    try:
        event_id = str(event.event_id)
    except (UndecodableEventError, AttributeError, TypeError, ValueError):
        return ""
    # As it is written, too: what compares bytes would not know it otherwise.
    return event_id if event_id_of(event.state) == event_id else ""


def gone_among(log: TrimmableLog, events: Sequence[Recorded[Any]]) -> set[str]:
    """Ids of those of an archive's events that left the log.

    Args:
        log: What they were archived from.
        events: By position.
    """
    if isinstance(log, TrimsByPlace):
        return log.trimmed_among(events)
    position_of = {id_of(event): event.position for event in events}
    places = log.trimmed_positions([one for one in position_of if one])
    return {one for one, position in places.items() if position_of[one] == position}


def _texts(column: pa.Array) -> list[str]:
    if not pa.types.is_dictionary(column.type):
        return list(column.to_pylist())
    names = column.dictionary.to_pylist()
    return [names[index] for index in column.indices.to_numpy().tolist()]


def _of_categories(table: pa.Table, categories: list[str]) -> pa.Table:
    column = table["stream"]
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    # A category has no hyphen, so that a name begins so if and only if that is its category.
    masks = [pc.starts_with(column, f"{one}-") for one in categories if "-" not in one and one]
    if not masks:
        return table.slice(0, 0)
    return table.filter(reduce(pc.or_, masks))
