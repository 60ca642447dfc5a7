"""Files, and factories on them, for the tests of the SQLite persistence module."""

from __future__ import annotations

import pytest
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.utils import Environment


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "shop.db")


@pytest.fixture
def opened():
    """Build factories that are closed after the test: ``opened(path, module, name, **env)``."""
    factories = []

    def build(path, persistence_module="eventcore.stores.sqlite", name="", **env):
        env = {
            "PERSISTENCE_MODULE": persistence_module,
            "SQLITE_DBNAME": path,
            "ORIGINATOR_ID_TYPE": "text",
            **env,
        }
        factory = InfrastructureFactory.construct(Environment(name, env))
        factories.append(factory)
        return factory

    yield build
    for factory in factories:
        factory.close()
