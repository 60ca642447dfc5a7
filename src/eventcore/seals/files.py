"""The file that seals are kept in: lines behind each other, never changed, only added to.

It belongs outside of the database, where whoever may write the database may not write.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from eventcore.errors import InputError, SealsDamagedError
from eventcore.seals.seal import (
    NO_SEAL,
    Content,
    Seal,
    Signer,
    UnreadableSealError,
    read_line,
    write_line,
)

FILE_NAME: Final = "seals.jsonl"
"""Name of the file in a folder that is named in place of it."""

_TAIL_BYTES: Final = 1 << 20
"""Longer than any line."""

_WHOLE: Final = re.compile(rb'"digest":"[^"]*"\}')


class SealFile:
    """Seals in a file.

    Args:
        path: The file; or a folder that is there, for the file :data:`FILE_NAME` in it.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        self.path = path / FILE_NAME if path.is_dir() else path

    def read(self) -> Iterator[Seal]:
        """The seals that were there when this was called, in order, each checked on its way.

        Raises:
            InputError: The file is missing or cannot be read.
            SealsDamagedError: A seal was changed, is missing, or is not finished.
        """
        with self._open("rb") as file, _locked(file, fcntl.LOCK_SH):
            size = os.fstat(file.fileno()).st_size
        return self._read(size)

    def _read(self, size: int) -> Iterator[Seal]:
        with self._open("rb") as file:
            yield from self._seals(file, size, None)

    def _seals(self, file: BinaryIO, size: int, before: Seal | None) -> Iterator[Seal]:
        while file.tell() < size:
            number = 1 if before is None else before.content.number + 1
            line = file.readline()
            try:
                seal = read_line(line)
            except UnreadableSealError as error:
                if _is_unfinished(line):
                    self._refuse(number, "is not finished: its writer was stopped")
                self._refuse(number, str(error))
            self._check_order(before, seal, number)
            before = seal
            yield seal

    def _check_order(self, before: Seal | None, seal: Seal, number: int) -> None:
        content = seal.content
        if content.number != number:
            self._refuse(number, f"is missing: number {content.number} is in its place")
        if content.previous != (NO_SEAL if before is None else before.digest):
            self._refuse(number, "does not follow the one before it")
        last, total = (0, 0) if before is None else (before.content.last, before.content.total)
        if content.first <= last or content.total != total + content.events:
            self._refuse(number, "does not go on where the one before it ends")

    def _refuse(self, number: int, problem: str) -> NoReturn:
        raise SealsDamagedError(name=str(self.path), number=number, problem=problem)

    def _open(self, mode: str) -> BinaryIO:
        try:
            return self.path.open(mode)  # type: ignore[return-value]  # a binary mode
        except OSError as error:
            raise InputError(name=str(self.path), problem=error.strerror or str(error)) from error


class SealWriter(SealFile):
    """Adds seals to a file, in turns with whoever else does.

    Args:
        path: See :class:`SealFile`. The file is made if it is missing, its folder is not.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._last: Seal | None = None
        self._end = 0
        self._file: BinaryIO | None = None

    @contextmanager
    def turn(self) -> Iterator[Seal | None]:
        """Have the file to oneself; gives its last seal, None if there is none.

        A seal that another writer did not finish is taken off: it never was one.

        Raises:
            InputError: The file cannot be written.
            SealsDamagedError: A seal was changed or is missing.
        """
        is_new = not self.path.exists()
        with self._open("ab+") as file, _locked(file, fcntl.LOCK_EX):
            if is_new:
                _sync_folder(self.path.parent)
            self._catch_up(file)
            self._file = file
            try:
                yield self._last
            finally:
                self._file = None

    def _catch_up(self, file: BinaryIO) -> None:
        size = os.fstat(file.fileno()).st_size
        if size < self._end:
            self._refuse(self._last.content.number if self._last else 1, "is gone from its end")
        tail = _tail(file, size)
        if _is_unfinished(tail):
            file.truncate(size - len(tail))
            size -= len(tail)
        file.seek(self._end)
        for seal in self._seals(file, size, self._last):
            self._last = seal
        self._end = size

    def write(self, contents: Sequence[Content], key: Signer | None = None) -> Seal:
        """Write seals behind the last one; they are on the disk when this returns.

        Args:
            contents: At least one. Their numbers and links are set here.
            key: Signs them.

        Raises:
            InputError: The file cannot be written.
        """
        assert self._file is not None, "only in a turn"
        lines = []
        before = self._last
        for content in contents:
            number, previous = (1, NO_SEAL) if before is None else _behind(before)
            line, _ = write_line(replace(content, number=number, previous=previous), key)
            before = read_line(line)
            lines.append(line)
        assert before is not None
        data = b"".join(lines)
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(name=str(self.path), problem=error.strerror or str(error)) from error
        self._last, self._end = before, self._end + len(data)
        return before


def _behind(seal: Seal) -> tuple[int, str]:
    return seal.content.number + 1, seal.digest


def _is_unfinished(line: bytes) -> bool:
    """Whether this is what a writer leaves that is stopped: the beginning of a line, no more."""
    return bool(line) and not line.endswith(b"\n") and not _WHOLE.search(line)


def _tail(file: BinaryIO, size: int) -> bytes:
    """What is behind the last end of a line."""
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read().rpartition(b"\n")[2]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(file: BinaryIO, kind: int) -> Iterator[None]:
    fcntl.flock(file.fileno(), kind)
    try:
        yield
    finally:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
