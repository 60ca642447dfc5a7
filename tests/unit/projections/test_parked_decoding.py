"""Events that this code cannot read wait until there is code that can."""

from typing import Any, ClassVar
from uuid import UUID

import pytest

from eventcore.events import DomainEvent, EventRegistry, NewEvent
from eventcore.events.codec import Codec
from eventcore.events.event import Payload, upcast
from eventcore.projections import MemoryViews, Projection, ProjectionRunner, Table, on
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import moment
from tests.unit.projections.parkings import HistoryRow, seen

own = EventRegistry()
NAMES = Table("names", HistoryRow, key=["name"])


class NamePut(DomainEvent, type="name.put", version=2, category="name", key="name_id",
              registry=own):  # fmt: skip
    name_id: str
    first: str

    mended: ClassVar[bool] = False

    @staticmethod
    @upcast(from_version=1)
    def _first_was_full(payload: Payload) -> Payload:
        if not NamePut.mended:
            raise LookupError
        return {"nameId": payload["nameId"], "first": payload["full"]}


class Names(Projection):
    """Its handler reads the event."""

    name = "names"
    tables = (NAMES,)

    @on(NamePut, key=lambda event: event.id)
    def put(self, row, event):
        return seen(row, event.payload.name_id, event)


class NamesByPayload(Projection):
    """What it touches is in the event."""

    name = "names"
    tables = (NAMES,)

    @on(NamePut, key=lambda event: event.payload.name_id)
    def put(self, row, event):
        return seen(row, event.payload.name_id, event)


def append(log: MemoryLog, stream: str, state: bytes | None = None) -> None:
    position = log.head() + 1
    payload = NamePut(name_id=stream.partition("-")[2], first="Ada")
    new = NewEvent(payload=payload, event_id=UUID(int=position), timestamp=moment(position))
    encoded = log.codec.encode(new)
    if state is not None:
        encoded = encoded._replace(state=state)
    log.append([StreamAppend(stream, ANY_VERSION, [encoded])])


@pytest.fixture
def log(monkeypatch):
    """An old event of "a", then events of "a" and "b" that can be read."""
    monkeypatch.setattr(NamePut, "mended", False)
    log = MemoryLog(codec=Codec(own))
    old = b'{"v":1,"id":"00000000-0000-0000-0000-000000000001","at":"2026-01-31T23:59:59.000000Z",'
    append(log, "name-a", old + b'"data":{"nameId":"a","full":"Ada King"}}')
    append(log, "name-b")
    append(log, "name-a")
    return log


def runner_of(log: MemoryLog, views: MemoryViews, projection: Projection) -> ProjectionRunner:
    return ProjectionRunner(log, views, [projection], registry=own)


def shown(views: MemoryViews) -> dict[str, str]:
    return {row.name: row.seen for row in views.query(NAMES)}


@pytest.mark.parametrize(
    ("projection", "parked"),
    [
        (Names(), [("names", ("a",), 1)]),
        (NamesByPayload(), [("", ("name-a",), 1), ("names", ("a",), 3)]),
    ],
    ids=["in the handler", "in the key"],
)
def test_an_upcaster_that_was_mended_runs_again(log, projection: Any, parked: Any, *, monkeypatch):
    views = MemoryViews()
    runner = runner_of(log, views, projection)
    runner.run_to_head()

    assert shown(views) == {"b": "2"}
    assert [(one.table, one.key, one.position) for one in runner.parked()] == parked
    assert runner.parked()[0].error == "UndecodableEventError"
    assert "upcaster from version 1 failed" in str(runner.parked()[0].message)

    monkeypatch.setattr(NamePut, "mended", True)
    assert runner.retry("names") == (2, 0, 0)
    assert shown(views) == {"a": "1 3", "b": "2"}


@pytest.mark.parametrize("projection", [Names(), NamesByPayload()], ids=["handler", "key"])
def test_a_damaged_event_is_skipped_when_it_cannot_be_mended(log, monkeypatch, projection: Any):
    monkeypatch.setattr(NamePut, "mended", True)
    append(log, "name-b", b"{")
    append(log, "name-b")
    views = MemoryViews()
    runner = runner_of(log, views, projection)
    runner.run_to_head()

    assert shown(views) == {"a": "1 3", "b": "2"}
    first = runner.parked()[0]
    assert (first.position, first.error) == (4, "UndecodableEventError")
    assert runner.skip("names", first.key_text, reason="damaged", table=first.table) == (1, 1, 0)
    assert shown(views) == {"a": "1 3", "b": "2 5"}
    assert runner.rebuild("names").parked == 0
    assert shown(views) == {"a": "1 3", "b": "2 5"}
