"""Read models in DynamoDB end in the same rows whatever fails, and whoever goes on.

Pages are made to need several transactions: the limits are set so low that each chunk holds two
rows. A crash is tried before every request and after it, where it was done and nobody heard.
"""

import random
import threading

import pytest
from typing_extensions import override

from eventcore.errors import StoreUnavailableError
from eventcore.projections import Engine
from eventcore.projections.dynamodb import DynamoDBViews, commits
from eventcore.projections.read_models import OrderItems, Orders
from eventcore.stores.dynamodb.calls import CallFailedError, Kind
from eventcore.stores.log import LogFilter
from tests.dynamodb import DynamoDBPlace
from tests.dynamodb_views import dynamodb_views, transport_to
from tests.unit.projections.dynamodb_pages import (
    PAGE_EVENTS,
    Budget,
    CrashError,
    Failing,
    expected_rows,
    pages_log,
    projections,
    run,
)
from tests.unit.projections.histories import rows_of

pytestmark = pytest.mark.dynamodb


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch):
    monkeypatch.setattr(commits, "ACTIONS_MAX", 8)
    monkeypatch.setattr(commits, "CHUNK_ROWS_MAX", 2)


@pytest.fixture(scope="module")
def log():
    return pages_log()


@pytest.fixture(scope="module")
def expected(log):
    return expected_rows(log)


def leftovers(place: DynamoDBPlace) -> list[str]:
    """What pages under way have left in the table of checkpoints."""
    client = place.client()
    found = client.scan(TableName=f"{place.prefix}eventcore_checkpoints")["Items"]
    client.close()
    assert not [item for item in found if "pending" in item or "resetting" in item]
    return [
        name
        for item in found
        if (name := item["pk"]["S"]).startswith("journal") and "swept" not in item
    ]


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_request_ends_in_the_same_rows(  # noqa: PLR0917 - fixtures
    log, expected, dynamodb, moment
):
    survivor = dynamodb_views(dynamodb)
    for projection in projections():
        survivor.ensure(projection)
    crashes, finished = (0 if moment == "before" else 1), False
    while not finished:
        budget = Budget(crashes)
        transport = Failing(transport_to(dynamodb), **{moment: budget.spend})
        finished = True
        try:
            run(log, dynamodb_views(dynamodb, transport=transport))
        except CrashError:
            finished = False
        transport.close()

        run(log, survivor)
        assert rows_of(survivor, projections()) == expected, f"{moment} request {crashes}"
        for projection in projections():
            survivor.reset(projection)
        assert not any(rows_of(survivor, projections()).values())
        # The other parametrization tries the requests in between.
        crashes += 2

    assert crashes > 25
    survivor.close()


@pytest.mark.slow
def test_a_crash_while_a_projection_is_reset_is_gone_on_from(log, expected, dynamodb):
    survivor = dynamodb_views(dynamodb)
    run(log, survivor)
    crashes, finished = 0, False
    while not finished:
        transport = Failing(transport_to(dynamodb), before=Budget(crashes).spend)
        finished = True
        try:
            dynamodb_views(dynamodb, transport=transport).reset(OrderItems())
        except CrashError:
            finished = False
        transport.close()

        run(log, survivor)
        assert rows_of(survivor, projections()) == expected, f"request {crashes}"
        crashes += 1

    assert crashes > 10
    survivor.close()


def test_throttled_unanswered_and_conflicting_requests_change_nothing(log, expected, dynamodb):
    chance = random.Random(7)
    kinds: list[Kind] = ["throttled", "conflict", "unknown", "unreachable"]
    failed = []

    def perhaps_fail(operation: str) -> None:
        is_first = operation == "TransactWriteItems" and operation not in failed
        if chance.random() < 0.1 or is_first:
            failed.append(operation)
            raise CallFailedError("Injected", "by this test", kind=chance.choice(kinds))

    transport = Failing(transport_to(dynamodb), before=perhaps_fail, after=perhaps_fail)
    views = dynamodb_views(dynamodb, transport=transport)
    pauses: list[float] = []
    views.calls.sleep = pauses.append
    failed.clear()
    run(log, views)

    assert rows_of(views, projections()) == expected
    assert "TransactWriteItems" in failed
    # Nothing is repeated at once.
    assert len(pauses) >= len(failed)
    views.close()
    assert leftovers(dynamodb) == []


def test_what_a_batch_leaves_undone_is_asked_for_again(log, expected, dynamodb):
    class Reluctant(Failing):
        """Does the first half of a batch."""

        @override
        def call(self, operation, parameters):
            given = parameters.get("RequestItems")
            if given is None:
                return super().call(operation, parameters)
            [(table, wanted)] = given.items()
            keys = wanted if operation == "BatchWriteItem" else wanted["Keys"]
            half = max(1, len(keys) // 2)
            parts = [keys[:half], keys[half:]]
            if operation == "BatchGetItem":
                parts = [{**wanted, "Keys": part} for part in parts]
            answer = super().call(operation, {"RequestItems": {table: parts[0]}})
            if keys[half:]:
                left = {table: parts[1]}
                answer["UnprocessedItems" if "Write" in operation else "UnprocessedKeys"] = left
            return answer

    views = dynamodb_views(dynamodb, transport=Reluctant(transport_to(dynamodb)))
    views.calls.sleep = lambda seconds: None
    run(log, views)
    for projection in projections():
        for table in projection.tables:
            keys = [table.key_of(row) for row in expected[table.name]]
            assert sorted(views.load_rows(table, keys)) == sorted(expected[table.name])

    assert rows_of(views, projections()) == expected
    views.close()


def test_two_runners_at_once_end_in_the_same_rows(log, expected, dynamodb):
    dynamodb_views(dynamodb).close()
    many = [dynamodb_views(dynamodb) for _ in range(3)]
    threads = [threading.Thread(target=run, args=(log, views)) for views in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    for views in many:
        assert rows_of(views, projections()) == expected
        views.close()
    assert leftovers(dynamodb) == []


def test_a_runner_that_slept_through_its_page_writes_nothing_of_it(log, expected, dynamodb):
    asleep, wake = threading.Event(), threading.Event()
    decided: list[str] = []

    def sleep_after_deciding(operation: str) -> None:
        # The first transaction of the page decides it, the second would write rows.
        if operation == "TransactWriteItems":
            decided.append(operation)
            if len(decided) == 2:
                asleep.set()
                wake.wait(60)

    other = dynamodb_views(dynamodb)
    for projection in projections():
        other.ensure(projection)
    transport = Failing(transport_to(dynamodb))
    sleeper = dynamodb_views(dynamodb, transport=transport)
    engine = Engine(sleeper, projections())
    transport.before = sleep_after_deciding
    thread = threading.Thread(
        target=engine.apply, args=(log.read_page(0, PAGE_EVENTS, LogFilter()),)
    )
    thread.start()
    assert asleep.wait(60)

    run(log, other)  # finishes the sleeper's page, then all that follow
    before = rows_of(other, projections())
    wake.set()
    thread.join(60)

    assert before == expected
    assert rows_of(other, projections()) == expected
    assert other.checkpoint("orders") == Engine(other, projections()).checkpoints["orders"]
    sleeper.close()
    other.close()


def test_a_page_that_was_never_decided_is_swept_after_a_while(log, expected, dynamodb):
    views = dynamodb_views(dynamodb)
    engine = Engine(views, projections())

    def crash(operation: str) -> None:
        if operation == "TransactWriteItems":
            raise CrashError

    views.calls._transport = Failing(transport_to(dynamodb), before=crash)
    with pytest.raises(CrashError):
        engine.apply(log.read_page(0, PAGE_EVENTS, LogFilter()))
    views.close()
    assert len(leftovers(dynamodb)) > 3

    run(log, soon := dynamodb_views(dynamodb))
    soon.close()
    # Too fresh: its writer may still be about to decide.
    assert len(leftovers(dynamodb)) > 3

    later = soon._clock() + commits.PREPARED_AGE * 2
    run(log, views := dynamodb_views(dynamodb, clock=lambda: later))
    assert rows_of(views, projections()) == expected
    assert leftovers(dynamodb) == []
    views.close()


def test_a_page_that_was_swept_too_early_is_prepared_again(log, expected, dynamodb):
    views = dynamodb_views(dynamodb)
    engine = Engine(views, projections())
    transport = Failing(transport_to(dynamodb))
    late = views._clock() + commits.PREPARED_AGE * 2
    sweeper = dynamodb_views(dynamodb, clock=lambda: late)
    swept: list[int] = []

    def sweep_first(operation: str) -> None:
        if operation == "TransactWriteItems" and not swept:
            swept.append(sweeper._commits.sweep())

    views.calls._transport = transport
    transport.before = sweep_first
    while engine.position < log.head():
        engine.apply(log.read_page(engine.position, PAGE_EVENTS, LogFilter()))

    assert swept == [1]
    assert rows_of(views, projections()) == expected
    views.close()
    sweeper.close()


def test_a_database_that_stays_away_is_an_error_and_a_later_run_goes_on(log, expected, dynamodb):
    views = dynamodb_views(dynamodb)
    engine = Engine(views, projections())
    transport = Failing(transport_to(dynamodb))
    views.calls._transport = transport
    now = [0.0]
    views.calls.clock = lambda: now[0]

    def pass_time(seconds: float) -> None:
        now[0] += max(seconds, 0.1)

    views.calls.sleep = pass_time
    writes: list[str] = []

    def refuse_later(operation: str) -> None:
        if operation == "TransactWriteItems":
            writes.append(operation)
            if len(writes) > 1:
                raise CallFailedError("ThrottlingException", "too much", kind="throttled")

    transport.before = refuse_later
    with pytest.raises(StoreUnavailableError):
        engine.apply(log.read_page(0, PAGE_EVENTS, LogFilter()))

    transport.before = lambda operation: None
    # The same engine, which does not know that its page is decided.
    while engine.position < log.head():
        engine.apply(log.read_page(engine.position, PAGE_EVENTS, LogFilter()))

    assert rows_of(views, projections()) == expected
    views.close()


def test_nothing_of_a_page_can_be_decided_twice(dynamodb):
    views = dynamodb_views(dynamodb)
    assert isinstance(views, DynamoDBViews)
    views.ensure(Orders())
    before = views.checkpoint("orders")
    other = dynamodb_views(dynamodb)
    outcomes = []
    for one in (views, other):
        try:
            with one.transaction() as transaction:
                assert before is not None
                transaction.advance("orders", before, 3)
        except Exception as error:  # noqa: BLE001 - its kind is what is looked at
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("done")

    assert outcomes == ["done", "CheckpointMovedError"]
    views.close()
    other.close()
