"""The persistence module takes every name of the environment that the base library's takes."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing import postgres as base
from eventsourcing.persistence import ProgrammingError, StoredEvent
from eventsourcing.utils import Environment

from eventcore.stores.postgres import PostgresFactory
from tests.contract.eventsourcing_cases.test_postgres import environment
from tests.postgres import PostgresSchema

pytestmark = pytest.mark.postgres

ACCOUNT = ("POSTGRES_DBNAME", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER")
"""Without these no test here would run."""

EFFECTS: dict[str, tuple[str, Any]] = {
    "POSTGRES_CONNECT_TIMEOUT": ("7", lambda store: store.pool.timeout == 7),
    "POSTGRES_CONN_MAX_AGE": ("123", lambda store: store.pool.max_lifetime == 123.0),
    "POSTGRES_PRE_PING": ("yes", lambda store: store.pre_ping is True),
    "POSTGRES_MAX_WAITING": ("9", lambda store: store.pool.max_waiting == 9),
    "POSTGRES_LOCK_TIMEOUT": ("4", lambda store: store.lock_timeout == 4),
    # Together the most there may be; none is opened before it is needed.
    "POSTGRES_POOL_SIZE": ("3", lambda store: store.pool.max_size == 3 + 10),
    "POSTGRES_MAX_OVERFLOW": ("2", lambda store: store.pool.max_size == 5 + 2),
    "POSTGRES_IDLE_IN_TRANSACTION_SESSION_TIMEOUT": (
        "11",
        lambda store: shown(store, "idle_in_transaction_session_timeout") == "11s",
    ),
    "POSTGRES_SCHEMA": ("{schema}", lambda store: store.schema.startswith("test_")),
    "SINGLE_ROW_TRACKING": ("no", lambda store: store.single_row_tracking is False),
    "POSTGRES_ENABLE_DB_FUNCTIONS": ("yes", lambda store: store.enable_db_functions is False),
    "POSTGRES_PASSWORD": ("secret", lambda store: store.pool.kwargs["password"] == "secret"),
    "POSTGRES_GET_PASSWORD_TOPIC": (
        f"{__name__}:password_of_the_moment",
        lambda store: store.reading.conninfo.endswith("password='of the moment'"),
    ),
}


def password_of_the_moment() -> str:
    return "of the moment"


def shown(store: Any, setting: str) -> Any:
    with store.get_connection() as connection:
        return next(iter(connection.execute(f"SHOW {setting}").fetchone().values()))


@pytest.mark.parametrize("name", EFFECTS)
def test_a_name_has_its_effect(postgres_schema: PostgresSchema, name: str):
    value, has_effect = EFFECTS[name]
    env = environment(postgres_schema, **{name: value.format(schema=postgres_schema.schema)})

    with PostgresFactory(Environment("shop", env)) as factory:
        assert has_effect(factory.datastore)


def test_no_name_is_left_out():
    names = {
        getattr(base.PostgresFactory, name)
        for name in dir(base.PostgresFactory)
        if re.match("POSTGRES_", name)
    }

    assert names == set(EFFECTS) | set(ACCOUNT)


@pytest.mark.parametrize("id_type", ["text", "TEXT", "uuid", "UUID"])
def test_the_type_of_ids_may_be_spelled_in_any_way(postgres_schema, id_type):
    env = environment(postgres_schema, ORIGINATOR_ID_TYPE=id_type)

    with PostgresFactory(Environment("shop", env)) as factory:
        recorder: Any = factory.application_recorder()
        id_: Any = "order-1" if id_type.lower() == "text" else uuid4()
        assert recorder.insert_events(
            [StoredEvent(id_, 1, "t", b""), StoredEvent(id_, 2, "t", b"")]
        )
        assert [event.originator_id for event in recorder.select_events(id_)] == [id_, id_]


def test_without_create_table_none_is_made(postgres_schema):
    env = environment(postgres_schema, CREATE_TABLE="no")

    with PostgresFactory(Environment("shop", env)) as factory:
        recorder: Any = factory.application_recorder()
        with pytest.raises(ProgrammingError, match="does not exist"):
            recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"")])
