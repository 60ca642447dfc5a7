"""A restored DynamoDB log is refused until it is repaired, and then it is whole."""

import random
from typing import Any

import pytest

from eventcore.errors import LogRestoredError
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item
from eventcore.stores.dynamodb.layout import Keys, number
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.repair import RepairReport, repair
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables
from tests.property.stores.dynamodb_promises import check_table

TABLE = "log-table"
COMMITS = 40
TORN = 8

Contents = list[tuple[int, str, int, bytes]]


def opened(tables: ModelTables) -> DynamoDBLog:
    return DynamoDBLog(DynamoDBCalls(tables), TABLE, fence_seconds=0.0)


def repaired(tables: ModelTables) -> RepairReport:
    return repair(DynamoDBCalls(tables), Keys(TABLE))


def contents(tables: ModelTables) -> Contents:
    log = opened(tables)
    return [(one.position, one.stream, one.version, one.state) for one in log.read()]


def filled(seed: int) -> tuple[ModelTables, random.Random]:
    """A log of commits of one to three streams and up to 300 events, some of them refused."""
    chance, tables, make = random.Random(seed), ModelTables(), EventMaker(seed + 1)
    log = opened(tables)
    for _ in range(COMMITS):
        streams = chance.sample([f"order-{number}" for number in range(6)], chance.randint(1, 3))
        size = 300 if chance.random() < 0.05 else chance.randint(1, 4)
        log.append([StreamAppend(stream, ANY_VERSION, make.many(size)) for stream in streams])
        if chance.random() < 0.1:
            log._writing.reserve(chance.randint(1, 3))
    log.locate([str(make.ids())])
    return tables, chance


def is_restored(tables: ModelTables) -> None:
    """The table is another one now, with the items of the old."""
    tables._made[TABLE] += 60.0


def items_of(tables: ModelTables, kind: str) -> dict[Any, Item]:
    return {key: item for key, item in tables.tables[TABLE].items() if f"log#{kind}#" in key[0]}


def tear(tables: ModelTables, chance: random.Random) -> None:
    """Take the cells of some of the last commits, or some of their streams' items, and set the
    sequencer back."""
    table = tables.tables[TABLE]
    cells = {key: item for key, item in items_of(tables, "l").items() if "k" in item}
    tokens = sorted({(number(item, "b"), item["k"]["B"]) for item in cells.values()})
    for _, token in chance.sample(tokens[-2 * TORN :], TORN):
        kind = chance.choice("ls")
        mine = [
            key for key, item in items_of(tables, kind).items() if item.get("k") == {"B": token}
        ]
        for key in chance.sample(mine, chance.randint(1, len(mine))):
            del table[key]
    reserved = table["log#q", 0]
    reserved["c"] = {"N": str(number(reserved, "c") - chance.randint(0, 40))}


@pytest.mark.parametrize("seed", range(12))
def test_torn_commits_are_made_whole(seed: int) -> None:
    tables, chance = filled(seed)
    before = contents(tables)
    tear(tables, chance)
    is_restored(tables)

    with pytest.raises(LogRestoredError, match="db repair"):
        opened(tables)
    report = repaired(tables)

    assert contents(tables) == before
    assert report.cells + report.stream_items >= TORN
    assert (report.incomplete, report.gaps) == ([], [])
    assert_is_usable(tables, before)
    check_table(tables.tables[TABLE].values(), contents(tables))


def assert_is_usable(tables: ModelTables, before: Contents) -> None:
    log, make = opened(tables), EventMaker(10_000)
    first = log.append([StreamAppend("order-1", ANY_VERSION, [make()])])
    assert first.positions[0] > before[-1][0]
    last = log.locate([str(next(log.read_stream("order-1", backwards=True)).event_id)])
    assert [event.position for event in last.values()] == [first.positions[0]]


def test_repairing_again_changes_nothing() -> None:
    tables, chance = filled(1)
    tear(tables, chance)
    is_restored(tables)
    repaired(tables)
    items = {key: dict(item) for key, item in tables.tables[TABLE].items()}

    report = repaired(tables)

    assert (report.cells, report.stream_items, report.tombstones) == (0, 0, 0)
    assert tables.tables[TABLE] == items


def test_a_sequencer_that_went_back_is_noticed_in_the_same_table() -> None:
    tables, _ = filled(2)
    reserved = tables.tables[TABLE]["log#q", 0]
    reserved["c"] = {"N": str(number(reserved, "c") - 5)}

    with pytest.raises(LogRestoredError, match="are reserved"):
        opened(tables)

    repaired(tables)
    opened(tables)


def test_a_log_without_its_sequencer_is_not_begun_anew() -> None:
    tables, _ = filled(3)
    before = contents(tables)
    del tables.tables[TABLE]["log#q", 0]

    with pytest.raises(LogRestoredError):
        opened(tables)

    repaired(tables)
    assert contents(tables) == before


def test_a_commit_that_is_lost_in_part_is_told_and_what_is_there_is_kept() -> None:
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    log.append([StreamAppend("order-1", 0, make.many(2)), StreamAppend("order-2", 0, make.many(1))])
    table = tables.tables[TABLE]
    del table["log#l#0", 1]
    del table["log#s#order-2", 1]
    is_restored(tables)

    report = repaired(tables)

    assert report.incomplete == [(1, 3, 2)]
    assert [(at, stream) for at, stream, _, _ in contents(tables)] == [
        (1, "order-1"),
        (2, "order-1"),
    ]
    assert opened(tables).append([StreamAppend("order-2", 0, make.many(1))]).positions == (4,)


def test_a_stream_that_lacks_a_version_stays_refused() -> None:
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    for version in range(3):
        log.append([StreamAppend("order-1", version, make.many(1))])
    table = tables.tables[TABLE]
    del table["log#l#0", 2]
    del table["log#s#order-1", 2]
    is_restored(tables)

    report = repaired(tables)

    assert report.gaps == ["order-1"]
    with pytest.raises(LogRestoredError):
        opened(tables)
