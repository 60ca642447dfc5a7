"""The events of an application in one total order, which anybody may follow."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from eventsourcing import persistence
from typing_extensions import override

from eventcore.stores.dynamodb.following import TailWatch
from eventcore.stores.dynamodb.limits import LIMITS
from eventcore.stores.dynamodb.recorders.datastore import DynamoDBDatastore
from eventcore.stores.dynamodb.recorders.names import originator_id_of
from eventcore.stores.dynamodb.recorders.translation import taken, translated
from eventcore.stores.limits import PLACE_MAX

PAGE_EVENTS: Final = 500
"""The most events a subscription holds."""

WAIT_SECONDS_MAX: Final = 0.5
"""The longest sleep of a subscription: what other processes write is looked for."""


class DynamoDBApplicationRecorder(persistence.ApplicationRecorder):
    """Stores the events of an application in one total order, and lets others follow it.

    Args:
        datastore: The table.
        create: Create the table if it is missing.
    """

    limits = LIMITS

    def __init__(self, datastore: DynamoDBDatastore, *, create: bool = True) -> None:
        self.datastore = datastore
        self._sequence = datastore.sequence(create=create)

    @override
    def insert_events(
        self, stored_events: Sequence[persistence.StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Write all or none; gives their positions.

        Raises:
            IntegrityError: A version is taken, or is not the next one. Nothing was written.
            DataError: Too many or too large. Nothing was sent.
            OperationalError: The service does not answer: the outcome is unknown.
        """
        return self._insert(stored_events)

    def _insert(
        self,
        stored_events: Sequence[persistence.StoredEvent],
        updates: Sequence[Mapping[str, Any]] = (),
    ) -> Sequence[int]:
        if not stored_events:
            return []
        with translated():
            positions = self._sequence.append(stored_events, updates)
        if positions is None:
            raise taken(stored_events)
        self.datastore.events.notify()
        return positions

    @override
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[persistence.StoredEvent]:
        name = str(originator_id)
        known_id = originator_id_of(name, self.datastore.originator_id_type)
        with translated():
            rows = self._sequence.rows(
                name,
                after=-1 if gt is None else gt,
                until=PLACE_MAX if lte is None else lte,
                backwards=desc,
                limit=limit,
            )
        return [
            persistence.StoredEvent(known_id, version, topic, state)
            for _, version, topic, state in rows
        ]

    @override
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[persistence.Notification]:
        # A page that is not full means the end to those who ask: a late writer is waited for.
        after = 0 if start is None else start - (1 if inclusive_of_start else 0)
        return self.select_page(after, limit, stop, topics, waits=True)[0]

    def select_page(  # noqa: PLR0917 - as in select_notifications
        self,
        after: int,
        limit: int,
        stop: int | None,
        topics: Sequence[str],
        *,
        waits: bool,
    ) -> tuple[list[persistence.Notification], int]:
        """Events behind a position, and up to where all were seen, also those of other topics."""
        if limit <= 0:
            return [], max(after, 0)
        with translated():
            placed, end = self._sequence.page(
                after,
                limit,
                until=PLACE_MAX if stop is None else stop,
                topics=topics,
                waits=waits,
            )
        id_type = self.datastore.originator_id_type
        notifications = [
            persistence.Notification(
                id=one.position,
                originator_id=originator_id_of(one.place.originator_id, id_type),
                originator_version=one.place.version,
                topic=one.topic,
                state=one.state,
            )
            for one in placed
        ]
        return notifications, end

    @override
    def max_notification_id(self) -> int | None:
        with translated():
            return self._sequence.head() or None

    @override
    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> persistence.Subscription[persistence.ApplicationRecorder]:
        """Follow the events after position ``gt``, for ever, from this and any other process.

        Args:
            gt: The position after which to start; None starts at the beginning.
            topics: Only events of these topics; empty means all.
        """
        return DynamoDBSubscription(self, gt=gt, topics=topics)


class DynamoDBSubscription(persistence.Subscription[DynamoDBApplicationRecorder]):
    """Events in order, read a page at a time by the thread that iterates, which sleeps until woken.

    There is no thread behind it: an error of reading is raised where the iteration is.
    :meth:`stop`, and closing the factory, end the iteration promptly from any thread.
    """

    def __init__(
        self,
        recorder: DynamoDBApplicationRecorder,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._page: deque[persistence.Notification] = deque()
        self._watch = TailWatch(recorder.datastore.events)
        recorder.datastore.stop_on_close(self)

    @override
    def stop(self) -> None:
        super().stop()
        self._watch.notify()

    @override
    def __next__(self) -> persistence.Notification:
        while not self._page:
            # Before the flag is looked at and the log is read: what happens later ends the wait.
            token = self._watch.token()
            if self._has_been_stopped:
                raise StopIteration
            self._pull()
            if not self._page:
                self._watch.wait(token, WAIT_SECONDS_MAX)
        if self._has_been_stopped:
            raise StopIteration
        return self._page.popleft()

    def _pull(self) -> None:
        try:
            page, self._last_notification_id = self._recorder.select_page(
                self._last_notification_id or 0, PAGE_EVENTS, None, self._topics, waits=False
            )
        except persistence.ConnectionPoolClosedError:
            # Closed under the reader's feet by the very stop that ends it: no error.
            if not self._has_been_stopped:
                raise
        else:
            self._page.extend(page)
