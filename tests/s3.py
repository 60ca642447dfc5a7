"""An S3 service for the tests, in this process on a free port, and a bucket for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.dynamodb import CREDENTIALS, REGION

_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class S3Place:
    """A bucket that is a test's own.

    Attributes:
        endpoint: Of the service.
        bucket: Its name.
    """

    endpoint: str
    bucket: str

    def url(self, prefix: str = "lake") -> str:
        """What an archive there is opened with."""
        query = urlencode({"region": REGION, "endpoint_url": self.endpoint})
        return f"s3://{self.bucket}/{prefix}?{query}"

    def client(self) -> Any:
        """boto3's own client of it."""
        import boto3  # noqa: PLC0415 - only what is used

        return boto3.client("s3", endpoint_url=self.endpoint, region_name=REGION)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The service of this process; it ends with the run."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - importing it takes a second

    for name, value in CREDENTIALS.items():
        os.environ.setdefault(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str) -> S3Place:
    """An empty bucket."""
    place = S3Place(endpoint=s3_endpoint, bucket=f"bucket-{next(_numbers)}")
    place.client().create_bucket(
        Bucket=place.bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return place
