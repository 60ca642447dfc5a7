"""The table under ``eventsourcing``'s recorders, and what they have in common."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item
from eventcore.stores.dynamodb.layout import Keys, key
from eventcore.stores.dynamodb.recorders.names import OriginatorIdType, prefix_of
from eventcore.stores.dynamodb.recorders.sequence import ApplicationSequence
from eventcore.stores.dynamodb.recorders.translation import translated
from eventcore.stores.dynamodb.recorders.writing import tracking_update, write_once
from eventcore.stores.dynamodb.table_watch import TableWatch
from eventcore.stores.dynamodb.tables import ensure_table
from eventcore.stores.signals import LocalSignal


class Stoppable(Protocol):
    """Something that reads from a datastore for ever and must end before the datastore closes."""

    def stop(self) -> None:
        """End it, from any thread."""


class _Bells:
    """Wakes all who wait, in this process, for what one application writes to one table."""

    def __init__(self) -> None:
        self.events = LocalSignal()
        self.tracking = LocalSignal()


_bells: Final = weakref.WeakValueDictionary[tuple[str, ...], _Bells]()
_bells_guard: Final = threading.Lock()


class DynamoDBDatastore:
    """A table of DynamoDB, as the recorders of one application use it.

    Nothing is sent before a recorder is made. May be used from any thread.

    Args:
        connect: Opens the calls to the service; this then owns and closes them.
        table: Name of the table.
        application_name: Whose events, snapshots and positions these are.
        originator_id_type: ``uuid`` or ``text``.
        place: What tells the table from others of its name: region and endpoint.

    Attributes:
        table: As given.
        originator_id_type: As given.
        name: Of the store, for messages.
        events: Rings when this process wrote events of the application.
        tracking: Rings when this process recorded positions.
    """

    def __init__(
        self,
        connect: Callable[[], DynamoDBCalls],
        *,
        table: str,
        application_name: str = "",
        originator_id_type: OriginatorIdType = "uuid",
        place: Sequence[str] = (),
    ) -> None:
        self.table = table
        self.originator_id_type = originator_id_type
        self.name = f"dynamodb://{table}"
        self._keys = Keys(table, prefix_of(application_name))
        self._connect = connect
        self._lock = threading.RLock()
        self._calls: DynamoDBCalls | None = None
        self._watch: TableWatch | None = None
        self._sequence: ApplicationSequence | None = None
        self._is_closed = False
        self._readers = weakref.WeakSet[Stoppable]()
        with _bells_guard:
            named = (*place, table, self._keys.prefix)
            self._bells = _bells.setdefault(named, _Bells())
        self.events = self._bells.events
        self.tracking = self._bells.tracking

    @property
    def calls(self) -> DynamoDBCalls:
        """The calls to the service, opened when they are first asked for."""
        with self._lock:
            if self._calls is None:
                self._calls = self._connect()
                if self._is_closed:
                    self._calls.close()
            return self._calls

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._is_closed

    def ensure_table(self, *, create: bool) -> None:
        """Make sure that the table is there.

        Raises:
            ProgrammingError: It is not and is not to be made, or it has another shape.
        """
        with translated():
            identity = ensure_table(self.calls, self.table, create=create)
        with self._lock:
            if self._watch is None:
                self._watch = TableWatch(self.calls, self.table, identity)

    def write_once(self, actions: Sequence[Mapping[str, Any]], token: bytes) -> bool:
        """See :func:`eventcore.stores.dynamodb.recorders.writing.write_once`.

        Raises:
            LogRestoredError: The table is another one than was opened. Nothing was sent.
        """
        assert self._watch is not None  # every recorder makes sure of the table first
        with self._watch.writing():
            return write_once(self.calls, actions, token)

    def sequence(self, *, create: bool) -> ApplicationSequence:
        """The application's events in their order; opened once.

        Raises:
            ProgrammingError: There is no table and none is to be made, or it has another shape.
            InternalError: The table was restored from a backup.
        """
        with self._lock, translated():
            if self._sequence is None:
                self._sequence = ApplicationSequence(self.calls, self._keys, create=create)
            return self._sequence

    def tracking_key(self, application_name: str) -> Item:
        """Of the position up to which this application has processed another one."""
        return key(f"{self._keys.prefix}#k#{application_name}")

    def tracking_update(
        self, application_name: str, notification_id: int
    ) -> tuple[dict[str, Any], bytes]:
        """The conditional update that records a position, and the token it carries."""
        return tracking_update(self.table, self.tracking_key(application_name), notification_id)

    def aggregate_key(self, purpose: str, originator_id: str) -> str:
        """Partition key of an originator's events that are in no application sequence."""
        return f"{self._keys.prefix}#a#{purpose}#{originator_id}"

    def stop_on_close(self, reader: Stoppable) -> None:
        """Have ``reader.stop()`` called when this closes, if it still exists then."""
        self._readers.add(reader)

    def close(self) -> None:
        """End what follows the application, and release the connections."""
        self._is_closed = True
        for reader in list(self._readers):
            reader.stop()
        with self._lock:
            if self._sequence is not None:
                self._sequence.close()
            if self._calls is not None:
                self._calls.close()
        self.events.notify()
        self.tracking.notify()
