"""The calls made of a recorder, with its errors turned into those of this library, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from eventsourcing import persistence

from eventcore.errors import (
    ConfigurationError,
    LimitExceededError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)


class RecorderCalls:
    """A recorder, as this log uses it.

    Args:
        recorder: Any application recorder that takes text as originator ids.

    Raises:
        ConfigurationError: It takes UUIDs only.
    """

    def __init__(self, recorder: persistence.ApplicationRecorder) -> None:
        # Recorders in memory take any id; those of a database say which kind their table has.
        datastore = getattr(recorder, "datastore", None)
        if getattr(datastore, "originator_id_type", "text") != "text":
            raise ConfigurationError(
                message=(
                    f"{type(recorder).__name__} takes UUIDs as originator ids, and streams have "
                    "names: set ORIGINATOR_ID_TYPE=text and begin with a new table"
                )
            )
        self.name = f"log on {type(recorder).__name__}"
        self._recorder = recorder

    def insert(self, events: Sequence[persistence.StoredEvent]) -> Sequence[int] | None:
        """Write all or none; gives their positions, or None if a version is taken."""
        with self._translated():
            try:
                positions = self._recorder.insert_events(events)
            except persistence.IntegrityError:
                # Not handed on: its message may show the event, personal values and all.
                return None
        if positions is None or len(positions) != len(events):
            raise StoreError(
                store=self.name, problem="its recorder does not say where the events are"
            )
        return positions

    def select_stream(
        self, stream: str, *, after: int, until: int, backwards: bool, limit: int
    ) -> Sequence[persistence.StoredEvent]:
        """At most ``limit`` events of a stream, versions above ``after`` up to ``until``."""
        with self._translated():
            return self._recorder.select_events(
                stream, gt=after, lte=until, desc=backwards, limit=limit
            )

    def select(
        self, after: int, limit: int, *, until: int | None = None, types: Sequence[str] = ()
    ) -> Sequence[persistence.Notification]:
        """At most ``limit`` events of the log above ``after``; no types means all of them."""
        with self._translated():
            return self._recorder.select_notifications(
                after, limit, stop=until, topics=types, inclusive_of_start=False
            )

    def head(self) -> int:
        """Position of the newest event, 0 if there is none."""
        with self._translated():
            return self._recorder.max_notification_id() or 0

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except persistence.ConnectionPoolClosedError as error:
            raise StoreClosedError(store=self.name) from error
        except (persistence.OperationalError, persistence.InterfaceError) as error:
            raise StoreUnavailableError(store=self.name, problem=str(error)) from error
        except persistence.PersistenceError as error:
            if isinstance(error.__cause__, LimitExceededError):
                raise error.__cause__ from None  # of a recorder of this library
            raise StoreError(store=self.name, problem=str(error)) from error
