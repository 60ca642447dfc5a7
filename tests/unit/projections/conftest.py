"""What tests of projections share."""

import pytest

from eventcore.projections import engine


@pytest.fixture
def nothing_is_parked(monkeypatch):
    """A projection stops at an event that fails, as it does when too much is parked already."""
    monkeypatch.setattr(engine, "PARKED_UNITS_MAX", 0)
