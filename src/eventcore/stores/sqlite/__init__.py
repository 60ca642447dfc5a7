"""The log, and ``eventsourcing``'s recorders, on SQLite: one durable file, any process follows.

As a persistence module of an application written for ``eventsourcing`` alone, unchanged::

    PERSISTENCE_MODULE=eventcore.stores.sqlite
    SQLITE_DBNAME=shop.db

The tables are those of ``eventsourcing.sqlite``: the same file can be opened by either. See
:class:`SQLiteFactory` for the environment.
"""

# The base library looks for exactly one factory class among the names of this module.
from eventcore.stores.sqlite.factory import SQLiteFactory

__all__ = ["SQLiteFactory"]
