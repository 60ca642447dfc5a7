"""What importing the library costs and pulls in."""

from __future__ import annotations

import subprocess
import sys

import pytest

import eventcore

SLOW = {
    "boto3",
    "botocore",
    "dns",
    "duckdb",
    "email_validator",
    "eventsourcing",
    "opentelemetry",
    "psycopg",
    "pyarrow",
    "rich",
    "sqlite3",
    "typer",
}


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_library_loads_nothing_slow():
    loaded = loaded_by("import eventcore")

    assert loaded.isdisjoint(SLOW)
    assert "eventcore" in loaded


def test_using_its_public_names_loads_nothing_slow():
    loaded = loaded_by("from eventcore import *\nfrom eventcore.commands import *")

    assert loaded.isdisjoint(SLOW)
    assert "eventcore.commands.execution" in loaded


@pytest.mark.parametrize("name", eventcore.__all__)
def test_every_public_name_is_there(name):
    assert getattr(eventcore, name) is not None
    assert name in dir(eventcore)


def test_the_version_is_that_of_the_distribution():
    assert eventcore.__version__ == "0.1.0"


def test_a_name_that_is_not_public_is_missing_as_usual():
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = eventcore.Nonsense
