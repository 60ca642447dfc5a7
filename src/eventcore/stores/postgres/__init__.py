"""The log, and ``eventsourcing``'s recorders, on Postgres: no writer waits, nothing is skipped.

As a persistence module of an application written for ``eventsourcing`` alone, unchanged::

    PERSISTENCE_MODULE=eventcore.stores.postgres
    POSTGRES_DBNAME=shop
    POSTGRES_HOST=127.0.0.1
    POSTGRES_USER=shop
    POSTGRES_PASSWORD=...

The tables are those of ``eventsourcing.postgres``: either library can use them, also both at once.
"""

# The base library looks for exactly one factory class among the names of this module.
from eventcore.stores.postgres.factory import PostgresFactory

__all__ = ["PostgresFactory"]
