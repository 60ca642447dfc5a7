"""Rows that expire while pages are folded: each page comes before or after, never in between."""

from datetime import timedelta
from typing import NamedTuple

import pytest

from eventcore.events.catalogue import OrderCreated
from eventcore.projections import Engine, Projection, Table, TimeText, on
from eventcore.projections.dynamodb import commits, requests
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import model_views
from tests.model_dynamodb_rows import RowTables
from tests.unit.projections.histories import moment, order, record
from tests.unit.projections.test_dynamodb_interleavings import Steps


class TallyRow(NamedTuple):
    user_id: str
    last: TimeText
    orders: int


class LineRow(NamedTuple):
    order_id: str
    user_id: str
    last: TimeText


TALLIES = Table("tallies", TallyRow, key=["user_id"], ttl_days=10, ttl_column="last")
LINES = Table("lines", LineRow, key=["order_id"], group=["user_id"], ttl_days=10, ttl_column="last")


class Tallies(Projection):
    """How many orders each user made since he was last forgotten, and which."""

    name = "tallies"
    tables = (TALLIES, LINES)

    @on(OrderCreated, key=lambda event: event.payload.user_id, table=TALLIES)
    def ordered(self, row, event) -> TallyRow:
        orders = row.orders + 1 if row else 1
        return TallyRow(event.payload.user_id, event.timestamp_text, orders)

    @on(OrderCreated, group=lambda event: event.payload.user_id, table=LINES)
    def line(self, rows, event) -> list[LineRow]:
        return [*rows, LineRow(event.id, event.payload.user_id, event.timestamp_text)]


@pytest.fixture(scope="module")
def log():
    log = MemoryLog()
    record(log, *(order(f"o{n}", user_id=f"u{n % 5}") for n in range(10)))
    return log


NOW = moment(5) + timedelta(days=10, microseconds=1)
"""The rows of the first page are too old then, what the second page makes of them is not."""


@pytest.mark.parametrize("actions", [100, 8], ids=["a small page", "a page in chunks"])
@pytest.mark.parametrize("who_waits", ["the one who expires", "the one who folds"])
def test_a_page_is_before_or_after_an_expiry(  # noqa: PLR0917 - fixtures
    log, monkeypatch, actions, who_waits
):
    monkeypatch.setattr(commits, "ACTIONS_MAX", actions)
    monkeypatch.setattr(commits, "CHUNK_ROWS_MAX", min(actions - 2, 4))
    monkeypatch.setattr(requests, "THREADS_MAX", 1)
    number, outcomes = 0, set()
    while True:
        tables = RowTables()
        engine_steps, expiry_steps = Steps(tables), Steps(tables)
        folding, expiring = model_views(engine_steps), model_views(expiry_steps)
        engine = Engine(folding, [Tallies()])
        engine.apply(log.read_page(0, 5, LogFilter()))
        expired: list[int] = []

        def expire(views=expiring, expired=expired) -> None:
            expired.append(views.expire(Tallies(), NOW))

        def fold(engine=engine) -> None:
            while engine.position < log.head():
                engine.apply(log.read_page(engine.position, 5, LogFilter()))

        waiting = engine_steps if who_waits == "the one who folds" else expiry_steps
        waiting.at = number + waiting.count
        waiting.meanwhile = expire if waiting is engine_steps else fold
        fold() if waiting is engine_steps else expire()
        if waiting.count <= waiting.at:
            break

        tallies = {row.orders for row in folding.query(TALLIES)}
        lines = len(list(folding.query(LINES)))
        outcome = (expired[0], tallies, lines)
        # Before the page: five tallies and five lines go, each user begins anew. After it: the
        # tallies are renewed and only the old lines go.
        assert outcome in ((10, {1}, 5), (5, {2}, 5)), f"request {number}"
        outcomes.add(expired[0])
        number += 1

    assert 10 in outcomes
