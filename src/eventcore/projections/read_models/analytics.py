"""analytics: figures of each day, by the day events happened (UTC).

============================ ==========================================================
metric                       value
============================ ==========================================================
``events#eventType=TYPE``    events of the type
``orders#currency=CODE``     orders created
``revenue#currency=CODE``    sum of their totals at creation
``sessions``                 sessions started
``active_users``             distinct users that events of the day name
============================ ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from eventcore.events.catalogue import OrderCreated, SessionStarted
from eventcore.events.event import DomainEvent
from eventcore.events.recorded import Recorded
from eventcore.projections.projection import AnyTable, Projection, on
from eventcore.projections.read_models.subjects import user_of
from eventcore.projections.tables import Index, Table
from eventcore.projections.views import Views

TTL_DAYS = 1096
"""Three years with a leap day (the seed's 1,095 are a day short of three years)."""

ACTIVE_USERS: Final = "active_users"
SESSIONS_STARTED: Final = "sessions"
_ONE: Final = Decimal(1)
_DATE_LENGTH: Final = 10


class MetricRow(NamedTuple):
    """One figure of one day (``YYYY-MM-DD``)."""

    date: str
    metric_type_dimensions: str
    value: Decimal


class ActiveUserRow(NamedTuple):
    """A user seen on a day, so that each counts once."""

    date: str
    user_id: str


ANALYTICS = Table(
    "analytics",
    MetricRow,
    key=["date", "metric_type#dimensions"],
    indexes=[Index.on("metric_type#dimensions", "date")],
    ttl_days=TTL_DAYS,
    ttl_column="date",
    columns={"metric_type_dimensions": "metric_type#dimensions"},
)
ANALYTICS_ACTIVE_USERS = Table(
    "analytics_active_users",
    ActiveUserRow,
    key=["date", "user_id"],
    ttl_days=TTL_DAYS,
    ttl_column="date",
)


def _day(event: Recorded[Any]) -> str:
    return event.timestamp_text[:_DATE_LENGTH]


def _event_count(event: Recorded[Any]) -> tuple[str, str]:
    return _day(event), f"events#eventType={event.type}"


def _count_of_user(event: Recorded[Any]) -> tuple[str, str] | None:
    user_id = user_of(event)
    return None if user_id is None else (_day(event), f"events#userId={user_id}")


def _order_figures(event: Recorded[OrderCreated]) -> list[tuple[AnyTable, tuple[str, str]]]:
    day, currency = _day(event), event.payload.currency
    return [
        (ANALYTICS, (day, f"orders#currency={currency}")),
        (ANALYTICS, (day, f"revenue#currency={currency}")),
    ]


def _sessions(event: Recorded[SessionStarted]) -> tuple[str, str]:
    return _day(event), SESSIONS_STARTED


def _active_user(event: Recorded[Any]) -> Sequence[tuple[AnyTable, tuple[str, str]]]:
    user_id = user_of(event)
    if user_id is None:
        return ()
    day = _day(event)
    return ((ANALYTICS_ACTIVE_USERS, (day, user_id)), (ANALYTICS, (day, ACTIVE_USERS)))


class Analytics(Projection):
    """Keeps ``analytics``, and beside it who was seen on which day."""

    name = "analytics"
    fingerprint = "1"
    tables = (ANALYTICS, ANALYTICS_ACTIVE_USERS)

    @on(DomainEvent, table=ANALYTICS, key=_event_count)
    def count_event(self, row: MetricRow | None, event: Recorded[Any]) -> MetricRow:
        """Count the event by its type."""
        if row is None:
            return MetricRow(*_event_count(event), _ONE)
        return MetricRow(row[0], row[1], row[2] + _ONE)

    @on(SessionStarted, table=ANALYTICS, key=_sessions)
    def count_session(self, row: MetricRow | None, event: Recorded[SessionStarted]) -> MetricRow:
        """Count the session."""
        return MetricRow(_day(event), SESSIONS_STARTED, (row.value if row else 0) + _ONE)

    @on(OrderCreated, touches=_order_figures)
    def add_order(
        self, rows: Sequence[MetricRow | None], event: Recorded[OrderCreated]
    ) -> list[MetricRow]:
        """Count the order and add up its total."""
        added = (_ONE, event.payload.total_amount)
        return [
            MetricRow(*key, (row.value if row else 0) + amount)
            for row, (_, key), amount in zip(rows, _order_figures(event), added, strict=True)
        ]

    @on(DomainEvent, touches=_active_user)
    def count_user(
        self, rows: Sequence[Any], event: Recorded[Any]
    ) -> Sequence[ActiveUserRow | MetricRow | None]:
        """Count the user, once a day."""
        seen, count = rows
        if seen is not None:
            return rows
        (_, key), (_, metric) = _active_user(event)
        return ActiveUserRow(*key), MetricRow(*metric, (count.value if count else 0) + _ONE)


class AnalyticsByUser(Analytics):
    """Keeps ``analytics`` with a figure for each user and day besides: ``events#userId=u-1``.

    In place of :class:`Analytics`, for those who need it: it writes one more row an event.
    """

    name = "analytics"
    version = Analytics.version + 1

    @on(DomainEvent, table=ANALYTICS, key=_count_of_user)
    def count_of_user(self, row: MetricRow | None, event: Recorded[Any]) -> MetricRow:
        """Count the event for its user."""
        return MetricRow(
            _day(event), f"events#userId={user_of(event)}", (row.value if row else 0) + _ONE
        )


class Figures:
    """Reads figures from wherever they are kept, each by a key or an index.

    Args:
        views: e.g. ``app.views``.
    """

    def __init__(self, views: Views) -> None:
        self._views = views

    def day(self, day: date) -> list[MetricRow]:
        """All figures of a day, by name."""
        return list(self._views.query(ANALYTICS, {"date": day.isoformat()}))

    def of_event_type(self, event_type: str, since: date | None = None) -> Iterator[MetricRow]:
        """How many events of a type there were, day by day, from a day on."""
        return self._daily(f"events#eventType={event_type}", since)

    def of_user(self, user_id: str, since: date | None = None) -> Iterator[MetricRow]:
        """How many events named a user, day by day; if :class:`AnalyticsByUser` is kept."""
        return self._daily(f"events#userId={user_id}", since)

    def _daily(self, metric: str, since: date | None) -> Iterator[MetricRow]:
        first = None if since is None else since.isoformat()
        return self._views.query_sorted(
            ANALYTICS, "metric_type#dimensions", metric, by="date", since=first
        )
