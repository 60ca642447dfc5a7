"""Which files of a segment hold a stream: found out once a segment, kept for the ones used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from eventcore.lake.files import ArchiveFiles
from eventcore.lake.manifests import ArchivedFile, Manifest

INDEXES_KEPT: Final = 64
"""Segments whose streams are remembered: twelve bytes for each stream of each of their files."""


class _Index(NamedTuple):
    """Sorted by hash.

    Attributes:
        hashes: Of the names of streams.
        files: Place in the manifest of a file that holds it, in the same order.
    """

    hashes: npt.NDArray[np.int64]
    files: npt.NDArray[np.int32]


class StreamIndexes:
    """Finds the files of streams. Safe under threads.

    Args:
        files: Reads the names of the streams in them.
    """

    def __init__(self, files: ArchiveFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _Index] = OrderedDict()

    def files_of(self, manifest: Manifest, stream: str) -> list[ArchivedFile]:
        """The files of a segment in which a stream has events; rarely another one among them."""
        index = self._index(manifest)
        wanted = np.int64(hash(stream))
        low = int(np.searchsorted(index.hashes, wanted, "left"))
        high = int(np.searchsorted(index.hashes, wanted, "right"))
        return [manifest.files[place] for place in index.files[low:high].tolist()]

    def _index(self, manifest: Manifest) -> _Index:
        with self._lock:
            kept = self._kept.get(manifest.number)
            if kept is not None:
                self._kept.move_to_end(manifest.number)
                return kept
        made = self._make(manifest)
        with self._lock:
            self._kept[manifest.number] = made
            while len(self._kept) > INDEXES_KEPT:
                self._kept.popitem(last=False)
        return made

    def _make(self, manifest: Manifest) -> _Index:
        hashes: list[int] = []
        places: list[int] = []
        for place, file in enumerate(manifest.files):
            streams = self._files.streams(file)
            hashes += map(hash, streams)
            places += [place] * len(streams)
        found = np.array(hashes, np.int64)
        order = np.argsort(found, kind="stable")
        return _Index(found[order], np.array(places, np.int32)[order])
