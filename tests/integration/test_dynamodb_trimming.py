"""Trims of a DynamoDB log that are killed, and trims that race each other, beside a writer."""

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eventcore.events.recorded import Recorded
from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.opening import open_log
from eventcore.stores.integrity import SelfChecking
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend
from eventcore.stores.trimming import TrimmableLog
from eventcore.testing import EventMaker
from tests.archived import trim_until
from tests.dynamodb import DynamoDBPlace
from tests.integration.test_archive_kills import kill_in_the_middle, start
from tests.unit.lake.logs import run

pytestmark = pytest.mark.dynamodb

ROUNDS = 400
STREAMS = 8
KILLS = 4
SEED = 20_261_130


def filled(log: Log, make: EventMaker, chance: random.Random) -> list[Recorded[Any]]:
    for number in range(ROUNDS):
        chosen = chance.sample(range(STREAMS), 1 + number % 3)
        log.append(
            [
                StreamAppend(f"order-{one}", ANY_VERSION, make.many(chance.choice((1, 1, 5))))
                for one in chosen
            ]
        )
    return list(log.read())


def test_trims_that_are_killed_while_others_trim_and_write_leave_one_history(
    dynamodb: DynamoDBPlace, tmp_path: Path
) -> None:
    make, moments = EventMaker(), random.Random(SEED)
    folder, place = tmp_path / "lake", dynamodb.store_url
    log = open_log(place)
    events = filled(log, make, moments)
    run(open_archive(str(folder)), log, events_max=500)
    follower = ArchivedLog(open_archive(str(folder)), open_log(place)).subscribe()
    followed: list[Recorded[Any]] = []

    for number in range(KILLS):
        children = [start(place, folder, "trim", steps=2, first=2 * number) for _ in range(2)]
        for _ in range(5):
            log.append([StreamAppend("order-1", ANY_VERSION, make.many(1))])
        kill_in_the_middle(children[0], step=1, seconds=moments.uniform(0, 0.5))
        kill_in_the_middle(children[1], step=2, seconds=moments.uniform(0, 0.3))
        events += log.read(events[-1].position)
        both = ArchivedLog(open_archive(str(folder)), log)
        assert list(both.read()) == events
        while len(followed) < len(events) and (page := follower.next_page(5)):
            followed += page.events

    assert followed == events
    follower.close()
    both = ArchivedLog(open_archive(str(folder)), log)
    trim_until(both, both.archive.until)
    assert list(both.read()) == events
    with closing(open_log(place)) as other:
        assert isinstance(other, TrimmableLog)
        assert isinstance(other, SelfChecking)
        gone = other.trimmed_positions([str(event.event_id) for event in events])
        newest = other.stream_versions(sorted({event.stream for event in events}))
        assert gone == {
            str(event.event_id): event.position
            for event in events
            if event.position <= both.archive.until and event.version < newest[event.stream]
        }
        assert list(other.problems(other.head())) == []
    log.close()
