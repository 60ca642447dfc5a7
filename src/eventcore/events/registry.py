"""Which event types exist: stored name to class, where classes register themselves."""

from eventcore.events.event import EventRegistry, default_registry

__all__ = ["EventRegistry", "default_registry"]
