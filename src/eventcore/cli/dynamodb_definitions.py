"""The tables of a store in DynamoDB: as definitions, and printed for CloudFormation and Terraform.

All are billed on demand. The log's table has point-in-time recovery, protection against deletion,
and a stream of its keys that may ring a doorbell
(:mod:`eventcore.projections.lambda_handlers`). Read models need none of that: everything in them is
made again from the log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from eventcore.projections.dynamodb.layouts import Layout
from eventcore.projections.dynamodb.shapes import shape_of
from eventcore.projections.dynamodb.tables import (
    CHECKPOINTS,
    checkpoints_definition,
    table_definition,
)
from eventcore.projections.projection import Projection
from eventcore.settings import StoreLocation
from eventcore.stores.dynamodb import tables as log_tables

STREAM_VIEW: Final = "KEYS_ONLY"
"""What a record of the log's stream holds: a doorbell needs no more."""

_NO_LETTER: Final = re.compile(r"[^A-Za-z0-9]+")


class TableDefinition(NamedTuple):
    """One table.

    Attributes:
        create: As ``CreateTable`` takes it.
        ttl: Attribute by which items expire; None: they never do.
        is_log: Whether it holds what cannot be made again.
    """

    create: dict[str, Any]
    ttl: str | None
    is_log: bool

    @property
    def name(self) -> str:
        """Of the table."""
        name: str = self.create["TableName"]
        return name


def log_definition(location: StoreLocation) -> TableDefinition:
    """The table of the log."""
    return TableDefinition(log_tables.table_definition(location.table), None, is_log=True)


def view_definitions(
    location: StoreLocation, projections: Sequence[Projection]
) -> list[TableDefinition]:
    """The tables of read models, that of their checkpoints first."""
    prefix = location.view_tables
    layouts = [
        Layout(table, shape_of(table), prefix=prefix, with_ttl=location.ttl)
        for projection in projections
        for table in projection.tables
    ]
    return [
        TableDefinition(checkpoints_definition(f"{prefix}{CHECKPOINTS}"), None, is_log=False),
        *(TableDefinition(table_definition(one), one.ttl, is_log=False) for one in layouts),
    ]


def cloudformation(definitions: Sequence[TableDefinition]) -> dict[str, Any]:
    """A CloudFormation template that makes the tables."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The tables of an eventcore store",
        "Resources": {_logical_id(one.name): _resource(one) for one in definitions},
    }


def _logical_id(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in _NO_LETTER.split(name) if part)


def _resource(one: TableDefinition) -> dict[str, Any]:
    properties = dict(one.create)
    if one.ttl is not None:
        properties["TimeToLiveSpecification"] = {"AttributeName": one.ttl, "Enabled": True}
    resource: dict[str, Any] = {"Type": "AWS::DynamoDB::Table", "Properties": properties}
    if one.is_log:
        properties |= {
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "DeletionProtectionEnabled": True,
            "StreamSpecification": {"StreamViewType": STREAM_VIEW},
        }
        resource |= {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    return resource


def terraform(definitions: Sequence[TableDefinition]) -> dict[str, Any]:
    """Terraform's JSON form (a file ``….tf.json``) of resources that make the tables."""
    tables = {_terraform_name(one.name): _terraform_table(one) for one in definitions}
    return {"resource": {"aws_dynamodb_table": tables}}


def _terraform_name(name: str) -> str:
    return _NO_LETTER.sub("_", name).strip("_").lower()


def _terraform_table(one: TableDefinition) -> dict[str, Any]:
    create = one.create
    table: dict[str, Any] = {
        "name": one.name,
        "billing_mode": create["BillingMode"],
        **_terraform_keys(create["KeySchema"]),
        "attribute": [
            {"name": part["AttributeName"], "type": part["AttributeType"]}
            for part in create["AttributeDefinitions"]
        ],
    }
    indexes = [
        {
            "name": index["IndexName"],
            **_terraform_keys(index["KeySchema"]),
            "projection_type": index["Projection"]["ProjectionType"],
        }
        for index in create.get("GlobalSecondaryIndexes", ())
    ]
    if indexes:
        table["global_secondary_index"] = indexes
    if one.ttl is not None:
        table["ttl"] = {"attribute_name": one.ttl, "enabled": True}
    if one.is_log:
        table |= {
            "point_in_time_recovery": {"enabled": True},
            "deletion_protection_enabled": True,
            "stream_enabled": True,
            "stream_view_type": STREAM_VIEW,
            "lifecycle": {"prevent_destroy": True},
        }
    return table


def _terraform_keys(schema: Sequence[dict[str, str]]) -> dict[str, str]:
    kinds = {"HASH": "hash_key", "RANGE": "range_key"}
    return {kinds[part["KeyType"]]: part["AttributeName"] for part in schema}
