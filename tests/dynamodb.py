"""The DynamoDB that the tests use, one for the whole run, and the fixtures around it.

``EVENTCORE_TEST_DYNAMODB`` names the endpoint of one that is there already, in which tables may
come and go. Otherwise the first test that asks starts DynamoDB Local, whichever of the run's
processes it is in; the process that began the run stops it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests import backends
from tests.dynamodb_local import LocalServer, NoDynamoDBError, stop

REGION = "eu-west-1"

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What DynamoDB Local takes as well as anything; never in place of what the environment says."""

_FOLDER = pytest.StashKey[Path]()
_SERVER = pytest.StashKey[LocalServer]()


@dataclass(frozen=True, kw_only=True)
class DynamoDBPlace:
    """An endpoint and names that are a test's own.

    Attributes:
        url: The endpoint.
        prefix: What the names of the test's tables begin with; they are deleted afterwards.
    """

    url: str
    prefix: str
    region: str = REGION

    @property
    def table(self) -> str:
        """Name of the log's table."""
        return f"{self.prefix}log"

    @property
    def store_url(self) -> str:
        """What an application is opened with to keep its log there."""
        return self.url_of(self.table)

    def url_of(self, table: str, **options: str) -> str:
        """A store's URL of a table there."""
        query = {"region": self.region, "endpoint_url": self.url, **options}
        return f"dynamodb://{table}?{urlencode(query)}"

    def client(self) -> Any:
        """boto3's own client of it."""
        import boto3  # noqa: PLC0415 - a run without DynamoDB needs no boto3

        return boto3.client("dynamodb", endpoint_url=self.url, region_name=self.region)


def pytest_configure(config: pytest.Config) -> None:
    """Choose where the run's server is going to be, for this process and those it starts."""
    given: dict[str, str] | None = getattr(config, "workerinput", None)
    folder = given["dynamodb_folder"] if given else tempfile.mkdtemp(prefix="eventcore-dynamodb-")
    config.stash[_FOLDER] = Path(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the server is going to be."""
    node.workerinput["dynamodb_folder"] = str(node.config.stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server if this process began the run; also after Ctrl-C."""
    folder = config.stash.get(_FOLDER, None)
    if folder is None or hasattr(config, "workerinput"):
        return
    running = folder / "running"
    if (server := config.stash.get(_SERVER, None)) is not None:
        server.stop()
    elif running.exists():
        stop(int(running.read_text().split()[1]))
    shutil.rmtree(folder, ignore_errors=True)


def _url_of_the_run(config: pytest.Config) -> str:
    """Start the run's server, if no other process of the run did, and say where it is."""
    folder = config.stash[_FOLDER]
    controller_pid = os.getppid() if hasattr(config, "workerinput") else os.getpid()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = folder / "running"
        if not running.exists():
            server = config.stash[_SERVER] = LocalServer(controller_pid)
            running.write_text(f"{server.url} {server.pid}")
        return running.read_text().split()[0]


@pytest.fixture(scope="session")
def dynamodb_url(request: pytest.FixtureRequest) -> str:
    """The endpoint of the run. Tests leave nothing behind on it."""
    if backends.available()["dynamodb"] == "absent":
        backends.require("dynamodb", "no boto3 or no Java")
    for name, value in CREDENTIALS.items():
        os.environ.setdefault(name, value)
    url = os.environ.get(backends.DYNAMODB_URL)
    if url is None:
        try:
            url = _url_of_the_run(request.config)
        except NoDynamoDBError as error:
            backends.require("dynamodb", str(error))
    return url


@cache
def _cleaner(url: str) -> Any:
    # One for the run: to make boto3's client takes longer than most tests.
    return DynamoDBPlace(url=url, prefix="").client()


@pytest.fixture
def dynamodb(dynamodb_url: str) -> Iterator[DynamoDBPlace]:
    """Names of a test's own on the run's server; their tables are deleted after the test."""
    place = DynamoDBPlace(url=dynamodb_url, prefix=f"test-{uuid.uuid4().hex[:12]}-")
    yield place
    client = _cleaner(dynamodb_url)
    for page in client.get_paginator("list_tables").paginate():
        for name in page["TableNames"]:
            if name.startswith(place.prefix):
                client.delete_table(TableName=name)
