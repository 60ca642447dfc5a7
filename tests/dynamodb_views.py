"""Read models in the DynamoDB of the tests."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from eventcore.projections.dynamodb import DynamoDBViews
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Transport
from eventcore.stores.dynamodb.client import BotoTransport
from tests.dynamodb import DynamoDBPlace

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""What the clock of these views shows, unless a test brings its own."""


class _Kept:
    """A transport that stays open: to make boto3's client takes longer than most tests."""

    def __init__(self, inner: Transport) -> None:
        self.call = inner.call

    def close(self) -> None:
        """Nothing: others go on using it."""


@cache
def _transport(region: str, url: str) -> _Kept:
    return _Kept(BotoTransport(region=region, endpoint_url=url))


def transport_to(place: DynamoDBPlace) -> Transport:
    """Requests to the place, one attempt each."""
    return _transport(place.region, place.url)


def dynamodb_views(
    place: DynamoDBPlace, *, transport: Transport | None = None, **options: Any
) -> DynamoDBViews:
    """Views of a test's own; without TTL, since the events of tests are of days long past."""
    options = {"clock": lambda: NOW, "with_ttl": False, **options}
    calls = DynamoDBCalls(transport or transport_to(place), name="dynamodb://test")
    return DynamoDBViews(calls, prefix=place.prefix, owns_calls=True, **options)


def model_views(
    transport: Transport, now: datetime = NOW, *, with_ttl: bool = False
) -> DynamoDBViews:
    """Views in a model of the tables: without pauses between attempts."""
    calls = DynamoDBCalls(transport, name="dynamodb://model", sleep=lambda seconds: None)
    return DynamoDBViews(calls, clock=lambda: now, with_ttl=with_ttl, owns_calls=True)
