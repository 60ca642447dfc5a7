"""One plain payload a built-in type, in wire spelling, and the line around it."""

import json
from typing import Any

PAYLOADS: dict[str, dict[str, Any]] = {
    "user.registered": {
        "userId": "u-1",
        "email": "ada@example.com",
        "firstName": "Ada",
        "lastName": "Lovelace",
        "registrationSource": "web",
    },
    "user.profile_updated": {"userId": "u-1", "firstName": "Ada", "lastName": "King"},
    "user.email_changed": {"userId": "u-1", "email": "ada@example.org"},
    "user.suspended": {"userId": "u-1", "reason": "asked"},
    "user.reactivated": {"userId": "u-1", "reason": "asked"},
    "user.closed": {"userId": "u-1", "reason": "asked"},
    "session.started": {"sessionId": "s-1", "userId": "u-1"},
    "session.activity": {
        "sessionId": "s-1",
        "action": "GET",
        "target": "/",
        "details": {"status": 200},
    },
    "session.ended": {"sessionId": "s-1", "reason": "timeout"},
    "order.created": {
        "orderId": "o-1",
        "userId": "u-1",
        "items": [{"productId": "p-1", "quantity": 2, "price": "2.55"}],
        "totalAmount": "5.10",
        "currency": "GBP",
    },
    "order.item_added": {"orderId": "o-1", "productId": "p-1", "quantity": 1, "price": "1"},
    "order.item_removed": {"orderId": "o-1", "productId": "p-1", "quantity": 1},
    "order.paid": {"orderId": "o-1", "amount": "5.10", "paymentMethod": "card"},
    "order.shipped": {"orderId": "o-1", "carrier": "post", "trackingNumber": "T1"},
    "order.delivered": {"orderId": "o-1"},
    "order.cancelled": {"orderId": "o-1", "reason": "late"},
    "order.refunded": {"orderId": "o-1", "amount": "5.10", "reason": "late"},
    "ml.model.registered": {"modelId": "m-1", "name": "churn", "modelType": "forest"},
    "ml.model.version_trained": {
        "modelId": "m-1",
        "modelVersion": "1",
        "metrics": {"auc": 0.9},
        "trainingDataset": "d",
    },
    "ml.model.deployed": {"modelId": "m-1", "modelVersion": "1", "endpoint": "/m"},
    "ml.model.retired": {"modelId": "m-1", "modelVersion": "1"},
    "ml.model.inference": {
        "modelId": "m-1",
        "modelVersion": "1",
        "input": [1],
        "output": {"a": None},
        "confidence": 0.5,
    },
    "system.health.check": {
        "serviceName": "shop",
        "status": "up",
        "responseTime": 1.5,
        "errorCount": 0,
    },
    "integration.webhook.received": {"webhookId": "w-1", "source": "github", "payload": {}},
}

ENVELOPE = {
    "eventId": "0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000",
    "timestamp": "2026-11-22T21:34:28.123456Z",
    "version": "1",
}


def envelope(event_type: str = "order.paid", **changes: Any) -> dict[str, Any]:
    """A valid envelope of a type; ``changes`` replace members, ``...`` removes them."""
    whole = {
        **ENVELOPE,
        "eventType": event_type,
        "data": {"payload": dict(PAYLOADS.get(event_type, {}))},
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def line(event_type: str = "order.paid", **changes: Any) -> bytes:
    """The same as bytes."""
    return json.dumps(envelope(event_type, **changes)).encode()


def with_payload(event_type: str, **changes: Any) -> bytes:
    """A valid line whose payload is changed; ``...`` removes a field."""
    payload = {**PAYLOADS[event_type], **changes}
    kept = {name: value for name, value in payload.items() if value is not ...}
    return line(event_type, data={"payload": kept})
