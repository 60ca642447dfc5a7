"""What may be asked of a user."""

from __future__ import annotations

from typing_extensions import override

from eventcore.aggregates.users import User
from eventcore.commands.command import Command
from eventcore.events.catalogue.users import Email, Name
from eventcore.events.fields import Id, Text


class RegisterUser(Command, aggregate=User):
    """Open an account."""

    user_id: Id
    email: Email
    first_name: Name | None = None
    last_name: Name | None = None
    registration_source: Text | None = None

    @override
    def decide(self, user: User, /) -> None:
        """See :meth:`User.register`."""
        user.register(
            email=self.email,
            first_name=self.first_name,
            last_name=self.last_name,
            registration_source=self.registration_source,
        )


class UpdateProfile(Command, aggregate=User):
    """Replace the names that are given; at least one is."""

    user_id: Id
    first_name: Name | None = None
    last_name: Name | None = None

    @override
    def decide(self, user: User, /) -> None:
        """See :meth:`User.update_profile`."""
        user.update_profile(first_name=self.first_name, last_name=self.last_name)


class ChangeEmail(Command, aggregate=User):
    """Reach the user at another address."""

    user_id: Id
    email: Email

    @override
    def decide(self, user: User, /) -> None:
        """See :meth:`User.change_email`."""
        user.change_email(email=self.email)


class SuspendUser(Command, aggregate=User):
    """Keep a user from acting for now."""

    user_id: Id
    reason: Text | None = None

    @override
    def decide(self, user: User, /) -> None:
        """See :meth:`User.suspend`."""
        user.suspend(reason=self.reason)


class ReactivateUser(Command, aggregate=User):
    """Let a suspended user act again."""

    user_id: Id
    reason: Text | None = None

    @override
    def decide(self, user: User, /) -> None:
        """See :meth:`User.reactivate`."""
        user.reactivate(reason=self.reason)


class CloseUser(Command, aggregate=User):
    """End an account, for good."""

    user_id: Id
    reason: Text | None = None

    @override
    def decide(self, user: User, /) -> None:
        """See :meth:`User.close`."""
        user.close(reason=self.reason)
