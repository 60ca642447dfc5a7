"""The first trim of a log: no item says yet whose table it is, so the sequencer has to."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from typing_extensions import override

from eventcore.errors import LogRestoredError
from eventcore.events.recorded import Recorded
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Reason, TransactionCanceledError
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.repair import repair
from eventcore.stores.log import StreamAppend
from eventcore.stores.trimming import TrimRecord
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables
from tests.unit.stores.test_dynamodb_trimming import (
    ARCHIVE,
    TABLE,
    Dying,
    assert_is_whole,
    covered,
    filled_tables,
    opened,
)


class Meanwhile(Dying):
    """A way to the tables on which something happens before the first write, or a later one."""

    def __init__(
        self, tables: ModelTables, happens: Callable[[], object], *, behind: int = 0
    ) -> None:
        super().__init__(tables)
        self._happens: Callable[[], object] | None = happens
        self._behind = behind

    @override
    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if operation in {"PutItem", "TransactWriteItems", "UpdateItem"} and self._happens:
            if self._behind == 0:
                happens, self._happens = self._happens, None
                happens()
            self._behind -= 1
        return super().call(operation, parameters)


def restored_before_its_newest_event() -> tuple[
    ModelTables, Callable[[], None], list[Recorded[Any]]
]:
    """A log that was never trimmed, how a restore takes the newest event away, and its events."""
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    log.append([StreamAppend("order-1", 0, make.many(3))])
    backup = copy.deepcopy(tables.tables[TABLE])
    log.append([StreamAppend("order-1", 3, make.many(1))])

    def restore() -> None:
        tables.tables[TABLE] = copy.deepcopy(backup)
        tables._made[TABLE] += 60.0

    return tables, restore, list(log.read())


def assert_was_never_trimmed(tables: ModelTables) -> None:
    repaired = opened(tables)
    assert repaired.trim_record() is None
    assert [event.version for event in repaired.read()] == [1, 2, 3]
    assert repaired.trim(list(repaired.read())[:2], archive=ARCHIVE) == 2


def test_a_trim_that_slept_notes_nothing_in_a_table_that_was_restored_and_repaired() -> None:
    tables, restore, events = restored_before_its_newest_event()

    def restored_and_repaired() -> None:
        restore()
        repair(DynamoDBCalls(tables), Keys(TABLE))

    log = opened(Meanwhile(tables, restored_and_repaired))
    with pytest.raises(LogRestoredError):
        log.trim(events[:3], archive=ARCHIVE)

    assert_was_never_trimmed(tables)


@pytest.mark.parametrize("step", range(3))
def test_a_trim_that_notes_for_the_first_time_while_a_repair_goes_on_is_refused(step: int) -> None:
    tables, restore, _ = restored_before_its_newest_event()
    sleeping = opened(tables)
    restore()
    late: list[int] = []

    def noted() -> None:
        late.append(1)
        with pytest.raises(LogRestoredError):
            sleeping._trimming._note(3, ARCHIVE)

    repairing = Meanwhile(tables, noted, behind=step + 1)
    repair(DynamoDBCalls(repairing), Keys(TABLE))
    assert late
    assert_was_never_trimmed(tables)


def test_the_first_note_is_repeated_while_appends_hold_the_sequencer() -> None:
    tables, events = filled_tables()
    conflicts = iter(range(10))

    class Busy(Dying):
        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "TransactWriteItems" and next(conflicts, None) is not None:
                codes = ["TransactionConflict", *["None" for _ in parameters["TransactItems"][1:]]]
                raise TransactionCanceledError([Reason(code, None) for code in codes])
            return super().call(operation, parameters)

    busy = Busy(tables)
    log = DynamoDBLog(DynamoDBCalls(busy, sleep=lambda _: None), TABLE, segments_ahead=0)
    log.trim(covered(events), archive=ARCHIVE)

    assert log.trim_record() == TrimRecord(covered(events)[-1].position, ARCHIVE)
    assert_is_whole(tables, events)


def test_two_that_trim_for_the_first_time_note_the_greater_of_both() -> None:
    tables, events = filled_tables()
    chosen = covered(events)
    log = opened(Meanwhile(tables, lambda: opened(tables).trim(chosen, archive="elsewhere")))

    log.trim(chosen[:3], archive=ARCHIVE)

    assert log.trim_record() == TrimRecord(chosen[-1].position, ARCHIVE)
    assert_is_whole(tables, events)


def test_a_trim_removes_nothing_from_a_table_that_was_restored_while_it_looked() -> None:
    tables, restore, events = restored_before_its_newest_event()
    log = opened(tables)
    look = log._trimming._look

    def looked(events: Any) -> Any:
        leaving = look(events)
        restore()
        return leaving

    log._trimming._look = looked  # type: ignore[method-assign]
    with pytest.raises(LogRestoredError):
        log.trim(events[:3], archive=ARCHIVE)

    repair(DynamoDBCalls(tables), Keys(TABLE))
    assert_was_never_trimmed(tables)


def test_a_long_trim_ends_where_the_table_is_restored() -> None:
    tables, events = filled_tables()
    log = opened(tables)
    rewrite = log._trimming._rewrite
    rewritten: list[int] = []

    def then_restored(halves: Any, until: int) -> bool:
        is_done = rewrite(halves, until)
        rewritten.append(until)
        tables._made[TABLE] += 60.0
        return is_done

    log._trimming._rewrite = then_restored  # type: ignore[method-assign]
    with pytest.raises(LogRestoredError):
        log.trim(covered(events), archive=ARCHIVE)

    assert len(rewritten) == 1
    repair(DynamoDBCalls(tables), Keys(TABLE))
    assert_is_whole(tables, events)
