"""What ``eventcore doctor`` looks at in a store on DynamoDB."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

from eventcore.cli.dynamodb_definitions import log_definition, view_definitions
from eventcore.cli.dynamodb_tables import DynamoDBPlace, is_emulated
from eventcore.cli.findings import Finding
from eventcore.errors import EventCoreError
from eventcore.projections.dynamodb.tables import DynamoDBTables
from eventcore.projections.projection import Projection
from eventcore.settings import StoreLocation
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.chain import FENCE_SECONDS, Chain
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.layout import Keys, number
from eventcore.stores.dynamodb.limits import SEGMENT_POSITIONS
from eventcore.stores.dynamodb.tables import check_usable, read_sequencer, table_identity
from eventcore.stores.dynamodb.writing import Writing

POSITIONS_LOOKED_AT: Final = 8 * SEGMENT_POSITIONS
"""How far behind the end of the log a position is looked for that was never written."""

HELD_SECONDS_MIN: Final = 2 * FENCE_SECONDS
"""A position that is empty for so long has no follower that sees to it."""

LOOK_AGAIN_SECONDS: Final = 0.1
"""Pause between two looks at an empty position."""

GUARDS: Final = ("point-in-time recovery", "deletion protection")
"""What keeps a log from being lost."""


class Hole(NamedTuple):
    """A position that was reserved and is empty, although something is further on.

    Attributes:
        position: The first such one; followers have come so far.
        newest: Position of the newest event.
    """

    position: int
    newest: int


def dynamodb_findings(
    location: StoreLocation, *, log: bool, projections: Sequence[Projection]
) -> Iterator[Finding]:
    """Look at the part of a store that is in one account and region.

    Args:
        location: Where.
        log: Whether the log is in it.
        projections: The read models that are in it.
    """
    try:
        calls = open_calls(
            location.table, region=location.region, endpoint_url=location.endpoint_url
        )
    except EventCoreError as error:
        yield Finding("service", ok=False, detail=str(error), action="see the message")
        return
    with closing(calls):
        try:
            yield from _tables(calls, location, log=log, projections=projections)
            if log:
                yield from _log(calls, Keys(location.table, location.prefix))
        except EventCoreError as error:
            yield Finding("service", ok=False, detail=str(error), action="see the message")


def find_hole(calls: DynamoDBCalls, keys: Keys, identity: str) -> Hole | None:
    """Where followers of the log are held just now; mostly by a writer that is at work.

    Looks only, and only near the log's end.

    Args:
        calls: To the service.
        keys: Of the log.
        identity: Of its table.
    """
    # Without a wait it never fences, so nothing is written.
    chain = Chain(calls, keys, Writing(calls, keys, identity), fence_seconds=None)
    start = chain.start_for(max(0, chain.reserved() - POSITIONS_LOOKED_AT))
    while records := chain.records_from(start, waits=False):
        start = records[-1].end + 1
    newest = chain.newest_event()
    return Hole(start, newest) if newest > start else None


def _tables(
    calls: DynamoDBCalls, location: StoreLocation, *, log: bool, projections: Sequence[Projection]
) -> Iterator[Finding]:
    definitions = [log_definition(location)] if log else []
    definitions += view_definitions(location, projections) if projections else []
    found = {one.name: DynamoDBTables(calls).describe(one.name) for one in definitions}
    there = [description for description in found.values() if description is not None]
    region = location.region or "of the environment"
    states = sorted({str(one["TableStatus"]) for one in there})
    detail = f"region {region}, {len(there)} of {len(found)} tables, {', '.join(states) or 'none'}"
    is_usable = set(states) <= {"ACTIVE", "UPDATING"}
    action = "" if is_usable else "wait until they are ACTIVE, or see what AWS says of them"
    yield Finding("service", ok=is_usable, detail=detail, action=action)
    is_guarded = not is_emulated(location)
    differences = DynamoDBPlace(calls, definitions, is_guarded=is_guarded).differences()
    unguarded = [one.expected.kind for one in differences if one.expected.kind in GUARDS]
    others = [one for one in differences if one.expected.kind not in GUARDS]
    if not others:
        yield Finding("tables", ok=True, detail="as this version of eventcore creates them")
    for one in others:
        action = "eventcore db apply"
        if one.present is not None:
            action = "eventcore db check shows both; a read model: eventcore projections rebuild"
        yield Finding("tables", ok=False, detail=one.problem, action=action)
    if log and found[location.table] is not None:
        yield _durability(unguarded, is_guarded=is_guarded)


def _durability(unguarded: Sequence[str], *, is_guarded: bool) -> Finding:
    if not is_guarded:
        detail = "on this machine: neither recovery nor protection against deletion is expected"
        return Finding("durability", ok=True, detail=detail)
    if not unguarded:
        detail = f"{' and '.join(GUARDS)} are on: what was acknowledged is in several data centres"
        return Finding("durability", ok=True, detail=detail)
    detail = f"{' and '.join(unguarded)} of the log's table is off: one call could lose it"
    return Finding("durability", ok=False, detail=detail, action="eventcore db apply")


def _log(calls: DynamoDBCalls, keys: Keys) -> Iterator[Finding]:
    description = DynamoDBTables(calls).describe(keys.table)
    if description is None:
        return  # said of the tables
    identity = table_identity(description)
    sequencer: dict[str, Any] = read_sequencer(calls, keys)
    if not sequencer:
        yield Finding("log", ok=True, detail=f"{keys.prefix} has not begun yet")
        return
    try:
        check_usable(calls, keys, sequencer, identity)
    except EventCoreError as error:
        action = "stop all writers, then eventcore db repair"
        yield Finding("log", ok=False, detail=str(error), action=action)
        return
    hole = _lasting_hole(calls, keys, identity)
    head = Chain(calls, keys, Writing(calls, keys, identity)).newest_event()
    reserved = number(sequencer, "c")
    detail = f"{keys.prefix}: head at position {head:,}, {reserved:,} reserved"
    yield Finding("log", ok=True, detail=detail)
    if hole is None:
        yield Finding("held feed", ok=True, detail="no position near the end is empty")
        return
    detail = (
        f"position {hole.position:,} was reserved and is empty, the newest event is at "
        f"{hole.newest:,}: its writer died or is slow, and nobody follows the log"
    )
    action = (
        f"any follower, or read, of a role that may write sees to it in {FENCE_SECONDS:.0f} s: "
        "eventcore projections run --once"
    )
    yield Finding("held feed", ok=False, detail=detail, action=action)


def _lasting_hole(calls: DynamoDBCalls, keys: Keys, identity: str) -> Hole | None:
    """One that is still there after the time in which a follower sees to it."""
    first = found = find_hole(calls, keys, identity)
    deadline = time.monotonic() + HELD_SECONDS_MIN
    while found is not None and first is not None and found.position == first.position:
        if time.monotonic() >= deadline:
            return found
        time.sleep(LOOK_AGAIN_SECONDS)
        found = find_hole(calls, keys, identity)
    return None
