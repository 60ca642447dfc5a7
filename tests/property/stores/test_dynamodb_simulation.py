"""The protocol of the DynamoDB log under every interleaving, fault and death a seed can think of.

And that this would notice: with a bug planted in any one step, the same simulation fails.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from eventcore.stores.dynamodb import limits
from eventcore.stores.dynamodb.layout import Record, record_of, tombstone
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.requests import Request
from tests.property.stores.dynamodb_promises import Violation
from tests.property.stores.dynamodb_world import Mutate, Rewrite, simulate

SEEDS = int(os.environ.get("EVENTCORE_SIMULATIONS", "150"))
MUTANT_SEEDS = 800
"""A planted bug shows within so many worlds; nearly all do within ten."""


def test_no_promise_is_broken_in_any_world() -> None:
    acknowledged = refused = tombstones = 0
    for seed in range(SEEDS):
        world = simulate(seed)
        acknowledged += len(world.told.acknowledged)
        refused += len(world.told.refused)
        tombstones += sum(
            1
            for (pk, _), item in world.tables.tables["log-table"].items()
            if "#l#" in pk and "k" not in item
        )

    # Worlds in which nothing happens prove nothing.
    assert acknowledged > 4 * SEEDS
    assert refused > SEEDS // 2
    assert tombstones > SEEDS


@pytest.mark.parametrize("seed", range(20))
def test_readers_that_fence_at_once_break_nothing(seed: int) -> None:
    def eager(log: DynamoDBLog) -> None:
        log._chain._fence_seconds = log._chain._fence_seconds_first = 0.0

    simulate(seed, mutate=eager)


@pytest.mark.parametrize("seed", range(20))
def test_one_stream_that_everybody_wants_breaks_nothing(seed: int) -> None:
    simulate(seed + 10_000, writers=5, appends=3, faults=0.3, crashes=0.0)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_promise_is_broken_where_everything_is_small_and_threads_share_a_log(
    threads: int,
) -> None:
    acknowledged = judged = 0
    for seed in range(SEEDS // 2):
        world = simulate(seed + 20_000, writers=4, threads=threads, is_small=True)
        acknowledged += len(world.told.acknowledged)
        judged += len(world.told.judged)

    assert acknowledged > 2 * SEEDS
    assert judged > SEEDS // 10


def test_threads_that_wait_for_company_break_nothing() -> None:
    waited = came = 0

    def slow(log: DynamoDBLog) -> None:
        # In most worlds a transaction takes no time, and then nobody waits behind it.
        appending = log._appending
        expect, await_ = appending._expect_company, appending._await_company

        def awaited(first: Request) -> None:
            nonlocal waited, came
            before = len(appending._line)
            waited += log.calls.clock() < appending._company_until
            await_(first)
            came += len(appending._line) > before

        appending._expect_company = lambda size, began: expect(size, began - 1.0)  # type: ignore[method-assign]
        appending._await_company = awaited  # type: ignore[method-assign]

    for seed in range(SEEDS // 3):
        simulate(seed + 30_000, writers=6, threads=(6, 3)[seed % 2], appends=6, mutate=slow)

    assert waited > SEEDS // 5
    assert came > SEEDS // 30


def _readers_skip_holes(log: DynamoDBLog) -> None:
    log._chain._linked = lambda items, start: [record_of(item) for item in items]  # type: ignore[method-assign]


def _readers_begin_anywhere(log: DynamoDBLog) -> None:
    log._chain.start_for = lambda after: after + 1  # type: ignore[method-assign]


def _one_tombstone_for_a_hole(log: DynamoDBLog) -> None:
    def fence(start: int, above: int) -> None:
        log._writing.put_once(tombstone(log.keys, start, above - start))

    log._chain._fence = fence  # type: ignore[method-assign]


def _nothing_is_settled(log: DynamoDBLog) -> None:
    log._writing._settle = lambda base, count, token: False  # type: ignore[method-assign]


def _versions_are_not_looked_at(log: DynamoDBLog) -> None:
    log._appending.prepare = lambda request: True  # type: ignore[method-assign]
    log._appending._base = lambda head: (  # type: ignore[method-assign]
        head.wanted if head.wanted is not None else log._streams.last_version(head.stream)
    )


def _repeats_are_not_recognised(log: DynamoDBLog) -> None:
    written = log._written

    def without_id(request: Request) -> Any:
        request.first_id = None
        return written(request)

    log._written = without_id  # type: ignore[method-assign]
    log._are_known = lambda request: False  # type: ignore[method-assign]
    log._ids.remembered = lambda event_ids: []  # type: ignore[method-assign]
    log._ids.look = lambda event_ids: {}  # type: ignore[method-assign]


def _nothing_is_above_a_segment(log: DynamoDBLog) -> None:
    log._chain._first_above = lambda start: None  # type: ignore[method-assign]


def _records_are_looked_for_in_their_own_segment(log: DynamoDBLog) -> None:
    def record_at(position: int) -> Record | None:
        segment = position // limits.SEGMENT_POSITIONS
        found = log._chain._query(segment, "sk <= :bound", position, backwards=True, limit=1)
        record = record_of(found[0]) if found else None
        return record if record is not None and record.end >= position else None

    log._chain.record_at = record_at  # type: ignore[method-assign]


def _readers_begin_behind_the_record_that_holds_the_next(log: DynamoDBLog) -> None:
    def start_for(after: int) -> int:
        segment = (after + 1) // limits.SEGMENT_POSITIONS
        found = log._chain._query(segment, "sk <= :bound", after + 1, backwards=True, limit=1)
        if not found:
            return max(1, segment * limits.SEGMENT_POSITIONS)
        record = record_of(found[0])
        return record.first if record.end > after else record.end + 1

    log._chain.start_for = start_for  # type: ignore[method-assign]


def _the_mark_moves_without_the_ids(log: DynamoDBLog) -> None:
    log._ids._put = lambda places: None  # type: ignore[method-assign]


def _a_group_may_name_an_id_twice(log: DynamoDBLog) -> None:
    def ready(given: Sequence[Request]) -> list[Request]:
        found = []
        for request in given:
            ids = [row.event.event_id for row in request.rows]
            bases = [log._appending._base(head) for head in request.heads]
            if log._ids.remembered(ids) or None in bases:
                request.is_done = True
                request.turn.set()
                continue
            request.bases = [base for base in bases if base is not None]
            found.append(request)
        return found

    log._appending._ready = ready  # type: ignore[method-assign, assignment]


def _the_sequencer_is_read_then_written(log: DynamoDBLog) -> None:
    def reserve(count: int) -> int:
        last = log._chain.reserved()
        log.calls.call(
            "UpdateItem",
            {
                "TableName": log.keys.table,
                "Key": log.keys.sequencer,
                "UpdateExpression": "SET c = :c",
                "ExpressionAttributeValues": {":c": {"N": str(last + count)}},
            },
        )
        return last + 1

    log._writing.reserve = reserve  # type: ignore[method-assign]


def _reads_of_the_past(name: str, given: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, {key: value for key, value in given.items() if key != "ConsistentRead"})]


def _without_condition(kind: str, operation: str) -> Rewrite:
    def strip(given: Mapping[str, Any]) -> Mapping[str, Any]:
        is_meant = kind in given.get("Item", {"pk": {"S": ""}})["pk"]["S"]
        return {
            name: value
            for name, value in given.items()
            if not (is_meant and name == "ConditionExpression")
        }

    def rewrite(name: str, given: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
        if name != operation:
            return [(name, given)]
        if name == "PutItem":
            return [(name, strip(given))]
        actions = [
            {verb: strip(action)} for one in given["TransactItems"] for verb, action in one.items()
        ]
        return [(name, {**given, "TransactItems": actions})]

    return rewrite


def _streams_apart_from_the_log(
    name: str, given: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any]]]:
    if name != "TransactWriteItems":
        return [(name, given)]

    def is_cell(action: Mapping[str, Any]) -> bool:
        return "#l#" in action.get("Put", {}).get("Item", {"pk": {"S": ""}})["pk"]["S"]

    actions = given["TransactItems"]
    parts = ([one for one in actions if is_cell(one)], [one for one in actions if not is_cell(one)])
    return [(name, {**given, "TransactItems": part}) for part in parts if part]


MUTANTS: dict[str, tuple[Mutate | None, Rewrite | None]] = {
    "readers skip holes": (_readers_skip_holes, None),
    "readers begin where no record does": (_readers_begin_anywhere, None),
    "one tombstone for a whole hole": (_one_tombstone_for_a_hole, None),
    "unknown outcomes are not settled": (_nothing_is_settled, None),
    "versions are not looked at before": (_versions_are_not_looked_at, None),
    "repeats are not recognised": (_repeats_are_not_recognised, None),
    "the sequencer is read, then written": (_the_sequencer_is_read_then_written, None),
    "cells have no condition": (None, _without_condition("#l#", "TransactWriteItems")),
    "stream items have no condition": (None, _without_condition("#s#", "TransactWriteItems")),
    "tombstones have no condition": (None, _without_condition("#l#", "PutItem")),
    "streams are written apart from the log": (None, _streams_apart_from_the_log),
    "reads are not consistent": (None, _reads_of_the_past),
}

SMALL_MUTANTS: dict[str, Mutate] = {
    "nothing is looked for above a segment": _nothing_is_above_a_segment,
    "a record is not looked for one segment back": _records_are_looked_for_in_their_own_segment,
    "a start is not looked for one segment back": (
        _readers_begin_behind_the_record_that_holds_the_next
    ),
    "the mark of the ids moves, the ids are not put": _the_mark_moves_without_the_ids,
    "a group may name an id twice": _a_group_may_name_an_id_twice,
}
"""What only shows at the borders of segments, of the index, or between threads."""


CROWDS: list[dict[str, Any]] = [{}, {"writers": 5, "appends": 3}]
"""Some bugs show where many come late at once, others where one goes on for long."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_planted_in_any_step_is_noticed(name: str) -> None:
    mutate, rewrite = MUTANTS[name]

    for seed in range(MUTANT_SEEDS):
        faults, crowd = (0.05, 0.3)[seed % 2], CROWDS[seed // 2 % 2]
        try:
            simulate(seed, mutate=mutate, rewrite=rewrite, faults=faults, **crowd)
        except Violation:
            return
    pytest.fail(f"{name}: not noticed in {MUTANT_SEEDS} worlds")


@pytest.mark.parametrize("name", SMALL_MUTANTS)
def test_a_bug_at_a_border_is_noticed(name: str) -> None:
    for seed in range(MUTANT_SEEDS):
        try:
            simulate(
                seed,
                writers=4,
                threads=(1, 3)[seed % 2],
                is_small=True,
                mutate=SMALL_MUTANTS[name],
                faults=(0.05, 0.3)[seed // 2 % 2],
            )
        except Violation:
            return
    pytest.fail(f"{name}: not noticed in {MUTANT_SEEDS} worlds")
