"""An archive in a bucket of S3: files are put on condition that none of their name is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl

import boto3
import pyarrow as pa
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from typing_extensions import override

from eventcore.errors import ConfigurationError, StoreUnavailableError
from eventcore.lake.layout import TEMPORARY

ATTEMPTS_MAX: Final = 5
"""Of one request, the first one included: throttling and lost connections are repeated."""

CONFLICTS_MAX: Final = 10
"""Puts of one name that met another one at the same moment (HTTP 409) before giving up."""

CONNECTIONS_MAX: Final = 16
"""Open at once: as many as files are published or read at the same time."""

_OPTIONS: Final = ("region", "endpoint_url")
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_TAKEN: Final = "PreconditionFailed"
_MET: Final = "ConditionalRequestConflict"


class Bucket:
    """A prefix in a bucket.

    Args:
        client: Of boto3, for S3.
        bucket: Its name.
        prefix: Of all names, without a slash at its end; empty for the whole bucket.
        url: Names it.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, *, url: str) -> None:
        self.url = url
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def publish(self, name: str, data: bytes) -> bool:
        """See :meth:`eventcore.lake.folders.Folder.publish`.

        By ``If-None-Match: *``: of two that put one name at the same time, one is refused (Amazon
        S3 User Guide, "How to prevent object overwrites with conditional writes").
        """
        for _ in range(CONFLICTS_MAX):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._prefix + name,
                    Body=data,
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                )
            except ClientError as error:
                code = _code(error)
                if code == _TAKEN:
                    return False
                if code != _MET:
                    raise self._unavailable(error) from error
            except BotoCoreError as error:
                raise self._unavailable(error) from error
            else:
                return True
        raise StoreUnavailableError(
            store=f"archive {self.url}", problem=f"{name} is being put by somebody else"
        )

    def read(self, name: str) -> bytes | None:
        """See :meth:`eventcore.lake.folders.Folder.read`."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            data: bytes = answer["Body"].read()
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise self._unavailable(error) from error
        except BotoCoreError as error:
            raise self._unavailable(error) from error
        return data

    def names(self, folder: str) -> Iterator[str]:
        """See :meth:`eventcore.lake.folders.Folder.names`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/"
        )
        try:
            for page in pages:
                for found in page.get("Contents", ()):
                    name = str(found["Key"]).removeprefix(self._prefix)
                    if not name.startswith(f"{TEMPORARY}/"):
                        yield name
        except (ClientError, BotoCoreError) as error:
            raise self._unavailable(error) from error

    def open(self, name: str) -> pa.NativeFile | None:
        """See :meth:`eventcore.lake.folders.Folder.open`. The whole file is fetched."""
        data = self.read(name)
        return None if data is None else pa.BufferReader(data)

    def _unavailable(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(store=f"archive {self.url}", problem=str(error))

    @override
    def __repr__(self) -> str:
        return f"Bucket({self.url!r})"


def open_bucket(parts: SplitResult) -> Bucket:
    """The bucket and prefix that a URL names.

    Args:
        parts: Of the URL, see :func:`eventcore.lake.folders.open_folder`.

    Raises:
        ConfigurationError: It names no bucket, or an option that is not known.
    """
    options = dict(parse_qsl(parts.query))
    if unknown := [name for name in options if name not in _OPTIONS]:
        raise ConfigurationError(
            message=f"s3:// has no option {unknown[0]!r}. Known: {', '.join(_OPTIONS)}"
        )
    if not parts.netloc or parts.fragment or "@" in parts.netloc:
        raise ConfigurationError(message="s3:// needs a bucket: s3://bucket/prefix")
    client = boto3.client(
        "s3",
        region_name=options.get("region"),
        endpoint_url=options.get("endpoint_url"),
        config=Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
            max_pool_connections=CONNECTIONS_MAX,
        ),
    )
    return Bucket(client, parts.netloc, parts.path.strip("/"), url=parts.geturl())


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
