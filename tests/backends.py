"""Says which backends and data a test run has, and refuses to lose the ones that are demanded.

A test that needs something that may be absent calls ``require``. By default the test is then
skipped where everybody can see it. When the environment variable ``EVENTCORE_REQUIRE`` lists the
name (``EVENTCORE_REQUIRE=postgres,dynamodb,shared``), it fails instead: a machine that should have
a backend must not turn green because the backend went away.
"""

import importlib.util
import os
import sqlite3
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
DRIVERS = {"postgres": "psycopg", "dynamodb": "boto3", "lake": "pyarrow"}


def demanded() -> frozenset[str]:
    """Names listed in ``EVENTCORE_REQUIRE``."""
    names = os.environ.get("EVENTCORE_REQUIRE", "").split(",")
    return frozenset(name.strip().lower() for name in names if name.strip())


def require(backend: str, reason: str) -> NoReturn:
    """End the running test because ``backend`` is absent: fail if it is demanded, else skip."""
    if backend.lower() in demanded():
        pytest.fail(f"EVENTCORE_REQUIRE lists {backend}, which is absent: {reason}", pytrace=False)
    pytest.skip(f"NOT TESTED, {backend} is absent: {reason}")


def shared_folder() -> Path:
    """Folder of the third-party data sets; it may be absent."""
    return Path(os.environ.get("EVENTCORE_SHARED") or REPOSITORY.parent / "shared")


def available() -> dict[str, str]:
    """What this run can be tested against: name to a short description."""
    found = {"memory": "built in", "sqlite": sqlite3.sqlite_version}
    for backend, driver in DRIVERS.items():
        found[backend] = driver if importlib.util.find_spec(driver) else "absent"
    found["shared"] = "present" if (shared_folder() / "data").is_dir() else "absent"
    return found
