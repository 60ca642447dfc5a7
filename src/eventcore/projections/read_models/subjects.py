"""Whom an event is about, as far as its metadata or its payload say."""

from __future__ import annotations

from typing import Any

from eventcore.events.recorded import Recorded


def user_of(event: Recorded[Any]) -> str | None:
    """The user who acted; else the one the payload names in ``userId``."""
    return subject(event.envelope, "userId")


def subject(envelope: dict[str, Any], name: str) -> str | None:
    """An id from the context of a stored event; else from its payload, under the same wire name."""
    # From the stored JSON: these columns are filled for every type, also those no class is known
    # for.
    if "ctx" in envelope and name in (context := envelope["ctx"]):
        return context[name]  # type: ignore[no-any-return]  # the codec writes text there
    data = envelope["data"]
    if name in data and isinstance(value := data[name], str):
        return value
    return None
