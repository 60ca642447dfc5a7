"""Places in the past that a person names: a time, or a position of the log."""

from __future__ import annotations

from datetime import UTC, datetime

from eventcore.errors import ConfigurationError


def time_of(option: str, text: str) -> datetime:
    """A time that was given to an option, in UTC.

    Raises:
        ConfigurationError: It is none, has no offset, or lies outside the years 1 to 9999.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{option} {text!r} is not a time like 2011-12-01T09:00:00Z"
        raise ConfigurationError(message=message) from error
    if moment.tzinfo is None:
        message = f"{option} {text!r} needs an offset, such as Z for UTC"
        raise ConfigurationError(message=message)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        message = f"{option} {text!r} lies outside the years 1 to 9999 of UTC"
        raise ConfigurationError(message=message) from error


def place_of(option: str, text: str) -> datetime | int:
    """A time or, written in digits alone, a position.

    Raises:
        ConfigurationError: See :func:`time_of`.
    """
    # Such as 20111201 are positions too: a time has an offset.
    return int(text) if text.isascii() and text.isdigit() else time_of(option, text)
