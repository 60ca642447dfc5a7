"""Places inside an event as messages name them, without showing what a sender wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

HIDDEN_NAME: Final = "(hidden)"
"""Stands in messages for a key that does not look like the name of a field."""

_FIELD_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


def place_of(location: Iterable[str | int]) -> str:
    """A place as text: its steps, joined by points."""
    return ".".join(map(shown_name, map(str, location)))


def shown_name(name: str) -> str:
    """A key as messages show it: itself if it looks like a field, else :data:`HIDDEN_NAME`.

    Whoever sends an event chooses its keys: one may be an address, or as long as a book.
    """
    return name if _FIELD_NAME.fullmatch(name) else HIDDEN_NAME
