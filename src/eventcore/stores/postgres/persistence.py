"""The recorders of ``eventsourcing`` on Postgres, without the lock that makes writers queue.

Same tables, same answers, same errors as ``eventsourcing.postgres``; in addition

- an insert takes no table lock and is one statement; readers skip nothing all the same, see
  :mod:`eventcore.stores.postgres.gaps`. Both libraries may write to one table at once;
- followers are woken by a notification after the commit, on the channel of the base library;
- an insert that is repeated because its answer was lost is recognised, not reported as a conflict;
- :meth:`PostgresTrackingRecorder.wait` is woken by the commit it waits for.

A limit that stays, because it is in the base library's ``ProjectionRunner``: a projection with
``topics`` records no position for the events it does not ask for, so ``wait()`` for one of those
times out.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Sequence
from threading import Event
from typing import Any, Final

import psycopg
from eventsourcing import persistence
from eventsourcing import postgres as base
from psycopg import sql
from psycopg.rows import tuple_row
from typing_extensions import override

from eventcore.stores.deadlines import TrackingDeadline
from eventcore.stores.postgres.arrays import (
    BigintArray,
    ByteaArray,
    TextArray,
    bigints,
    byteas,
    texts,
)
from eventcore.stores.postgres.datastore import PostgresDatastore, translating
from eventcore.stores.postgres.gaps import LOOK_SECONDS_MAX, Fence
from eventcore.stores.postgres.notifications import Notifications
from eventcore.stores.postgres.wakeup import PostgresWakeup
from eventcore.stores.statements import load_statements

ATTEMPTS_MAX: Final = 10
"""How often an insert is tried when the server went away: as in the base library."""

ATTEMPT_PAUSE_SECONDS: Final = 0.2
"""Pause between two such attempts: as in the base library."""

PAGE_EVENTS: Final = 500
"""The most events a subscription holds in memory."""

POLL_SECONDS: Final = 0.5
"""How long a subscription sleeps at most before it looks by itself; every commit wakes it before
that."""

TRACKING_POLL_SECONDS: Final = 0.02
"""How often a wait looks for a position that another process records; one from here wakes it."""

_SQL: Final = load_statements("eventcore.stores.postgres", "sql/persistence.sql")

_LOST = (persistence.InterfaceError, persistence.OperationalError)


def _checked(datastore: base.PostgresDatastore) -> PostgresDatastore:
    if not isinstance(datastore, PostgresDatastore):
        message = (
            f"Expected eventcore.stores.postgres.datastore.PostgresDatastore, got {type(datastore)}"
        )
        raise TypeError(message)
    return datastore


def _columns(stored_events: Sequence[persistence.StoredEvent]) -> list[Any]:
    return [
        TextArray(texts([str(event.originator_id) for event in stored_events])),
        BigintArray(bigints([event.originator_version for event in stored_events])),
        TextArray(texts([event.topic for event in stored_events])),
        ByteaArray(byteas([event.state for event in stored_events])),
    ]


class PostgresAggregateRecorder(base.PostgresAggregateRecorder):
    """Stores the events, or the snapshots, of aggregates."""

    datastore: PostgresDatastore

    def __init__(self, datastore: base.PostgresDatastore, **options: Any) -> None:
        super().__init__(_checked(datastore), **options)
        self._table = sql.Identifier(self.datastore.schema, self.events_table_name)
        self._sql = {
            name: sql.SQL(text)
            .format(table=self._table, id=sql.Identifier(self.datastore.originator_id_type))
            .as_bytes()
            for name, text in _SQL.items()
        }
        # The function of the base library inserts without its lock, and all tables share its name.
        self.sql_create_statements = [
            statement
            for statement in self.sql_create_statements
            if "CREATE OR REPLACE FUNCTION" not in statement.as_string()
        ]

    @override
    def _insert_stored_events(
        self,
        curs: psycopg.Cursor[Any],
        stored_events: Sequence[persistence.StoredEvent],
        **_: Any,
    ) -> None:
        curs.execute(self._sql["insert_many"], _columns(stored_events), prepare=True)

    @override
    def create_table(self) -> None:
        _create_alone(self.datastore, super().create_table)


def _create_alone(datastore: PostgresDatastore, create: Any) -> None:
    """Make tables while no other process does: IF NOT EXISTS alone does not keep two apart."""
    if datastore.defining.active:
        create()  # a process recorder makes both kinds of table
        return
    # On a connection outside the pool, which may have but one.
    with translating(), datastore.reading.transaction() as connection:
        connection.execute(_SQL["lock_tables"].encode(), (datastore.schema,))
        datastore.defining.active = True
        try:
            create()
        finally:
            datastore.defining.active = False


class PostgresApplicationRecorder(PostgresAggregateRecorder, base.PostgresApplicationRecorder):
    """Stores the events of an application in one total order, and lets others follow it."""

    _inserts_more = False
    """Whether :meth:`_insert_events` writes anything besides the events."""

    _notifications_made: Notifications | None = None
    _wakeup_made: PostgresWakeup | None = None
    _sequence: str | None = None

    @property
    def notifications(self) -> Notifications:
        """Reads in order; opens its connections when first used."""
        if self._notifications_made is None:
            self._notifications_made = Notifications(
                self.datastore.reading, self.datastore.schema, self.events_table_name
            )
        return self._notifications_made

    @property
    def wakeup(self) -> PostgresWakeup:
        """Tells of inserts, by either library, in any process."""
        if self._wakeup_made is None:
            self._wakeup_made = self.datastore.wakeup(self.channel_name)
        return self._wakeup_made

    @override
    def insert_events(
        self, stored_events: Sequence[persistence.StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                ids = self._insert(stored_events, **kwargs)
            except _LOST:
                if attempt == ATTEMPTS_MAX:
                    raise
                time.sleep(ATTEMPT_PAUSE_SECONDS)
            except persistence.IntegrityError:
                # The attempt before may have been stored and only its answer lost.
                ids = self._stored_before(stored_events) if attempt > 1 else None
                if ids is None:
                    raise
                return ids
            else:
                self.datastore.announce()
                if stored_events:
                    self.wakeup.notify(ids or ())
                return ids
        return None

    def _insert(
        self, stored_events: Sequence[persistence.StoredEvent], **kwargs: Any
    ) -> list[int] | None:
        with self.datastore.get_connection() as connection:
            try:
                if kwargs.get("tracking") is None and not self._inserts_more:
                    with connection.cursor(row_factory=tuple_row) as cursor:
                        return self._insert_rows(cursor, stored_events)
                with connection.transaction():
                    with connection.cursor() as cursor:
                        self._insert_events(cursor, stored_events, **kwargs)
                    with connection.cursor(row_factory=tuple_row) as cursor:
                        return self._insert_rows(cursor, stored_events)
            except psycopg.IntegrityError:
                raise
            except BaseException:
                # A lock that was taken for positions goes with the connection.
                connection.close()
                raise

    def _insert_rows(
        self, cursor: psycopg.Cursor[Any], stored_events: Sequence[persistence.StoredEvent]
    ) -> list[int] | None:
        if not stored_events:
            return None
        if len(stored_events) == 1:
            event = stored_events[0]
            cursor.execute(
                self._sql["insert_one"],
                (str(event.originator_id), event.originator_version, event.topic, event.state),
                prepare=True,
            )
        else:
            key = zlib.crc32(f"{self.datastore.schema}.{self.events_table_name}".encode())
            positions = (key, self._find_sequence(cursor), len(stored_events))
            columns = _columns(stored_events)
            if self.datastore.is_pooled:
                cursor.execute(self._sql["insert_block_pooled"], (*positions, *columns))
            else:
                cursor.execute(self._sql["insert_block"], (*positions, key, *columns), prepare=True)
        return [row[0] for row in cursor.fetchall()]

    def _find_sequence(self, cursor: psycopg.Cursor[Any]) -> str:
        if self._sequence is None:
            cursor.execute(self._sql["select_sequence"], (self._table.as_string(),))
            self._sequence = cursor.fetchall()[0][0]
            assert self._sequence is not None
        return self._sequence

    def _stored_before(self, stored_events: Sequence[persistence.StoredEvent]) -> list[int] | None:
        """The positions these very events have; None unless all of them are stored as they are."""
        with (
            self.datastore.get_connection() as connection,
            connection.cursor(row_factory=tuple_row, binary=True) as cursor,
        ):
            cursor.execute(self._sql["select_stored"], _columns(stored_events)[:2])
            found = {(row[0], row[1]): row[2:] for row in cursor.fetchall()}
        ids: list[int] = []
        for event in stored_events:
            row = found.get((str(event.originator_id), event.originator_version))
            if row is None or row[:2] != (event.topic, event.state):
                return None
            ids.append(row[2])
        return ids

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
        after = 0 if start is None else start - 1 if inclusive_of_start else start
        return self.notifications.page(after, limit, stop=stop, topics=topics)

    @override
    def max_notification_id(self) -> int | None:
        # Also while something below it is still being written: what was inserted last is there.
        return self.notifications.head()

    @override
    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> persistence.Subscription[persistence.ApplicationRecorder]:
        """Follow the events after position ``gt``, for ever, whoever writes them.

        Args:
            gt: The position after which to start; None starts at the beginning.
            topics: Only events of these topics; empty means all.
        """
        return PostgresSubscription(self, gt=gt, topics=topics)


class PostgresSubscription(persistence.Subscription[PostgresApplicationRecorder]):
    """Events in order, read a page at a time by the thread that iterates, which sleeps until woken.

    It reads again after it began to listen, and twice a second whatever it hears: no notification
    has to arrive. A server that went away is tried as often as the recorder tries.
    """

    def __init__(
        self,
        recorder: PostgresApplicationRecorder,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._page: deque[persistence.Notification] = deque()
        self._after = 0 if gt is None else gt
        self._fence: Fence | None = None
        self._is_stopping = Event()

    @override
    def stop(self) -> None:
        super().stop()
        self._is_stopping.set()
        self._recorder.wakeup.wake()

    @override
    def __next__(self) -> persistence.Notification:
        while not self._is_stopping.is_set():
            if self._page:
                notification = self._page.popleft()
                self._last_notification_id = notification.id
                return notification
            token = self._recorder.wakeup.token()
            try:
                found, self._after, self._fence = self._recorder.notifications.look(
                    self._after, PAGE_EVENTS, self._topics, fence=self._fence
                )
            except persistence.PersistenceError:
                # Closed under the reader's feet by the very stop that ends it: no error.
                if self._is_stopping.is_set() or self._recorder.datastore.closed:
                    break
                raise
            self._page.extend(found)
            if not found and self._fence is not None:
                self._is_stopping.wait(LOOK_SECONDS_MAX)
            elif not found:
                self._recorder.wakeup.wait(token, POLL_SECONDS)
        raise StopIteration


class PostgresTrackingRecorder(base.PostgresTrackingRecorder):
    """Keeps a projection's position beside its read model, and wakes who waits for it."""

    datastore: PostgresDatastore

    def __init__(self, datastore: base.PostgresDatastore, **options: Any) -> None:
        super().__init__(_checked(datastore), **options)

    @override
    def create_table(self) -> None:
        _create_alone(self.datastore, super().create_table)

    @override
    def wait(
        self,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: Event | None = None,
    ) -> None:
        """Block until a position at or after ``notification_id`` is recorded; woken by its commit.

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
        while True:
            # Before the look: a commit after it ends the wait.
            token = self.datastore.tracked.token()
            if self.has_tracking_id(application_name, notification_id):
                return
            self.datastore.tracked.wait(token, min(deadline.remaining(), TRACKING_POLL_SECONDS))


class PostgresProcessRecorder(
    PostgresTrackingRecorder, PostgresApplicationRecorder, base.PostgresProcessRecorder
):
    """Stores the events a projection makes together with its position in what it follows."""

    _inserts_more = True
