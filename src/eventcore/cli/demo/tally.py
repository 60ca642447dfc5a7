"""A plain count of the log, made without aggregates and read models, to hold them against."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from eventcore.events.registry import default_registry
from eventcore.stores.log import Log


@dataclass(slots=True)
class Tally:
    """What stands in a log.

    Attributes:
        events: All events.
        internal: Those of them that are the library's own bookkeeping.
        types: Events by type.
        streams: Streams by category.
        revenue: Sum of the totals of all orders, all in one currency.
        longest_order: Stream of the order with most events, the first of those.
    """

    events: int = 0
    internal: int = 0
    types: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    revenue: Decimal = Decimal(0)
    longest_order: str = ""


def count(log: Log, until: int) -> Tally:
    """Count a log up to a position, from the stored JSON."""
    tally = Tally()
    longest = 0
    for event in log.read(until=until):
        known = default_registry.get(event.type)
        tally.events += 1
        tally.internal += bool(known and known.__event__.internal)
        tally.types[event.type] += 1
        if event.version == 1:
            tally.streams[event.category] += 1
        if event.type == "order.created":
            tally.revenue += Decimal(event.envelope["data"]["totalAmount"])
        if event.category == "order" and event.version > longest:
            longest, tally.longest_order = event.version, event.stream
    return tally
