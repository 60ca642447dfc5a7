"""Read models on Postgres."""

from eventcore.projections.postgres.views import PostgresViews

__all__ = ["PostgresViews"]
