"""Querying: what a source offers so that a summary's rows are made by one query over its files.

A :class:`~eventcore.projections.summaries.Summary` says what it counts, adds up and keeps, so that
a database that reads Parquet can do the same: see :mod:`eventcore.replay.duckdb_queries`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TypeGuard

from eventcore.events.codec import Codec
from eventcore.projections.anchors import anchor_at
from eventcore.projections.projection import Projection
from eventcore.projections.summaries import Summary
from eventcore.projections.transactions import TableChanges
from eventcore.projections.views import Views
from eventcore.replay.cuts import Cut
from eventcore.replay.gathering import parts_of
from eventcore.replay.shards import ParquetFiles
from eventcore.replay.targets import as_replayed
from eventcore.stores.log import Log


def may_be_queried(projection: Projection, codec: Codec) -> TypeGuard[Summary]:
    """Whether a query may make the rows here: they are declared, and DuckDB is there."""
    return (
        isinstance(projection, Summary)
        and codec.transform is None
        and find_spec("duckdb") is not None
    )


def make_by_query(summary: Summary, files: ParquetFiles, *, log: Log, into: Views, cut: Cut) -> int:
    """Write a summary's rows as of the cut, or as of the end of the files if that is earlier.

    Only where nothing is written yet; what follows then is made page by page.

    Args:
        summary: Which, under its own name.
        files: Those of the archive.
        log: Knows the events and their classes.
        into: Where the rows go.
        cut: Where the replay ends.

    Returns:
        The position reached; 0 if nothing was done.
    """
    from eventcore.replay.duckdb_queries import query_summary  # noqa: PLC0415 - an extra

    renamed = as_replayed(summary)
    before = into.ensure(renamed)
    if before.position or not files.paths:
        return 0
    position = min(files.until, cut.position)
    rows = query_summary(summary, files, log.codec, cut=cut)
    if rows is None:
        return 0
    table = summary.table()
    *first, last = parts_of({table.name: rows})
    for part in first:
        with into.transaction() as transaction:
            for _, stored in part:
                transaction.write(TableChanges(table, stored, ()))
    with into.transaction() as transaction:
        for _, stored in last:
            transaction.write(TableChanges(table, stored, ()))
        anchor = anchor_at(log, position)
        transaction.advance(renamed.name, before, position, anchor=anchor)
    return position
