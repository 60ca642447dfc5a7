"""Reservation: who holds a value that only one aggregate may hold.

One stream per value, named by a digest of it. It is written in the same append as the event that
needs it, so of two writers who want the same value one loses the race for this stream.
"""

from __future__ import annotations

from dataclasses import dataclass

from eventcore.aggregates.aggregate import Aggregate, applies
from eventcore.events.catalogue.reservations import ReservationClaimed, ReservationReleased


@dataclass(kw_only=True)
class Reservation(Aggregate, category="reservation"):
    """A value that one holder has, or nobody.

    Attributes:
        holder: Stream of the aggregate that has it; None: it is free.
    """

    holder: str | None = None

    @applies(ReservationClaimed)
    def _claimed(self, event: ReservationClaimed) -> None:
        self.holder = event.holder

    @applies(ReservationReleased)
    def _released(self, event: ReservationReleased) -> None:
        if self.holder == event.holder:
            self.holder = None

    def claim(self, holder: str, *, reason: str) -> None:
        """Give the value to a holder; nothing happens if it has it already.

        Raises:
            RuleViolationError: Another holder has it; the code is ``reason``.
        """
        if self.holder == holder:
            return
        if self.holder is not None:
            self.refuse(reason, "another holder has it")
        self.record(ReservationClaimed(reservation_id=self.id, holder=holder))

    def release(self, holder: str) -> None:
        """Take the value back from a holder; nothing happens if it has it no longer."""
        if self.holder == holder:
            self.record(ReservationReleased(reservation_id=self.id, holder=holder))
