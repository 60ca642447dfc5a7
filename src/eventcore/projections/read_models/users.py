"""users: who there is, as of the last event."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from eventcore.events.catalogue import (
    UserClosed,
    UserEmailChanged,
    UserProfileUpdated,
    UserReactivated,
    UserRegistered,
    UserSuspended,
)
from eventcore.events.recorded import Recorded
from eventcore.projections.projection import Projection, on
from eventcore.projections.read_models.keys import by_id
from eventcore.projections.tables import Index, Table


class UserRow(NamedTuple):
    """One user."""

    user_id: str
    email: str
    first_name: str | None
    last_name: str | None
    status: Literal["active", "suspended", "closed"]
    created_at: datetime
    updated_at: datetime


USERS = Table("users", UserRow, key=["user_id"], indexes=[Index.on("email"), Index.on("status")])


class Users(Projection):
    """Keeps ``users``. That an address is unique is the write side's business, not this table's."""

    name = "users"
    fingerprint = "1"
    tables = (USERS,)
    share_by = "stream"

    @on(UserRegistered, key=by_id)
    def registered(self, _row: UserRow | None, event: Recorded[UserRegistered]) -> UserRow:
        """Add the user."""
        user, at = event.payload, event.timestamp
        return UserRow(event.id, user.email, user.first_name, user.last_name, "active", at, at)

    @on(UserProfileUpdated, key=by_id)
    def renamed(self, row: UserRow | None, event: Recorded[UserProfileUpdated]) -> UserRow | None:
        """Take over the names that are given."""
        if row is None:
            return None
        given = event.payload
        return row._replace(
            first_name=row.first_name if given.first_name is None else given.first_name,
            last_name=row.last_name if given.last_name is None else given.last_name,
            updated_at=event.timestamp,
        )

    @on(UserEmailChanged, key=by_id)
    def moved(self, row: UserRow | None, event: Recorded[UserEmailChanged]) -> UserRow | None:
        """Take over the address."""
        return row and row._replace(email=event.payload.email, updated_at=event.timestamp)

    @on(UserSuspended, key=by_id)
    def suspended(self, row: UserRow | None, event: Recorded[UserSuspended]) -> UserRow | None:
        """Suspend."""
        return row and row._replace(status="suspended", updated_at=event.timestamp)

    @on(UserReactivated, key=by_id)
    def reactivated(self, row: UserRow | None, event: Recorded[UserReactivated]) -> UserRow | None:
        """Reactivate."""
        return row and row._replace(status="active", updated_at=event.timestamp)

    @on(UserClosed, key=by_id)
    def closed(self, row: UserRow | None, event: Recorded[UserClosed]) -> UserRow | None:
        """Close; the row stays."""
        return row and row._replace(status="closed", updated_at=event.timestamp)
