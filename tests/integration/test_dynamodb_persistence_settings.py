"""The environment of the persistence module on DynamoDB."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import (
    DataError,
    InfrastructureFactoryError,
    InterfaceError,
    InternalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment

from eventcore.stores import dynamodb as module
from eventcore.stores.dynamodb import DynamoDBFactory
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.limits import STATE_BYTES_MAX, STREAMS_PER_APPEND_MAX
from tests.contract.eventsourcing_cases.test_dynamodb import environment
from tests.dynamodb import DynamoDBPlace

pytestmark = pytest.mark.dynamodb


def test_the_module_holds_exactly_one_factory_class():
    found = [value for value in vars(module).values() if isinstance(value, type)]

    assert found == [DynamoDBFactory]


def test_a_missing_table_name_is_refused_by_its_names():
    with pytest.raises(OSError, match="SHOP_DYNAMODB_TABLE, DYNAMODB_TABLE"):
        DynamoDBFactory(Environment("shop", {"DYNAMODB_TABLE": " "}))


def test_an_unknown_type_of_ids_is_refused(dynamodb: DynamoDBPlace):
    with pytest.raises(OSError, match=r"'ORIGINATOR_ID_TYPE' is invalid.*'int'"):
        DynamoDBFactory(environment(dynamodb, ORIGINATOR_ID_TYPE="int"))


@pytest.mark.parametrize("name", ["a b", "a#b", "x" * 61, "größe"])
def test_a_name_that_cannot_be_part_of_a_key_is_refused(dynamodb: DynamoDBPlace, name: str):
    with pytest.raises(InterfaceError, match="name of up to 60 letters"):
        DynamoDBFactory(Environment(name, environment(dynamodb)))


@pytest.mark.parametrize("id_type", ["text", "TEXT", "uuid", "UUID"])
def test_the_type_of_ids_may_be_spelled_in_any_way(dynamodb: DynamoDBPlace, id_type: str):
    with DynamoDBFactory(environment(dynamodb, ORIGINATOR_ID_TYPE=id_type)) as factory:
        recorder: Any = factory.application_recorder()
        id_: Any = "order-1" if id_type.lower() == "text" else uuid4()
        recorder.insert_events([StoredEvent(id_, 1, "t", b""), StoredEvent(id_, 2, "t", b"")])

        assert [one.originator_id for one in recorder.select_events(id_)] == [id_, id_]
        assert [one.originator_id for one in recorder.select_notifications(1, 9)] == [id_, id_]


@pytest.mark.parametrize("recorder", ["application", "aggregate", "tracking", "process"])
def test_without_create_table_none_is_made(dynamodb: DynamoDBPlace, recorder: str):
    with (
        DynamoDBFactory(environment(dynamodb, CREATE_TABLE="no")) as factory,
        pytest.raises(ProgrammingError, match=dynamodb.table),
    ):
        getattr(factory, f"{recorder}_recorder")()

    assert dynamodb.table not in dynamodb.client().list_tables()["TableNames"]


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "us-east-1"}, "eu-north-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
    ],
)
def test_the_region_is_that_of_the_environment(  # noqa: PLR0917 - fixtures
    dynamodb: DynamoDBPlace, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], region: str
):
    opened = noted_connections(monkeypatch)

    with DynamoDBFactory(environment(dynamodb, **given)) as factory:
        factory.tracking_recorder()

    assert opened[0]["region"] == region
    assert opened[0]["endpoint_url"] == dynamodb.url


def test_credentials_of_the_application_alone_are_taken_and_those_of_the_process_left_to_boto3(
    dynamodb: DynamoDBPlace, monkeypatch: pytest.MonkeyPatch
):
    opened = noted_connections(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    of_process = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    own = {"SHOP_AWS_ACCESS_KEY_ID": "shop", "SHOP_AWS_SECRET_ACCESS_KEY": "key"}

    for more in (of_process, {**of_process, **own}):
        with DynamoDBFactory(Environment("shop", environment(dynamodb, **more))) as factory:
            factory.tracking_recorder().insert_tracking(Tracking("upstream", len(more)))

    assert [one["credentials"] for one in opened] == [
        None,
        {"aws_access_key_id": "shop", "aws_secret_access_key": "key"},
    ]


def noted_connections(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    opened: list[dict[str, Any]] = []

    def noting(table: str, **options: Any) -> Any:
        opened.append(options)
        return open_calls(table, **options)

    factory = "eventcore.stores.dynamodb.recorders.factory"
    monkeypatch.setattr(f"{factory}.open_calls", noting)
    return opened


def test_a_class_that_is_no_recorder_of_the_kind_is_refused(dynamodb: DynamoDBPlace):
    env = environment(dynamodb, TRACKING_RECORDER_TOPIC="builtins:dict")

    with (
        DynamoDBFactory(env) as factory,
        pytest.raises(InfrastructureFactoryError, match=r"dict.* is not a subclass"),
    ):
        factory.tracking_recorder()


def stored(state: bytes = b"", *, name: str = "order-1", version: int = 1, topic: str = "t") -> Any:
    return StoredEvent(name, version, topic, state)


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([stored(b"x" * (STATE_BYTES_MAX + 1))], DataError),
        ([stored(name=f"order-{n}") for n in range(STREAMS_PER_APPEND_MAX + 1)], DataError),
        ([stored(name="x" * 1_025)], DataError),
        ([stored(topic="x" * 1_025)], DataError),
        ([stored(version=-1)], InternalError),
        ([stored(name="")], InternalError),
        ([stored(name="a\x00b")], InternalError),
        ([stored(topic="\ud800")], InternalError),
    ],
    ids=["state", "originators", "id", "topic", "negative", "empty", "control", "surrogate"],
)
@pytest.mark.parametrize("kind", ["application", "aggregate"])
def test_what_does_not_fit_is_refused_before_anything_is_sent(  # noqa: PLR0917 - parameters
    dynamodb: DynamoDBPlace, kind: str, events: list[Any], error: type[Exception]
):
    if kind == "aggregate" and len(events) == STREAMS_PER_APPEND_MAX + 1:
        events = [stored(version=version) for version in range(1, 102)]
    with DynamoDBFactory(environment(dynamodb, ORIGINATOR_ID_TYPE="text")) as factory:
        recorder: Any = getattr(factory, f"{kind}_recorder")()

        with pytest.raises(error):
            recorder.insert_events(events)

        assert recorder.select_events("order-1") == []


def test_the_largest_state_beside_the_longest_names_is_stored(dynamodb: DynamoDBPlace):
    name, topic, state = "ü" * 512, '"' * 1_024, bytes(range(256)) * 1_562 + b"x" * 128
    assert len(state) == STATE_BYTES_MAX
    with DynamoDBFactory(environment(dynamodb, ORIGINATOR_ID_TYPE="text")) as factory:
        for recorder in (factory.application_recorder(), factory.aggregate_recorder()):
            given = [stored(state, name=name, topic=topic)]
            recorder.insert_events(given)

            assert recorder.select_events(name) == given
