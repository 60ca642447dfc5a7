"""What is sent for an append, and how the callers of a shared statement find their own part."""

from __future__ import annotations

import uuid
from typing import Any, cast

import pytest

from eventcore.errors import ConcurrencyConflictError
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.log import ANY_VERSION, AppendResult, StreamAppend
from eventcore.stores.postgres.appending import Appending
from eventcore.stores.postgres.requests import (
    Head,
    Request,
    distribute,
    statement_for,
)


def event(number: int) -> EncodedEvent:
    return EncodedEvent(str(uuid.UUID(int=number)), "order.paid", "", b"{}")


def key(number: int) -> bytes:
    return uuid.UUID(int=number).bytes


def test_one_event_takes_the_shortest_statement():
    request = Request("store", [StreamAppend("order-1", 3, [event(1)])])

    name, parameters = statement_for([request])

    assert name == "append_event"
    assert parameters == (
        b"order-1",
        (3).to_bytes(8, "big"),
        b"order.paid",
        event(1)[0].encode(),
        b"{}",
    )


@pytest.mark.parametrize(
    ("appends", "name"),
    [
        ([StreamAppend("order-1", 0, [event(1), event(2)])], "append_stream"),
        (
            [StreamAppend("order-1", 0, [event(1)]), StreamAppend("user-1", 0, [event(2)])],
            "append_streams_all",
        ),
    ],
)
def test_several_events_of_one_caller_are_all_or_none(appends, name):
    assert statement_for([Request("store", appends)])[0] == name


def test_a_stream_that_is_named_again_goes_on_where_it_was_left():
    request = Request(
        "store",
        [
            StreamAppend("order-1", 4, [event(1)]),
            StreamAppend("user-1", ANY_VERSION, [event(2)]),
            StreamAppend("order-1", 5, [event(3), event(4)]),
        ],
    )

    assert request.heads == [Head("order-1", 4), Head("user-1", None)]
    assert [(place, step) for place, step, _ in request.events] == [(0, 1), (1, 1), (0, 2), (0, 3)]


def test_a_version_said_later_counts_for_the_whole_stream():
    request = Request(
        "store",
        [StreamAppend("order-1", ANY_VERSION, [event(1)]), StreamAppend("order-1", 8, [event(2)])],
    )

    assert request.heads == [Head("order-1", 7)]


@pytest.mark.parametrize("second", [0, 4, 6])
def test_a_stream_that_is_named_again_at_another_version_is_refused(second):
    with pytest.raises(ConcurrencyConflictError) as refused:
        Request(
            "store",
            [StreamAppend("order-1", 4, [event(1)]), StreamAppend("order-1", second, [event(2)])],
        )

    assert (refused.value.expected_version, refused.value.actual_version) == (second, 5)


def test_callers_that_take_a_stream_as_it_is_follow_each_other_in_it():
    batch = [
        Request("store", [StreamAppend("log-1", ANY_VERSION, [event(1), event(2)])]),
        Request("store", [StreamAppend("log-1", ANY_VERSION, [event(3)])]),
    ]

    name, parameters = statement_for(batch)

    assert name == "append_streams_each"
    steps = parameters[3]
    assert steps is not None
    assert [int.from_bytes(steps[start + 4 : start + 12], "big") for start in (20, 32, 44)] == [
        1,
        2,
        3,
    ]


def test_each_caller_gets_its_own_places():
    batch = [
        Request("store", [StreamAppend("order-1", 0, [event(1)])]),
        Request("store", [StreamAppend("order-2", 4, [event(2), event(3)])]),
    ]

    distribute(batch, [(7, 1, key(1)), (8, 5, key(2)), (9, 6, key(3))])

    assert batch[0].result == AppendResult((7,), (1,), repeated=False)
    assert batch[1].result == AppendResult((8, 9), (5, 6), repeated=False)


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_who_was_left_out_gets_nothing_and_the_others_what_is_theirs(moved):
    batch = [
        Request("store", [StreamAppend(f"order-{number}", 0, [event(number), event(number + 10)])])
        for number in (1, 2, 3)
    ]
    written = [request for number, request in enumerate(batch) if number != moved]
    answer: list[tuple[int, int, bytes]] = []
    for request in written:
        for _, step, one in request.events:
            answer.append((len(answer) + 1, step, uuid.UUID(one.event_id).bytes))

    distribute(batch, answer)

    assert batch[moved].result is None
    assert [request.result.positions for request in written if request.result] == [(1, 2), (3, 4)]


def test_nothing_written_is_nothing_for_everybody():
    batch = [Request("store", [StreamAppend("order-1", 0, [event(1)])])]

    distribute(batch, [])

    assert batch[0].result is None


def test_callers_who_name_the_same_event_do_not_share_a_statement():
    appending = Appending(cast("Any", None), {})
    moved = Request("store", [StreamAppend("order-1", 7, [event(1)])])
    other = Request("store", [StreamAppend("order-2", 0, [event(1)])])
    third = Request("store", [StreamAppend("order-3", 0, [event(2)])])
    appending._queue = [moved, other, third]

    assert appending._next_batch() == [moved, third]
    assert appending._next_batch() == [other]
