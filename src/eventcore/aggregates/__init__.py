"""The write side: what events fold to, and the rules that decide which may follow."""

from eventcore.aggregates.aggregate import (
    Aggregate,
    Claim,
    aggregate_class_of,
    aggregate_classes,
    applies,
    guards,
)
from eventcore.aggregates.models import Model, ModelVersion, VersionStatus
from eventcore.aggregates.orders import Order, OrderLine, OrderStatus
from eventcore.aggregates.reservations import Reservation
from eventcore.aggregates.sessions import Session, SessionStatus
from eventcore.aggregates.users import User, UserStatus

__all__ = [
    "Aggregate",
    "Claim",
    "Model",
    "ModelVersion",
    "Order",
    "OrderLine",
    "OrderStatus",
    "Reservation",
    "Session",
    "SessionStatus",
    "User",
    "UserStatus",
    "VersionStatus",
    "aggregate_class_of",
    "aggregate_classes",
    "applies",
    "guards",
]
