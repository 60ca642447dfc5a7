"""Logs go from store to store and stay what they were, also when the copying is killed."""

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from eventcore.opening import open_log
from eventcore.seals import digest_of
from eventcore.stores.log import StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker
from tests.dynamodb import DynamoDBPlace
from tests.integration.test_real_data import eventcore, ingest, wire_lines
from tests.postgres import PostgresSchema

EVENTCORE = Path(sys.executable).with_name("eventcore")
SEED = 20_261_129
KILLS = 6


def digest(url: str) -> str:
    with closing(open_log(url)) as log:
        return digest_of(log.read()).hex()


def copied(source: str, target: str) -> dict:
    record: dict = json.loads(eventcore("copy", source, target, "--json"))
    return record


@pytest.fixture
def stores(tmp_path: Path, postgres_schema: PostgresSchema, dynamodb: DynamoDBPlace) -> list[str]:
    """URLs: SQLite, Postgres, DynamoDB, and back in another file."""
    first, last = (f"sqlite:///{tmp_path}/{name}.db" for name in ("first", "last"))
    return [first, postgres_schema.store_url, dynamodb.store_url, last]


def round_trip(stores: list[str], *how: str) -> None:
    """Through all three stores and back; each step resumed once."""
    first, last = stores[0], stores[-1]
    expected = digest(first)
    for source, target in pairwise(stores):
        report = copied(source, target)
        assert report["digest"] == expected
        assert (report["present"], report["copied"]) == (0, report["total"])
        again = copied(source, target)
        assert (again["copied"], again["digest"]) == (0, expected)
        [verified] = eventcore("verify", *how, "--store", target, "--json").splitlines()
        assert json.loads(verified)["log"] == expected
    assert digest(last) == expected
    with closing(open_log(first)) as one, closing(open_log(last)) as other:
        assert list(one.read()) == list(other.read())


@pytest.mark.postgres
@pytest.mark.dynamodb
def test_a_random_history_ends_its_round_trip_with_an_equal_digest(tmp_path, stores):
    draw, make = random.Random(SEED), EventMaker()
    with closing(SQLiteLog(tmp_path / "first.db", synchronous="NORMAL")) as log:
        versions: dict[str, int] = {}
        for _ in range(150):
            appends = []
            for _ in range(draw.randint(1, 12)):
                stream = f"{draw.choice('abc')}-{draw.randint(1, 60)}"
                # Some larger than what DynamoDB compresses, some than a page of SQLite.
                data = {"text": "é" * draw.choice([0, 3, 500, 5_000])}
                appends.append(StreamAppend(stream, versions.get(stream, 0), [make(data=data)]))
                versions[stream] = versions.get(stream, 0) + 1
            log.append(appends)

    round_trip(stores)


@pytest.mark.postgres
@pytest.mark.dynamodb
@pytest.mark.slow
def test_online_retail_ends_its_round_trip_with_an_equal_digest(tmp_path, shared_data, stores):
    lines = wire_lines("online_retail", shared_data, tmp_path / "online_retail.jsonl")
    report = ingest(lines, stores[0], tmp_path / "dead.jsonl")
    assert report["accepted"] > 10_000

    # Each stream by itself would be a request to DynamoDB for each order.
    round_trip(stores, "--quick")


@pytest.mark.slow
def test_a_copy_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    source, target = f"sqlite:///{tmp_path}/first.db", f"sqlite:///{tmp_path}/copy.db"
    make, draw = EventMaker(), random.Random(SEED)
    with closing(SQLiteLog(tmp_path / "first.db", synchronous="NORMAL")) as log:
        for number in range(30):
            events = make.many(1_000)
            log.append([StreamAppend(f"order-{number}", 0, events)])
    seen = []
    for _ in range(KILLS):
        copying = subprocess.Popen([EVENTCORE, "copy", source, target, "--json"])
        time.sleep(0.2 + draw.random() * 0.4)
        copying.send_signal(signal.SIGKILL)
        copying.wait()
        if (tmp_path / "copy.db").exists():
            with closing(open_log(target)) as log:
                seen.append(log.head())

    report = copied(source, target)

    assert report["total"] == 30_000
    assert report["digest"] == digest(source) == digest(target)
    assert seen == sorted(seen)
    assert all(head % 1_000 == 0 for head in seen)
