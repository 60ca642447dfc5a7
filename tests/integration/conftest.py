"""Factories of recorders that are closed after the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.utils import Environment

from tests.contract.eventsourcing_cases.test_dynamodb import environment
from tests.dynamodb import DynamoDBPlace
from tests.integration.dynamodb_recorders import Build


@pytest.fixture
def build_on_dynamodb(dynamodb: DynamoDBPlace) -> Iterator[Build]:
    """``build_on_dynamodb("name", KEY=value)``: a factory that is closed after the test."""
    factories: list[InfrastructureFactory[Any]] = []

    def construct(name: str = "shop", **more: str) -> Any:
        env = environment(dynamodb, **more)
        factories.append(InfrastructureFactory.construct(Environment(name, env)))
        return factories[-1]

    yield construct
    for factory in factories:
        factory.close()
