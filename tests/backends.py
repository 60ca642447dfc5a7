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

import psycopg
import pytest

from tests.dynamodb_local import VERSION, find_java
from tests.postgres_cluster import find_programs, programs_version

REPOSITORY = Path(__file__).resolve().parent.parent
POSTGRES_URL = "EVENTCORE_TEST_POSTGRES"
DYNAMODB_URL = "EVENTCORE_TEST_DYNAMODB"
DRIVERS = {"lake": "pyarrow"}


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
    found = {
        "memory": "built in",
        "sqlite": sqlite3.sqlite_version,
        "postgres": _describe_postgres(),
        "dynamodb": _describe_dynamodb(),
    }
    for backend, driver in DRIVERS.items():
        found[backend] = driver if importlib.util.find_spec(driver) else "absent"
    found["shared"] = "present" if (shared_folder() / "data").is_dir() else "absent"
    return found


def _describe_postgres() -> str:
    if url := os.environ.get(POSTGRES_URL):
        try:
            with psycopg.connect(url, connect_timeout=5) as connection:
                version = connection.info.parameter_status("server_version")
        except psycopg.OperationalError:
            return f"{POSTGRES_URL} is not reached"
        return f"{version} at {POSTGRES_URL}"
    programs = find_programs()
    return "absent" if programs is None else f"{programs_version(programs)} from {programs}"


def _describe_dynamodb() -> str:
    if importlib.util.find_spec("boto3") is None:
        return "absent"
    if os.environ.get(DYNAMODB_URL):
        return f"the one at {DYNAMODB_URL}"
    return "absent" if find_java() is None else f"DynamoDB Local of the simulator {VERSION}"
