"""User: a person with an account, from registration to closing.

active ⇄ suspended; closed is final. A user that is not closed holds its e-mail address: no other
may have the same one, in whatever case it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override

from eventcore.aggregates.aggregate import Aggregate, Claim, applies, guards
from eventcore.aggregates.emails import is_email, same_email
from eventcore.events.catalogue.users import (
    UserClosed,
    UserEmailChanged,
    UserEvent,
    UserProfileUpdated,
    UserReactivated,
    UserRegistered,
    UserSuspended,
)


class UserStatus(StrEnum):
    """Where a user stands."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


@dataclass(kw_only=True)
class User(Aggregate, category="user", begins_with=UserRegistered):
    """A user.

    Attributes:
        status: None before registration.
        email: As given, trimmed.
        first_name, last_name, registration_source: As given, if they were.
    """

    status: UserStatus | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    registration_source: str | None = None

    @override
    def claims(self) -> frozenset[Claim]:
        """The e-mail address, until the account is closed."""
        if self.email is None or self.status is UserStatus.CLOSED:
            return frozenset()
        return frozenset({Claim("email", same_email(self.email), reason="email-taken")})

    # --- what may happen -------------------------------------------------------------------------

    @guards(UserEvent)
    def _nothing_follows_closing(self, _event: UserEvent) -> None:
        if self.status is UserStatus.CLOSED:
            self.refuse("user-closed", "the account is closed")

    @guards(UserRegistered, UserEmailChanged)
    def _email_is_an_address(self, event: UserRegistered | UserEmailChanged) -> None:
        if not is_email(event.email):
            self.refuse("invalid-email", "the e-mail address is not of the form name@domain")

    @guards(UserSuspended)
    def _only_active_ones_are_suspended(self, _event: UserSuspended) -> None:
        if self.status is not UserStatus.ACTIVE:
            self.refuse(
                "invalid-transition", f"it is {self.status}, only an active user is suspended"
            )

    @guards(UserReactivated)
    def _only_suspended_ones_are_reactivated(self, _event: UserReactivated) -> None:
        if self.status is not UserStatus.SUSPENDED:
            self.refuse(
                "invalid-transition", f"it is {self.status}, only a suspended user is reactivated"
            )

    # --- what it does ----------------------------------------------------------------------------

    @applies(UserRegistered)
    def _registered(self, event: UserRegistered) -> None:
        self.status = UserStatus.ACTIVE
        self.email = event.email
        self.first_name = event.first_name
        self.last_name = event.last_name
        self.registration_source = event.registration_source

    @applies(UserProfileUpdated)
    def _profile_updated(self, event: UserProfileUpdated) -> None:
        if event.first_name is not None:
            self.first_name = event.first_name
        if event.last_name is not None:
            self.last_name = event.last_name

    @applies(UserEmailChanged)
    def _email_changed(self, event: UserEmailChanged) -> None:
        self.email = event.email

    @applies(UserSuspended)
    def _suspended(self, _event: UserSuspended) -> None:
        self.status = UserStatus.SUSPENDED

    @applies(UserReactivated)
    def _reactivated(self, _event: UserReactivated) -> None:
        self.status = UserStatus.ACTIVE

    @applies(UserClosed)
    def _closed(self, _event: UserClosed) -> None:
        self.status = UserStatus.CLOSED

    # --- what one may ask of it ------------------------------------------------------------------

    def register(
        self,
        *,
        email: str,
        first_name: str | None = None,
        last_name: str | None = None,
        registration_source: str | None = None,
    ) -> None:
        """Open the account.

        Raises:
            RuleViolationError: ``already-exists``, ``invalid-email``.
        """
        self.record(
            UserRegistered(
                user_id=self.id,
                email=email,
                first_name=first_name,
                last_name=last_name,
                registration_source=registration_source,
            )
        )

    def update_profile(
        self, *, first_name: str | None = None, last_name: str | None = None
    ) -> None:
        """Replace the names that are given; at least one is.

        Raises:
            RuleViolationError: ``not-found``, ``user-closed``.
        """
        self.record(UserProfileUpdated(user_id=self.id, first_name=first_name, last_name=last_name))

    def change_email(self, *, email: str) -> None:
        """Reach the user at another address; the old one becomes free.

        Raises:
            RuleViolationError: ``not-found``, ``user-closed``, ``invalid-email``.
        """
        self.record(UserEmailChanged(user_id=self.id, email=email))

    def suspend(self, *, reason: str | None = None) -> None:
        """Keep an active user from acting.

        Raises:
            RuleViolationError: ``not-found``, ``user-closed``, ``invalid-transition``.
        """
        self.record(UserSuspended(user_id=self.id, reason=reason))

    def reactivate(self, *, reason: str | None = None) -> None:
        """Let a suspended user act again.

        Raises:
            RuleViolationError: ``not-found``, ``user-closed``, ``invalid-transition``.
        """
        self.record(UserReactivated(user_id=self.id, reason=reason))

    def close(self, *, reason: str | None = None) -> None:
        """End the account, active or suspended, for good; its address becomes free.

        Raises:
            RuleViolationError: ``not-found``, ``user-closed``.
        """
        self.record(UserClosed(user_id=self.id, reason=reason))
