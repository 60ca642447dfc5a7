"""What happens to a user."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from eventcore.events.event import DomainEvent, EventMetadata
from eventcore.events.fields import Id, Note, Personal, Text

EMAIL_LENGTH_MAX = 254
"""Characters in an address that can be used in mail (RFC 5321 section 4.5.3.1.3, erratum 1690)."""

# The syntax of an address is a rule of the User aggregate, not of the payload: an address stored
# under an older rule must stay readable for ever.
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000, pattern=r"^[^\x00]+$"),
    Personal(),
]
Name = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]+$"), Personal()]


class UserRegisteredMetadata(EventMetadata):
    """Where a registration came from."""

    ip_address: Annotated[Note, Personal()] | None = None
    user_agent: Annotated[Note, Personal()] | None = None
    referrer: Note | None = None


class UserEvent(DomainEvent, category="user", key="user_id", group="user"):
    """Base of what happens to a user."""

    user_id: Id


class UserRegistered(UserEvent, type="user.registered", metadata=UserRegisteredMetadata):
    """A user came to be. First event of the stream."""

    email: Email
    first_name: Name | None = None
    last_name: Name | None = None
    registration_source: Text | None = None


class UserProfileUpdated(UserEvent, type="user.profile_updated"):
    """The given names replace the old ones; at least one is given."""

    first_name: Name | None = None
    last_name: Name | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> UserProfileUpdated:
        if self.first_name is None and self.last_name is None:
            msg = "firstName or lastName is needed"
            raise ValueError(msg)
        return self


class UserEmailChanged(UserEvent, type="user.email_changed"):
    """The user is reached at another address."""

    email: Email


class UserSuspended(UserEvent, type="user.suspended"):
    """The user may not act for now."""

    reason: Text | None = None


class UserReactivated(UserEvent, type="user.reactivated"):
    """The user may act again."""

    reason: Text | None = None


class UserClosed(UserEvent, type="user.closed"):
    """The account ended, for good; its address is free again."""

    reason: Text | None = None
