"""A repair while others write, one that is killed, and one of what is no log."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from typing_extensions import override

from eventcore.errors import LogRestoredError, SchemaMismatchError, StoreUnavailableError
from eventcore.stores.dynamodb.calls import DynamoDBCalls, TransactionCanceledError
from eventcore.stores.dynamodb.layout import FORMAT_CLOSED, Keys, number
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.repair import RepairReport, repair
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables
from tests.property.stores.dynamodb_promises import check_table
from tests.property.stores.test_dynamodb_repair import (
    TABLE,
    Contents,
    contents,
    filled,
    is_restored,
    opened,
    repaired,
    tear,
)


class KilledError(BaseException):
    """The process of the repair is gone."""


class Watched:
    """A way to the tables on which something happens before each call.

    Args:
        tables: The tables.
        before: Called with the number of each call, from 0.
    """

    def __init__(self, tables: ModelTables, before: Callable[[int], None]) -> None:
        self.tables = tables
        self.before = before
        self.calls = 0

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        number = self.calls
        self.calls += 1
        self.before(number)
        return self.tables.call(operation, parameters)

    def close(self) -> None:
        pass


def repaired_while(tables: ModelTables, before: Callable[[int], None]) -> RepairReport:
    return repair(DynamoDBCalls(Watched(tables, before)), Keys(TABLE))


def sequencer(tables: ModelTables) -> Mapping[str, Any]:
    return tables.tables[TABLE]["log#q", 0]


def test_writers_go_on_until_the_log_is_closed_and_nothing_of_theirs_is_lost() -> None:
    tables, _ = filled(5)
    writer, make = opened(tables), EventMaker(77)
    acknowledged: list[tuple[str, int]] = []
    refused: list[str] = []
    reserved: list[int] = []

    def write(number_: int) -> None:
        event = make()
        try:
            result = writer.append([StreamAppend(f"during-{number_}", 0, [event])])
        except LogRestoredError:
            refused.append(event.event_id)
        else:
            acknowledged.append((event.event_id, result.positions[0]))
        reserved.append(number(sequencer(tables), "c"))

    repaired_while(tables, write)
    last = writer.append([StreamAppend("after-1", 0, [make()])])

    assert acknowledged
    assert len(refused) > 5
    assert reserved == sorted(reserved)
    assert last.positions[0] > max(position for _, position in acknowledged)
    at = {str(event.event_id): event.position for event in opened(tables).read()}
    assert [at[id_] for id_, _ in acknowledged] == [position for _, position in acknowledged]
    assert not at.keys() & set(refused)
    check_table(tables.tables[TABLE].values(), contents(tables))


@pytest.mark.parametrize(("events", "step"), [(1, 1), (130, 17)])
def test_a_transaction_that_arrives_during_a_repair_is_done_whole_or_not(
    events: int, step: int
) -> None:
    calls = 0
    for arrives_at in range(0, 200, step):
        tables, _ = filled(6)
        late = _held_back(tables, EventMaker(88).many(events))

        watched = Watched(tables, _delivering(tables, late, arrives_at))
        report = repair(DynamoDBCalls(watched), Keys(TABLE))
        if watched.calls <= arrives_at:
            break
        calls += 1

        assert (report.incomplete, report.gaps) == ([], [])
        log = opened(tables)
        log.append([StreamAppend("after-1", 0, EventMaker(99).many(1))])
        check_table(tables.tables[TABLE].values(), contents(tables))
    assert calls > 3


def _delivering(
    tables: ModelTables, late: Mapping[str, Any], arrives_at: int
) -> Callable[[int], None]:
    def deliver(number_: int) -> None:
        if number_ == arrives_at:
            with contextlib.suppress(TransactionCanceledError):
                tables.call("TransactWriteItems", late)

    return deliver


def _held_back(tables: ModelTables, events: Any) -> Mapping[str, Any]:
    """The transaction of an append by a process that died right before it was sent."""
    held: list[Mapping[str, Any]] = []

    class Dying(Watched):
        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "TransactWriteItems":
                held.append(parameters)
                raise KilledError
            return super().call(operation, parameters)

    log = DynamoDBLog(DynamoDBCalls(Dying(tables, lambda _: None)), TABLE)
    with pytest.raises(KilledError):
        log.append([StreamAppend("late-1", 0, events)])
    return held[0]


def test_a_repair_that_was_killed_at_any_call_is_repeated() -> None:
    tables, chance = filled(7)
    before = contents(tables)
    tear(tables, chance)
    is_restored(tables)
    torn = copy.deepcopy(tables.tables[TABLE])
    killed = 0
    for dies_at in range(500):
        tables.tables[TABLE] = copy.deepcopy(torn)

        def die(number_: int, at: int = dies_at) -> None:
            if number_ == at:
                raise KilledError

        try:
            repaired_while(tables, die)
        except KilledError:
            killed += 1
        else:
            break
        with pytest.raises(LogRestoredError):
            opened(tables)

        repaired(tables)

        assert contents(tables) == before
        check_table(tables.tables[TABLE].values(), before)
    assert killed > 20


def test_a_log_that_a_killed_repair_left_is_refused_by_those_who_have_it_open() -> None:
    tables, _ = filled(8)
    log = opened(tables)

    def die(number_: int) -> None:
        if number_ == 4:
            raise KilledError

    with pytest.raises(KilledError):
        repaired_while(tables, die)

    assert number(sequencer(tables), "f") == FORMAT_CLOSED
    with pytest.raises(LogRestoredError, match="closed by a repair"):
        log.append([StreamAppend("new-1", 0, EventMaker(99).many(1))])
    repaired(tables)
    log.append([StreamAppend("new-1", 0, EventMaker(99).many(1))])


@pytest.mark.parametrize(("table", "prefix"), [(TABLE, "lgo"), ("log-tabel", "log")])
def test_what_is_no_log_is_refused_and_left_alone(table: str, prefix: str) -> None:
    tables, _ = filled(9)
    items = copy.deepcopy(tables.tables)

    with pytest.raises(SchemaMismatchError, match=rf"no log {prefix}|no table"):
        repair(DynamoDBCalls(tables), Keys(table, prefix))

    assert tables.tables == items


def test_a_log_of_another_format_is_refused_and_left_alone() -> None:
    tables, _ = filled(9)
    tables.tables[TABLE]["log#q", 0]["f"] = {"N": "2"}
    items = copy.deepcopy(tables.tables)

    with pytest.raises(SchemaMismatchError, match="another format"):
        repaired(tables)

    assert tables.tables == items


@pytest.mark.parametrize("kind", ["l", "s"])
def test_large_events_are_cut_into_items_that_the_service_takes(kind: str) -> None:
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    # Bytes that no compression helps.
    events = [event._replace(state=event.state + os.urandom(150_000)) for event in make.many(7)]
    before: Contents
    log.append([StreamAppend("order-1", 0, events)])
    before = [(one.position, one.stream, one.version, one.state) for one in log.read()]
    items = copy.deepcopy(tables.tables[TABLE])
    for key in [key for key in items if f"log#{kind}#" in key[0]]:
        del tables.tables[TABLE][key]
    is_restored(tables)

    repaired(tables)

    assert contents(tables) == before
    names = {key for key in items if "#l#" in key[0] or "#s#" in key[0]}
    assert {key: tables.tables[TABLE][key]["n"] for key in names} == {
        key: items[key]["n"] for key in names
    }


def test_an_append_that_was_lost_whole_is_stored_when_it_is_repeated() -> None:
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    kept = log.append([StreamAppend("day-1", ANY_VERSION, make.many(2))])
    lost = [StreamAppend("day-2", ANY_VERSION, make.many(2))]
    assert log.append(lost).positions == (3, 4)
    # Of the transaction only the item of its first event's id came back.
    del tables.tables[TABLE]["log#l#0", 3]
    del tables.tables[TABLE]["log#s#day-2", 1]
    tables.tables[TABLE]["log#q", 0]["c"] = {"N": "2"}
    is_restored(tables)

    report = repaired(tables)

    assert (report.ids, report.reserved) == (1, (2, 3))
    result = opened(tables).append(lost)
    assert (result.versions, result.repeated) == ((1, 2), False)
    assert result.positions[0] > kept.positions[-1] + 1


def test_an_append_whose_id_was_torn_off_is_known_again_however_much_came_before() -> None:
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    log.append([StreamAppend("day-1", ANY_VERSION, make.many(1))])
    for number_ in range(6):
        log.append([StreamAppend(f"order-{number_}", 0, make.many(100))])
    day = [StreamAppend("order-1", ANY_VERSION, make.many(1))]
    stored = log.append(day)
    # All of the transaction came back but the item of its first event's id.
    key = (f"log#i#{day[0].events[0].event_id}", 0)
    item = tables.tables[TABLE].pop(key)
    is_restored(tables)

    report = repaired(tables)

    assert tables.tables[TABLE][key] == item
    assert report.ids_made == 601
    assert opened(tables).append(day) == stored._replace(repeated=True)


def test_a_repair_that_another_one_overtook_takes_nothing_of_what_was_written_since() -> None:
    (tables, _), (same, _) = filled(7), filled(7)
    is_restored(tables)
    is_restored(same)
    append = [StreamAppend("day-9", ANY_VERSION, EventMaker(77).many(1))]

    def overtake(number_: int) -> None:
        if number_ == scans[-1]:
            repaired(tables)
            opened(tables).append(append)

    scans: list[int] = []
    watched = Watched(same, lambda _: None)
    call = watched.call

    def noted(operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "Scan":
            scans.append(watched.calls)
        return call(operation, parameters)

    watched.call = noted  # type: ignore[method-assign]
    repair(DynamoDBCalls(watched), Keys(TABLE))
    with pytest.raises(StoreUnavailableError, match="another repair"):
        repaired_while(tables, overtake)

    event_id = append[0].events[0].event_id
    assert (f"log#i#{event_id}", 0) in tables.tables[TABLE]
