"""Telemetry: spans and metrics through OpenTelemetry, for those who ask for it.

Nothing here is imported, and nothing measured, unless an application is opened with a
:class:`Telemetry`. It uses the API alone: which collector hears of it, if any, is configured where
the process starts.

======================================= =========== ================================================
metric                                  kind, unit  what
======================================= =========== ================================================
``eventcore.projection.processed``      counter     events that were applied
``eventcore.projection.duration``       histogram s of applying one page
``eventcore.projection.gap.events``     gauge       positions between a checkpoint and the head
``eventcore.projection.gap.seconds``    gauge s     age of the oldest event not yet applied
``eventcore.projection.parked``         gauge       keys whose events wait since one failed
``eventcore.projection.held``           gauge       transactions that hold the feed
``eventcore.event.append``              counter     events that were appended
``eventcore.command.duration``          histogram s of executing one command
======================================= =========== ================================================

Spans: ``eventcore.command``, ``eventcore.append``, ``eventcore.page`` and within it
``eventcore.NAME.loading``, ``eventcore.NAME.writing`` and ``eventcore.NAME.execution``. No
attribute holds a payload, a key of a row or the text of an error that is not ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Final

from eventcore.errors import EventCoreError, MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider

NAME: Final = "eventcore"
"""Of the instrumentation: what its spans and metrics are found under."""

COLLECTION_SECONDS: Final = 1.0
"""So long what was measured for one gauge serves the others."""

Attributes = Mapping[str, str | int | float | bool]

Measure = Callable[[], Iterable[tuple[str, str, float]]]
"""Gives the last part of a gauge's name (``gap.events``), the projection, and the value."""


class Telemetry:
    """Where spans and metrics go. Safe under threads; one for a process is enough.

    Args:
        tracer_provider: Makes spans; OpenTelemetry's global one by default.
        meter_provider: Likewise for metrics.

    Raises:
        MissingExtraError: OpenTelemetry's API is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra, only where used
        except ImportError as error:
            raise MissingExtraError(
                feature="Telemetry", package="opentelemetry-api", extra="otel"
            ) from error
        version = metadata.version("eventcore-es")
        self._status = trace.StatusCode.ERROR
        self._tracer = trace.get_tracer(NAME, version, tracer_provider)
        self._meter = metrics.get_meter(NAME, version, meter_provider)
        counter, histogram = self._meter.create_counter, self._meter.create_histogram
        self._processed = counter(
            "eventcore.projection.processed", "{event}", "Events that were applied"
        )
        self._duration = histogram("eventcore.projection.duration", "s", "Of applying one page")
        self._appended = counter("eventcore.event.append", "{event}", "Events that were appended")
        self._commands = histogram("eventcore.command.duration", "s", "Of executing one command")
        self._sources: list[_Source] = []
        for name, unit, about in _GAUGES:
            self._meter.create_observable_gauge(
                f"eventcore.projection.{name}",
                [partial(self._read, name)],
                unit,
                about,
            )

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[Callable[[Attributes], None]]:
        """A span around a block, current in it; gives what sets further attributes.

        If the block raises, the span says which kind of error that was. The text of an error is
        told only if it is ours, which never holds a personal value.
        """
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span.set_attributes
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                text = str(error) if isinstance(error, EventCoreError) else type(error).__name__
                span.set_status(self._status, text)
                raise

    def past_span(self, name: str, began_ns: int, attributes: Attributes) -> None:
        """A span that ends now, of something whose name was not known when it began.

        Args:
            name: Its name.
            began_ns: What :func:`time.time_ns` gave then.
            attributes: Of it.
        """
        self._tracer.start_span(name, attributes=attributes, start_time=began_ns).end()

    @contextmanager
    def command(self, name: str, aggregate: str) -> Iterator[Callable[[Attributes], None]]:
        """Around the execution of a command."""
        began = time.monotonic()
        outcome = "failed"
        try:
            with self.span(
                "eventcore.command", {"eventcore.command": name, "eventcore.aggregate": aggregate}
            ) as set_attributes:
                yield set_attributes
            outcome = "done"
        finally:
            took_seconds = time.monotonic() - began
            attributes = {"eventcore.command": name, "eventcore.outcome": outcome}
            self._commands.record(took_seconds, attributes)

    def appended(self, types: Iterable[str]) -> None:
        """Count events that were appended, by their types."""
        for event_type in types:
            self._appended.add(1, {"eventcore.event_type": event_type})

    def processed(self, projection: str, events: int, took_seconds: float) -> None:
        """Note that a page was applied to a projection.

        Args:
            projection: Its name.
            events: How many of the page concerned it.
            took_seconds: How long the page took, for all projections that it was applied to.
        """
        attributes = {"eventcore.projection": projection}
        self._processed.add(events, attributes)
        self._duration.record(took_seconds, attributes)

    @contextmanager
    def observing(self, measure: Measure) -> Iterator[None]:
        """Have the gauges show something for as long as a block lasts.

        Args:
            measure: Called when metrics are collected, at most once a second.
        """
        source = _Source(measure)
        self._sources.append(source)
        try:
            yield
        finally:
            self._sources.remove(source)

    def _read(self, gauge: str, _options: CallbackOptions) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation  # noqa: PLC0415 - see the class

        return [
            Observation(value, {"eventcore.projection": projection})
            for source in list(self._sources)
            for name, projection, value in source.read()
            if name == gauge
        ]


class _Source:
    """What gauges show: measured once for all gauges of one collection."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._lock = threading.Lock()
        self._found: list[tuple[str, str, float]] = []
        self._until = 0.0

    def read(self) -> list[tuple[str, str, float]]:
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._found = list(self._measure())
                except EventCoreError:
                    self._found = []  # a database is away: that nothing comes tells it
                self._until = time.monotonic() + COLLECTION_SECONDS
            return self._found


_GAUGES: Final = (
    ("gap.events", "{event}", "Positions between the checkpoint and the head of the log"),
    ("gap.seconds", "s", "Age of the oldest event that is not applied"),
    ("parked", "{key}", "Keys whose events wait since one of them failed"),
    ("held", "{transaction}", "Transactions that hold the feed"),
)
