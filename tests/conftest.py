"""What every test shares: the header of the report, hypothesis profiles, and the data folder."""

import faulthandler
import importlib.metadata
import os
import platform
import sqlite3
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import HealthCheck, settings

from tests import backends

TAKE_DOWN_SECONDS_MAX = 120
"""How long the fixtures of a test may take to end; then its process is ended."""

pytest_plugins = ["tests.postgres", "tests.dynamodb", "tests.s3"]

# A slow machine is not a failure (no deadline); a property that fails must fail again in CI.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    database=None if os.environ.get("CI") else hypothesis.settings().database,
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2_000)
settings.register_profile(
    "debug",
    settings.get_profile("default"),
    verbosity=hypothesis.Verbosity.verbose,
    deadline=timedelta(seconds=60),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Limit the time in which a test's fixtures end.

    The other limits of time end with the first failure of a test, for the sake of a debugger, and
    what the test left behind may keep its fixtures from ever ending.
    """
    stderr = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(TAKE_DOWN_SECONDS_MAX, file=stderr, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


class FailuresAtOnce:
    """Prints a failure when it happens: a run that is cut off prints no summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called in the process that prints, of a test in any."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and reporter is not None:
            reporter.ensure_newline()
            reporter.section(f"{report.nodeid}, {report.when}", sep="_", red=True)
            reporter.write_line(report.longreprtext)


def pytest_configure(config: pytest.Config) -> None:
    """Register what prints failures, in the process that prints."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))


def pytest_report_header() -> list[str]:
    """Versions and backends, so that a pasted report says what it was run on."""
    packages = ("eventsourcing", "pydantic", "orjson", "hypothesis", "psycopg")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    profile = os.environ.get("HYPOTHESIS_PROFILE", "default")
    found = ", ".join(f"{name} ({what})" for name, what in backends.available().items())
    return [
        f"python {platform.python_version()}, sqlite {sqlite3.sqlite_version}, "
        + ", ".join(versions)
        + f"; hypothesis profile {profile}",
        f"backends: {found}; required: {', '.join(sorted(backends.demanded())) or 'none'}",
    ]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with slow tests first: a long one at the end would keep one process alone at work."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def require() -> Callable[[str, str], NoReturn]:
    """``require(backend, reason)``: fail if the backend is demanded, else skip visibly."""
    return backends.require


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the third-party data sets (``orders/``, ``users/``, ...); read it only."""
    folder = backends.shared_folder() / "data"
    if not folder.is_dir():
        backends.require("shared", "set EVENTCORE_SHARED to the folder that holds data/")
    return folder
