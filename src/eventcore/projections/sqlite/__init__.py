"""Read models on SQLite."""

from eventcore.projections.sqlite.views import SQLiteViews

__all__ = ["SQLiteViews"]
