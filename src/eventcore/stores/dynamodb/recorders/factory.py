"""The factory that ``eventsourcing`` finds in ``eventcore.stores.dynamodb``."""

from __future__ import annotations

import os
from typing import Any, Final, TypeVar, cast

from eventsourcing import persistence
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool
from typing_extensions import override

from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.recorders.aggregates import DynamoDBAggregateRecorder
from eventcore.stores.dynamodb.recorders.applications import DynamoDBApplicationRecorder
from eventcore.stores.dynamodb.recorders.datastore import DynamoDBDatastore
from eventcore.stores.dynamodb.recorders.names import OriginatorIdType
from eventcore.stores.dynamodb.recorders.trackings import (
    DynamoDBProcessRecorder,
    DynamoDBTrackingRecorder,
)
from eventcore.stores.dynamodb.recorders.translation import translated

TRecorder = TypeVar("TRecorder")

_ID_TYPES: Final[dict[str, OriginatorIdType]] = {"uuid": "uuid", "text": "text"}


class DynamoDBFactory(persistence.InfrastructureFactory[DynamoDBTrackingRecorder]):
    """Makes the recorders of an application or a projection whose data is in a table of DynamoDB.

    ========================= ==================================================================
    in the environment        is
    ========================= ==================================================================
    ``DYNAMODB_TABLE``        name of the table; required. Applications may share one
    ``DYNAMODB_ENDPOINT_URL`` of DynamoDB Local, say; by default the service's own
    ``AWS_REGION``,           the region; by default where boto3 finds one
    ``AWS_DEFAULT_REGION``
    ``AWS_ACCESS_KEY_ID``,    credentials of this application alone; by default where boto3 finds
    ``AWS_SECRET_ACCESS_KEY`` them, which is better: a role gives new ones in time
    ``AWS_SESSION_TOKEN``
    ``CREATE_TABLE``          ``yes`` (default): create the table if it is missing
    ``ORIGINATOR_ID_TYPE``    ``uuid`` (default) or ``text``
    ========================= ==================================================================

    and the topics of recorder classes, as in ``eventsourcing``'s own modules.

    Args:
        env: As the base library hands it over.

    Raises:
        OSError: A value of the environment is missing or invalid.
        InterfaceError: boto3 finds no region, or does not understand the endpoint; or the name of
            the application cannot be part of a key.
    """

    DYNAMODB_TABLE = "DYNAMODB_TABLE"
    DYNAMODB_ENDPOINT_URL = "DYNAMODB_ENDPOINT_URL"
    CREATE_TABLE = "CREATE_TABLE"
    ORIGINATOR_ID_TYPE = "ORIGINATOR_ID_TYPE"

    aggregate_recorder_class = DynamoDBAggregateRecorder
    application_recorder_class = DynamoDBApplicationRecorder
    tracking_recorder_class = DynamoDBTrackingRecorder
    process_recorder_class = DynamoDBProcessRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        table = self._value(self.DYNAMODB_TABLE)
        if not table:
            message = (
                "DynamoDB table name not found in environment with keys: "
                f"{', '.join(self.env.create_keys(self.DYNAMODB_TABLE))}"
            )
            raise OSError(message)
        region = self._value("AWS_REGION") or self._value("AWS_DEFAULT_REGION")
        endpoint_url = self._value(self.DYNAMODB_ENDPOINT_URL)
        credentials = self._credentials()

        def connect() -> DynamoDBCalls:
            return open_calls(
                table, region=region, endpoint_url=endpoint_url, credentials=credentials
            )

        with translated():
            self.datastore = DynamoDBDatastore(
                connect,
                table=table,
                application_name=self.env.name,
                originator_id_type=self._originator_id_type(),
                place=(region or "", endpoint_url or ""),
            )

    @override
    def aggregate_recorder(self, purpose: str = "events") -> persistence.AggregateRecorder:
        return self.aggregate_recorder_class(self.datastore, purpose, create=self._creates())

    @override
    def application_recorder(self) -> persistence.ApplicationRecorder:
        recorder_class = self._recorder_class(
            self.APPLICATION_RECORDER_TOPIC,
            self.application_recorder_class,
            DynamoDBApplicationRecorder,
        )
        return recorder_class(self.datastore, create=self._creates())

    @override
    def tracking_recorder(
        self, tracking_recorder_class: type[DynamoDBTrackingRecorder] | None = None
    ) -> DynamoDBTrackingRecorder:
        if tracking_recorder_class is None:
            tracking_recorder_class = self._recorder_class(
                self.TRACKING_RECORDER_TOPIC, self.tracking_recorder_class, DynamoDBTrackingRecorder
            )
        _check_class(tracking_recorder_class, DynamoDBTrackingRecorder)
        return tracking_recorder_class(self.datastore, create=self._creates())

    @override
    def process_recorder(self) -> persistence.ProcessRecorder:
        recorder_class = self._recorder_class(
            self.PROCESS_RECORDER_TOPIC, self.process_recorder_class, DynamoDBProcessRecorder
        )
        return recorder_class(self.datastore, create=self._creates())

    @override
    def close(self) -> None:
        """End what follows the application, and release the connections."""
        # Also of a factory whose environment was refused.
        if hasattr(self, "datastore"):
            self.datastore.close()

    def _recorder_class(
        self, key: str, default: type[TRecorder], ours: type[TRecorder]
    ) -> type[TRecorder]:
        topic = self.env.get(key)
        chosen = resolve_topic(topic) if topic else default
        _check_class(chosen, ours)
        return cast("type[TRecorder]", chosen)

    def _creates(self) -> bool:
        return strtobool(self._value(self.CREATE_TABLE) or "yes")

    def _originator_id_type(self) -> OriginatorIdType:
        value = self._value(self.ORIGINATOR_ID_TYPE) or "uuid"
        if value.lower() not in _ID_TYPES:
            message = (
                f"Environment value for key '{self.ORIGINATOR_ID_TYPE}' is invalid. "
                f"If set, 'uuid' or 'text' is expected: '{value}'"
            )
            raise OSError(message)
        return _ID_TYPES[value.lower()]

    def _credentials(self) -> dict[str, str] | None:
        """Those that the application's own environment names; None: boto3 finds them."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        found = {name.lower(): value for name in names if (value := self._value(name))}
        # The process's own are boto3's to find, and to renew.
        is_own = any(
            found[name.lower()] != os.environ.get(name)
            for name in names[:2]
            if name.lower() in found
        )
        return found if is_own else None

    def _value(self, key: str) -> str | None:
        return (self.env.get(key) or "").strip() or None


def _check_class(chosen: Any, ours: type[Any]) -> None:
    if not (isinstance(chosen, type) and issubclass(chosen, ours)):
        message = f"{chosen} is not a subclass of {ours}"
        raise persistence.InfrastructureFactoryError(message)
