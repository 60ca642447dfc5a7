"""What a URL of Postgres may say about the server it finds."""

from __future__ import annotations

import pytest

from eventcore.errors import ConfigurationError, StoreUnavailableError
from eventcore.stores.postgres.connections import PostgresConnections

NOBODY = "postgresql://ada:s3cret@127.0.0.1:1/shop?connect_timeout=2&target_session_attrs="


@pytest.mark.parametrize("wanted", ["any", "standby", "read-only", "prefer-standby", "other"])
def test_a_url_that_may_lead_to_a_replica_is_refused_with_the_reason(wanted):
    with pytest.raises(ConfigurationError, match="locks of writers") as refused:
        PostgresConnections(f"{NOBODY}{wanted}")

    assert f"target_session_attrs={wanted}" in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("wanted", ["primary", "read-write"])
def test_a_url_that_leads_to_the_primary_is_followed(wanted):
    with pytest.raises(StoreUnavailableError):
        PostgresConnections(f"{NOBODY}{wanted}")
