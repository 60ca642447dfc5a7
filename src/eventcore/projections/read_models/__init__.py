"""The built-in read models. They have no privileges: yours are made with the same tools."""

from eventcore.projections.projection import Projection
from eventcore.projections.read_models.analytics import ANALYTICS, Analytics, MetricRow
from eventcore.projections.read_models.event_index import (
    EVENTS,
    USER_EVENTS,
    EventRow,
    Events,
    UserEventRow,
    UserEvents,
)
from eventcore.projections.read_models.models import ML_MODELS, MLModels, ModelRow
from eventcore.projections.read_models.order_items import ORDER_ITEMS, OrderItemRow, OrderItems
from eventcore.projections.read_models.orders import ORDERS, OrderRow, Orders
from eventcore.projections.read_models.sessions import SESSIONS, SessionRow, UserSessions
from eventcore.projections.read_models.users import USERS, UserRow, Users

__all__ = [
    "ANALYTICS",
    "EVENTS",
    "ML_MODELS",
    "ORDERS",
    "ORDER_ITEMS",
    "SESSIONS",
    "USERS",
    "USER_EVENTS",
    "Analytics",
    "EventRow",
    "Events",
    "MLModels",
    "MetricRow",
    "ModelRow",
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
]


def built_in_projections() -> list[Projection]:
    """One of each."""
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
