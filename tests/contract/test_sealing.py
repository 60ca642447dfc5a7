"""Sealing while others write, on every store: what is sealed is what every reader finds."""

import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg import sql

from eventcore.seals import Checks, Sealer, SealFile, SealWriter, copy_log, digest_of, verify_log
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker
from tests.postgres import PostgresSchema

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WRITERS = 3
APPENDS = 40


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb"])
def log(request, tmp_path):
    match request.param:
        case "memory":
            log: Log = MemoryLog()
        case "sqlite":
            log = SQLiteLog(tmp_path / "log.db")
        case "postgres":
            place = request.getfixturevalue("postgres_schema")
            log = PostgresLog(place.url, schema=place.schema)
        case _:
            place = request.getfixturevalue("dynamodb")
            calls = open_calls(place.table, region=place.region, endpoint_url=place.url)
            log = DynamoDBLog(calls, place.table)
    yield log
    log.close()


def write(log: Log, series: int) -> None:
    """Streams of one's own, and one that all share."""
    make = EventMaker(series=series)
    for number in range(APPENDS):
        log.append(
            [
                StreamAppend(f"own-{series}", number, [make()]),
                StreamAppend("shared-1", ANY_VERSION, make.many(2)),
            ]
        )


def sealer(log: Log, path: Path) -> Sealer:
    return Sealer(log, SealWriter(path), clock=lambda: NOW)


def test_a_sealer_follows_many_writers_and_everything_is_as_it_was_sealed(log, tmp_path):
    stop = threading.Event()
    sealed = []
    follower = threading.Thread(
        target=lambda: sealed.append(sealer(log, tmp_path / "seals").follow(stop, 0.01))
    )
    writers = [threading.Thread(target=write, args=(log, number)) for number in range(WRITERS)]

    follower.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    follower.join()

    expected = WRITERS * APPENDS * 3
    [result] = sealed
    assert (result.events, result.total) == (expected, expected)
    verdict = verify_log(log, Checks(seals=SealFile(tmp_path / "seals")))
    assert verdict.finding is None
    assert (verdict.events, verdict.sealed, verdict.seals) == (expected, expected, result.seals)
    assert verdict.streams == WRITERS + 1
    assert verdict.log == result.log == digest_of(log.read()).hex()


def test_verifying_while_others_write_and_seal_raises_no_false_alarm(log, tmp_path):
    sealer(log, tmp_path / "seals").seal()
    stop = threading.Event()
    follower = threading.Thread(
        target=lambda: sealer(log, tmp_path / "seals").follow(stop, 0.01),
    )
    writers = [threading.Thread(target=write, args=(log, number)) for number in range(WRITERS)]
    checks = Checks(seals=SealFile(tmp_path / "seals"))
    for thread in (follower, *writers):
        thread.start()
    verdicts = []
    try:
        while any(writer.is_alive() for writer in writers):
            verdicts.append(verify_log(log, checks))
    finally:
        for writer in writers:
            writer.join()
        stop.set()
        follower.join()
    verdicts.append(verify_log(log, checks))

    assert [verdict.finding for verdict in verdicts] == [None] * len(verdicts)
    assert verdicts[-1].sealed == WRITERS * APPENDS * 3


def test_a_copy_of_it_has_the_same_digest(log):
    write(log, 1)
    copy = MemoryLog()

    copied = copy_log(log, copy, names=("log", "copy"))

    assert copied.log == verify_log(copy).log == verify_log(log).log


def test_sealing_again_writes_nothing_until_there_is_something_new(log, tmp_path):
    write(log, 1)
    sealer(log, tmp_path / "seals").seal()
    before = (tmp_path / "seals").read_bytes()

    again = sealer(log, tmp_path / "seals").seal()
    log.append([StreamAppend("own-9", 0, [EventMaker(series=9)()])])
    more = sealer(log, tmp_path / "seals").seal()

    assert (again.events, again.seals) == (0, 0)
    assert (more.events, more.seals) == (1, 1)
    assert (tmp_path / "seals").read_bytes().startswith(before)


@pytest.mark.postgres
def test_nothing_is_sealed_behind_a_position_that_may_still_be_written(
    postgres_schema: PostgresSchema, tmp_path
):
    table = sql.Identifier(postgres_schema.schema, "eventcore_log")
    insert = sql.SQL(
        "INSERT INTO {} (stream, version, type, event_id, state) VALUES (%s, 1, %s, %s, %s)"
    ).format(table)
    late = EventMaker(series=7)()
    with (
        closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log,
        postgres_schema.connect(autocommit=False) as slow,
    ):
        make = EventMaker()
        log.append([StreamAppend("own-1", 0, [make()])])
        slow.execute(insert, ("late-1", late.type, late.event_id, late.state))
        log.append([StreamAppend("own-2", 0, [make()])])
        stop = threading.Event()
        sealed = []
        follower = threading.Thread(
            target=lambda: sealed.append(sealer(log, tmp_path / "seals").follow(stop, 0.01))
        )
        follower.start()
        while not (tmp_path / "seals").exists() or not (tmp_path / "seals").stat().st_size:
            stop.wait(0.01)
        before = [one.content.positions() for one in SealFile(tmp_path / "seals").read()]
        slow.commit()
        stop.set()
        follower.join()

        assert before == [[1]]
        assert sealed[0].total == 3
        verdict = verify_log(log, Checks(seals=SealFile(tmp_path / "seals")))
        assert (verdict.finding, verdict.sealed) == (None, 3)
