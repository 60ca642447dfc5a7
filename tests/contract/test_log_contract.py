"""Every store keeps the log contract: one suite, run against each."""

from pathlib import Path

import pytest
from typing_extensions import override

from eventcore.stores.log import Log
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import LogContract


class TestMemoryLog(LogContract):
    is_shared = False

    @override
    def open_log(self) -> Log:
        return MemoryLog()


class TestSQLiteLog(LogContract):
    @pytest.fixture(autouse=True)
    def _choose_file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "log.db"

    @override
    def open_log(self) -> Log:
        return SQLiteLog(self.path)


class TestSQLiteLogWithoutFlushes(LogContract):
    """``synchronous=NORMAL`` may lose the last commits with the power; nothing else differs."""

    @pytest.fixture(autouse=True)
    def _choose_file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "log.db"

    @override
    def open_log(self) -> Log:
        return SQLiteLog(self.path, synchronous="NORMAL")
