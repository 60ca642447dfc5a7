"""The recorders of ``eventsourcing`` in memory, woken instead of sleeping.

Same answers and errors as ``eventsourcing.popo``; in addition a subscription can miss nothing
while it starts and has no thread behind it, and a wait for a position is woken by the very insert
that records it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cache
from threading import Condition, Event
from typing import Any, Final

from eventsourcing import persistence, popo
from eventsourcing.utils import resolve_topic
from typing_extensions import override

from eventcore.stores.deadlines import TrackingDeadline

PAGE_EVENTS: Final = 500
"""The most events a subscription holds."""


class _Announcing(popo.POPORecorder):
    """A recorder whose lock doubles as a condition: every change wakes those who wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = Condition(self._database_lock)

    def announce(self) -> None:
        with self.changed:
            self.changed.notify_all()


class MemoryAggregateRecorder(popo.POPOAggregateRecorder):
    """Keeps the events, or the snapshots, of aggregates."""


class MemoryApplicationRecorder(_Announcing, popo.POPOApplicationRecorder):
    """Keeps the events of an application in one total order, and lets others follow it."""

    @override
    def _notify_listeners(self) -> None:
        super()._notify_listeners()
        self.announce()

    @override
    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> persistence.Subscription[persistence.ApplicationRecorder]:
        """Follow the events after position ``gt``, for ever.

        Args:
            gt: The position after which to start; None starts at the beginning.
            topics: Only events of these topics; empty means all.
        """
        return MemorySubscription(self, gt=gt, topics=topics)


class MemorySubscription(persistence.Subscription[MemoryApplicationRecorder]):
    """Events in order, read a page at a time by the thread that iterates, which sleeps until woken.

    :meth:`stop` ends the iteration promptly, from any thread.
    """

    def __init__(
        self,
        recorder: MemoryApplicationRecorder,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._page: deque[persistence.Notification] = deque()

    @override
    def stop(self) -> None:
        super().stop()
        self._recorder.announce()

    @override
    def __next__(self) -> persistence.Notification:
        # Reading and falling asleep are one step under the lock: no insert can come between them.
        with self._recorder.changed:
            while not self._has_been_stopped:
                if self._page:
                    return self._page.popleft()
                self._page.extend(self._select_page())
                if not self._page:
                    self._recorder.changed.wait()
        raise StopIteration

    def _select_page(self) -> Sequence[persistence.Notification]:
        head = self._recorder.max_notification_id()
        page = self._recorder.select_notifications(
            start=self._last_notification_id or 0,
            limit=PAGE_EVENTS,
            topics=self._topics,
            inclusive_of_start=False,
        )
        # Past the last page everything up to the head was seen, also what the topics exclude.
        full = len(page) == PAGE_EVENTS
        self._last_notification_id = page[-1].id if full else head
        return page


class MemoryTrackingRecorder(_Announcing, popo.POPOTrackingRecorder):
    """Keeps a projection's position beside its view, and wakes those who wait for it.

    Views subclass it as they would the base library's: change the view and call
    ``self._insert_tracking(tracking)`` under ``self._database_lock``.
    """

    @override
    def _insert_tracking(self, tracking: persistence.Tracking) -> None:
        super()._insert_tracking(tracking)
        # They go on when the caller lets go of the lock: the view is complete by then.
        self.announce()

    @override
    def wait(
        self,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: Event | None = None,
    ) -> None:
        """Block until a position at or after ``notification_id`` is recorded; woken by the insert.

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
        with self.changed:
            while not self.has_tracking_id(application_name, notification_id):
                self.changed.wait(deadline.pause())


class MemoryProcessRecorder(
    MemoryTrackingRecorder, MemoryApplicationRecorder, popo.POPOProcessRecorder
):
    """Keeps the events a projection makes together with its position in what it follows."""


class MemoryFactory(popo.POPOFactory):
    """Makes the recorders of an application or a projection whose data is in this process's memory.

    View classes written for ``eventsourcing.popo`` are taken as they are: what this package adds
    is joined to them, under the same name.
    """

    @override
    def aggregate_recorder(self, purpose: str = "events") -> persistence.AggregateRecorder:
        return MemoryAggregateRecorder()

    @override
    def application_recorder(self) -> persistence.ApplicationRecorder:
        return MemoryApplicationRecorder()

    @override
    def tracking_recorder(
        self, tracking_recorder_class: type[popo.POPOTrackingRecorder] | None = None
    ) -> popo.POPOTrackingRecorder:
        topic = self.env.get(self.TRACKING_RECORDER_TOPIC)
        cls = tracking_recorder_class or (resolve_topic(topic) if topic else MemoryTrackingRecorder)
        return joined(cls)()

    @override
    def process_recorder(self) -> persistence.ProcessRecorder:
        return MemoryProcessRecorder()


@cache
def joined(cls: type[Any]) -> type[MemoryTrackingRecorder]:
    """Return a tracking recorder class that is both the user's and ours.

    A class written for ``eventsourcing.popo`` keeps every method it defines; what it inherits from
    there comes from our class instead. A class that is ours already is returned as it is.

    Raises:
        InfrastructureFactoryError: The class is no in-memory tracking recorder.
    """
    if issubclass(cls, MemoryTrackingRecorder):
        return cls
    if cls is popo.POPOTrackingRecorder:
        return MemoryTrackingRecorder
    if not issubclass(cls, popo.POPOTrackingRecorder):
        message = (
            f"{cls.__module__}:{cls.__qualname__} is not a subclass of {popo.POPOTrackingRecorder}"
        )
        raise persistence.InfrastructureFactoryError(message)
    namespace = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(cls.__name__, (cls, MemoryTrackingRecorder), namespace)
