"""What a service logs, on standard error: a line a record, for people or for programs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from typing_extensions import override

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import errors, json_text, printable, safe
from eventcore.events.times import to_text

_NO_FACTS: Final = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "exc_text"}
)
"""What every record has; all else was given as ``extra=``."""


class LogForm(StrEnum):
    """How a record is written."""

    PLAIN = "plain"
    JSON = "json"


@contextmanager
def logging_to_stderr(form: LogForm | None) -> Iterator[None]:
    """Write what the library logs to standard error for as long as a block lasts.

    Args:
        form: Records from INFO on, in this form; None: warnings only, as the command's other words.
    """
    logger = logging.getLogger("eventcore")
    handler = _Handler(form or (LogForm.JSON if OPTIONS.json else LogForm.PLAIN))
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if form is None else logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


class _Handler(logging.Handler):
    def __init__(self, form: LogForm) -> None:
        super().__init__()
        self._form = form

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._form is LogForm.JSON:
                errors.file.write(json_text(facts_of(record)) + "\n")
                errors.file.flush()
            else:
                line = printable(" ".join(record.getMessage().split()))
                # By the console: whatever it draws meanwhile is drawn below.
                errors.print(safe(f"{_time_of(record)} {record.levelname} {line}"), soft_wrap=True)
        except Exception:  # noqa: BLE001 - as every handler does: a log never ends its program
            self.handleError(record)


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """A record as JSON: what every one has, and the facts given as ``extra=``."""
    facts = {name: value for name, value in vars(record).items() if name not in _NO_FACTS}
    return {
        "time": _time_of(record),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
        **facts,
    }


def _time_of(record: logging.LogRecord) -> str:
    return to_text(datetime.fromtimestamp(record.created, UTC))
