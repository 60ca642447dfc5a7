"""Read models in DynamoDB end in the rows of one pass, in whatever order requests arrive.

Each test tries every place at which it could go wrong, on a model of the tables: one process stands
still or ends before any of its requests, others overtake it, and requests that nobody waits for any
more arrive as late as can be.
"""

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from eventcore.errors import EventCoreError
from eventcore.projections import Engine
from eventcore.projections.dynamodb import DynamoDBViews, commits, requests
from eventcore.stores.dynamodb.calls import (
    ConditionFailedError,
    TransactionCanceledError,
)
from eventcore.stores.log import LogFilter
from tests.dynamodb_views import NOW, model_views
from tests.model_dynamodb_rows import RowTables
from tests.unit.projections import shops
from tests.unit.projections.dynamodb_pages import (
    CrashError,
    expected_rows,
    pages_log,
    projections,
    run,
)
from tests.unit.projections.histories import rows_of

PAGE_EVENTS = 2
"""So that the log has four pages, three of which take several transactions."""

WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
LATER = NOW + 2 * commits.PREPARED_AGE
MUCH_LATER = LATER + 2 * commits.MARKED_AGE


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch):
    monkeypatch.setattr(commits, "ACTIONS_MAX", 8)
    monkeypatch.setattr(commits, "CHUNK_ROWS_MAX", 2)
    # One request after the other, so that each run is the same.
    monkeypatch.setattr(requests, "THREADS_MAX", 1)


@pytest.fixture(scope="module")
def log():
    return pages_log()


@pytest.fixture(scope="module")
def expected(log):
    return expected_rows(log)


class Steps:
    """A transport that notes what was written, and lets others go before the request of a number.

    Attributes:
        written: Writes that were sent so far, the number of each and what it asks for.
    """

    def __init__(
        self, tables: RowTables, at: int = -1, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        self.tables = tables
        self.at = at
        self.meanwhile = meanwhile
        self.count = 0
        self.written: list[tuple[int, str, Mapping[str, Any]]] = []

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        number, self.count = self.count, self.count + 1
        if number == self.at:
            self.meanwhile()
        if operation in WRITES:
            self.written.append((number, operation, parameters))
        return self.tables.call(operation, parameters)

    def close(self) -> None:
        pass


def begun() -> RowTables:
    """Tables of projections that have begun and applied nothing."""
    tables = RowTables()
    views = model_views(tables)
    for projection in projections():
        views.ensure(projection)
    return tables


def apply_first_page(log: Any, views: DynamoDBViews) -> None:
    Engine(views, projections()).apply(log.read_page(0, PAGE_EVENTS * 2, LogFilter()))


def first_page_alone(log: Any) -> Steps:
    """What is sent for the first page if nobody is in the way."""
    steps = Steps(begun())
    apply_first_page(log, model_views(steps))
    return steps


def send_again(tables: RowTables, operation: str, parameters: Mapping[str, Any]) -> None:
    """An attempt whose answer nobody waited for arrives now."""
    # What its conditions are for.
    with contextlib.suppress(ConditionFailedError, TransactionCanceledError):
        tables.call(operation, parameters)


def finish(log: Any, tables: RowTables, now: datetime = LATER) -> Any:
    """Rows after another process has come to the head."""
    views = model_views(tables, now)
    run(log, views, PAGE_EVENTS)
    return rows_of(views, projections())


def sweep(_log: Any, tables: RowTables) -> None:
    """A process begins that keeps another projection and knows nothing of these."""
    model_views(tables, LATER).ensure(shops.Lines())


def journal(tables: RowTables) -> list[str]:
    return [key[0] for key in tables.items["eventcore_checkpoints"] if key[0].startswith("journal")]


def test_a_process_may_end_before_or_after_any_request(log, expected):
    crashes = 0
    while True:
        tables = begun()

        def end() -> None:
            raise CrashError

        try:
            run(log, model_views(Steps(tables, crashes, end)), PAGE_EVENTS)
        except CrashError:
            assert finish(log, tables) == expected, f"request {crashes}"
            assert finish(log, tables, MUCH_LATER) == expected
            # Nothing stays for ever, wherever it ended.
            assert journal(tables) == [], f"request {crashes}"
            crashes += 1
        else:
            break

    assert crashes > 40


def test_a_process_that_slept_in_its_page_while_others_went_on_writes_nothing_of_it(log, expected):
    for number in range(first_page_alone(log).count):
        tables = begun()
        # It finishes the sleeper's page, and goes on with the pages behind it.
        steps = Steps(tables, number, partial(finish, log, tables))
        try:
            apply_first_page(log, model_views(steps))
        except EventCoreError as error:
            pytest.fail(f"request {number}: {error}")

        assert rows_of(model_views(tables), projections()) == expected, f"request {number}"
        assert finish(log, tables) == expected, f"request {number}"


@pytest.mark.parametrize("others_first", [True, False], ids=["others first", "others last"])
@pytest.mark.parametrize("others", [finish, sweep], ids=["they go on", "they sweep"])
def test_a_request_that_arrives_late_changes_nothing_that_matters(  # noqa: PLR0917 - fixtures
    log, expected, others, others_first
):
    alone = first_page_alone(log)
    places = [
        (number, which)
        for number in range(alone.count)
        for which, (sent, _, _) in enumerate(alone.written)
        if sent < number
    ]
    assert len(places) > 60
    for number, which in places:
        steps = Steps(begun(), number)
        steps.meanwhile = _late_and_others(
            partial(others, log, steps.tables), steps, which, others_first=others_first
        )
        apply_first_page(log, model_views(steps))

        place = f"write {which} once more, before request {number}"
        assert finish(log, steps.tables, MUCH_LATER) == expected, place


def _late_and_others(
    others: Callable[[], object], steps: Steps, which: int, *, others_first: bool
) -> Callable[[], None]:
    """One of the writes arrives a second time, and other processes do what they do."""

    def meanwhile() -> None:
        if others_first:
            others()
        send_again(steps.tables, *steps.written[which][1:])
        if not others_first:
            others()

    return meanwhile


def test_a_page_may_be_swept_before_any_of_its_requests(log, expected):
    for number in range(first_page_alone(log).count):
        tables = begun()
        steps = Steps(tables, number, partial(sweep, log, tables))
        apply_first_page(log, model_views(steps))

        assert finish(log, tables) == expected, f"request {number}"


def test_two_processes_may_take_turns_at_any_request(log, expected):
    for number in range(first_page_alone(log).count):
        tables = begun()
        other = model_views(tables)
        # The other applies one page only: the first then goes on, as if it had been ahead.
        steps = Steps(tables, number, partial(apply_first_page, log, other))
        run(log, model_views(steps), PAGE_EVENTS)

        assert rows_of(model_views(tables), projections()) == expected, f"request {number}"
