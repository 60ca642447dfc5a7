"""Observing: a log whose appends are told to OpenTelemetry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventcore.stores.log import AppendResult, Log, StreamAppend
from eventcore.telemetry import Telemetry


class ObservedLog:
    """A log for those who append; everything but appending goes through.

    Args:
        log: The log.
        telemetry: Where it is told.
    """

    def __init__(self, log: Log, telemetry: Telemetry) -> None:
        self._log = log
        self._telemetry = telemetry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """See :meth:`eventcore.stores.log.Log.append`."""
        types = [event.type for append in appends for event in append.events]
        attributes = {"eventcore.events": len(types), "eventcore.streams": len(appends)}
        with self._telemetry.span("eventcore.append", attributes) as set_attributes:
            result = self._log.append(appends)
            set_attributes(
                {"eventcore.position": result.positions[-1], "eventcore.repeated": result.repeated}
            )
        if not result.repeated:
            self._telemetry.appended(types)
        return result
