"""Who holds a value that only one may hold, such as an e-mail address.

Bookkeeping of the library: written in the same append as the event that needs it, never shown in
read models that list events. ``reservation_id`` is ``kind:digest``; the value itself is not stored.
"""

from __future__ import annotations

from eventcore.events.event import DomainEvent
from eventcore.events.fields import Id


class ReservationEvent(
    DomainEvent, category="reservation", key="reservation_id", group="system", internal=True
):
    """Base of what happens to a reservation."""

    reservation_id: Id
    holder: Id


class ReservationClaimed(ReservationEvent, type="reservation.claimed"):
    """The holder, named by its stream, has the value now."""


class ReservationReleased(ReservationEvent, type="reservation.released"):
    """The holder gave the value back."""
