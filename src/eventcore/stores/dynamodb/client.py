"""The way to DynamoDB: boto3, at half its price, and the service's errors in our own words.

boto3's client takes an answer apart attribute by attribute, which costs more than all the rest of a
large query. Its public event ``before-parse`` lets us do it with ``orjson`` instead; credentials,
regions, endpoints, signing and connections stay boto3's.
"""

from __future__ import annotations

import re
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

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See :class:`eventcore.stores.dynamodb.calls.Transport`."""
        import botocore.exceptions as failures  # noqa: PLC0415 - only this module knows boto3

        try:
            # What the client's own methods call, without looking their names up.
            answer: dict[str, Any] = self._client._make_api_call(operation, parameters)  # noqa: SLF001
        except failures.ClientError as error:
            raise _translated(error.response) from error
        except (failures.EndpointConnectionError, failures.ConnectTimeoutError) as error:
            raise _failed(error, "unreachable") from error
        except failures.NoCredentialsError as error:
            raise _failed(error, "forbidden") from error
        except (failures.HTTPClientError, failures.ConnectionError) as error:
            # It was sent, in part at least.
            raise _failed(error, "unknown") from error
        except failures.BotoCoreError as error:
            raise _failed(error, "forbidden") from error
        return answer

    def close(self) -> None:
        """Release its connections."""
        self._client.close()

    def _connect(self) -> Any:
        try:
            import boto3  # noqa: PLC0415 - only this module knows boto3
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
            client = boto3.session.Session(**self._credentials).client(
                "dynamodb",
                region_name=self._region,
                endpoint_url=self._endpoint_url,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            problem = _without_credentials(str(error))
            raise ConfigurationError(message=f"dynamodb://: {problem}") from error
        client.meta.events.register("before-parse.dynamodb.*", _parse)
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


def _parse(
    operation_model: Any,
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    **_others: Any,
) -> None:
    """Take an answer apart in boto3's place; what it then parses itself is empty."""
    if operation_model.service_model.resolved_protocol != "json":
        return  # another form than DynamoDB has spoken so far: boto3 knows it
    if response_dict["status_code"] >= 300:  # noqa: PLR2004 - HTTP: anything but success
        return
    try:
        answer = orjson.loads(response_dict["body"])
    except orjson.JSONDecodeError:
        return  # the page of some proxy: boto3 makes an error of it
    if isinstance(answer, dict):
        response_dict["body"] = b"{}"
        customized_response_dict.update(answer)


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
    response: Mapping[str, Any],
) -> CallFailedError | ConditionFailedError | TransactionCanceledError:
    error = response.get("Error", {})
    code, problem = str(error.get("Code", "")), str(error.get("Message", ""))
    if code == "ConditionalCheckFailedException":
        return ConditionFailedError(response.get("Item"))
    if code == "TransactionCanceledException":
        reasons = response.get("CancellationReasons", [])
        return TransactionCanceledError(
            [Reason(str(reason.get("Code", "None")), reason.get("Item")) for reason in reasons]
        )
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    kind = _KINDS.get(code, "unknown" if status >= 500 else "refused")  # noqa: PLR2004 - HTTP
    return CallFailedError(code, _said(code, problem, kind), kind=kind)
