"""Replay: read models as they were, at any position or time, from a log or its archive.

::

    with open_app("sqlite:///shop.db") as app:
        app.replay("sqlite:///last-tuesday.db", until=datetime(2026, 11, 24, tzinfo=UTC))

The rows are made by the projections that keep the live ones, and go where no runner touches them.
"""

from eventcore.replay.cuts import Cut, cut_of
from eventcore.replay.replaying import OnReplayed, Replayed, replay
from eventcore.replay.targets import drop_replays

__all__ = ["Cut", "OnReplayed", "Replayed", "cut_of", "drop_replays", "replay"]
