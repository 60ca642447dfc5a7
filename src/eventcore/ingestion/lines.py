"""Lines of a file, a compressed file or standard input, with the number each has in it."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

from eventcore.errors import InputError

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Longest line that is read: a bound on memory, far above what any store takes."""

_GZIP_MAGIC = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line of the input.

    Attributes:
        number: From 1, blank lines counted.
        data: Its bytes without the line end.
    """

    number: int
    data: bytes


@contextmanager
def open_input(name: str) -> Iterator[IO[bytes]]:
    """Open a file, or standard input for ``-``; gzip is recognised by content, whatever the name.

    Raises:
        InputError: The file cannot be opened or read, or standard input is closed.
    """
    if name == "-":
        if sys.stdin is None:  # Python's word for a closed descriptor
            raise InputError(name="standard input", problem="it is closed")
        yield _decompressed(sys.stdin.buffer, name)
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below; only opening may fail here
    except OSError as error:
        raise InputError(name=name, problem=error.strerror or str(error)) from error
    with stream:
        yield _decompressed(stream, name)


def _decompressed(stream: IO[bytes], name: str) -> IO[bytes]:
    try:
        head = stream.peek(2)[:2] if hasattr(stream, "peek") else b""
    except OSError as error:
        raise InputError(name=name, problem=error.strerror or str(error)) from error
    if head != _GZIP_MAGIC:
        return stream
    return cast("IO[bytes]", gzip.GzipFile(fileobj=stream, mode="rb"))


def read_lines(stream: IO[bytes], name: str) -> Iterator[Line]:
    """The lines that are not blank.

    Raises:
        InputError: The input breaks off (a damaged gzip file), or a line is over the limit. Lines
            before that were handed out.
    """
    number = 0
    try:
        while data := stream.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(data) > LINE_BYTES_MAX:
                problem = f"line {number} is longer than {LINE_BYTES_MAX} bytes"
                raise InputError(name=name, problem=problem)
            if number == 1:
                data = data.removeprefix(_UTF8_MARK)  # no part of the line
            data = data.strip(b"\r\n")
            if data.strip():
                yield Line(number, data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            name=name, problem=f"it breaks off after line {number}: {error}"
        ) from error
