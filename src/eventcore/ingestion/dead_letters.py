"""Dead letters: what was refused, why, and its original bytes, one JSON object a line.

``{"line":7,"reason":"missing-field","message":"…","raw":"…"}``

Bytes that are not UTF-8 stand in ``raw`` as base64, marked by ``"encoding":"base64"``. Sending the
``raw`` of a line again, mended, is how a dead letter is retried.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import orjson

from eventcore.errors import InputError
from eventcore.ingestion.lines import Line


class DeadLetter(NamedTuple):
    """A refused line.

    Attributes:
        line: Where it stood, and its bytes.
        reason: Stable code, e.g. ``email-taken``.
        message: For a person; never contains personal values.
    """

    line: Line
    reason: str
    message: str

    def to_json(self) -> bytes:
        """One line of a dead-letter file, without the line end."""
        record: dict[str, Any] = {
            "line": self.line.number,
            "reason": self.reason,
            "message": self.message,
        }
        try:
            record["raw"] = self.line.data.decode("utf-8")
        except UnicodeDecodeError:
            record["raw"] = base64.b64encode(self.line.data).decode("ascii")
            record["encoding"] = "base64"
        return orjson.dumps(record)


class DeadLetters(Protocol):
    """Where refused lines go."""

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these; they are durable before the next batch is read."""


class DiscardedDeadLetters:
    """Refused lines are counted, not kept."""

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Keep nothing."""


class DeadLetterFile:
    """Writes dead letters to a file that only its owner may read: raw lines hold personal data.

    The file is begun anew by each run; a run that is repeated refuses the same lines again.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise InputError(name=str(path), problem=error.strerror or str(error)) from error
        self._file = os.fdopen(descriptor, "wb")

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Append these lines and flush them."""
        self._file.writelines([letter.to_json() + b"\n" for letter in letters])
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
