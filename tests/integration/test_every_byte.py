"""Every byte of a small log is changed, one at a time, past all guards: each change is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from eventcore.errors import EventCoreError
from eventcore.seals import Checks, Sealer, SealFile, SealWriter, verify_log
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend
from eventcore.stores.postgres.log import PostgresLog
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.testing import EventMaker
from tests.dynamodb import DynamoDBPlace
from tests.model_dynamodb import ModelTables
from tests.postgres import PostgresSchema

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = ("position", "stream", "version", "type", "event_id", "state")
FENCE_SECONDS = 0.01
"""Where a damaged record seems to leave a hole nobody will come to fill it."""


def fill(log: Log) -> None:
    """Six events of three streams in four commits."""
    make = EventMaker()
    log.append([StreamAppend("order-1", 0, make.many(2)), StreamAppend("user-1", 0, [make()])])
    log.append([StreamAppend("order-1", 2, [make("order.paid", data={"amount": "9.90"})])])
    log.append([StreamAppend("web-1", ANY_VERSION, [make("page.seen", data={"text": "é" * 4})])])
    log.append([StreamAppend("user-1", 1, [make()])])


def sealed(log: Log, folder: Path) -> Checks:
    Sealer(log, SealWriter(folder / "seals"), clock=lambda: NOW).seal()
    return Checks(seals=SealFile(folder / "seals"))


def is_found(log: Log, checks: Checks) -> bool:
    return not verify_log(log, checks).ok


def is_refused_or_found(opening: Callable[[], Log], checks: Checks) -> bool:
    """Whether a log is not even opened, or something is found in it."""
    try:
        log = opening()
    except EventCoreError:
        return True
    with closing(log):
        return is_found(log, checks)


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The same bytes with one changed, each in turn: within ASCII, and out of it."""
    for at in range(len(data)):
        for mask in (1 << (at % 7), 0x80):
            changed = bytearray(data)
            changed[at] ^= mask
            yield at, bytes(changed)


def number_flips(number: int) -> Iterator[tuple[int, int]]:
    """Likewise of a number of 8 bytes; none of them is one that is there already."""
    for at in range(8):
        yield at, number ^ (0x40 << 8 * at)


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    with closing(SQLiteLog(tmp_path / "log.db")) as log:
        fill(log)
    return tmp_path / "log.db"


def test_every_byte_of_the_rows_of_a_sqlite_file(sqlite_file: Path, tmp_path: Path):
    with (
        closing(SQLiteLog(sqlite_file)) as log,
        closing(sqlite3.connect(sqlite_file, isolation_level=None)) as administrator,
    ):
        checks = sealed(log, tmp_path)
        assert verify_log(log, checks).sealed == 6
        administrator.execute("PRAGMA ignore_check_constraints = ON")
        administrator.execute("PRAGMA synchronous = OFF")
        for event in ("update", "delete", "replace"):
            administrator.execute(f"DROP TRIGGER eventcore_log_refuses_{event}")
        count = refused = 0
        for row in administrator.execute(
            "SELECT position, CAST(stream AS BLOB), version, CAST(type AS BLOB),"
            " CAST(event_id AS BLOB), state FROM eventcore_log"
        ).fetchall():
            for name, value in zip(COLUMNS, row, strict=True):
                is_text = name in {"stream", "type", "event_id"}
                written = "CAST(? AS TEXT)" if is_text else "?"
                update = f"UPDATE eventcore_log SET {name} = {written} WHERE rowid = ?"
                changes = number_flips(value) if isinstance(value, int) else flips(value)
                for at, changed in changes:
                    row_id = changed if name == "position" else row[0]
                    try:
                        administrator.execute(update, (changed, row[0]))
                    except sqlite3.IntegrityError:
                        refused += 1  # it would have been another event's id
                        continue
                    assert is_found(log, checks), (row[0], name, at, changed)
                    administrator.execute(update, (value, row_id))
                    count += 1

        assert count > 1_900
        assert refused < 20
        assert verify_log(log, checks).ok


@pytest.mark.slow
def test_every_byte_of_a_sqlite_file_is_found_or_changes_nothing_that_is_read(tmp_path: Path):
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path)) as connection:
        # Small pages make a small file.
        connection.execute("PRAGMA page_size = 512")
        connection.execute("VACUUM")
    with closing(SQLiteLog(path)) as log:
        fill(log)
        checks = sealed(log, tmp_path)
        before = list(log.read())
    data = path.read_bytes()
    assert len(data) < 20_000
    flipped = tmp_path / "flipped.db"
    caught = harmless = 0

    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        for beside in ("-wal", "-shm"):
            Path(f"{flipped}{beside}").unlink(missing_ok=True)
        flipped.write_bytes(changed)
        if is_refused_or_found(partial(SQLiteLog, flipped, create=False), checks):
            caught += 1
            continue
        with closing(SQLiteLog(flipped, create=False)) as log:
            assert list(log.read()) == before, at
            harmless += 1

    assert caught > 6 * 150
    assert caught + harmless == len(data)


@pytest.mark.postgres
def test_every_byte_of_the_rows_of_a_postgres_table(
    postgres_schema: PostgresSchema, tmp_path: Path
):
    schema = sql.Identifier(postgres_schema.schema)
    table = sql.Identifier(postgres_schema.schema, "eventcore_log")
    with (
        closing(PostgresLog(postgres_schema.url, schema=postgres_schema.schema)) as log,
        postgres_schema.connect() as administrator,
    ):
        fill(log)
        checks = sealed(log, tmp_path)
        assert verify_log(log, checks).sealed == 6
        for statement in (
            "ALTER TABLE {} DISABLE TRIGGER USER",
            "DROP INDEX {schema}.eventcore_log_by_stream",
            "CREATE INDEX ON {} (stream, version)",
            "DROP INDEX {schema}.eventcore_log_by_event_id",
            "CREATE INDEX ON {} (event_id)",
            "ALTER TABLE {} DROP CONSTRAINT eventcore_log_position_check",
            "ALTER TABLE {} DROP CONSTRAINT eventcore_log_version_check",
        ):
            administrator.execute(sql.SQL(statement).format(table, schema=schema))
        rows = administrator.execute(
            sql.SQL(
                "SELECT position, stream::bytea, version, type::bytea,"
                " uuid_send(event_id), state FROM {} ORDER BY position"
            ).format(table)
        ).fetchall()
        written = {
            "stream": "convert_from({}, 'UTF8')",
            "type": "convert_from({}, 'UTF8')",
            "event_id": "encode({}, 'hex')::uuid",
        }
        count = 0
        for row in rows:
            for name, value in zip(COLUMNS, row, strict=True):
                update = sql.SQL(
                    "UPDATE {} SET {} = " + written.get(name, "{}") + " WHERE position = {}"
                )
                for changed in postgres_changes(name, value):
                    place = changed if name == "position" else row[0]
                    there = update.format(table, sql.Identifier(name), changed, row[0])
                    back = update.format(table, sql.Identifier(name), value, place)
                    administrator.execute(there)
                    assert is_found(log, checks), (row[0], name, changed)
                    administrator.execute(back)
                    count += 1

        assert count > 1_000
        assert verify_log(log, checks).ok


def postgres_changes(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, int):
        # Beyond 2**62 no position is looked for, and none is ever given.
        yield from [changed for _, changed in number_flips(value)]
    elif name in {"stream", "type"}:
        # The server takes no text that is no UTF-8, whoever writes it.
        yield from [changed for _, changed in flips(value) if changed.isascii()]
    else:
        yield from [changed for _, changed in flips(value)]


def attribute_flips(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "N" in value:
        digits = value["N"]
        for at, digit in enumerate(digits):
            for other in sorted({"0", "1", "5", "9"} - {digit}):
                yield {"N": str(int(digits[:at] + other + digits[at + 1 :]))}
        yield {"N": digits + "0"}
    else:
        for _, changed in flips(bytes(value["B"])):
            yield {"B": changed}


def dynamodb_log(calls: DynamoDBCalls, table: str) -> DynamoDBLog:
    return DynamoDBLog(calls, table, create=False, fence_seconds=FENCE_SECONDS)


def is_of_the_log(partition: str) -> bool:
    return partition.split("#")[1] in {"l", "s", "i"}


def test_every_byte_of_every_item_of_a_dynamodb_table(tmp_path: Path):
    tables = ModelTables()
    with closing(DynamoDBLog(DynamoDBCalls(tables), "log-table")) as log:
        fill(log)
        checks = sealed(log, tmp_path)
        assert verify_log(log, checks).sealed == 6
    items = tables.tables["log-table"]
    before = dict(items)
    count = 0
    for key, item in before.items():
        if not is_of_the_log(key[0]):
            continue
        for name in item.keys() - {"pk", "sk"}:
            for changed in attribute_flips(item[name]):
                items.clear()
                items.update(before)
                items[key] = {**item, name: changed}
                opening = partial(dynamodb_log, DynamoDBCalls(tables), "log-table")
                assert is_refused_or_found(opening, checks), (key, name, changed)
                count += 1

    assert count > 3_000


@pytest.mark.dynamodb
@pytest.mark.slow
def test_bytes_of_items_in_dynamodb_itself(dynamodb: DynamoDBPlace, tmp_path: Path):
    def opened() -> DynamoDBLog:
        calls = open_calls(dynamodb.table, region=dynamodb.region, endpoint_url=dynamodb.url)
        return DynamoDBLog(calls, dynamodb.table, fence_seconds=FENCE_SECONDS)

    administrator = dynamodb.client()
    with closing(opened()) as log:
        fill(log)
        checks = sealed(log, tmp_path)
        assert verify_log(log, checks).sealed == 6
        count = 0
        items = administrator.scan(TableName=dynamodb.table)["Items"]
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in items]
        for item in items:
            if not is_of_the_log(item["pk"]["S"]):
                continue
            for name in sorted(item.keys() - {"pk", "sk"}):
                # What the model does for every byte; here for some of each attribute.
                for changed in list(attribute_flips(item[name]))[::97]:
                    altered = {**item, name: changed}
                    administrator.put_item(TableName=dynamodb.table, Item=altered)
                    assert is_refused_or_found(opened, checks), (item["pk"], name, changed)
                    administrator.put_item(TableName=dynamodb.table, Item=item)
                    count += 1
            # Where a damaged record seemed to leave a hole, a reader closed it.
            for there in administrator.scan(TableName=dynamodb.table)["Items"]:
                key = {"pk": there["pk"], "sk": there["sk"]}
                if is_of_the_log(key["pk"]["S"]) and key not in keys:
                    administrator.delete_item(TableName=dynamodb.table, Key=key)

        assert count > 20
        assert verify_log(log, checks).ok
