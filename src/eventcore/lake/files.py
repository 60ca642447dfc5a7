"""The files of an archive: written whole, read whole or by row, checked by digest."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eventcore.errors import ArchiveDamagedError
from eventcore.lake.columns import DICTIONARIES, ENCODINGS, FILE_SCHEMA, events_of
from eventcore.lake.folders import Folder
from eventcore.lake.manifests import ArchivedFile
from eventcore.lake.rows import by_position

COMPRESSION_LEVEL: Final = 3
"""Of zstd. Level 9 takes three times as long for a twentieth less."""

ROW_GROUP_EVENTS: Final = 32_768
"""Events that a reader of one stream decodes when it finds one of its own."""

PAGE_BYTES: Final = 4 * 1024 * 1024
"""What is compressed at once: within it, what repeats costs little."""


def parquet_of(table: pa.Table) -> bytes:
    """A table of :data:`~eventcore.lake.columns.FILE_SCHEMA` as the bytes of a file.

    The same table gives the same bytes, as long as Arrow is of the same version.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=DICTIONARIES,
        column_encoding=ENCODINGS,
        row_group_size=ROW_GROUP_EVENTS,
        data_page_size=PAGE_BYTES,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def table_in(data: bytes) -> pa.Table:
    """What :func:`parquet_of` wrote."""
    return pq.ParquetFile(pa.BufferReader(data)).read()


class ArchiveFiles:
    """Reads the files that manifests name.

    Args:
        folder: Where they are.
        verify: Check the SHA-256 of each file whenever it is read.
    """

    def __init__(self, folder: Folder, *, verify: bool) -> None:
        self._folder = folder
        self._verify = verify

    def events(self, files: Sequence[ArchivedFile]) -> pa.Table:
        """The events of these files by position, as rows of a stored event each.

        Raises:
            ArchiveDamagedError: A file is missing, differs from its digest, or cannot be read.
        """
        tables = [self._read(file) for file in files]
        table = tables[0] if len(tables) == 1 else pa.concat_tables(tables).unify_dictionaries()
        return events_of(by_position(table) if len(tables) > 1 else table)

    def streams(self, file: ArchivedFile) -> list[str]:
        """Names of the streams that have events in a file."""
        with self._open(file) as parquet:
            try:
                found = pc.unique(parquet.read(["stream"])["stream"])
            except (pa.ArrowException, OSError) as error:
                raise self._damaged(file, f"cannot be read: {error}") from error
        names: list[str] = found.to_pylist()
        return names

    def rows_where(self, file: ArchivedFile, column: str, values: Sequence[Any]) -> pa.Table:
        """The rows of a file whose column has one of these values; that column is read first."""
        with self._open(file) as parquet:
            found = []
            try:
                for group in range(parquet.num_row_groups):
                    one = parquet.read_row_group(group, [column])[column]
                    kind = one.type
                    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
                    mask = pc.is_in(one, pa.array(values, kind))
                    if pc.any(mask).as_py():
                        found.append(parquet.read_row_group(group).filter(mask))
            except (pa.ArrowException, OSError) as error:
                raise self._damaged(file, f"cannot be read: {error}") from error
        return pa.concat_tables(found) if found else _empty()

    def check(self, file: ArchivedFile) -> None:
        """Check a file's bytes against its digest, and its rows against what is said of them.

        Raises:
            ArchiveDamagedError: It is missing or differs.
        """
        table = _read_all(self._parquet(file, self._checked(file)), file, self._damaged)
        places = table["position"]
        if (pc.min(places).as_py(), pc.max(places).as_py()) != (file.first, file.last):
            raise self._damaged(file, "holds other positions than its manifest says")

    def _read(self, file: ArchivedFile) -> pa.Table:
        with self._open(file) as parquet:
            return _read_all(parquet, file, self._damaged)

    def _open(self, file: ArchivedFile) -> pq.ParquetFile:
        if self._verify:
            return self._parquet(file, self._checked(file))
        source = self._folder.open(file.name)
        if source is None:
            raise self._damaged(file, "is missing")
        return self._parquet(file, source)

    def _checked(self, file: ArchivedFile) -> pa.NativeFile:
        data = self._folder.read(file.name)
        if data is None:
            raise self._damaged(file, "is missing")
        if len(data) != file.bytes or sha256(data).hexdigest() != file.sha256:
            raise self._damaged(file, "differs from the SHA-256 in its manifest")
        return pa.BufferReader(data)

    def _parquet(self, file: ArchivedFile, source: pa.NativeFile) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(source, read_dictionary=DICTIONARIES)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(file, f"cannot be read: {error}") from error

    def _damaged(self, file: ArchivedFile, problem: str) -> ArchiveDamagedError:
        return ArchiveDamagedError(archive=self._folder.url, file=file.name, problem=problem)


def _read_all(parquet: pq.ParquetFile, file: ArchivedFile, damaged: Any) -> pa.Table:
    try:
        table = parquet.read()
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, f"cannot be read: {error}") from error
    if table.num_rows != file.events or table.schema.names != FILE_SCHEMA.names:
        raise damaged(file, "holds other rows than its manifest says")
    return table


def _empty() -> pa.Table:
    fields = [
        field.with_type(pa.dictionary(pa.int32(), pa.string()))
        if field.name in DICTIONARIES
        else field
        for field in FILE_SCHEMA
    ]
    return pa.schema(fields).empty_table()
