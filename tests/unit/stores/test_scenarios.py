"""The ids, times and events that tests are given are the same in every run."""

import json
from datetime import timedelta
from typing import Any

from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded
from eventcore.testing import EventMaker, SequentialIds, SteppingClock
from eventcore.testing.scenarios import START


def test_ids_count_up_and_are_uuids_of_version_7():
    ids = SequentialIds()

    first, second = ids(), ids()

    assert str(first) == "00000000-0000-7000-8000-000000000001"
    assert (first.version, second.int - first.int) == (7, 1)


def test_ids_of_different_series_never_meet():
    one, two = SequentialIds(1), SequentialIds(2)

    assert {one() for _ in range(100)} & {two() for _ in range(100)} == set()


def test_the_clock_moves_only_when_asked():
    clock = SteppingClock(step=timedelta(seconds=5))

    assert (clock(), clock()) == (START, START + timedelta(seconds=5))
    clock.advance(timedelta(seconds=-60))
    assert clock() == START - timedelta(seconds=50)


def test_a_made_event_reads_like_one_of_the_codec():
    event = EventMaker(series=3)("order.paid", data={"amount": "1.00"})

    stored = Recorded[Any](1, "order-1", 1, event.type, event.state, Codec())

    assert (str(stored.event_id), stored.timestamp, stored.schema_version) == (
        event.event_id,
        START,
        1,
    )
    assert json.loads(event.state)["data"] == {"amount": "1.00"}
    assert event.timestamp == stored.timestamp_text == "2026-01-01T09:00:00.000000Z"


def test_two_makers_make_the_same_events():
    assert EventMaker().many(5) == EventMaker().many(5)
