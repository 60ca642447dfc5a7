"""Dead letters: what was refused, why, and its original bytes, one JSON object a line.

``{"line":7,"reason":"missing-field","message":"…","raw":"…"}``

Bytes that are not UTF-8 stand in ``raw`` as base64, marked by ``"encoding":"base64"``. Sending the
``raw`` of a line again, mended, is how a dead letter is retried.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self

import orjson

from eventcore.errors import InputError
from eventcore.ingestion.lines import Line

PARTIAL_SUFFIX: Final = ".partial"
"""Added to the name of a dead-letter file while a run goes on."""


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


def partial_path(path: Path) -> Path:
    """Where dead letters for a file are while a run goes on, and stay if it breaks off."""
    # Beside what a link leads to: only within one file system can a file be moved at once.
    place = Path(os.path.realpath(path))
    return place.with_name(place.name + PARTIAL_SUFFIX)


class DeadLetterFile:
    """Writes dead letters to a file that only its owner may read: raw lines hold personal data.

    The file is begun anew by each run; a run that is repeated refuses the same lines again. Until
    the ``with`` block ends well they are in ``FILE.partial``, flushed batch by batch, and the file
    of the run before is as it was. A block that raises, and a process that is killed, leave it so;
    the next run begins the partial file anew, too.

    What is no regular file (a pipe, ``/dev/null``) is written directly.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial: Path | None = None if _is_special(path) else partial_path(path)
        try:
            if self._partial is None:
                descriptor = os.open(path, os.O_WRONLY)
            else:
                # Not emptied but made anew: it is ours alone, whatever had the name before.
                self._partial.unlink(missing_ok=True)
                descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise _unwritable(self._partial or path, error) from error
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    @property
    def partial(self) -> Path | None:
        """Where the letters are until the end; None if they are written directly."""
        return self._partial

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Append these lines.

        Raises:
            InputError: They cannot be written; the last line may be there in part.
        """
        rest = memoryview(b"".join([letter.to_json() + b"\n" for letter in letters]))
        try:
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def finish(self) -> None:
        """Close the file and put it in its place: the run got to its end.

        Raises:
            InputError: It cannot be put there; the letters stay in the partial file.
        """
        try:
            if self._partial is not None:
                os.fsync(self._file.fileno())
                if not os.path.samestat(self._partial.stat(), os.fstat(self._file.fileno())):
                    raise InputError(name=str(self._partial), problem="another run replaced it")
                self._partial.replace(os.path.realpath(self._path))
        except OSError as error:
            raise _unwritable(self._path, error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; without :meth:`finish` before, the letters stay in the partial file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.close()


def _is_special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(name=str(path), problem=error.strerror or str(error))
