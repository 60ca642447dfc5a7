"""Telling a repeated append from a conflict: the same question for every store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventcore.events.recorded import Recorded
from eventcore.stores.log import ANY_VERSION, AppendResult, StreamAppend


def repeated_append(
    appends: Sequence[StreamAppend], stored: Mapping[str, Recorded[Any]]
) -> AppendResult | None:
    """The result that an append had when it was stored before; None if it is not this very one.

    Args:
        appends: What is to be appended.
        stored: What is stored under its event ids; ids that are not stored are left out.
    """
    found: list[Recorded[Any]] = []
    for stream, expected_version, events in appends:
        for ordinal, encoded in enumerate(events, start=1):
            event = stored.get(encoded.event_id)
            if event is None or (event.stream, event.type, event.state) != (
                stream,
                encoded.type,
                encoded.state,
            ):
                return None
            if expected_version not in {ANY_VERSION, event.version - ordinal}:
                return None
            found.append(event)
    return AppendResult(
        tuple([event.position for event in found]),
        tuple([event.version for event in found]),
        repeated=True,
    )
