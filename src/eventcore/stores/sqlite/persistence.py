"""The recorders of ``eventsourcing`` on SQLite, which can be followed and wake who waits.

Same tables, same answers, same errors as ``eventsourcing.sqlite``; in addition

- :meth:`SQLiteApplicationRecorder.subscribe` works, in one process and across processes on one
  file;
- :meth:`SQLiteTrackingRecorder.wait` is woken by the commit it waits for;
- each projection keeps a position of its own, see :mod:`eventcore.stores.sqlite.positions`.

A limit that stays, because it is in the base library's ``ProjectionRunner``: a projection with
``topics`` records no position for the events it does not ask for, so ``wait()`` for one of those
times out.
"""

from __future__ import annotations

import re
import sqlite3
from collections import deque
from collections.abc import Sequence
from threading import Event
from typing import Any, Final

from eventsourcing import persistence
from eventsourcing import sqlite as base
from typing_extensions import override

from eventcore.stores.deadlines import TrackingDeadline
from eventcore.stores.sqlite.datastore import SQLiteDatastore, translated
from eventcore.stores.sqlite.positions import (
    RESERVED_PREFIX,
    find_place,
    new_row,
    owner_row,
    recorded_position,
)
from eventcore.stores.sqlite.wakeup import CommitWatch

PAGE_EVENTS: Final = 500
"""The most events a subscription holds in memory."""

WAIT_SECONDS_MAX: Final = 60.0
"""How long a subscription sleeps at most before it looks by itself; every commit wakes it before
that."""

_CREATED_TABLE = re.compile(
    r"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?[\"`\[]?(\w+)", re.IGNORECASE
)


def _checked(datastore: base.SQLiteDatastore) -> SQLiteDatastore:
    if not isinstance(datastore, SQLiteDatastore):
        message = (
            f"Expected eventcore.stores.sqlite.datastore.SQLiteDatastore, got {type(datastore)}"
        )
        raise TypeError(message)
    return datastore


class SQLiteAggregateRecorder(base.SQLiteAggregateRecorder):
    """Stores the events, or the snapshots, of aggregates."""


class SQLiteApplicationRecorder(base.SQLiteApplicationRecorder):
    """Stores the events of an application in one total order, and lets others follow it."""

    datastore: SQLiteDatastore

    def __init__(
        self, datastore: base.SQLiteDatastore, events_table_name: str = "stored_events"
    ) -> None:
        # By keyword: in a process recorder the next class takes it only so.
        super().__init__(_checked(datastore), events_table_name=events_table_name)

    @override
    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> persistence.Subscription[persistence.ApplicationRecorder]:
        """Follow the events after position ``gt``, for ever, from this and any other process.

        Args:
            gt: The position after which to start; None starts at the beginning.
            topics: Only events of these topics; empty means all.
        """
        return SQLiteSubscription(self, gt=gt, topics=topics)


class SQLiteSubscription(persistence.Subscription[SQLiteApplicationRecorder]):
    """Events in order, read a page at a time by the thread that iterates, which sleeps until woken.

    There is no thread behind it: an error of reading is raised where the iteration is, nothing is
    read ahead of the consumer but one page, and a subscription that nobody closed keeps no process
    alive. :meth:`stop`, and closing the datastore, end the iteration promptly from any thread.
    """

    def __init__(
        self,
        recorder: SQLiteApplicationRecorder,
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        self._page: deque[persistence.Notification] = deque()
        # A watch of its own, so that closing it wakes this subscription and no other.
        self._watch = CommitWatch(recorder.datastore.pool.db_name)
        recorder.datastore.stop_on_close(self)

    @override
    def stop(self) -> None:
        super().stop()
        self._watch.close()

    def __del__(self) -> None:
        if hasattr(self, "_watch"):
            self.stop()

    @override
    def __next__(self) -> persistence.Notification:
        while not self._has_been_stopped:
            if self._page:
                return self._page.popleft()
            try:
                # Before reading: what is committed while we read ends the wait at once.
                token = self._watch.token()
                self._page.extend(self._select_page())
                if not self._page:
                    self._watch.wait(token, WAIT_SECONDS_MAX)
            except sqlite3.Error as error:
                raise translated(error) from error
            except (persistence.PersistenceError, persistence.ConnectionPoolClosedError):
                # Closed under the reader's feet by the very stop that ends it: no error.
                if not self._has_been_stopped:
                    raise
        raise StopIteration

    def _select_page(self) -> Sequence[persistence.Notification]:
        # Read first, so that whatever is at or below it is seen by the select: rows that the topics
        # exclude are then passed once, not again at every commit.
        head = self._recorder.max_notification_id() if self._topics else None
        page = self._recorder.select_notifications(
            start=self._last_notification_id or 0,
            limit=PAGE_EVENTS,
            topics=self._topics,
            inclusive_of_start=False,
        )
        if page:
            self._last_notification_id = page[-1].id
        if head is not None and len(page) < PAGE_EVENTS:
            self._last_notification_id = max(head, self._last_notification_id or 0)
        return page


class SQLiteTrackingRecorder(base.SQLiteTrackingRecorder):
    """Keeps a projection's position beside its view, in one transaction, and wakes who waits.

    Views subclass it as they would the base library's: append to ``create_table_statements``, and
    call ``self._insert_tracking(cursor, tracking)`` inside
    ``self.datastore.transaction(commit=True)``.
    """

    datastore: SQLiteDatastore

    def __init__(self, datastore: base.SQLiteDatastore, **kwargs: Any) -> None:
        self._is_creating = False
        super().__init__(_checked(datastore), **kwargs)

    @override
    def _create_table(self, c: base.SQLiteCursor) -> None:
        # Looked up again inside the write lock: another process may have created the table since.
        c.execute("SELECT lower(name) FROM sqlite_master WHERE type = 'table'")
        existing = {row[0] for row in c.fetchall()}
        self.tracking_table_exists = "tracking" in existing
        migration = (
            recorded_position(c, self.table_migration_identifier)
            if self.tracking_table_exists
            else None
        )
        self.tracking_migration_current = self.tracking_migration_previous = migration
        self._is_creating = True
        try:
            super()._create_table(c)
        finally:
            self._is_creating = False
        own_tables = self._own_tables()
        if self.datastore.projection_name and own_tables and not own_tables & existing:
            c.execute(
                "INSERT OR IGNORE INTO tracking VALUES (?, 1)",
                (new_row(self.datastore.projection_name),),
            )

    def _own_tables(self) -> set[str]:
        """Name the tables of the view, without those that every recorder of this kind has."""
        inherited = SQLiteTrackingRecorder.construct_create_table_statements(self)
        return {
            match[1].lower()
            for statement in self.create_table_statements
            if statement not in inherited and (match := _CREATED_TABLE.search(statement))
        }

    @override
    def _insert_tracking(self, c: base.SQLiteCursor, tracking: persistence.Tracking) -> None:
        application_name = tracking.application_name
        if self._is_shared(application_name):
            super()._insert_tracking(c, tracking)
            return
        projection_name = self.datastore.projection_name
        place = find_place(
            c, application_name, projection_name, has_tables=bool(self._own_tables())
        )
        if place.taken_at is not None:
            c.execute(
                "INSERT INTO tracking VALUES (?, ?)",
                (owner_row(application_name, projection_name), place.taken_at),
            )
        super()._insert_tracking(c, persistence.Tracking(place.row, tracking.notification_id))

    @override
    def _max_tracking_id(self, application_name: str, c: base.SQLiteCursor) -> int | None:
        if not self._is_shared(application_name):
            application_name = find_place(
                c,
                application_name,
                self.datastore.projection_name,
                has_tables=bool(self._own_tables()),
            ).row
        return super()._max_tracking_id(application_name, c)

    def _is_shared(self, application_name: str) -> bool:
        return (
            not self.datastore.projection_name
            or self._is_creating
            or application_name.startswith(RESERVED_PREFIX)
        )

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
        commits = self.datastore.commits
        while True:
            token = commits.token()
            if self.has_tracking_id(application_name, notification_id):
                return
            while not commits.wait(token, deadline.pause()):
                if commits.closed:
                    raise persistence.ConnectionPoolClosedError


class SQLiteProcessRecorder(
    SQLiteTrackingRecorder, SQLiteApplicationRecorder, base.SQLiteProcessRecorder
):
    """Stores the events a projection makes together with its position in what it follows."""
