"""Build the SQLite recorders from an ``eventsourcing`` environment."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, Literal, TypeVar, cast

from eventsourcing import persistence
from eventsourcing import sqlite as base
from eventsourcing.utils import Environment, EnvType, resolve_topic
from typing_extensions import override

from eventcore.stores.sqlite.datastore import SQLiteDatastore, Synchronous
from eventcore.stores.sqlite.persistence import (
    SQLiteAggregateRecorder,
    SQLiteApplicationRecorder,
    SQLiteProcessRecorder,
    SQLiteTrackingRecorder,
)

TRecorder = TypeVar("TRecorder", bound=base.SQLiteRecorder)


class SQLiteFactory(base.SQLiteFactory):
    """Makes the recorders of an application or a projection whose data is in one SQLite database.

    It reads the environment of ``eventsourcing.sqlite`` (``SQLITE_DBNAME``,
    ``SQLITE_LOCK_TIMEOUT``, ``CREATE_TABLE``, ``ORIGINATOR_ID_TYPE``, ``SINGLE_ROW_TRACKING``, the
    recorder topics) and one name more: ``SQLITE_SYNCHRONOUS``, ``FULL`` (default) or ``NORMAL``.

    Recorder and view classes written for ``eventsourcing.sqlite`` are taken as they are: what this
    package adds is joined to them, under the same name.

    Raises:
        OSError: A value of the environment is missing or invalid.
    """

    SQLITE_SYNCHRONOUS = "SQLITE_SYNCHRONOUS"

    datastore: SQLiteDatastore

    aggregate_recorder_class = SQLiteAggregateRecorder
    application_recorder_class = SQLiteApplicationRecorder
    tracking_recorder_class = SQLiteTrackingRecorder
    process_recorder_class = SQLiteProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        # The base class reads and checks its part of the environment; its datastore has opened
        # nothing.
        super().__init__(env)
        settings = cast("base.SQLiteDatastore", self.datastore)
        self.datastore = SQLiteDatastore(
            settings.pool.db_name,
            lock_timeout=settings.pool.lock_timeout,
            synchronous=self._synchronous(),
            single_row_tracking=settings.single_row_tracking,
            originator_id_type=cast('Literal["uuid", "text"]', settings.originator_id_type.lower()),
            projection_name=self.env.name,
        )

    def _synchronous(self) -> Synchronous:
        value = (self.env.get(self.SQLITE_SYNCHRONOUS) or "").strip() or "FULL"
        if value.upper() not in _SYNCHRONOUS:
            message = (
                f"SQLite environment value for key '{self.SQLITE_SYNCHRONOUS}' is invalid. "
                f"If set, 'FULL' or 'NORMAL' is expected: '{value}'"
            )
            raise OSError(message)
        return _SYNCHRONOUS[value.upper()]

    @override
    def application_recorder(self) -> persistence.ApplicationRecorder:
        return self._open(
            self._recorder_class(
                self.APPLICATION_RECORDER_TOPIC,
                self.application_recorder_class,
                SQLiteApplicationRecorder,
            )
        )

    @override
    def tracking_recorder(
        self, tracking_recorder_class: type[base.SQLiteTrackingRecorder] | None = None
    ) -> base.SQLiteTrackingRecorder:
        if tracking_recorder_class is not None:
            recorder_class = joined(tracking_recorder_class, SQLiteTrackingRecorder)
        else:
            recorder_class = self._recorder_class(
                self.TRACKING_RECORDER_TOPIC, self.tracking_recorder_class, SQLiteTrackingRecorder
            )
        return self._open(recorder_class)

    @override
    def process_recorder(self) -> persistence.ProcessRecorder:
        return self._open(
            self._recorder_class(
                self.PROCESS_RECORDER_TOPIC, self.process_recorder_class, SQLiteProcessRecorder
            )
        )

    def _recorder_class(
        self, key: str, default: type[Any], ours: type[TRecorder]
    ) -> type[TRecorder]:
        topic = self.env.get(key)
        return joined(resolve_topic(topic) if topic else default, ours)

    def _open(self, recorder_class: type[TRecorder]) -> TRecorder:
        recorder = recorder_class(datastore=self.datastore)
        if self.env_create_table():
            recorder.create_table()
        return recorder


_SYNCHRONOUS: Final[dict[str, Synchronous]] = {"FULL": "FULL", "NORMAL": "NORMAL"}


def joined(cls: type[Any], ours: type[TRecorder]) -> type[TRecorder]:
    """Return a recorder class that is both the user's and ours.

    A class written for ``eventsourcing.sqlite`` keeps every method it defines; what it inherits
    from there comes from our class of the same kind instead. A class that is ours already is
    returned as it is.

    Raises:
        InfrastructureFactoryError: The class is no SQLite recorder of the kind asked for.
    """
    if issubclass(cls, ours):
        return cls
    if issubclass(ours, cls):
        return ours
    if not issubclass(cls, _BASE_CLASSES[ours]):
        message = f"{cls.__module__}:{cls.__qualname__} is not a subclass of {_BASE_CLASSES[ours]}"
        raise persistence.InfrastructureFactoryError(message)
    return _joined_class(cls, ours)  # type: ignore[arg-type]  # a class is hashable


# Joined once, so that two recorders of one class are of one class here too.
@cache
def _joined_class(cls: type[Any], ours: type[TRecorder]) -> type[TRecorder]:
    namespace = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(cls.__name__, (cls, ours), namespace)


_BASE_CLASSES: Final[dict[type[Any], type[Any]]] = {
    SQLiteApplicationRecorder: base.SQLiteApplicationRecorder,
    SQLiteTrackingRecorder: base.SQLiteTrackingRecorder,
    SQLiteProcessRecorder: base.SQLiteProcessRecorder,
}
