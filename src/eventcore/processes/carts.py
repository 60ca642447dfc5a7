"""CartAbandoned: a cart that was filled in a session and not ordered in time is noted there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from eventcore.commands.sessions import TrackActivity
from eventcore.errors import ConfigurationError
from eventcore.events.catalogue.orders import OrderCreated
from eventcore.events.catalogue.processes import ProcessTimedOut
from eventcore.events.catalogue.sessions import SessionActivity, SessionEnded
from eventcore.events.recorded import Recorded
from eventcore.processes.process import (
    ENDED,
    ProcessManager,
    Reaction,
    Timer,
    reacts,
    timed_out,
)
from eventcore.projections.tables import Index, Table

CART_WITHIN: Final = timedelta(hours=1)
"""How long a cart may stand untouched, unless told."""

CART_ACTIONS: Final = ("add_to_cart",)
"""Activities of a session that fill a cart, unless told."""

ABANDONED_ACTION: Final = "cart_abandoned"
"""The activity that is noted in the session."""


class CartRow(NamedTuple):
    """A cart that is not ordered.

    Attributes:
        items: Activities that filled it.
        filled_at: The last of them.
        ended: Whether its session has ended, so that nothing can be noted there any more.
    """

    session_id: str
    items: int
    filled_at: datetime
    status: Literal["open", "abandoned"] = "open"
    ended: bool = False


CARTS: Final = Table("carts", CartRow, key=["session_id"], indexes=[Index.on("status")])


class CartAbandoned(ProcessManager):
    """Notes carts that were left standing: in the session, unless that has ended, and in ``carts``.

    Args:
        within: How long a cart may stand after it was last filled.
        actions: Activities that fill a cart; an order that names the session empties it.

    Raises:
        ConfigurationError: That is no time.
    """

    name = "cart_abandoned"
    table = CARTS
    sends = (TrackActivity,)

    def __init__(
        self, within: timedelta = CART_WITHIN, actions: Iterable[str] = CART_ACTIONS
    ) -> None:
        if within <= timedelta(0):
            raise ConfigurationError(message=f"{self.name}: within is above zero, not {within}")
        self.within = within
        self.actions = frozenset(actions)

    @reacts(SessionActivity, key=lambda event: event.id)
    def filled(self, row: CartRow | None, event: Recorded[SessionActivity]) -> Reaction:
        """Wait anew, from the last thing that was put in."""
        if event.payload.action not in self.actions:
            return Reaction(row)
        at = event.timestamp
        items = row.items + 1 if row and row.status == "open" else 1
        return Reaction(CartRow(event.id, items, at), timers=[Timer("order", at + self.within)])

    @reacts(OrderCreated, key=lambda event: event.session_id)
    def ordered(self, _row: CartRow | None, _event: Recorded[OrderCreated]) -> Reaction:
        """The cart became an order."""
        return ENDED

    @reacts(SessionEnded, key=lambda event: event.id)
    def left(self, row: CartRow | None, _event: Recorded[SessionEnded]) -> Reaction:
        """The cart still counts as abandoned in time, but its session takes no more notes."""
        return Reaction(row and row._replace(ended=True))

    @timed_out("order")
    def abandoned(self, row: CartRow, _event: Recorded[ProcessTimedOut]) -> Reaction:
        """Note it."""
        note = TrackActivity(
            session_id=row.session_id, action=ABANDONED_ACTION, details={"items": row.items}
        )
        after: Any = row._replace(status="abandoned")
        return Reaction(after, commands=[] if row.ended else [note])
