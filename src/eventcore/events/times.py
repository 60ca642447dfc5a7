"""Times as text: aware UTC, microseconds, fixed width, so that text sorts as time does."""

from __future__ import annotations

from datetime import UTC, datetime

TIMESTAMP_LENGTH = 27
"""``2026-11-22T21:34:28.123456Z``."""


def to_text(moment: datetime) -> str:
    """Write an aware time as UTC, e.g. ``2026-11-22T21:34:28.123456Z``.

    Raises:
        ValueError: The time has no zone.
    """
    if moment.tzinfo is not UTC:
        if moment.tzinfo is None:
            msg = "a time without a zone is ambiguous"
            raise ValueError(msg)
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def from_text(text: str) -> datetime:
    """Read what :func:`to_text` wrote."""
    return datetime.fromisoformat(text)
