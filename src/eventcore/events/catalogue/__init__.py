"""The built-in event types, one module a family. Importing this package registers them all."""

from eventcore.events.catalogue.integrations import WebhookMetadata, WebhookReceived
from eventcore.events.catalogue.models import (
    InferenceMetadata,
    ModelDeployed,
    ModelEvent,
    ModelInference,
    ModelRegistered,
    ModelRetired,
    ModelVersionTrained,
)
from eventcore.events.catalogue.orders import (
    OrderCancelled,
    OrderCreated,
    OrderCreatedMetadata,
    OrderDelivered,
    OrderEvent,
    OrderItem,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    OrderRefunded,
    OrderShipped,
)
from eventcore.events.catalogue.processes import ProcessTimedOut
from eventcore.events.catalogue.reservations import (
    ReservationClaimed,
    ReservationEvent,
    ReservationReleased,
)
from eventcore.events.catalogue.sessions import (
    SessionActivity,
    SessionEnded,
    SessionEvent,
    SessionStarted,
)
from eventcore.events.catalogue.systems import HealthCheckMetadata, SystemHealthCheck
from eventcore.events.catalogue.users import (
    UserClosed,
    UserEmailChanged,
    UserEvent,
    UserProfileUpdated,
    UserReactivated,
    UserRegistered,
    UserRegisteredMetadata,
    UserSuspended,
)

__all__ = [
    "HealthCheckMetadata",
    "InferenceMetadata",
    "ModelDeployed",
    "ModelEvent",
    "ModelInference",
    "ModelRegistered",
    "ModelRetired",
    "ModelVersionTrained",
    "OrderCancelled",
    "OrderCreated",
    "OrderCreatedMetadata",
    "OrderDelivered",
    "OrderEvent",
    "OrderItem",
    "OrderItemAdded",
    "OrderItemRemoved",
    "OrderPaid",
    "OrderRefunded",
    "OrderShipped",
    "ProcessTimedOut",
    "ReservationClaimed",
    "ReservationEvent",
    "ReservationReleased",
    "SessionActivity",
    "SessionEnded",
    "SessionEvent",
    "SessionStarted",
    "SystemHealthCheck",
    "UserClosed",
    "UserEmailChanged",
    "UserEvent",
    "UserProfileUpdated",
    "UserReactivated",
    "UserRegistered",
    "UserRegisteredMetadata",
    "UserSuspended",
    "WebhookMetadata",
    "WebhookReceived",
]
