"""Where an archive lies: a folder of this machine, or a bucket. Files are published once, whole.

Nothing here replaces or removes a published file. A file is published under its name whole or not
at all: readers never see a part of one, whenever the writer dies.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from typing_extensions import override

from eventcore.errors import ConfigurationError, MissingExtraError, StoreUnavailableError
from eventcore.lake.layout import TEMPORARY

FILE_MODE: Final = 0o644
"""Of published files."""


class Folder(Protocol):
    """A place for an archive. Every method may be called from any thread.

    Attributes:
        url: Names it, for opening it again and in messages.
    """

    url: str

    def publish(self, name: str, data: bytes) -> bool:
        """Make a file of this name, unless there is one; durable when it returns.

        Returns:
            False: There is one already, and it was left as it is.

        Raises:
            StoreUnavailableError: It cannot be written now. Repeating is safe.
        """

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if there is none of this name."""

    def names(self, folder: str) -> Iterator[str]:
        """Names of the files in a folder below it, in order; temporary ones are left out."""

    def open(self, name: str) -> pa.NativeFile | None:
        """A file for reading with Arrow; None if there is none of this name."""


class LocalFolder:
    """A folder of a local file system.

    A file is written elsewhere, flushed, and linked to its name, which fails if the name is taken:
    a rename would replace what another archiver published a moment before.

    Args:
        path: The folder. It is made when something is published.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self.url = str(self.path)

    def publish(self, name: str, data: bytes) -> bool:
        """See :meth:`Folder.publish`."""
        target = self.path / name
        if target.exists():
            return False
        try:
            self._make(target.parent)
            self._make(self.path / TEMPORARY)
            handle, temporary = tempfile.mkstemp(dir=self.path / TEMPORARY, suffix=".part")
            try:
                _fill(handle, data)
                # Readable as the user's other files are; a temporary one is its owner's alone.
                Path(temporary).chmod(FILE_MODE)
                return _link(temporary, target)
            finally:
                Path(temporary).unlink()
        except OSError as error:
            raise self._unavailable(error) from error

    def read(self, name: str) -> bytes | None:
        """See :meth:`Folder.read`."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unavailable(error) from error

    def names(self, folder: str) -> Iterator[str]:
        """See :meth:`Folder.names`."""
        below = self.path / folder
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(below.rglob("*")):
                name = path.relative_to(self.path).as_posix()
                if path.is_file() and not name.startswith(f"{TEMPORARY}/"):
                    yield name

    def open(self, name: str) -> pa.NativeFile | None:
        """See :meth:`Folder.open`."""
        try:
            return pa.memory_map(str(self.path / name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unavailable(error) from error

    def _make(self, folder: Path) -> None:
        """Make a folder that outlives a loss of power, and those above it."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)

    def _unavailable(self, error: OSError) -> StoreUnavailableError:
        problem = f"{error.strerror or error} ({error.filename})" if error.filename else str(error)
        return StoreUnavailableError(store=f"archive {self.url}", problem=problem)

    @override
    def __repr__(self) -> str:
        return f"LocalFolder({self.url!r})"


def open_folder(url: str) -> Folder:
    """The place that a URL names. Nothing is made or looked at yet.

    Args:
        url: A path, a ``file:`` URL, or ``s3://bucket/prefix``, perhaps with
            ``?region=NAME&endpoint_url=URL``.

    Raises:
        ConfigurationError: It names no such place.
        MissingExtraError: ``s3://`` needs boto3.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        if find_spec("boto3") is None:
            raise MissingExtraError(feature="s3://", package="boto3", extra="s3")
        from eventcore.lake.buckets import open_bucket  # noqa: PLC0415 - only what is used

        return open_bucket(parts)
    if "://" not in url:
        path = url
    elif parts.scheme == "file" and not parts.netloc and not parts.query:
        path = unquote(parts.path)
    else:
        raise ConfigurationError(
            message="An archive is at a path or at s3://bucket/prefix, perhaps with ?region=NAME "
            f"and endpoint_url=URL; this URL begins with {parts.scheme!r}"
        )
    if not path or "\0" in path or Path(path).is_file():
        raise ConfigurationError(message=f"An archive is a folder, {path!r} is none")
    return LocalFolder(path)


def _fill(handle: int, data: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link(temporary: str, target: Path) -> bool:
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    _flush_folder(target.parent)
    return True


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
