"""What a query cannot tell for certain it leaves to the handler: the rows are right either way."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import pytest

from eventcore.events import (
    Codec,
    DomainEvent,
    EncodedEvent,
    EventRegistry,
    Id,
    NewEvent,
    upcast,
)
from eventcore.projections import MemoryViews, Table
from eventcore.projections.columns import TimeText
from eventcore.projections.summaries import (
    Summary,
    count,
    day,
    field,
    last,
    month,
    stream,
    sum_of,
    timestamp,
    type_of_event,
)
from eventcore.replay import Cut, replay
from eventcore.replay.duckdb_queries import query_summary
from eventcore.replay.querying import may_be_queried
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from tests.replaying import archive_shards, rows_in
from tests.unit.lake.logs import archived

AT = datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
REGISTRY = EventRegistry()


class Weighed(
    DomainEvent,
    type="parcel.weighed",
    version=2,
    category="parcel",
    key="parcel_id",
    registry=REGISTRY,
):
    parcel_id: Id
    grams: int
    fee: Decimal | None = None
    fragile: bool = False
    label: str | None = None

    @staticmethod
    @upcast(from_version=1)
    def _kilograms(payload: Any) -> Any:
        return {"parcelId": payload["parcelId"], "grams": payload["kilograms"] * 1000}


class WeightsRow(NamedTuple):
    label: str
    grams: int
    parcels: int
    fees: Decimal
    fee: Decimal | None
    fragile: bool | None
    last_at: TimeText
    last_day: str
    last_month: str
    last_stream: str
    last_type: str


WEIGHTS = Table("weights", WeightsRow, key=["label"])


class Weights(Summary):
    name = "weights"
    tables = (WEIGHTS,)
    source = (Weighed,)
    key: ClassVar = {"label": field("label")}
    columns: ClassVar = {
        "grams": sum_of("grams"),
        "parcels": count(),
        "fees": sum_of("fee"),
        "fee": last("fee"),
        "fragile": last("fragile"),
        "last_at": last(timestamp()),
        "last_day": last(day()),
        "last_month": last(month()),
        "last_stream": last(stream()),
        "last_type": last(type_of_event()),
    }


class GramsRow(NamedTuple):
    grams: int
    parcels: int


class ByGrams(Summary):
    name = "by_grams"
    tables = (Table("by_grams", GramsRow, key=["grams"]),)
    source = (Weighed,)
    key: ClassVar = {"grams": field("grams")}
    columns: ClassVar = {"parcels": count()}


def weighed(number: int, label: str | None = "a", **fields: Any) -> Weighed:
    return Weighed(parcel_id=str(number), label=label, **{"grams": number, **fields})


def log_of(*events: Any, at: datetime = AT) -> MemoryLog:
    log = MemoryLog(Codec(REGISTRY))
    for number, payload in enumerate(events, 1):
        encoded = log.codec.encode(NewEvent(payload, UUID(int=number), at))
        log.append([StreamAppend(f"parcel-{payload.parcel_id}", ANY_VERSION, [encoded])])
    return log


def changed(log: MemoryLog, *changes: tuple[bytes, bytes]) -> MemoryLog:
    """The same log with other bytes in its states, as other code could have left them."""
    other = MemoryLog(log.codec)
    for event in log.read():
        state, event_id = event.state, str(UUID(int=event.position))
        for old, new in changes:
            state = state.replace(old, new)
        encoded = EncodedEvent(event_id, event.type, event.timestamp_text, state)
        other.append([StreamAppend(event.stream, ANY_VERSION, [encoded])])
    return other


def queried(log: MemoryLog, folder: Path, summary: Summary | None = None) -> Any:
    """What the query says; and that with the handler's help the rows are right in any case."""
    summary = summary or Weights()
    source = archive_shards(archived(log, folder / "archive"), log)
    files = source.parquet()
    assert files is not None
    by_query, by_handler = MemoryViews(), MemoryViews()
    done = replay(log, [summary], by_query, source=source)
    replay(log, [summary], by_handler)
    assert rows_in(by_query, [summary]) == rows_in(by_handler, [summary])
    rows = query_summary(summary, files, log.codec, cut=Cut(log.head()))
    assert bool(done.queried) == (rows is not None)
    return None if rows is None else summary.table().decode(rows)


def test_every_kind_of_value_is_told(tmp_path):
    log = log_of(
        weighed(1, fee=Decimal("0.10"), fragile=True),
        weighed(2, fee=Decimal("12345678901234567.000000000001")),
        weighed(3),
        weighed(4, None),
        weighed(-5, 'b"\\ é', fee=Decimal(-1)),
    )

    a, b = sorted(queried(log, tmp_path))

    assert a == WeightsRow(
        label="a",
        grams=6,
        parcels=3,
        fees=Decimal("12345678901234567.100000000001"),
        fee=Decimal("12345678901234567.000000000001"),
        fragile=False,
        last_at="2026-02-28T23:59:59.999999Z",
        last_day="2026-02-28",
        last_month="2026-02",
        last_stream="parcel-3",
        last_type="parcel.weighed",
    )
    assert (b.label, b.grams, b.fees) == ('b"\\ é', -5, Decimal(-1))
    assert sorted(queried(log, tmp_path / "2", ByGrams())) == [
        (-5, 1),
        *((n, 1) for n in (1, 2, 3, 4)),
    ]


def test_nothing_is_no_row(tmp_path):
    assert queried(log_of(weighed(1, None)), tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [
        # An older schema version, which has an upcaster.
        [(b'"v":2', b'"v":1'), (b'"grams":', b'"kilograms":')],
        # More places, or digits, than are added up exactly.
        [(b'"fee":"1.5"', b'"fee":"1.5000000000001"')],
        [(b'"fee":"1.5"', b'"fee":"1E+2"')],
        [(b'"fee":"1.5"', b'"fee":"1234567890123456789"')],
        [(b'"grams":7', b'"grams":1234567890123456789')],
        [(b'"label":"a"', b'"label":"\\u0000"')],  # no text that a table keeps
        [(b'"label":"a"', b'"label":"a')],  # no JSON
        [(b'{"v":2,', b'{ "v":2,')],  # not as the codec writes it
    ],
)
def test_what_cannot_be_told_is_left_to_the_handler(tmp_path, changes: Any):
    log = log_of(weighed(7, fee=Decimal("1.5")), weighed(8), weighed(9, "z"))
    log = changed(log, *changes)

    assert queried(log, tmp_path) is None


@pytest.mark.parametrize("year", [1, 999, 1000, 1969, 9999])
def test_times_far_away_are_told_or_left(tmp_path, year: int):
    log = log_of(weighed(1), at=datetime(year, 1, 1, 0, 0, 0, 1, tzinfo=UTC))

    rows = queried(log, tmp_path)

    assert (rows is None) == (year < 1000)
    if rows:
        assert rows[0].last_day == f"{year}-01-01"


def test_encrypted_fields_are_left_to_the_handler():
    class Rot:
        def outgoing(self, *, subject: str | None, field: str, value: Any) -> Any:
            return value[::-1]

        incoming = outgoing

    assert may_be_queried(Weights(), Codec(REGISTRY))
    assert not may_be_queried(Weights(), Codec(REGISTRY, transform=Rot()))
