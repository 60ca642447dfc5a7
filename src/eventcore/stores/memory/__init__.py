"""The log, and ``eventsourcing``'s recorders, in the memory of one process: for tests and trials.

As a persistence module of an application written for ``eventsourcing`` alone:
``PERSISTENCE_MODULE=eventcore.stores.memory``. There is nothing to configure.
"""

# The base library looks for exactly one factory class among the names of this module.
from eventcore.stores.memory.persistence import MemoryFactory

__all__ = ["MemoryFactory"]
