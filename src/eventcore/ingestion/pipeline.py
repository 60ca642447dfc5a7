"""The import: batches of lines are parsed, judged in order, and appended, each batch all or none.

The outcome of a run depends on the lines and on the log alone, and a batch is one append, so a run
that is killed anywhere and repeated reaches the same log as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from eventcore.errors import (
    ConcurrencyConflictError,
    EventIdReusedError,
    InputError,
    InvalidEventError,
    LimitExceededError,
    RetriesExhaustedError,
)
from eventcore.events.codec import Codec
from eventcore.events.event import DomainEvent
from eventcore.events.garbage import collector_paused
from eventcore.events.limits import EVENTS_PER_APPEND_MAX
from eventcore.events.recorded import NewEvent
from eventcore.events.wire import from_wire
from eventcore.ingestion.dead_letters import DeadLetter, DeadLetters
from eventcore.ingestion.judging import Candidate, Judge
from eventcore.ingestion.lines import Line
from eventcore.ingestion.report import IngestReport
from eventcore.stores.limits import limits_of
from eventcore.stores.log import Log

BATCH_LINES: Final = 2_000
"""Lines judged and appended together: one commit for so many events."""

PARTS_PER_LINE_MAX: Final = 3
"""Of one line may come three events of three streams: its own, and two that move a reservation; or
a refusal, which looked at two streams."""

BATCH_LINES_MAX: Final = EVENTS_PER_APPEND_MAX // PARTS_PER_LINE_MAX

BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""A batch of large lines ends early: bounds memory and the length of one transaction."""

ATTEMPTS_MAX: Final = 20
"""How often a batch is judged again because other writers moved its streams."""

CLOCK_AHEAD_SECONDS_MAX: Final = 24 * 60 * 60
"""A timestamp further in the future than this is a clock gone wrong, not a time zone."""


CLOCK_PROBLEM: Final = "timestamp: more than a day in the future"


class Ingestion:
    """Takes wire events into a log.

    Args:
        log: Where to.
        codec: Encodes the events.
        clock: The time now, aware.
        reservation_key: Key of the digests of reserved values; the same for all writers of a log.
        allow_unknown: Keep events of unknown types as they are, in a stream per type.
        retry_refused: Judge events again that a rule refused in an earlier run.
        batch_lines: Lines in one append, at most :data:`BATCH_LINES_MAX`, and at most what the log
            takes: see :class:`eventcore.stores.limits.LogLimits`.
    """

    def __init__(  # noqa: PLR0913 - each a keyword with a default
        self,
        log: Log,
        codec: Codec,
        *,
        clock: Callable[[], datetime],
        reservation_key: bytes = b"",
        allow_unknown: bool = False,
        retry_refused: bool = False,
        batch_lines: int = BATCH_LINES,
    ) -> None:
        self._log = log
        self._clock = clock
        self._allow_unknown = allow_unknown
        limits = limits_of(log)
        parts = min(limits.events_per_append_max, limits.streams_per_append_max)
        self._batch_lines = max(1, min(batch_lines, BATCH_LINES_MAX, parts // PARTS_PER_LINE_MAX))
        self._batch_bytes = min(BATCH_BYTES_MAX, limits.append_bytes_max)
        self._judge = Judge(
            log, codec, reservation_key=reservation_key, retry_refused=retry_refused
        )

    def run(
        self,
        lines: Iterable[Line],
        dead_letters: DeadLetters,
        on_batch: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """Take in every line; refused ones go to the dead letters, the others into the log.

        Args:
            lines: From :func:`eventcore.ingestion.lines.read_lines`.
            dead_letters: Where refused lines go.
            on_batch: Called after each batch with the counts so far.

        Raises:
            StoreError: The log cannot be written. Batches before are stored; run it again.
            InputError: The input breaks off. What came before is stored.
        """
        started = time.monotonic()
        report = IngestReport()
        for batch in _batches(lines, self._batch_lines, self._batch_bytes):
            for letters in self._take_parts(batch, report):
                if letters:
                    dead_letters.write(letters)
                report.seconds = time.monotonic() - started
                if on_batch is not None:
                    on_batch(report)
        report.seconds = time.monotonic() - started
        return report

    def _take_parts(
        self, batch: Sequence[Line], report: IngestReport
    ) -> Iterator[list[DeadLetter]]:
        """Take a batch at once, or in halves where it is too much for one commit of the log."""
        parts = [batch]
        while parts:
            part = parts.pop()
            try:
                with collector_paused():
                    letters = self._take(part, report)
            except LimitExceededError:
                # Nothing was sent. How much a few large events come to, only the log knows.
                if len(part) == 1:
                    raise
                self._judge.forget()
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                yield letters

    def _take(self, batch: Sequence[Line], report: IngestReport) -> list[DeadLetter]:
        candidates, letters = self._parse(batch)
        for _ in range(ATTEMPTS_MAX):
            verdict = self._judge.judge(candidates)
            try:
                self._judge.write(verdict)
                break
            except (ConcurrencyConflictError, EventIdReusedError):
                # Another writer moved one of the streams: what we know of them is stale.
                self._judge.forget()
        else:
            raise RetriesExhaustedError(
                command="the import", stream=f"line {batch[0].number}", attempts=ATTEMPTS_MAX
            )
        letters = sorted(letters + verdict.letters, key=lambda letter: letter.line.number)
        report.read += len(batch)
        report.accepted += verdict.accepted
        report.duplicate += verdict.duplicate
        report.rejected += len(letters)
        report.reasons.update(letter.reason for letter in letters)
        return letters

    def _parse(self, batch: Sequence[Line]) -> tuple[list[Candidate], list[DeadLetter]]:
        candidates: list[Candidate] = []
        letters: list[DeadLetter] = []
        latest = self._clock().timestamp() + CLOCK_AHEAD_SECONDS_MAX
        for line in batch:
            try:
                event: NewEvent[DomainEvent] = from_wire(
                    line.data, allow_unknown=self._allow_unknown
                )
                if event.payload.__event__.internal:
                    _refuse(
                        "unknown-type",
                        "events of this type are made by the library only",
                        "eventType",
                    )
            except InvalidEventError as error:
                letters.append(DeadLetter(line, error.reason, error.facts["message"]))
            else:
                # Time decides: remembered, so that a later run does not decide otherwise.
                ahead = event.timestamp.timestamp() > latest
                candidates.append(Candidate(line, event, CLOCK_PROBLEM if ahead else None))
        return candidates, letters


def _refuse(reason: str, message: str, field: str) -> None:
    raise InvalidEventError(reason=reason, message=message, field=field)


def _batches(lines: Iterable[Line], size: int, bytes_max: int) -> Iterator[list[Line]]:
    batch: list[Line] = []
    batch_bytes = 0
    try:
        for line in lines:
            batch.append(line)
            batch_bytes += len(line.data)
            if len(batch) >= size or batch_bytes >= bytes_max:
                yield batch
                batch, batch_bytes = [], 0
    except InputError:
        # The input broke off: what was read whole is taken in first.
        if batch:
            yield batch
        raise
    if batch:
        yield batch
