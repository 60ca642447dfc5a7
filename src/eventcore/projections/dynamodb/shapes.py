"""Shapes: the built-in read models as they are kept in DynamoDB, with keys of their own.

============= =============== ========================= ========================================
table         partition       sort                      indexes
============= =============== ========================= ========================================
Events        eventId         timestamp                 eventType-timestamp-index,
                                                        userId-timestamp-index,
                                                        correlationId-timestamp-index
UserEvents    userId          timestamp (``#eventId``)  eventType-timestamp-index,
                                                        sessionId-timestamp-index
Analytics     date            metricType                userId-metricType-index,
                              (``#dimension=value``)    eventType-date-index
MLModels      modelId         version (sortable)        modelType-status-index,
                                                        performance-version-index
Metadata      entityType      entityId                  userId-status-index
FeatureStore  featureGroupId  timestamp (``entityId``   featureName-dataType-index
                              before it, then feature
                              and position)
============= =============== ========================= ========================================

What is in parentheses keeps rows apart that would otherwise overwrite each other, or sorts as
people expect. ``performance`` is ``modelType#metric`` and sorts by ``score``: of the metric that
:data:`LEADING_METRICS` names first, else of the first by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from eventcore.projections.columns import StoredValue
from eventcore.projections.dynamodb.keys import AttributeValue, Item, NamedIndex, Shape
from eventcore.projections.read_models import (
    ANALYTICS,
    EVENTS,
    FEATURE_STORE,
    METADATA,
    ML_MODELS,
    USER_EVENTS,
)
from eventcore.projections.tables import AnyTable

LEADING_METRICS: Final = ("accuracy", "auc", "f1", "r2")
"""Metrics by which a model's version is ranked, the first that it has; larger is better."""

SCORE_MAX: Final = 1e120
"""Largest number in an index; beyond it (DynamoDB: 9.99E+125) a version is not ranked."""

SCORE_MIN: Final = 1e-120
"""Smallest above zero (DynamoDB: 1E-130); what is nearer to zero counts as zero."""

_NUMBER: Final = re.compile(r"\d+")
_NUMBER_DIGITS: Final = 10


def version_key(version: str) -> str:
    """A version so that 1.10.0 sorts after 1.9.0: numbers padded, then the version as it is.

    >>> version_key("1.10.0")
    '0000000001.0000000010.0000000000#1.10.0'
    """
    padded = _NUMBER.sub(lambda found: found.group().rjust(_NUMBER_DIGITS, "0"), version)
    return f"{padded}#{version}"


_METRIC: Final = "metric_type#dimensions"


def _analytics_dimensions(row: Mapping[str, StoredValue]) -> dict[str, AttributeValue]:
    return _dimensions(str(row[_METRIC]))


def _analytics_index(column: str, value: StoredValue) -> tuple[str, Item] | None:
    if column != _METRIC:
        return None
    found = _dimensions(str(value))
    if "userId" in found:
        wanted = {"userId": found["userId"], "metricType": {"S": str(value)}}
        return "userId-metricType-index", wanted
    if "eventType" in found:
        return "eventType-date-index", {"eventType": found["eventType"]}
    return None


def _dimensions(metric: str) -> dict[str, AttributeValue]:
    """``userId`` and ``eventType`` of a metric that has them: ``events#eventType=order.paid``."""
    found: dict[str, AttributeValue] = {}
    _, *dimensions = metric.split("#")
    for dimension in dimensions:
        name, _, value = dimension.partition("=")
        if name in {"userId", "eventType"} and value:
            found[name] = {"S": value}
    return found


def _ranking(row: Mapping[str, StoredValue]) -> dict[str, AttributeValue]:
    metrics: dict[str, Any] = orjson.loads(str(row["metrics"]))
    scores = {name: value for name, value in metrics.items() if _is_score(value)}
    leading = next((name for name in LEADING_METRICS if name in scores), min(scores, default=None))
    if leading is None:
        return {}
    score = scores[leading]
    return {
        "performance": {"S": f"{row['model_type']}#{leading}"},
        "score": {"N": str(score if abs(score) > SCORE_MIN else 0)},
    }


def _is_score(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < SCORE_MAX


_SHAPES: Final[tuple[tuple[AnyTable, Shape], ...]] = (
    (
        EVENTS,
        Shape(
            name="Events",
            attributes={
                "event_id": "eventId",
                "event_type": "eventType",
                "user_id": "userId",
                "correlation_id": "correlationId",
                "session_id": "sessionId",
            },
            sort="timestamp",
            indexes=(
                NamedIndex("eventType-timestamp-index", "eventType", "timestamp"),
                NamedIndex("userId-timestamp-index", "userId", "timestamp"),
                NamedIndex("correlationId-timestamp-index", "correlationId", "timestamp"),
            ),
        ),
    ),
    (
        USER_EVENTS,
        Shape(
            name="UserEvents",
            attributes={
                "user_id": "userId",
                "timestamp#event_id": "timestamp",
                "event_type": "eventType",
                "session_id": "sessionId",
            },
            indexes=(
                NamedIndex("eventType-timestamp-index", "eventType", "timestamp"),
                NamedIndex("sessionId-timestamp-index", "sessionId", "timestamp"),
            ),
        ),
    ),
    (
        ANALYTICS,
        Shape(
            name="Analytics",
            attributes={"metric_type#dimensions": "metricType"},
            derived=_analytics_dimensions,
            served=_analytics_index,
            indexes=(
                NamedIndex("userId-metricType-index", "userId", "metricType"),
                NamedIndex("eventType-date-index", "eventType", "date"),
            ),
        ),
    ),
    (
        METADATA,
        Shape(
            name="Metadata",
            attributes={
                "entity_type": "entityType",
                "entity_id": "entityId",
                "user_id": "userId",
                "created_at": "createdAt",
                "updated_at": "updatedAt",
                "_owed": "owed",
            },
            indexes=(NamedIndex("userId-status-index", "userId", "status"),),
        ),
    ),
    (
        FEATURE_STORE,
        Shape(
            name="FeatureStore",
            attributes={
                "feature_group_id": "featureGroupId",
                "entity_id": "entityId",
                "timestamp": "occurredAt",
                "feature_name": "featureName",
                "data_type": "dataType",
            },
            sort_as="timestamp",
            indexes=(NamedIndex("featureName-dataType-index", "featureName", "dataType"),),
        ),
    ),
    (
        ML_MODELS,
        Shape(
            name="MLModels",
            attributes={
                "model_id": "modelId",
                "version": "modelVersion",
                "model_type": "modelType",
                "updated_at": "updatedAt",
            },
            forms={"version": ("version", version_key)},
            derived=_ranking,
            indexes=(
                NamedIndex("modelType-status-index", "modelType", "status"),
                NamedIndex("performance-version-index", "performance", "score"),
            ),
        ),
    ),
)


def shape_of(table: AnyTable) -> Shape | None:
    """What a built-in table asks for; None for all others, which lie as they are declared."""
    return next((shape for known, shape in _SHAPES if known is table.original), None)
