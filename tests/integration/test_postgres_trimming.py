"""Trimming on Postgres: a door that opens in one transaction, and a log that stays immutable."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from eventcore.cli.postgres_schemas import PostgresSchema as Tables
from eventcore.cli.postgres_schemas import grants
from eventcore.errors import (
    ConfigurationError,
    StoreUnavailableError,
    TrimmedHistoryError,
    TrimRefusedError,
)
from eventcore.events.recorded import Recorded
from eventcore.lake.archiving import Archiver, SegmentLimits
from eventcore.lake.reading import open_archive
from eventcore.lake.stitching import ArchivedLog
from eventcore.stores.log import StreamAppend
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.postgres.log import PostgresLog
from eventcore.testing import EventMaker
from tests.archived import trim_until
from tests.integration.postgres_threads import at_once
from tests.postgres import PostgresSchema

pytestmark = pytest.mark.postgres

ARCHIVE = "s3://bucket/lake"
WRITERS = 3
APPENDS_EACH = 60
TOTAL = WRITERS * APPENDS_EACH * 2
LONG_SECONDS = 60.0


@pytest.fixture
def log(postgres_schema: PostgresSchema) -> Iterator[PostgresLog]:
    with closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log:
        yield log


def trimmed(log: PostgresLog) -> list[Recorded[Any]]:
    """Six events of a stream, of which two have left; gives all."""
    log.append([StreamAppend("order-1", 0, EventMaker().many(6))])
    events = list(log.read())
    log.trim(events[:2], archive=ARCHIVE)
    return events


def refuses(place: PostgresSchema, statement: str) -> None:
    asked = sql.SQL(statement).format(log=sql.Identifier(place.schema, "eventcore_log"))
    with place.connect() as connection, pytest.raises(psycopg.Error, match="immutable"):
        connection.execute(asked)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM {log} WHERE position = 3",
        "DELETE FROM {log}",
        "UPDATE {log} SET state = '' WHERE position = 3",
        "TRUNCATE {log}",
    ],
)
def test_a_trimmed_log_refuses_change_as_before(
    log: PostgresLog, postgres_schema: PostgresSchema, statement: str
):
    events = trimmed(log)

    refuses(postgres_schema, statement)

    assert list(log.read(2)) == events[2:]


def test_a_trimmed_log_is_opened_and_checked_as_any(
    log: PostgresLog, postgres_schema: PostgresSchema
):
    events = trimmed(log)
    place = postgres_schema

    with closing(PostgresLog(place.url, schema=place.schema, create=False)) as again:
        assert list(again.read_stream("order-1", after=2)) == events[2:]
        with pytest.raises(TrimmedHistoryError, match=ARCHIVE):
            list(again.read())
    with closing(PostgresConnections(place.url, schema=place.schema)) as connections:
        assert Tables(connections, log=True, projections=()).differences() == []


def test_a_refused_trim_leaves_the_guard_and_everything_else(
    log: PostgresLog, postgres_schema: PostgresSchema
):
    events = trimmed(log)

    with pytest.raises(TrimRefusedError):
        log.trim(events, archive=ARCHIVE)

    refuses(postgres_schema, "DELETE FROM {log}")
    assert list(log.read(2)) == events[2:]


@pytest.fixture
def role(log: PostgresLog, postgres_schema: PostgresSchema) -> Iterator[str]:
    """A role that may add and read events."""
    name = f"role_{uuid.uuid4().hex[:12]}"
    with postgres_schema.connect() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        for statement in grants(postgres_schema.schema, name, ()):
            connection.execute(statement.encode())
        yield name
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_role_that_may_read_and_add_goes_on_and_may_not_trim(
    log: PostgresLog, postgres_schema: PostgresSchema, role: str
):
    events = trimmed(log)
    place = postgres_schema
    url = psycopg.conninfo.make_conninfo(place.url, options=f"-c role={role}")
    with closing(PostgresLog(url, schema=place.schema, create=False)) as mine:
        assert mine.append([StreamAppend("order-1", 6, [EventMaker(series=2)()])]).versions == (7,)
        with pytest.raises(TrimmedHistoryError):
            mine.append([StreamAppend("order-2", 0, EventMaker().many(1))])
        with pytest.raises(TrimmedHistoryError):
            mine.read_page(0, 10)
        with pytest.raises(ConfigurationError, match="permission denied"):
            mine.trim(events[2:3], archive=ARCHIVE)


def test_a_follower_whose_last_event_was_trimmed_is_not_told_of_a_lost_one(log: PostgresLog):
    events = trimmed(log)

    assert log._reading.has(events[0])
    assert log._reading.has(events[5])
    other: Recorded[Any] = Recorded(1, "order-1", 1, "t", EventMaker(series=3)().state, log.codec)
    assert not log._reading.has(other)


def test_a_writer_that_does_not_end_is_not_waited_for_long(
    log: PostgresLog, postgres_schema: PostgresSchema
):
    log.append([StreamAppend("order-1", 0, EventMaker().many(4))])
    events = list(log.read())
    table = sql.Identifier(postgres_schema.schema, "eventcore_log")
    insert = sql.SQL(
        "INSERT INTO {} (stream, version, type, event_id, state)"
        " VALUES ('order-2', 1, 't', gen_random_uuid(), '')"
    ).format(table)

    with postgres_schema.connect(autocommit=False) as writer:
        writer.execute(insert)
        with pytest.raises(StoreUnavailableError, match="lock"):
            log.trim(events[:1], archive=ARCHIVE)
        writer.rollback()

    assert log.trim_record() is None
    assert log.trim(events[:1], archive=ARCHIVE) == 1


class Race:
    """Writers, a follower, and somebody who archives and trims all the time."""

    def __init__(self, log: PostgresLog, folder: Path) -> None:
        self.log = log
        self.archive = open_archive(str(folder))
        self.whole = ArchivedLog(self.archive, log)
        self.ended: set[int] = set()
        self.trimmed = threading.Event()
        self.followed: list[Recorded[Any]] = []

    def write(self, writer: int) -> None:
        make = EventMaker(series=writer + 1)
        try:
            for number in range(APPENDS_EACH):
                if number == APPENDS_EACH // 2:
                    # So that there are trims between the writes, however fast who is.
                    assert self.trimmed.wait(LONG_SECONDS)
                self.log.append([StreamAppend(f"own-{writer}", 2 * number, make.many(2))])
        finally:  # else nobody would tell who trims to end
            self.ended.add(writer)

    def follow(self) -> None:
        with self.whole.subscribe() as subscription:
            self.followed = list(islice(subscription, TOTAL))

    def trim(self) -> None:
        while len(self.ended) < WRITERS:
            Archiver(self.archive, limits=SegmentLimits(events_max=50)).run(self.log)
            trim_until(self.whole, self.archive.until)
            if self.archive.until:
                self.trimmed.set()


def test_trims_between_writers_and_followers_lose_nothing(log: PostgresLog, tmp_path: Path):
    race = Race(log, tmp_path / "lake")

    results = at_once(
        [race.follow, race.trim, *(partial(race.write, writer) for writer in range(WRITERS))]
    )

    assert results == [None] * (2 + WRITERS)
    assert [event.position for event in race.followed] == sorted(
        {event.position for event in race.followed}
    )
    assert list(race.whole.read()) == race.followed
    for writer in range(WRITERS):
        stream = race.whole.read_stream(f"own-{writer}")
        assert [event.version for event in stream] == list(range(1, 2 * APPENDS_EACH + 1))
    assert log.trim_record() is not None
