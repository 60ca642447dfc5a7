"""The import writes no more at once than the log says it takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from typing_extensions import override

from eventcore.events.codec import Codec
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.limits import LIMITS as DYNAMODB_LIMITS
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.limits import LogLimits
from eventcore.stores.log import AppendResult, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from tests.model_dynamodb import ModelTables
from tests.unit.ingestion.test_pipeline import (
    contents,
    counts,
    created,
    ingest,
    paid,
    registered,
    wire,
)

SMALL = LogLimits(events_per_append_max=7, streams_per_append_max=6, append_bytes_max=4_000)


def mixed_lines(count: int) -> list[bytes]:
    """Orders, users with e-mail addresses that are taken at times, and payments without orders."""
    lines: list[bytes] = []
    for number in range(0, 5 * count, 5):
        lines += [
            created(number + 1, f"o{number}"),
            registered(number + 2, f"u{number}", f"u{number % 35}@example.org"),
            paid(number + 3, f"o{number}"),
            paid(number + 4, f"none{number}"),
            wire("page.viewed", number + 5, {"page": number}),
        ]
    return lines


class Counting(MemoryLog):
    """A log that notes the streams of each commit."""

    def __init__(self, limits: LogLimits) -> None:
        super().__init__(Codec(allow_unknown=True), limits)
        self.commits: list[int] = []

    @override
    def _append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        self.commits.append(len({append.stream for append in appends}))
        return super()._append(appends)


@pytest.mark.parametrize("limits", [SMALL, LogLimits(streams_per_append_max=3), DYNAMODB_LIMITS])
def test_a_log_with_tight_limits_ends_with_the_same_events_and_refusals(limits: LogLimits) -> None:
    lines, free, tight = mixed_lines(40), Counting(LogLimits()), Counting(limits)

    report, letters = ingest(free, lines, allow_unknown=True)
    limited, limited_letters = ingest(tight, lines, allow_unknown=True)

    assert (counts(limited), limited_letters) == (counts(report), letters)
    assert contents(tight) == contents(free)
    assert len(free.commits) == 1
    assert max(tight.commits) <= limits.streams_per_append_max
    assert counts(report)[3] > 40


def test_an_event_that_is_too_large_for_the_log_is_a_dead_letter() -> None:
    log = MemoryLog(Codec(allow_unknown=True), LogLimits(state_bytes_max=2_000))

    report, letters = ingest(
        log,
        [created(1), wire("page.viewed", 2, {"page": "x" * 3_000}), paid(3)],
        allow_unknown=True,
    )

    assert counts(report) == (3, 2, 0, 1)
    assert letters == [(2, "too-large")]


@pytest.mark.parametrize("kib", [20, 150, 350])
def test_large_events_are_taken_in_parts_that_a_transaction_of_dynamodb_holds(
    kib: int,
) -> None:
    log: Any = DynamoDBLog(
        DynamoDBCalls(ModelTables()), "log-table", Codec(allow_unknown=True), fence_seconds=0.0
    )
    # Letters that no compression helps much.
    lines = [
        wire("page.viewed", number, {"page": os.urandom(kib * 512).hex()})
        for number in range(1, 21)
    ]
    lines.insert(5, b"not json")
    lines += [paid(100 + number, f"none{number}") for number in range(5)]

    report, letters = ingest(log, lines, allow_unknown=True)

    assert counts(report) == (26, 20, 0, 6)
    assert [line for line, _ in letters] == [6, 22, 23, 24, 25, 26]
    assert log.head() >= 20
    assert counts(ingest(log, lines, allow_unknown=True)[0]) == (26, 0, 20, 6)
