"""A DynamoDB log keeps its promises while it is trimmed, under every interleaving, fault and death.

And that this would notice: with a bug planted in any one step, the same simulation fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from eventcore.events.recorded import Recorded
from eventcore.stores.dynamodb.ids import Trimmed, recorded_events
from eventcore.stores.dynamodb.layout import Record
from eventcore.stores.dynamodb.log import DynamoDBLog
from tests.property.stores.dynamodb_promises import Violation
from tests.property.stores.dynamodb_world import Mutate, Rewrite, simulate
from tests.property.stores.test_dynamodb_simulation import SEEDS

MUTANT_SEEDS = 800
"""A planted bug shows within so many worlds; nearly all do within ten."""

Step = tuple[str, Mapping[str, Any]]


@pytest.mark.parametrize("is_small", [False, True])
def test_no_promise_is_broken_in_any_world_that_is_trimmed(is_small: bool) -> None:
    trimmed = acknowledged = 0
    for seed in range(SEEDS):
        world = simulate(
            seed + 30_000,
            writers=3 + seed % 2,
            threads=(1, 3)[seed % 5 == 0],
            trimmers=1 + seed % 2,
            is_small=is_small,
        )
        trimmed += world.trimmed
        acknowledged += len(world.told.acknowledged)

    assert trimmed > 2 * SEEDS
    assert acknowledged > 3 * SEEDS


def _of_a_trim(given: Mapping[str, Any]) -> bool:
    """Whether events leave in it: the first note of a trim is a transaction as well."""
    check = given.get("TransactItems", [{}])[0].get("ConditionCheck")
    return check is not None and bool(check["Key"]["pk"]["S"].endswith("#t"))


def _without_conditions(name: str, given: Mapping[str, Any]) -> list[Step]:
    if not _of_a_trim(given):
        return [(name, given)]
    actions = [
        {verb: {k: v for k, v in action.items() if verb != "Put" or k != "ConditionExpression"}}
        for one in given["TransactItems"]
        for verb, action in one.items()
    ]
    return [(name, {**given, "TransactItems": actions})]


def _in_two_transactions(name: str, given: Mapping[str, Any]) -> list[Step]:
    if not _of_a_trim(given):
        return [(name, given)]
    check, *puts = given["TransactItems"]
    parts = [
        [check, *(put for put in puts if kind in put["Put"]["Item"]["pk"]["S"])]
        for kind in ("#l#", "#s#")
    ]
    token = given["ClientRequestToken"]
    return [
        (name, {"TransactItems": part, "ClientRequestToken": f"{token}{number}"})
        for number, part in enumerate(parts)
    ]


def _without_the_check(name: str, given: Mapping[str, Any]) -> list[Step]:
    if not _of_a_trim(given):
        return [(name, given)]
    return [(name, {**given, "TransactItems": given["TransactItems"][1:]})]


def _noted_afterwards(log: DynamoDBLog) -> None:
    trimming = log._trimming
    note, remove = trimming._note, trimming._remove
    noted: list[tuple[int, str]] = []

    def removed(leaving: Sequence[Any]) -> bool:
        is_done = remove(leaving)
        note(*noted.pop())
        return is_done

    trimming._note = lambda until, archive: noted.append((until, archive))  # type: ignore[method-assign]
    trimming._remove = removed  # type: ignore[method-assign]


def _readers_pass_over_what_was_trimmed(log: DynamoDBLog) -> None:
    def above(record: Record, after: int) -> Iterator[Recorded[Any]]:
        for event in recorded_events(record, log.codec):
            if not isinstance(event, Trimmed) and event.position > after:
                yield event

    log._events_above = above  # type: ignore[method-assign]


def _what_left_is_not_recognised(log: DynamoDBLog) -> None:
    log._streams.entry_of = lambda stream, version: None  # type: ignore[method-assign]
    log._ids.remembered = lambda event_ids: []  # type: ignore[method-assign]
    log._ids.recall = lambda event_ids: {}  # type: ignore[method-assign]


def _items_of_streams_leave_as_well(log: DynamoDBLog) -> None:
    rewrite = log._trimming._rewrite

    def rewritten(halves: Sequence[Any], until: int) -> bool:
        is_done = rewrite(halves, until)
        for half in halves:
            if is_done and "#s#" in half.item["pk"]["S"] and half.item["n"] == half.item.get("x"):
                item = {"pk": half.item["pk"], "sk": half.item["sk"]}
                log.calls.call("DeleteItem", {"TableName": log.keys.table, "Key": item})
        return is_done

    log._trimming._rewrite = rewritten  # type: ignore[method-assign]


MUTANTS: dict[str, tuple[Mutate | None, Rewrite | None]] = {
    "what is put in place of items has no condition": (None, _without_conditions),
    "cells and streams are trimmed one after the other": (None, _in_two_transactions),
    "how far is noted when everything is gone": (_noted_afterwards, _without_the_check),
    "readers pass over what was trimmed": (_readers_pass_over_what_was_trimmed, None),
    "what left is not recognised": (_what_left_is_not_recognised, None),
    "items of streams leave with their events": (_items_of_streams_leave_as_well, None),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bug_planted_in_any_step_of_a_trim_is_noticed(name: str) -> None:
    mutate, rewrite = MUTANTS[name]

    for seed in range(MUTANT_SEEDS):
        try:
            simulate(
                seed,
                mutate=mutate,
                rewrite=rewrite,
                trimmers=1 + seed % 2,
                faults=(0.05, 0.3)[seed // 2 % 2],
            )
        except Violation:
            return
    pytest.fail(f"{name}: not noticed in {MUTANT_SEEDS} worlds")
