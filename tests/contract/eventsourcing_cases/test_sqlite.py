"""The cases shipped in ``eventsourcing.tests`` on SQLite: files and memory, uuid and text."""

# mypy: disable-error-code="explicit-override"

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from eventcore.stores.sqlite import SQLiteFactory
from eventcore.stores.sqlite.datastore import SQLiteDatastore
from eventcore.stores.sqlite.persistence import (
    SQLiteAggregateRecorder,
    SQLiteApplicationRecorder,
    SQLiteProcessRecorder,
    SQLiteTrackingRecorder,
)
from tests.contract.eventsourcing_cases import shipped
from tests.contract.eventsourcing_cases.views_written_for_sqlite import Counters

_numbers = itertools.count(1)


class TrackingSubclass(SQLiteTrackingRecorder):
    """Named by topic in the factory cases."""


class InFile(shipped.OnStore):
    """Each test on a new file."""

    kit = shipped.Kit(
        factory=SQLiteFactory,
        aggregate=SQLiteAggregateRecorder,
        application=SQLiteApplicationRecorder,
        process=SQLiteProcessRecorder,
        tracking=SQLiteTrackingRecorder,
        tracking_subclass=TrackingSubclass,
        counters=Counters,
    )
    projection_name = ""

    @pytest.fixture(autouse=True)
    def _datastore(self, tmp_path, monkeypatch):
        self.db_name = self.new_database(tmp_path)
        self.env_of_test = {
            "PERSISTENCE_MODULE": "eventcore.stores.sqlite",
            "SQLITE_DBNAME": self.db_name,
            "ORIGINATOR_ID_TYPE": self.originator_id_type,
        }
        for key, value in self.env_of_test.items():
            monkeypatch.setenv(key, value)
        self.datastore = SQLiteDatastore(
            self.db_name,
            originator_id_type=self.originator_id_type,
            projection_name=self.projection_name,
        )
        yield
        self.datastore.close()

    def new_database(self, tmp_path: Path) -> str:
        return str(tmp_path / "events.db")

    # A file has one table of events: in the application's file a projection would follow itself.
    @pytest.fixture(autouse=True)
    def _database_of_projection(self, _datastore, tmp_path, monkeypatch):
        (tmp_path / "projection").mkdir()
        monkeypatch.setenv("COUNTERS_SQLITE_DBNAME", self.new_database(tmp_path / "projection"))


class InMemory(InFile):
    """Each test on a new database that all connections of the process share."""

    def new_database(self, tmp_path: Path) -> str:
        return f"file:test-{next(_numbers)}?mode=memory&cache=shared"


class InPrivateMemory(InFile):
    """Each test on a database of its datastore's own."""

    def new_database(self, tmp_path: Path) -> str:
        return ":memory:"


class InFileWithProjectionName(InFile):
    """Positions in a table of the projection's own."""

    projection_name = "counting"


globals().update(shipped.cases_on(InFile))
globals().update(shipped.cases_on(InFile, shipped.RECORDERS, text=True))
globals().update(shipped.cases_on(InMemory))
globals().update(shipped.cases_on(InPrivateMemory, [shipped.ApplicationRecorder]))
globals().update(
    shipped.cases_on(InFileWithProjectionName, [shipped.TrackingRecorder, shipped.ProcessRecorder])
)
