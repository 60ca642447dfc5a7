"""Appends of several streams that cross each other: nobody is given up, and order is kept."""

import random
from collections.abc import Callable
from contextlib import closing

import pytest

from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.integration.postgres_threads import at_once
from tests.postgres import PostgresSchema

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

LOGS = 6
APPENDS = 25
STREAMS = ["a-1", "b-1", "c-1"]


def test_appends_that_name_the_same_streams_in_another_order_all_succeed(
    postgres_schema: PostgresSchema,
):
    """Two of them can each hold what the other waits for; the server then gives one up."""

    def crossing(number: int) -> Callable[[], int]:
        def append() -> int:
            make, chance = EventMaker(series=number), random.Random(number)
            with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log:
                for _ in range(APPENDS):
                    order = chance.sample(STREAMS, len(STREAMS))
                    log.append([StreamAppend(one, ANY_VERSION, make.many(2)) for one in order])
            return number

        return append

    PostgresLog(postgres_schema.url, schema=postgres_schema.schema).close()
    results = at_once([crossing(number) for number in range(LOGS)])

    assert results == list(range(LOGS))
    with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log:
        stored = list(log.read())
    for stream in STREAMS:
        versions = [event.version for event in stored if event.stream == stream]
        assert versions == list(range(1, LOGS * APPENDS * 2 + 1))
