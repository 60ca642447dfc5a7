"""The built-in read models. They have no privileges: yours are made with the same tools."""

from eventcore.projections.projection import Projection
from eventcore.projections.read_models.analytics import (
    ANALYTICS,
    Analytics,
    AnalyticsByUser,
    Figures,
    MetricRow,
)
from eventcore.projections.read_models.event_index import (
    EVENTS,
    USER_EVENTS,
    EventRow,
    Events,
    UserEventRow,
    UserEvents,
)
from eventcore.projections.read_models.event_lookups import EventLookups
from eventcore.projections.read_models.features import (
    FEATURE_STORE,
    FEATURE_STORE_LATEST,
    Feature,
    Features,
    FeatureStore,
    computes,
)
from eventcore.projections.read_models.metadata import METADATA, Metadata, MetadataRow
from eventcore.projections.read_models.models import ML_MODELS, MLModels, ModelRow, Models
from eventcore.projections.read_models.order_items import ORDER_ITEMS, OrderItemRow, OrderItems
from eventcore.projections.read_models.orders import ORDERS, OrderRow, Orders
from eventcore.projections.read_models.sessions import SESSIONS, SessionRow, UserSessions
from eventcore.projections.read_models.users import USERS, UserRow, Users

__all__ = [
    "ANALYTICS",
    "EVENTS",
    "FEATURE_STORE",
    "FEATURE_STORE_LATEST",
    "METADATA",
    "ML_MODELS",
    "ORDERS",
    "ORDER_ITEMS",
    "SESSIONS",
    "USERS",
    "USER_EVENTS",
    "Analytics",
    "AnalyticsByUser",
    "EventLookups",
    "EventRow",
    "Events",
    "Feature",
    "FeatureStore",
    "Features",
    "Figures",
    "MLModels",
    "Metadata",
    "MetadataRow",
    "MetricRow",
    "ModelRow",
    "Models",
    "OrderItemRow",
    "OrderItems",
    "OrderRow",
    "Orders",
    "SessionRow",
    "UserEventRow",
    "UserEvents",
    "UserRow",
    "UserSessions",
    "Users",
    "built_in_projections",
    "computes",
]


def built_in_projections() -> list[Projection]:
    """One of each that is kept unless others are asked for: all but cards and features."""
    return [
        Users(),
        UserSessions(),
        Orders(),
        OrderItems(),
        MLModels(),
        Events(),
        UserEvents(),
        Analytics(),
    ]
