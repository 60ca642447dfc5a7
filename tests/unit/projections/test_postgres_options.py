"""What a URL of Postgres asks for holds for the read models, too, beside the log and elsewhere."""

from __future__ import annotations

import pytest

from eventcore.app import App, open_app
from eventcore.projections.postgres import PostgresViews
from eventcore.settings import Settings
from tests.postgres import PostgresSchema, store_url

HEAR_SECONDS = 60.0
SILENCE_SECONDS = 0.3


def is_announced(app: App, place: PostgresSchema, *, wait_seconds: float) -> bool:
    """Whether other processes are told that read models have changed."""
    with place.connect() as listener:
        listener.execute("LISTEN eventcore")
        app.views.ensure(app.projections[0])
        return any(
            heard.payload == f"views:{place.schema}"
            for heard in listener.notifies(timeout=wait_seconds, stop_after=1)
        )


def test_read_models_elsewhere_obey_the_options_of_their_url(postgres_schema: PostgresSchema):
    views = store_url(
        postgres_schema.url, postgres_schema.schema, prepare="no", pool="3", notify="no"
    )

    with open_app(settings=Settings(store="memory://", views=views)) as app:
        kept = app.views
        assert isinstance(kept, PostgresViews)
        assert kept.connections.prepare is False
        assert kept.connections._free.count == 3
        assert not is_announced(app, postgres_schema, wait_seconds=SILENCE_SECONDS)

    with pytest.raises(Exception, match="closed"):
        kept.connections.fetch(b"SELECT 1")


@pytest.mark.parametrize("beside", [True, False])
def test_read_models_are_announced_unless_told_otherwise(
    postgres_schema: PostgresSchema, *, beside: bool
):
    url = postgres_schema.store_url
    settings = Settings(store=url) if beside else Settings(store="memory://", views=url)

    with open_app(settings=settings) as app:
        assert is_announced(app, postgres_schema, wait_seconds=HEAR_SECONDS)


def test_read_models_beside_a_log_without_notifications_are_not_announced(
    postgres_schema: PostgresSchema,
):
    url = store_url(postgres_schema.url, postgres_schema.schema, notify="no")

    with open_app(url) as app:
        assert not is_announced(app, postgres_schema, wait_seconds=SILENCE_SECONDS)
