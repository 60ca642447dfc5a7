"""Whom an event is about, as far as its metadata or its payload say."""

from __future__ import annotations

import re
from typing import Any, Final

from eventcore.events.limits import ID_LENGTH_MAX
from eventcore.events.recorded import Recorded

_ID: Final = re.compile(rf"[^\x00-\x1f\x7f-\x9f]{{1,{ID_LENGTH_MAX}}}")


def user_of(event: Recorded[Any]) -> str | None:
    """The user who acted; else the one the payload names in ``userId``."""
    return subject(event.envelope, "userId")


def subject(envelope: dict[str, Any], name: str) -> str | None:
    """An id from the context of a stored event; else from its payload, under the same wire name."""
    # From the stored JSON: these columns are filled for every type, also those no class is known
    # for.
    found = context_id(envelope, name)
    if found is not None:
        return found
    data = envelope["data"]
    return usable_id(data[name]) if isinstance(data, dict) and name in data else None


def context_id(envelope: dict[str, Any], name: str) -> str | None:
    """An id from the context of a stored event."""
    context = envelope.get("ctx")
    return usable_id(context[name]) if context and name in context else None


def usable_id(value: object) -> str | None:
    """The value, if it is one that an id can have.

    A payload of a type nobody knows may hold anything under the name, and what is no id names
    nobody: no read model can find it, and no event may stop one.
    """
    if isinstance(value, str) and (
        # Nearly always: printable is a narrower notion, and quick to find out.
        (value.isprintable() and 0 < len(value) <= ID_LENGTH_MAX) or _ID.fullmatch(value)
    ):
        return value
    return None
