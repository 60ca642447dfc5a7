"""Checking an archive against itself: every file by its digest, every manifest by what it tells of.

A manifest is named by the one after it, with its SHA-256. Nothing names the last one, so what it
says is worked out again from its files.
"""

from __future__ import annotations

from datetime import date
from hashlib import sha256
from typing import NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from eventcore.errors import ArchiveDamagedError
from eventcore.events.codec import Codec
from eventcore.lake.files import ArchiveFiles
from eventcore.lake.layout import file_name, manifest_name, shard_of
from eventcore.lake.manifests import ArchivedFile, Manifest
from eventcore.lake.reading import Archive
from eventcore.lake.rows import id_of
from eventcore.stores.log import Page


class ArchiveSource:
    """An archive, read as a log is: events by position, page by page.

    Args:
        archive: Its files are taken as they are: what they hold is compared with something else.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._codec = Codec(allow_unknown=True)

    def head(self) -> int:
        """Position of the newest archived event."""
        return self._archive.until

    def read_page(self, after: int, limit: int) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`.

        Raises:
            ArchiveDamagedError: A file is missing or cannot be read.
        """
        try:
            return self._archive.read_page(
                after, limit, until=self._archive.until, codec=self._codec
            )
        except (pa.ArrowException, OSError, MemoryError, RuntimeError, OverflowError) as error:
            raise ArchiveDamagedError(
                archive=self._archive.url, file="a file", problem=f"cannot be read: {error}"
            ) from error


class Damage(NamedTuple):
    """A file of an archive that is not what it was.

    Attributes:
        file: Its name.
        problem: What is wrong with it.
        first: First position that it holds, or tells of.
        last: The last one.
    """

    file: str
    problem: str
    first: int
    last: int


def first_damage(archive: Archive) -> Damage | None:
    """The first file, by the positions it holds, that is missing or was changed; None: none was.

    Reads every file once, one at a time.

    Raises:
        StoreUnavailableError: The place cannot be read now.
    """
    files = ArchiveFiles(archive.folder, verify=True)
    for manifest in archive.manifests:
        for file in sorted(manifest.files, key=_first_of):
            problem = _problem_of(files, manifest, file)
            if problem is not None:
                return Damage(file.name, problem, file.first, file.last)
        problem = _problem_of_manifest(archive, manifest)
        if problem is not None:
            name = manifest_name(manifest.number)
            return Damage(name, problem, manifest.after + 1, manifest.until)
    return None


def _problem_of(files: ArchiveFiles, manifest: Manifest, file: ArchivedFile) -> str | None:
    try:
        files.check(file)
        streams = pc.unique(files.events([file])["stream"]).to_pylist()
    except ArchiveDamagedError as error:
        return str(error.problem)
    except (pa.ArrowException, ValueError, KeyError) as error:
        return f"cannot be read: {error}"
    if any(shard_of(stream, manifest.shards) != file.shard for stream in streams):
        return "holds streams of another shard than its manifest says"
    return None


def _problem_of_manifest(archive: Archive, manifest: Manifest) -> str | None:
    """What a manifest says that nothing else would contradict."""
    data = archive.folder.read(manifest_name(manifest.number))
    if data is None or sha256(data).hexdigest() != manifest.sha256:
        return "is missing, or was changed since the archive was opened"
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    if orjson.dumps(orjson.loads(data), option=options) != data:
        return "is written otherwise than archives are"
    if not all(_is_named_well(manifest, file) for file in manifest.files):
        return "tells of a file what its name does not"
    last = archive.at([manifest.until], Codec(allow_unknown=True)).get(manifest.until)
    if last is None or id_of(last) != manifest.last_event_id:
        return "names another event as its last than the one that is there"
    return None


def _is_named_well(manifest: Manifest, file: ArchivedFile) -> bool:
    try:
        day = date.fromisoformat(file.day)
    except ValueError:
        return False
    name = file_name(file.family, day, file.shard, manifest.after + 1, manifest.until)
    return file.name == name


def _first_of(file: ArchivedFile) -> tuple[int, str]:
    return file.first, file.name
