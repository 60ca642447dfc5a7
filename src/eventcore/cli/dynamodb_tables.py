"""What of a store is in DynamoDB, what this version of eventcore expects there, the difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from eventcore.cli.dynamodb_definitions import (
    STREAM_VIEW,
    TableDefinition,
    log_definition,
    view_definitions,
)
from eventcore.cli.inspecting import Difference, SchemaObject
from eventcore.cli.output import json_text
from eventcore.projections.dynamodb.tables import DynamoDBTables, differences
from eventcore.projections.projection import Projection
from eventcore.settings import StoreLocation
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.client import open_calls

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@contextmanager
def dynamodb_tables(
    location: StoreLocation, *, log: bool, projections: Sequence[Projection]
) -> Iterator[DynamoDBPlace]:
    """The tables of a store, or of its read models alone."""
    definitions = [log_definition(location)] if log else []
    definitions += view_definitions(location, projections) if projections else []
    calls = open_calls(location.table, region=location.region, endpoint_url=location.endpoint_url)
    with closing(calls):
        yield DynamoDBPlace(calls, definitions, is_guarded=not is_emulated(location))


def is_emulated(location: StoreLocation) -> bool:
    """Whether the store is on this machine, for tests: nothing there needs guarding."""
    return (urlsplit(location.endpoint_url or "").hostname or "") in _LOOPBACK


class DynamoDBPlace:
    """Tables in one account and region.

    Args:
        calls: To it.
        definitions: What is to be there.
        is_guarded: The log is to be recoverable and protected against deletion.
    """

    def __init__(
        self, calls: DynamoDBCalls, definitions: Sequence[TableDefinition], *, is_guarded: bool
    ) -> None:
        self._calls = calls
        self._tables = DynamoDBTables(calls)
        self._definitions = definitions
        self._is_guarded = is_guarded
        self.title = calls.name

    def planned(self, phases: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - see apply
        """What ``apply`` would do: names and the requests' parameters as JSON."""
        return [
            (one.expected.name, one.expected.sql)
            for one in self.differences()
            if one.present is None
        ]

    def apply(self, phases: Any) -> list[str]:  # noqa: ARG002 - there are no migrations
        """Make tables that are absent, and guard the log's; gives what was made."""
        made = []
        for one in self._definitions:
            if self._tables.describe(one.name) is None:
                self._tables.create(one.create, one.ttl)
                made.append(one.name)
            elif one.ttl is not None and self._tables.ttl(one.name) is None:
                self._tables.set_ttl(one.name, one.ttl)
                made.append(f"{one.name} ttl")
            if one.is_log:
                made += self._guard(one.name)
        return made

    def _guard(self, name: str) -> list[str]:
        made = []
        found = self._tables.describe(name) or {}
        if not _has_stream(found):
            stream = {"StreamEnabled": True, "StreamViewType": STREAM_VIEW}
            self._update(name, StreamSpecification=stream)
            made.append(f"{name} stream")
        if not self._is_guarded:
            return made
        if not found.get("DeletionProtectionEnabled"):
            self._update(name, DeletionProtectionEnabled=True)
            made.append(f"{name} deletion protection")
        if not self._is_recoverable(name):
            recovery = {"PointInTimeRecoveryEnabled": True}
            self._calls.call(
                "UpdateContinuousBackups",
                {"TableName": name, "PointInTimeRecoverySpecification": recovery},
            )
            made.append(f"{name} point-in-time recovery")
        return made

    def _update(self, name: str, **change: Any) -> None:
        self._calls.call("UpdateTable", {"TableName": name, **change})
        # One change at a time.
        self._tables.wait(name, exists=True, settled=True)

    def _is_recoverable(self, name: str) -> bool:
        answer = self._calls.call("DescribeContinuousBackups", {"TableName": name})
        backups: dict[str, Any] = answer.get("ContinuousBackupsDescription", {})
        recovery = backups.get("PointInTimeRecoveryDescription", {})
        return bool(recovery.get("PointInTimeRecoveryStatus") == "ENABLED")

    def differences(self) -> list[Difference]:
        """Where the tables are not as this version would make them; others do not matter."""
        return [difference for one in self._definitions for difference in self._differences_of(one)]

    def _differences_of(self, one: TableDefinition) -> Iterator[Difference]:
        found = self._tables.describe(one.name)
        if found is None:
            yield Difference(SchemaObject("table", one.name, one.name, _text(one.create)), None)
            return
        for problem in differences(one.create, found):
            kind = "table" if problem.part == "key" else "index"
            name = one.name if kind == "table" else problem.part
            present = SchemaObject(kind, name, one.name, problem.found)
            yield Difference(SchemaObject(kind, name, one.name, problem.expected), present)
        if found.get("BillingModeSummary", {}).get("BillingMode") != "PAY_PER_REQUEST":
            yield _setting(one.name, "billing", "on demand", "provisioned")
        if one.ttl is not None and self._tables.ttl(one.name) != one.ttl:
            yield _setting(one.name, "ttl", f"by {one.ttl}")
        if one.is_log:
            yield from self._unguarded(one.name, found)

    def _unguarded(self, name: str, found: dict[str, Any]) -> Iterator[Difference]:
        if not _has_stream(found):
            yield _setting(name, "stream", STREAM_VIEW)
        if self._is_guarded and not found.get("DeletionProtectionEnabled"):
            yield _setting(name, "deletion protection", "on")
        if self._is_guarded and not self._is_recoverable(name):
            yield _setting(name, "point-in-time recovery", "on")


def _has_stream(found: dict[str, Any]) -> bool:
    return bool(found.get("StreamSpecification", {}).get("StreamEnabled"))


def _setting(table: str, name: str, expected: str, present: str | None = None) -> Difference:
    wanted = SchemaObject(name, table, table, expected)
    return Difference(wanted, None if present is None else wanted._replace(sql=present))


def _text(definition: dict[str, Any]) -> str:
    return json_text(definition, indented=True)
