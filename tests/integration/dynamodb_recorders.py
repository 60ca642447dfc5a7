"""What the tests of the persistence module on DynamoDB write and read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.persistence import Notification, StoredEvent

from tests.dynamodb import DynamoDBPlace

PATIENCE_SECONDS = 60.0

Build = Callable[..., Any]


def events(count: int = 1, *, id_: UUID | None = None, first: int = 1) -> list[StoredEvent]:
    originator_id = id_ or uuid4()
    return [
        StoredEvent(originator_id, version, "topic", b"{}")
        for version in range(first, first + count)
    ]


def collected(subscription: Any, count: int) -> list[Notification]:
    """The next so many notifications; fails instead of hanging."""
    found: list[Notification] = []
    alarm = threading.Timer(PATIENCE_SECONDS, subscription.stop)
    alarm.start()
    try:
        for notification in subscription:
            found.append(notification)
            if len(found) == count:
                break
    finally:
        alarm.cancel()
    return found


def elsewhere(place: DynamoDBPlace) -> dict[str, str]:
    """The same server, as another process sees it: this one's bells do not ring for it."""
    return {"DYNAMODB_ENDPOINT_URL": place.url.replace("127.0.0.1", "localhost")}


def leave_hole(place: DynamoDBPlace, application: str = "shop") -> None:
    """Reserve a position and never write it, as a writer does that dies."""
    client = place.client()
    client.update_item(
        TableName=place.table,
        Key={"pk": {"S": f"app.{application}#q"}, "sk": {"N": "0"}},
        UpdateExpression="ADD c :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    client.close()
