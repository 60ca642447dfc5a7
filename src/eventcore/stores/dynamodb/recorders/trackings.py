"""A position beside a view, or beside the events that a projection makes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Event
from typing import Any

from eventsourcing import persistence
from typing_extensions import override

from eventcore.stores.deadlines import TrackingDeadline
from eventcore.stores.dynamodb.following import LOOK_FIRST_SECONDS, LOOK_SECONDS_MAX
from eventcore.stores.dynamodb.layout import number
from eventcore.stores.dynamodb.recorders.applications import DynamoDBApplicationRecorder
from eventcore.stores.dynamodb.recorders.datastore import DynamoDBDatastore
from eventcore.stores.dynamodb.recorders.translation import translated


class DynamoDBTrackingRecorder(persistence.TrackingRecorder):
    """Keeps a projection's position beside its view, in one transaction, and wakes who waits.

    A view subclasses it and changes its rows by :meth:`write`, which records the position with
    them.

    Args:
        datastore: The table.
        create: Create the table if it is missing.
    """

    def __init__(self, datastore: DynamoDBDatastore, *, create: bool = True) -> None:
        self.datastore = datastore
        datastore.ensure_table(create=create)

    @override
    def insert_tracking(self, tracking: persistence.Tracking) -> None:
        """Record a position. Raises IntegrityError unless it is higher than the last one."""
        self.write([], tracking)

    def write(self, actions: Sequence[Mapping[str, Any]], tracking: persistence.Tracking) -> None:
        """Change rows and record the position, both or neither.

        Args:
            actions: At most 99, as ``TransactWriteItems`` takes them.
            tracking: The position.

        Raises:
            IntegrityError: The position is not higher than the last one, or the condition of an
                action does not hold. Nothing was written.
            OperationalError: The service does not answer: the outcome is unknown.
        """
        update, token = self.datastore.tracking_update(
            tracking.application_name, tracking.notification_id
        )
        with translated():
            is_done = self.datastore.write_once([{"Update": update}, *actions], token)
        if not is_done:
            message = (
                f"Position {tracking.notification_id} of {tracking.application_name!r} is not "
                "higher than the one recorded, or a condition of the view does not hold"
            )
            raise persistence.IntegrityError(message)
        self.datastore.tracking.notify()

    @override
    def max_tracking_id(self, application_name: str) -> int | None:
        with translated():
            item = self.datastore.calls.call(
                "GetItem",
                {
                    "TableName": self.datastore.table,
                    "Key": self.datastore.tracking_key(application_name),
                    "ConsistentRead": True,
                },
            ).get("Item")
        return number(item, "c") if item else None

    @override
    def wait(
        self,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: Event | None = None,
    ) -> None:
        """Block until a position at or after ``notification_id`` is recorded.

        Woken by its write in this process; what another one writes is looked for.

        Args:
            application_name: The application followed.
            notification_id: The position waited for; None is always reached.
            timeout: Seconds.
            interrupt: Ends the wait when set.

        Raises:
            TimeoutError: Not reached in time.
            WaitInterruptedError: ``interrupt`` was set first.
        """
        deadline = TrackingDeadline(
            application_name, notification_id, timeout=timeout, interrupt=interrupt
        )
        pause = LOOK_FIRST_SECONDS
        while True:
            # Before reading: what is recorded while we read ends the wait at once.
            token = self.datastore.tracking.token()
            if self.has_tracking_id(application_name, notification_id):
                return
            looks_at = time.monotonic() + min(pause, deadline.remaining())
            while (left := looks_at - time.monotonic()) > 0:
                if self.datastore.tracking.wait(token, min(left, deadline.pause())):
                    break
            pause = min(2 * pause, LOOK_SECONDS_MAX)


class DynamoDBProcessRecorder(
    DynamoDBTrackingRecorder, DynamoDBApplicationRecorder, persistence.ProcessRecorder
):
    """Stores the events a projection makes together with its position in what it follows.

    Args:
        datastore: The table.
        create: Create the table if it is missing.
    """

    def __init__(self, datastore: DynamoDBDatastore, *, create: bool = True) -> None:
        DynamoDBTrackingRecorder.__init__(self, datastore, create=create)
        DynamoDBApplicationRecorder.__init__(self, datastore, create=create)

    @override
    def insert_events(
        self, stored_events: Sequence[persistence.StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Write events and the position, all or none; gives the events' positions.

        Args:
            stored_events: The events.
            **kwargs: ``tracking``: the position.

        Raises:
            IntegrityError: A version is taken or is not the next one, or the position is not higher
                than the last one. Nothing was written.
            DataError: Too many or too large. Nothing was sent.
            OperationalError: The service does not answer: the outcome is unknown.
        """
        tracking: persistence.Tracking | None = kwargs.get("tracking")
        if tracking is None:
            return super().insert_events(stored_events)
        if not stored_events:
            self.insert_tracking(tracking)
            return []
        update, _ = self.datastore.tracking_update(
            tracking.application_name, tracking.notification_id
        )
        positions = self._insert(stored_events, [update])
        self.datastore.tracking.notify()
        return positions
