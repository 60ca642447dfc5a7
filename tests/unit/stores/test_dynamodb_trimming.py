"""Trimming on DynamoDB: in transactions that may be broken off anywhere, beside everybody else."""

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from random import Random
from typing import Any

import pytest
from typing_extensions import override

from eventcore.errors import (
    ConcurrencyConflictError,
    LogRestoredError,
    StoreUnavailableError,
    TrimmedHistoryError,
    TrimRefusedError,
)
from eventcore.events.recorded import EncodedEvent, Recorded
from eventcore.stores.dynamodb import trimming
from eventcore.stores.dynamodb.calls import DynamoDBCalls, TransactionCanceledError
from eventcore.stores.dynamodb.layout import Keys, item_bytes, number
from eventcore.stores.dynamodb.limits import TRANSACTION_BYTES_MAX, TRANSACTION_ITEMS_MAX
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.repair import repair
from eventcore.stores.dynamodb.requests import Commit, Request
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.trimming import TrimRecord
from eventcore.testing import EventMaker
from tests.dynamodb_costs import MeteredTables
from tests.model_dynamodb import ModelTables
from tests.property.stores.dynamodb_promises import Seen, check_table

TABLE = "log-table"
ARCHIVE = "s3://bucket/lake"


class ProcessDiedError(BaseException):
    """The process is gone: nothing in it may handle this."""


class Dying:
    """A way to the tables of a process that dies at one of its calls, before or after it is done.

    Attributes:
        calls: Operations that were asked for.
    """

    def __init__(self, tables: ModelTables, dies_at: int = -1, *, is_done: bool = False) -> None:
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self._tables = tables
        self._dies_at = dies_at
        self._is_done = is_done

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append((operation, parameters))
        dies = len(self.calls) - 1 == self._dies_at
        if dies and not self._is_done:
            raise ProcessDiedError
        answer = self._tables.call(operation, parameters)
        if dies:
            raise ProcessDiedError
        return answer

    def close(self) -> None:
        pass

    def writes(self) -> list[Mapping[str, Any]]:
        """What changes something."""
        return [
            given
            for operation, given in self.calls
            if operation in {"PutItem", "UpdateItem", "BatchWriteItem", "TransactWriteItems"}
        ]


def opened(tables: Any) -> DynamoDBLog:
    return DynamoDBLog(DynamoDBCalls(tables), TABLE, fence_seconds=0.0, segments_ahead=0)


def encoded(event: Recorded[Any]) -> EncodedEvent:
    return EncodedEvent(str(event.event_id), event.type, event.timestamp_text, event.state)


def seen(events: list[Recorded[Any]]) -> list[Seen]:
    return [(event.position, event.stream, event.version, event.state) for event in events]


def appended_together(log: DynamoDBLog, appends: list[StreamAppend]) -> None:
    """In one transaction, as those of threads are."""
    requests = [Request("log", [append]) for append in appends]
    for request in requests:
        request.bases = [head.wanted or 0 for head in request.heads]
    log._writing.write(Commit(Keys(TABLE), requests))


def copy_of(tables: ModelTables) -> ModelTables:
    mine = ModelTables()
    mine.tables = copy.deepcopy(tables.tables)
    mine._made, mine._definitions = dict(tables._made), dict(tables._definitions)
    return mine


def filled_tables() -> tuple[ModelTables, list[Recorded[Any]]]:
    """Tables of a test's own with a log of commits of all shapes, and its events."""
    tables, events = _filled_once()
    return copy_of(tables), list(events)


@cache
def _filled_once() -> tuple[ModelTables, list[Recorded[Any]]]:
    tables = ModelTables()
    return tables, filled(opened(tables))


def filled(log: DynamoDBLog) -> list[Recorded[Any]]:
    """Commits of all shapes: alone, in groups, over many cells, over items of a stream, large."""
    make = EventMaker()
    for version in range(30):
        log.append([StreamAppend("order-1", version, make.many(1))])
    appended_together(
        log, [StreamAppend(f"order-{number}", 0, make.many(2)) for number in range(2, 32)]
    )
    log.append([StreamAppend("order-40", 0, make.many(1_300))])
    log._writing.reserve(3)  # a hole
    log.append([StreamAppend("order-40", 1_300, make.many(5))])
    chance = Random(1)  # what does not become small by being compressed
    large = [make(data={"text": chance.randbytes(180_000).hex()}) for _ in range(4)]
    log.append([StreamAppend("order-41", 0, large[:2])])
    log.append([StreamAppend("order-41", 2, large[2:3]), StreamAppend("order-1", 30, large[3:])])
    log.append(
        [
            StreamAppend("order-42", ANY_VERSION, make.many(1)),
            StreamAppend("order-43", ANY_VERSION, make.many(1)),
            StreamAppend("order-42", ANY_VERSION, make.many(2)),
        ]
    )
    appended_together(
        log, [StreamAppend(f"order-{number}", 2, make.many(1)) for number in range(2, 32)]
    )
    return list(log.read())


def covered(events: list[Recorded[Any]]) -> list[Recorded[Any]]:
    """All that may go."""
    newest = {event.stream: event.version for event in events}
    return [event for event in events if event.version < newest[event.stream]]


def assert_is_whole(tables: ModelTables, events: list[Recorded[Any]]) -> None:
    """Whatever was trimmed: everything is there or said to be gone, in both of its places."""
    check_table(tables.tables[TABLE].values(), seen(events))
    log = opened(tables)
    assert list(log.problems(log.head())) == []
    assert log.head() == events[-1].position
    gone = log.trimmed_among(events)
    left = [event for event in events if str(event.event_id) not in gone]
    for event in [*left[:5], *left[5::50], *left[-5:]]:
        (found,) = log.read_page(event.position - 1, 1).events
        assert found == event
    newest = {event.stream: event.version for event in events}
    assert log.stream_versions(list(newest)) == newest


def test_everything_that_may_go_goes_whatever_commits_it_is_in() -> None:
    tables, events = filled_tables()
    dying = Dying(tables)
    chosen = covered(events)
    before = sum(item_bytes(item) for item in tables.tables[TABLE].values())

    assert opened(dying).trim(chosen, archive=ARCHIVE) == len(chosen)

    assert_is_whole(tables, events)
    log = opened(tables)
    assert log.trim_record() == TrimRecord(chosen[-1].position, ARCHIVE)
    assert log.trimmed_among(events) == {str(event.event_id) for event in chosen}
    assert list(log.read(chosen[-1].position)) == events[-31:]
    assert sum(item_bytes(item) for item in tables.tables[TABLE].values()) < before / 2
    transactions = [one["TransactItems"] for one in dying.writes() if "TransactItems" in one]
    assert len(transactions) > 1
    for actions in transactions:
        assert len(actions) <= TRANSACTION_ITEMS_MAX
        told = [value for one in actions for given in one.values() for value in _values(given)]
        assert sum(item_bytes({"v": value}) for value in told) <= TRANSACTION_BYTES_MAX


def _values(given: Mapping[str, Any]) -> Iterator[Any]:
    yield from given.get("Item", {}).values()
    yield from given.get("ExpressionAttributeValues", {}).values()


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_trim_that_dies_at_any_call_leaves_a_whole_log_and_is_repeated(
    is_done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "REWRITTEN_ITEMS_MAX", 16)
    tables, events = filled_tables()
    chosen = covered(events)
    whole = Dying(copy_of(tables))
    log = opened(whole)
    first = len(whole.calls)
    log.trim(chosen, archive=ARCHIVE)
    states = set()

    # A process that dies while it reads leaves what one leaves that dies before it writes.
    reads = [n for n in range(first, len(whole.calls)) if whole.calls[n][0] in {"Query", "GetItem"}]
    for dies_at in sorted({*range(first, len(whole.calls))} - {*reads[1:-1]}):
        mine = copy_of(tables)
        with pytest.raises(ProcessDiedError):
            opened(Dying(mine, dies_at, is_done=is_done)).trim(chosen, archive=ARCHIVE)

        gone = len(opened(mine).trimmed_among(events))
        if gone not in states:
            assert_is_whole(mine, events)
        states.add(gone)
        assert opened(mine).trim(chosen, archive=ARCHIVE) == len(chosen) - gone
        assert opened(mine).trimmed_among(events) == {str(event.event_id) for event in chosen}
        assert opened(mine).trim(chosen, archive=ARCHIVE) == 0

    assert len(states) > 5


def changed(event: Recorded[Any]) -> Recorded[Any]:
    state = event.state.replace(b"2026", b"2025", 1)
    assert state != event.state
    return Recorded(event.position, event.stream, event.version, event.type, state, event._codec)


@pytest.mark.parametrize("place", [0, 700, -1])
def test_one_wrong_byte_anywhere_keeps_everything(place: int) -> None:
    tables, events = filled_tables()
    chosen = covered(events)
    chosen[place] = changed(chosen[place])
    dying = Dying(tables)

    with pytest.raises(TrimRefusedError, match=f"position {chosen[place].position} is another"):
        opened(dying).trim(chosen, archive=ARCHIVE)

    assert dying.writes() == []


def test_one_that_differs_in_its_stream_alone_stays() -> None:
    tables = ModelTables()
    log = opened(tables)
    log.append([StreamAppend("order-1", 0, EventMaker().many(2))])
    log.append([StreamAppend("order-1", 2, EventMaker(2).many(1))])
    events = list(log.read())
    item = tables.tables[TABLE]["log#s#order-1", 1]
    item["e"] = {"B": item["e"]["B"].replace(b"2026", b"2025", 1)}

    with pytest.raises(TrimRefusedError, match="another one"):
        log.trim(events[:1], archive=ARCHIVE)


@pytest.mark.parametrize("looks", [1, 1_000])
@pytest.mark.parametrize(("kind", "first"), [("l", 0), ("s", 0), ("s", 1)])
def test_what_is_seen_of_another_trim_in_part_is_looked_at_again(
    kind: str, first: int, looks: int
) -> None:
    tables = ModelTables()
    log, make = opened(tables), EventMaker()
    for version in range(4):
        log.append([StreamAppend("order-1", version, make.many(1))])
    events = list(log.read())
    old = {
        key: item
        for key, item in copy.deepcopy(tables.tables[TABLE]).items()
        if f"#{kind}#" in key[0] and key[1] == 1
    }
    log.trim(events[:1], archive=ARCHIVE)
    new = {key: tables.tables[TABLE][key] for key in old}
    tables.tables[TABLE].update(old)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == looks:
            tables.tables[TABLE].update(new)

    other = DynamoDBLog(DynamoDBCalls(tables, sleep=sleep), TABLE)
    if looks > 1:
        with pytest.raises(StoreUnavailableError, match="eventcore verify"):
            other.trim(events[first:3], archive=ARCHIVE)
        assert log.stream_version("order-1") == 4
        assert list(log.read(1)) == events[1:]
    else:
        assert other.trim(events[first:3], archive=ARCHIVE) == 2
        assert_is_whole(tables, events)


@pytest.mark.parametrize("expected", [0, 3, 4])
def test_a_writer_that_was_asleep_meets_what_took_its_place(expected: int) -> None:
    tables, make = ModelTables(), EventMaker()
    asleep, log = opened(tables), opened(tables)
    # It remembers that the stream is at version 3, and looks no further before it writes.
    asleep.append([StreamAppend("order-1", 0, make.many(3))])
    log.append([StreamAppend("order-1", 3, make.many(1))])
    log.append([StreamAppend("order-1", 4, make.many(2))])
    events = list(log.read())
    log.trim(events[:5], archive=ARCHIVE)

    with pytest.raises(ConcurrencyConflictError):
        asleep.append([StreamAppend("order-1", expected, make.many(1))])
    result = asleep.append([StreamAppend("order-1", ANY_VERSION, make.many(1))])

    assert result.versions == (7,)
    everything = [*events, *log.read(events[-1].position)]
    assert_is_whole(tables, everything)


@pytest.mark.parametrize("trimmed", [1, 2, 3])
@pytest.mark.parametrize("expected", [0, ANY_VERSION])
def test_a_repeat_is_known_in_any_process_however_much_of_it_left(
    trimmed: int, expected: int
) -> None:
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    append = StreamAppend("order-1", expected, make.many(3))
    log.append([append])
    log.append([StreamAppend("order-1", 3, make.many(1))])
    log.trim(list(log.read())[:trimmed], archive=ARCHIVE)
    other = opened(tables)

    for process in (log, other):
        with pytest.raises(TrimmedHistoryError, match=f"event {append.events[0].event_id}"):
            process.append([append])
        with pytest.raises((TrimmedHistoryError, ConcurrencyConflictError)):
            process.append_judged([append], [], {})
    with pytest.raises(ConcurrencyConflictError):
        other.append([StreamAppend("order-1", 0, make.many(3))])
    assert log.head() == 4


def test_ids_of_what_left_are_found_by_who_never_saw_them_and_so_are_the_others() -> None:
    tables, events = filled_tables()
    chosen = covered(events)
    opened(tables).trim(chosen, archive=ARCHIVE)
    log = opened(tables)
    left = [event for event in events if event not in chosen]

    gone = log.trimmed_positions([str(event.event_id) for event in events])
    assert gone == {str(event.event_id): event.position for event in chosen}
    assert list(log.locate([str(event.event_id) for event in left]).values()) == left
    with pytest.raises(TrimmedHistoryError, match=str(chosen[600].event_id)):
        log.locate([str(chosen[600].event_id)])


def test_a_follower_that_is_far_behind_is_told_when_it_comes_to_what_left() -> None:
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    for version in range(0, 8_000, 1_000):
        log.append([StreamAppend("order-1", version, make.many(1_000))])
    events = list(log.read())
    follower = DynamoDBLog(DynamoDBCalls(tables), TABLE)  # which reads ahead
    subscription = follower.subscribe(0)
    first = subscription.next_page(1)
    assert first is not None
    log.trim(events[:-1], archive=ARCHIVE)

    found = list(first.events)
    with pytest.raises(TrimmedHistoryError, match=ARCHIVE):
        found.extend(islice(subscription, len(events) - len(found)))

    assert found == events[: len(found)]
    assert list(follower.read(events[-2].position)) == events[-1:]
    follower.close()


def test_appends_go_on_while_a_trim_does() -> None:
    tables, events = filled_tables()
    log, make = opened(tables), EventMaker(7)

    class Appending(Dying):
        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if operation in {"TransactWriteItems", "PutItem"}:
                log.append([StreamAppend("order-40", ANY_VERSION, make.many(1))])
            return super().call(operation, parameters)

    opened(Appending(tables)).trim(covered(events), archive=ARCHIVE)

    appended = list(log.read(events[-1].position))
    assert len(appended) > 2
    assert_is_whole(tables, [*events, *appended])


def test_two_trims_at_once_remove_everything_once() -> None:
    tables, events = filled_tables()
    log = opened(tables)
    chosen = covered(events)
    rival = iter([chosen[:40], chosen[:700]])

    class Racing(Dying):
        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "TransactWriteItems" and (mine := next(rival, None)):
                log.trim(mine, archive="elsewhere")
            return super().call(operation, parameters)

    opened(Racing(tables)).trim(chosen, archive=ARCHIVE)

    assert_is_whole(tables, events)
    assert log.trimmed_among(events) == {str(event.event_id) for event in chosen}
    assert log.trim_record() == TrimRecord(chosen[-1].position, ARCHIVE)


def test_how_far_it_was_trimmed_never_shrinks() -> None:
    tables, events = filled_tables()
    log = opened(tables)
    chosen = covered(events)
    late = [event for event in chosen if event.stream == "order-42"]
    log.trim(late, archive=ARCHIVE)
    until = late[-1].position

    log.trim(chosen[:3], archive="elsewhere")

    assert log.trim_record() == TrimRecord(until, "elsewhere")


def test_a_service_that_does_not_answer_is_told_and_the_trim_repeated() -> None:
    tables, events = filled_tables()
    chosen = covered(events)
    log = opened(tables)
    rewrite, sent = log._trimming._rewrite, iter([True])

    def once(halves: Any, until: int) -> bool:
        if next(sent, False):
            return rewrite(halves, until)
        raise StoreUnavailableError(store="log", problem="nobody answered")

    log._trimming._rewrite = once  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError):
        log.trim(chosen, archive=ARCHIVE)

    assert_is_whole(tables, events)
    left = len(chosen) - len(log.trimmed_among(events))
    assert opened(tables).trim(chosen, archive=ARCHIVE) == left > 0


def test_an_event_that_is_gone_from_one_place_alone_is_damage() -> None:
    tables, events = filled_tables()
    log = opened(tables)
    before = copy.deepcopy(tables.tables[TABLE])
    log.trim(covered(events), archive=ARCHIVE)

    for key in (("log#l#0", 1), ("log#s#order-1", 1)):
        kept = tables.tables[TABLE][key]
        tables.tables[TABLE][key] = before[key]
        (problem,) = log.problems(log.head())
        assert problem.position == 1
        tables.tables[TABLE][key] = kept


def test_a_trim_that_goes_on_while_a_log_is_verified_is_no_damage() -> None:
    tables, events = filled_tables()
    log = opened(tables)
    tables.page_bytes_max = 20_000
    parts = iter([covered(events)[:n] for n in (5, 30, 900, 10_000)])

    class Scanned(Dying):
        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            answer = super().call(operation, parameters)
            if operation == "Scan" and (part := next(parts, None)):
                log.trim(part, archive=ARCHIVE)
            return answer

    verified = opened(Scanned(tables))

    assert list(verified.problems(verified.head())) == []
    assert next(parts, None) is None


Tear = Callable[[ModelTables, Mapping[Any, Any]], None]


def _cells_went_back(tables: ModelTables, before: Mapping[Any, Any]) -> None:
    cells = {key: item for key, item in before.items() if "#l#" in key[0]}
    tables.tables[TABLE].update(copy.deepcopy(cells))


def _streams_went_back(tables: ModelTables, before: Mapping[Any, Any]) -> None:
    items = {key: item for key, item in before.items() if "#s#" in key[0]}
    tables.tables[TABLE].update(copy.deepcopy(items))


def _every_second_item_went_back(tables: ModelTables, before: Mapping[Any, Any]) -> None:
    for place, key in enumerate(sorted(before)):
        if place % 2:
            tables.tables[TABLE][key] = copy.deepcopy(before[key])


@pytest.mark.parametrize(
    "tear", [_cells_went_back, _streams_went_back, _every_second_item_went_back]
)
@pytest.mark.parametrize("is_noted", [True, False])
def test_a_repair_puts_back_what_a_restore_tore(tear: Tear, is_noted: bool) -> None:
    tables, events = filled_tables()
    log = opened(tables)
    chosen = covered(events)
    before = copy.deepcopy(tables.tables[TABLE])
    trim = Dying(copy_of(tables))
    opened(trim).trim(chosen, archive=ARCHIVE)
    log.trim(chosen, archive=ARCHIVE)
    tear(tables, before)
    if not is_noted:
        del tables.tables[TABLE]["log#t", 0]
    tables._made[TABLE] += 60.0

    with pytest.raises(LogRestoredError):
        log.trim(chosen, archive=ARCHIVE)
    report = repair(DynamoDBCalls(tables), Keys(TABLE))

    assert report.untrimmed > 0
    assert (report.incomplete, report.gaps, report.ids) == ([], [], 0)
    repaired = opened(tables)
    assert list(repaired.problems(repaired.head())) == []
    if len(repaired.trimmed_among(events)) > 0:
        record = repaired.trim_record()
        assert record is not None
        assert record.until >= max(repaired.trimmed_positions(_ids(events)).values())
    for late in trim.writes():
        if "TransactItems" in late:
            # What the trim of before still has on its way is for another table.
            with pytest.raises(TransactionCanceledError):
                tables.call("TransactWriteItems", late)
    again = repair(DynamoDBCalls(tables), Keys(TABLE))
    assert (again.untrimmed, again.cells, again.stream_items) == (0, 0, 0)
    assert opened(tables).trim(chosen, archive=ARCHIVE) > 0
    assert_is_whole(tables, events)


def _ids(events: list[Recorded[Any]]) -> list[str]:
    return [str(event.event_id) for event in events]


def test_a_repair_of_a_torn_trim_that_is_killed_anywhere_is_repeated() -> None:
    tables = ModelTables()
    log, make = opened(tables), EventMaker()
    for version in range(0, 12, 2):
        log.append([StreamAppend("order-1", version, make.many(2))])
        log.append([StreamAppend("order-2", version, make.many(2))])
    events = list(log.read())
    before = copy.deepcopy(tables.tables[TABLE])
    log.trim(covered(events), archive=ARCHIVE)
    _every_second_item_went_back(tables, before)
    tables._made[TABLE] += 60.0
    whole = Dying(copy_of(tables))
    repair(DynamoDBCalls(whole), Keys(TABLE))

    for dies_at in range(len(whole.calls)):
        mine = copy_of(tables)
        with pytest.raises(ProcessDiedError):
            repair(DynamoDBCalls(Dying(mine, dies_at, is_done=dies_at % 2 == 0)), Keys(TABLE))
        repair(DynamoDBCalls(mine), Keys(TABLE))
        repaired = opened(mine)
        assert list(repaired.problems(repaired.head())) == []
        repaired.trim(covered(events), archive=ARCHIVE)
        assert_is_whole(mine, events)


def test_a_repair_of_a_trimmed_log_that_nothing_tore_changes_nothing_but_who_signed_it() -> None:
    tables, events = filled_tables()
    log = opened(tables)
    log.trim(covered(events), archive=ARCHIVE)
    items = copy.deepcopy(tables.tables[TABLE])
    tables._made[TABLE] += 60.0

    report = repair(DynamoDBCalls(tables), Keys(TABLE))

    assert (report.untrimmed, report.cells, report.stream_items, report.ids) == (0, 0, 0, 0)
    now = tables.tables[TABLE]
    assert {key for key in items if items[key] != now[key]} == {("log#q", 0), ("log#t", 0)}
    assert number(now["log#t", 0], "c") == number(items["log#t", 0], "c")
    assert opened(tables).trim_record() == TrimRecord(covered(events)[-1].position, ARCHIVE)
    assert_is_whole(tables, events)


SMALL = {"orderId": "7f3d8a52-0000-4000-8000-000000000000", "amount": "129.90", "currency": "EUR"}


def test_what_a_trim_costs() -> None:
    tables = MeteredTables()
    log = DynamoDBLog(DynamoDBCalls(tables), TABLE, segments_ahead=0)
    make = EventMaker()
    for number_ in range(100):
        log.append([StreamAppend(f"order-{number_}", 0, [make(data=SMALL)])])
        log.append([StreamAppend(f"order-{number_}", 1, [make(data=SMALL)])])
    chosen = covered(list(log.read()))
    tables.restart()

    log.trim(chosen, archive=ARCHIVE)

    # Two units for each of its two items, and the check of each transaction.
    assert tables.written / 100 <= 4.2
    assert tables.read / 100 <= 1.5
