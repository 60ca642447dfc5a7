"""How read models ask DynamoDB: several requests at a time, what was left undone again, no Scan."""

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from typing_extensions import override

from eventcore.errors import StoreUnavailableError
from eventcore.events.catalogue import OrderCreated, SessionStarted, UserRegistered
from eventcore.projections import ProjectionRunner
from eventcore.projections.dynamodb import commits
from eventcore.projections.read_models import (
    AnalyticsByUser,
    Features,
    FeatureStore,
    Metadata,
    built_in_projections,
    computes,
)
from eventcore.stores.dynamodb.calls import (
    PAUSE_FIRST_SECONDS,
    PAUSE_SECONDS_MAX,
    CallFailedError,
    Reason,
    TransactionCanceledError,
)
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import model_views
from tests.model_dynamodb_rows import RowTables
from tests.unit.projections.dynamodb_pages import (
    expected_rows,
    pages_log,
    projections,
    run,
)
from tests.unit.projections.histories import moment, order, record, rows_of

MEETING_SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def log():
    return pages_log()


@pytest.fixture
def small_transactions(monkeypatch):
    monkeypatch.setattr(commits, "ACTIONS_MAX", 8)
    monkeypatch.setattr(commits, "CHUNK_ROWS_MAX", 2)


@pytest.mark.usefixtures("small_transactions")
def test_chunks_of_a_page_are_written_several_at_a_time(log):
    meeting = threading.Barrier(2)

    class Meeting(RowTables):
        """Two chunks have to be under way at once, or neither goes on."""

        met = False

        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if not self.met and operation == "TransactWriteItems" and _is_chunk(parameters):
                meeting.wait(MEETING_SECONDS_MAX)
                self.met = True
            return super().call(operation, parameters)

    tables = Meeting()
    views = model_views(tables)
    run(log, views)

    assert tables.met
    assert rows_of(views, projections()) == expected_rows(log)


def _is_chunk(parameters: Mapping[str, Any]) -> bool:
    return any(
        "ConditionCheck" in action and "pending_token" in str(action)
        for action in parameters["TransactItems"]
    )


class Reluctant(RowTables):
    """Leaves all but the first of a batch undone, as often as it is told."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.batches = 0

    @override
    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if operation != "BatchWriteItem":
            return super().call(operation, parameters)
        [(table, wanted)] = parameters["RequestItems"].items()
        self.batches += 1
        if self.times == 0:
            return super().call(operation, parameters)
        self.times -= 1
        super().call(operation, {"RequestItems": {table: wanted[:1]}})
        return {"UnprocessedItems": {table: wanted[1:]} if wanted[1:] else {}}


@pytest.mark.usefixtures("small_transactions")
def test_what_a_batch_leaves_undone_is_sent_again_after_pauses_drawn_at_random(log):
    tables = Reluctant(times=6)
    views = model_views(tables)
    pauses: list[float] = []
    views.calls.sleep = pauses.append
    run(log, views)

    assert rows_of(views, projections()) == expected_rows(log)
    assert len(pauses) > 3
    assert len(set(pauses)) == len(pauses)
    assert all(0 <= pause <= PAUSE_SECONDS_MAX for pause in pauses)
    assert min(pauses) < PAUSE_FIRST_SECONDS


@pytest.mark.usefixtures("small_transactions")
def test_a_database_that_leaves_all_undone_for_ever_is_given_up(log):
    class Never(RowTables):
        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "BatchWriteItem":
                return {"UnprocessedItems": parameters["RequestItems"]}
            return super().call(operation, parameters)

    with pytest.raises(StoreUnavailableError, match="BatchWriteItem was left undone"):
        run(log, model_views(Never()))


class Totals(FeatureStore):
    name = "feature_store"

    @computes(
        OrderCreated,
        group="customer",
        entity=lambda event: event.payload.user_id,
        features=["orders"],
    )
    def orders(self, before, _event):
        return {"orders": before.get("orders", 0) + 1}


def test_nothing_that_is_done_all_day_scans():
    class Unscanned(RowTables):
        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            assert operation != "Scan", parameters
            return super().call(operation, parameters)

    log = MemoryLog()
    record(
        log,
        UserRegistered(user_id="u1", email="a@example.com"),
        SessionStarted(session_id="s1", user_id="u1"),
        *(order(f"o{n}", user_id="u1") for n in range(5)),
    )
    views = model_views(Unscanned())
    others = [one for one in built_in_projections() if one.name != "analytics"]
    every = [*others, AnalyticsByUser(), Metadata(), Totals()]

    # From the start, and then by one who remembers nothing.
    ProjectionRunner(log, views, every).run_to_head()
    record(log, order("o9", user_id="u1"))
    ProjectionRunner(log, views, every).run_to_head()

    features = Features(views)
    assert features.latest("customer", "u1")["orders"].value == 6
    assert features.as_of("customer", "u1", moment(4))["orders"].value == 2


@pytest.mark.usefixtures("small_transactions")
def test_a_page_that_others_are_just_finishing_is_finished(log):
    class Finishing(RowTables):
        """Somebody else finishes each page first, and is seen in the midst of it."""

        met = 0

        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            answer = super().call(operation, parameters)
            if operation == "TransactWriteItems" and _is_finish(parameters):
                self.met += 1
                others = [Reason("TransactionConflict", None) for _ in parameters["TransactItems"]]
                raise TransactionCanceledError(
                    [Reason("ConditionalCheckFailed", None), *others[1:]]
                )
            return answer

    tables = Finishing()
    views = model_views(tables)
    run(log, views)

    assert tables.met > 1
    assert rows_of(views, projections()) == expected_rows(log)


def _is_finish(parameters: Mapping[str, Any]) -> bool:
    first = parameters["TransactItems"][0].get("Update", {})
    return "pending_token = :token" in first.get("ConditionExpression", "")


def test_two_processes_may_make_the_same_table_at_once():
    class Together(RowTables):
        """Somebody else has rows expire right before whoever asks for it."""

        refused = 0

        @override
        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            answer = super().call(operation, parameters)
            if operation == "UpdateTimeToLive":
                self.refused += 1
                problem = "TimeToLive is already enabled"
                raise CallFailedError("ValidationException", problem, kind="refused")
            return answer

    tables = Together()
    views = model_views(tables, with_ttl=True)
    projection = AnalyticsByUser()
    checkpoint = views.ensure(projection)

    assert tables.refused
    assert views.checkpoint(projection.name) == checkpoint
