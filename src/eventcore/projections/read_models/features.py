"""feature_store: what is known of an entity for a model to learn from, as of any time.

Which features there are, you say::

    class ShopFeatures(FeatureStore):
        name = "shop_features"

        @computes(
            OrderCreated,
            group="customer",
            entity=lambda event: event.payload.user_id,
            features=("orders", "spent"),
        )
        def ordered(self, before: Values, event: Recorded[OrderCreated]) -> Values:
            return {
                "orders": before.get("orders", 0) + 1,
                "spent": before.get("spent", Decimal(0)) + event.payload.total_amount,
            }

    Features(app.views).as_of("customer", "u-1", at)

Every value is kept with the time of its event, so that a model never learns from what was not known
at the time; beside them lies the latest of each feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import wraps
from typing import Any, Final, Literal, NamedTuple

import orjson

from eventcore.errors import RegistrationError
from eventcore.events.event import DomainEvent
from eventcore.events.recorded import Recorded
from eventcore.events.times import to_text
from eventcore.projections.columns import TimeText
from eventcore.projections.projection import AnyTable, Projection, on
from eventcore.projections.tables import Index, Table
from eventcore.projections.views import Views

FEATURES_TTL_DAYS = 365

DataType = Literal["number", "decimal", "text", "flag", "json"]
Values = Mapping[str, Any]
"""Features by name: numbers, ``Decimal``, text, flags, and what JSON can hold."""


class FeatureRow(NamedTuple):
    """One value of one feature, as of the time of an event; ``value`` is JSON."""

    feature_group_id: str
    entity_id: str
    timestamp: TimeText
    feature_name: str
    position: int
    data_type: DataType
    value: str


class LatestFeatureRow(NamedTuple):
    """The value of a feature whose event is the latest, by time and then by position."""

    feature_group_id: str
    entity_id: str
    feature_name: str
    timestamp: TimeText
    position: int
    data_type: DataType
    value: str


FEATURE_STORE = Table(
    "feature_store",
    FeatureRow,
    key=["feature_group_id", "entity_id", "timestamp", "feature_name", "position"],
    group=["feature_group_id", "entity_id"],
    indexes=[Index.on("feature_name", "data_type")],
    ttl_days=FEATURES_TTL_DAYS,
    ttl_column="timestamp",
)
FEATURE_STORE_LATEST = Table(
    "feature_store_latest",
    LatestFeatureRow,
    key=["feature_group_id", "entity_id", "feature_name"],
    group=["feature_group_id", "entity_id"],
    ttl_days=FEATURES_TTL_DAYS,
    ttl_column="timestamp",
)


class FeatureStore(Projection):
    """Base of the one projection that keeps your features; see :func:`computes`."""

    name = "feature_store"
    fingerprint = "1"
    tables = (FEATURE_STORE, FEATURE_STORE_LATEST)


Compute = Callable[[Any, Values, Any], Values]
"""``f(self, before, event)``: the features that the event gives new values, of those declared."""


def computes(
    *event_types: type[DomainEvent],
    group: str,
    entity: Callable[[Any], str | None],
    features: Sequence[str],
) -> Callable[[Compute], Callable[[Any, Sequence[Any], Any], list[Any]]]:
    """Mark a method that computes features of an entity from an event.

    It gets the latest of the declared features as they are in the log's order, and returns those
    that have a new value. A pure function, as every handler.

    Args:
        event_types: Event classes.
        group: Name of the group of features, e.g. ``customer``.
        entity: From the event to the entity's id; None passes the event over.
        features: Names of all that the method may return.

    Raises:
        RegistrationError: No features are named.
    """
    names = tuple(dict.fromkeys(features))
    if not names:
        raise RegistrationError(message="@computes names the features that it computes")

    def touched(event: Recorded[Any]) -> Iterable[tuple[AnyTable, Any]]:
        found = entity(event)
        if found is None:
            return ()
        latest = [(FEATURE_STORE_LATEST, (group, found, name)) for name in names]
        history = [(FEATURE_STORE, _history_key(group, found, event, name=name)) for name in names]
        return [*latest, *history]

    def mark(function: Compute) -> Callable[[Any, Sequence[Any], Any], list[Any]]:
        @wraps(function)
        def handle(self: Any, rows: Sequence[Any], event: Recorded[Any]) -> list[Any]:
            latest = dict(zip(names, rows, strict=False))
            before = {name: _value_of(row) for name, row in latest.items() if row is not None}
            values = function(self, before, event)
            unknown = sorted(set(values) - set(names))
            if unknown:
                msg = f"{function.__name__} declares no feature {', '.join(unknown)}"
                raise ValueError(msg)
            place = (group, entity(event) or "", event)
            made = {name: _row(*place, name=name, value=value) for name, value in values.items()}
            newest = [_newest(latest[name], made.get(name)) for name in names]
            return [*newest, *(made.get(name) for name in names)]

        return on(*event_types, touches=touched)(handle)

    return mark


def _history_key(
    group: str, entity: str, event: Recorded[Any], *, name: str
) -> tuple[str, str, str, str, int]:
    return group, entity, event.timestamp_text, name, event.position


def _row(group: str, entity: str, event: Recorded[Any], *, name: str, value: Any) -> FeatureRow:
    data_type, text = _encoded(value)
    return FeatureRow(*_history_key(group, entity, event, name=name), data_type, text)


def _newest(latest: LatestFeatureRow | None, made: FeatureRow | None) -> LatestFeatureRow | None:
    if made is None:
        return latest
    # An event that came late does not change what is latest.
    if latest is not None and (latest.timestamp, latest.position) > (made.timestamp, made.position):
        return latest
    return LatestFeatureRow(**made._asdict())


class Feature(NamedTuple):
    """A value, and the time it is of."""

    value: Any
    timestamp: str
    data_type: DataType


class Features:
    """Reads features from wherever they are kept.

    Args:
        views: e.g. ``app.views``.
    """

    def __init__(self, views: Views) -> None:
        self._views = views

    def latest(self, group: str, entity: str) -> dict[str, Feature]:
        """The features of an entity as they are now, by name; empty if there are none."""
        where = {"feature_group_id": group, "entity_id": entity}
        rows = self._views.query(FEATURE_STORE_LATEST, where)
        return {row.feature_name: _feature_of(row) for row in rows}

    def as_of(self, group: str, entity: str, at: datetime) -> dict[str, Feature]:
        """The features of an entity from events up to a time, by name.

        Reads what the entity has in its :data:`FEATURES_TTL_DAYS` days.

        Args:
            group: Of features.
            entity: Its id.
            at: An aware time; an event of exactly then counts.
        """
        end = to_text(at)
        where = {"feature_group_id": group, "entity_id": entity}
        newest: dict[str, FeatureRow] = {}
        for row in self._views.query(FEATURE_STORE, where):
            known = newest.get(row.feature_name)
            is_newer = known is None or _place(row) > _place(known)
            if row.timestamp <= end and is_newer:
                newest[row.feature_name] = row
        return {name: _feature_of(row) for name, row in sorted(newest.items())}


def _place(row: FeatureRow) -> tuple[str, int]:
    return row.timestamp, row.position


def _feature_of(row: FeatureRow | LatestFeatureRow) -> Feature:
    return Feature(_value_of(row), row.timestamp, row.data_type)


_TYPES: Final[dict[type, DataType]] = {bool: "flag", int: "number", float: "number", str: "text"}


def _encoded(value: Any) -> tuple[DataType, str]:
    if isinstance(value, Decimal):
        return "decimal", orjson.dumps(str(value)).decode()
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return _TYPES.get(type(value), "json"), text


def _value_of(row: FeatureRow | LatestFeatureRow) -> Any:
    value = orjson.loads(row.value)
    return Decimal(value) if row.data_type == "decimal" else value
