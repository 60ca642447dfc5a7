"""The way to DynamoDB: boto3 finds it and signs for it, and the service's errors in our own words.

Credentials, regions, endpoints, proxies, certificates, signing and connections are boto3's. What is
sent and what comes back are in the service's own JSON form already, so that boto3's client, which
builds each request from a model of the service and takes each answer apart attribute by attribute,
has nothing to do but take time: more than the service does (``docs/decisions/0030-*.md``).
"""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

import orjson

from eventcore.errors import ConfigurationError, MissingExtraError
from eventcore.stores.dynamodb.calls import (
    CallFailedError,
    ConditionFailedError,
    DynamoDBCalls,
    Kind,
    Reason,
    TransactionCanceledError,
)

CONNECT_TIMEOUT_SECONDS: Final = 2.0
"""How long to wait for a connection. The service answers within milliseconds or not at all."""

READ_TIMEOUT_SECONDS: Final = 5.0
"""How long to wait for an answer. The largest transaction takes well under a second."""

POOL_SIZE: Final = 64
"""Connections kept open (boto3's own default is 10, and threads beyond it connect anew each time).
"""

MESSAGE_LENGTH_MAX: Final = 300
"""Characters of a service's message that are kept."""

_TARGET: Final = "DynamoDB_20120810"
"""The version of the service's interface that the requests are written in."""

_HTTP_ERRORS: Final = 300

_QUOTED: Final = re.compile(r"[\"'\[{\n]")
_USER_OF_URL: Final = re.compile(r"//[^/@\s]*@")

_KINDS: Final[dict[str, Kind]] = {
    "ProvisionedThroughputExceededException": "throttled",
    "ThrottlingException": "throttled",
    "RequestLimitExceeded": "throttled",
    "LimitExceededException": "throttled",
    "TransactionConflictException": "conflict",
    "ReplicatedWriteConflictException": "conflict",
    "ResourceInUseException": "refused",
    "ResourceNotFoundException": "absent",
    "TableNotFoundException": "absent",
    "AccessDeniedException": "forbidden",
    "ExpiredTokenException": "forbidden",
    "IncompleteSignatureException": "forbidden",
    "InvalidSignatureException": "forbidden",
    "MissingAuthenticationTokenException": "forbidden",
    "UnrecognizedClientException": "forbidden",
    "TransactionInProgressException": "unknown",
    "InternalServerError": "unknown",
    "ServiceUnavailable": "unknown",
}


class BotoTransport:
    """Sends requests with boto3, one attempt each: :class:`DynamoDBCalls` decides about more.

    Its connections do not survive a ``fork``: :class:`DynamoDBCalls` refuses that.

    Args:
        region: None: where boto3 finds one.
        endpoint_url: Of DynamoDB Local, say; None: the service's own.
        credentials: ``aws_access_key_id`` and so on; None: boto3 finds them, and renews them.
        read_timeout_seconds: How long to wait for an answer.

    Raises:
        MissingExtraError: boto3 is not installed.
        ConfigurationError: boto3 finds no region, or does not understand the endpoint.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        credentials: Mapping[str, str] | None = None,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._credentials = dict(credentials or {})
        self._read_timeout_seconds = read_timeout_seconds
        self._client = self._connect()
        # Where its own calls send theirs: with its proxies, certificates, time-outs and pool.
        self._http = self._client._endpoint.http_session  # noqa: SLF001 - nowhere else

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See :class:`eventcore.stores.dynamodb.calls.Transport`."""
        import botocore.exceptions as failures  # noqa: PLC0415 - only this module knows boto3

        try:
            response = self._http.send(self._signed(operation, parameters))
        except (failures.EndpointConnectionError, failures.ConnectTimeoutError) as error:
            raise _failed(error, "unreachable") from error
        except failures.NoCredentialsError as error:
            raise _failed(error, "forbidden") from error
        except (failures.HTTPClientError, failures.ConnectionError) as error:
            # It was sent, in part at least.
            raise _failed(error, "unknown") from error
        except failures.BotoCoreError as error:
            raise _failed(error, "forbidden") from error
        answer = _answer(response)
        if response.status_code >= _HTTP_ERRORS:
            raise _translated(answer, response.status_code)
        return answer

    def close(self) -> None:
        """Release its connections."""
        self._client.close()

    def _signed(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - only this module knows boto3
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415 - likewise
        from botocore.exceptions import NoCredentialsError  # noqa: PLC0415 - likewise

        if self._found is None:
            raise NoCredentialsError
        request = AWSRequest(
            method="POST",
            url=self._client.meta.endpoint_url + "/",
            headers={**self._headers, "X-Amz-Target": f"{_TARGET}.{operation}"},
            data=orjson.dumps(parameters, default=_base64),
        )
        # They renew themselves when they are about to expire.
        credentials = self._found.get_frozen_credentials()
        SigV4Auth(credentials, "dynamodb", self._client.meta.region_name).add_auth(request)
        return request.prepare()

    def _connect(self) -> Any:
        try:
            import boto3  # noqa: PLC0415 - only this module knows boto3
            import botocore  # noqa: PLC0415 - likewise
            from botocore.config import Config  # noqa: PLC0415 - likewise
            from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - likewise
        except ImportError:
            raise MissingExtraError(
                feature="dynamodb://", package="boto3", extra="dynamodb"
            ) from None
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=self._read_timeout_seconds,
            max_pool_connections=POOL_SIZE,
            parameter_validation=False,
            retries={"mode": "standard", "total_max_attempts": 1},
            tcp_keepalive=True,
        )
        try:
            session = boto3.session.Session(**self._credentials)
            client = session.client(
                "dynamodb",
                region_name=self._region,
                endpoint_url=self._endpoint_url,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            problem = _without_credentials(str(error))
            raise ConfigurationError(message=f"dynamodb://: {problem}") from error
        self._found = session.get_credentials()
        self._headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "Accept-Encoding": "identity",
            "User-Agent": f"eventcore Boto3/{boto3.__version__} Botocore/{botocore.__version__}",
        }
        return client


def open_calls(
    table: str,
    *,
    region: str | None = None,
    endpoint_url: str | None = None,
    credentials: Mapping[str, str] | None = None,
) -> DynamoDBCalls:
    """Calls to the service, named after a table in messages. Close them after use.

    See :class:`BotoTransport` for the parameters.

    Raises:
        MissingExtraError: boto3 is not installed.
        ConfigurationError: boto3 finds no region, or does not understand the endpoint.
    """
    transport = BotoTransport(region=region, endpoint_url=endpoint_url, credentials=credentials)
    return DynamoDBCalls(transport, name=f"dynamodb://{table}")


def _base64(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(type(value).__name__)


def _answer(response: Any) -> dict[str, Any]:
    """What was answered; of the page of some proxy, nothing.

    Raises:
        CallFailedError: It is not what the service sent.
    """
    body = response.content
    expected = response.headers.get("x-amz-crc32")
    if expected is not None and zlib.crc32(body) != int(expected):
        raise _not_from_the_service(problem="an answer was damaged")
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if isinstance(answer, dict):
        return answer
    if response.status_code < _HTTP_ERRORS:
        raise _not_from_the_service(problem="an answer is not the service's")
    return {}


def _not_from_the_service(*, problem: str) -> CallFailedError:
    return CallFailedError("BadAnswer", problem, kind="unknown")


def _failed(error: Exception, kind: Kind) -> CallFailedError:
    return CallFailedError(type(error).__name__, _without_credentials(str(error)), kind=kind)


def _without_credentials(text: str) -> str:
    return _USER_OF_URL.sub("//", text)


def _said(code: str, message: str, kind: Kind) -> str:
    """What of a service's message may be shown: it may quote an item, or how a request was signed.

    Quoted values come last in the service's sentences, in quotes, brackets or braces.
    """
    if kind == "forbidden" and code != "AccessDeniedException":
        return "the service does not accept these credentials"
    return _QUOTED.split(message, maxsplit=1)[0].strip()[:MESSAGE_LENGTH_MAX]


def _translated(
    answer: Mapping[str, Any], status: int
) -> CallFailedError | ConditionFailedError | TransactionCanceledError:
    """The error that an answer tells of, see AWS, DynamoDB Developer Guide, "Error handling"."""
    code = str(answer.get("__type", status)).rpartition("#")[2].partition(":")[0]
    problem = str(answer.get("message") or answer.get("Message") or "")
    if code == "ConditionalCheckFailedException":
        return ConditionFailedError(answer.get("Item"))
    if code == "TransactionCanceledException":
        reasons = answer.get("CancellationReasons") or []
        return TransactionCanceledError(
            [Reason(str(reason.get("Code", "None")), reason.get("Item")) for reason in reasons]
        )
    kind = _KINDS.get(code, "unknown" if status >= 500 else "refused")  # noqa: PLR2004 - HTTP
    return CallFailedError(code, _said(code, problem, kind), kind=kind)
