"""metadata: one card for each user, session, order and model: whose it is and how it stands.

For those who look after many kinds of things at once: ``query metadata --where user_id=u-1``. Not
among the projections that are kept unless asked for::

    open_app(projections=[*built_in_projections(), Metadata()])

Your own aggregates get cards too, if a subclass says what their events come to::

    class Cards(Metadata):
        name = "metadata"
        statuses = {**Metadata.statuses, "ticket.opened": "open", "ticket.solved": "solved"}
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from eventcore.events.catalogue import OrderPaid, OrderRefunded
from eventcore.events.event import DomainEvent
from eventcore.events.recorded import Recorded
from eventcore.projections.projection import Projection, on
from eventcore.projections.read_models.subjects import user_of
from eventcore.projections.tables import Index, Table

REFUNDED = "refunded"


class MetadataRow(NamedTuple):
    """One thing; ``version`` counts its events, ``owed`` (internal) is what may be refunded.

    ``user_id`` is the first that its events name; None if none does.
    """

    entity_type: str
    entity_id: str
    user_id: str | None
    status: str
    version: int
    created_at: datetime
    updated_at: datetime
    owed: Decimal | None


METADATA = Table(
    "metadata",
    MetadataRow,
    key=["entity_type", "entity_id"],
    indexes=[Index.on("user_id", "status", present=True)],
    columns={"owed": "_owed"},
)


class Metadata(Projection):
    """Keeps ``metadata``.

    Attributes:
        statuses: Stored names of events to the status they lead to. The categories named here have
            cards; an event of theirs that is not named leaves the status as it is.
    """

    name = "metadata"
    fingerprint = "1"
    tables = (METADATA,)
    share_by = "stream"
    statuses: ClassVar[Mapping[str, str]] = {
        "user.registered": "active",
        "user.suspended": "suspended",
        "user.reactivated": "active",
        "user.closed": "closed",
        "session.started": "active",
        "session.ended": "ended",
        "order.created": "created",
        "order.paid": "paid",
        "order.shipped": "shipped",
        "order.delivered": "delivered",
        "order.cancelled": "cancelled",
        "ml.model.registered": "registered",
        "ml.model.version_trained": "trained",
        "ml.model.deployed": "deployed",
        "ml.model.retired": "retired",
    }

    @on(DomainEvent, key=lambda event: (event.category, event.id))
    def changed(self, row: MetadataRow | None, event: Recorded[Any]) -> MetadataRow | None:
        """Take over what the event says."""
        status = self.statuses.get(event.type)
        if row is None:
            if status is None:
                return None
            key = (event.category, event.id)
            row = MetadataRow(*key, None, status, 0, event.timestamp, event.timestamp, None)
        return _paid_back(
            row._replace(
                user_id=row.user_id or user_of(event),
                status=status or row.status,
                version=event.version,
                updated_at=event.timestamp,
            ),
            event,
        )


def _paid_back(row: MetadataRow, event: Recorded[Any]) -> MetadataRow:
    """An order is refunded when all the money is back."""
    if event.type == OrderPaid.__event__.type:
        return row._replace(owed=event.payload.amount)
    if event.type == OrderRefunded.__event__.type and row.owed is not None:
        owed = row.owed - event.payload.amount
        return row._replace(owed=owed, status=REFUNDED if owed <= 0 else row.status)
    return row
