"""The columns of an archive's files: events in few bytes, and back to exactly what was stored.

============== ==================== ==============================================================
column         type                 what it is
============== ==================== ==============================================================
position       int64                place in the whole log
stream         string, dictionary   category-id
version        int64                place in the stream
type           string, dictionary   stored name
schema_version int16                shape of the payload; null where ``body`` is all of the state
event_id       uuid                 identity
timestamp      timestamp[us, UTC]   when it happened
body           binary               the rest of the stored JSON object: ``data``, ``ctx``, ``meta``
============== ==================== ==============================================================

The codec begins every state with its version, id and time, in a fixed form. These 85 bytes are kept
as three columns, which cost a fifth of the text, and ``body`` is what follows, again a JSON object.
A state is split only where joining it gives the same bytes; else ``body`` is all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eventcore.events.recorded import Recorded

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

FILE_SCHEMA: Final = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("schema_version", pa.int16()),
        pa.field("event_id", pa.uuid()),
        pa.field("timestamp", pa.timestamp("us", "UTC")),
        pa.field("body", pa.binary(), nullable=False),
    ]
)
"""Of the files."""

EVENT_SCHEMA: Final = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        pa.field("version", pa.int64(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("state", pa.binary(), nullable=False),
    ]
)
"""Of the batches that readers get: a recorded event as a row."""

DICTIONARIES: Final = ["stream", "type"]
"""Columns whose values repeat: written, and read, as a dictionary and indices."""

ENCODINGS: Final = {
    "position": "DELTA_BINARY_PACKED",
    "version": "DELTA_BINARY_PACKED",
    "timestamp": "DELTA_BINARY_PACKED",
}

MICROSECONDS_A_DAY: Final = 86_400_000_000

_TEMPLATE: Final = (
    b'{"v":0,"id":"00000000-0000-0000-0000-000000000000","at":"0000-00-00T00:00:00.000000Z",'
)
_HEAD: Final = len(_TEMPLATE) - 1
"""Bytes of a state before the comma in front of its payload."""
_VERSION: Final = 5
_VERSION_MAX: Final = 9
_ID: Final = 13
_AT: Final = 57
_ID_DIGITS: Final = [_ID + i for i in range(36) if i not in {8, 13, 18, 23}]
_COMMA, _BRACE, _ZERO = ord(","), ord("{"), ord("0")
_HEX: Final = np.frombuffer(bytes(range(256)).hex().encode(), np.uint8).reshape(256, 2)
_DAY_MIN: Final = -719_162
_DAY_MAX: Final = 2_932_896
"""1 January of year 1 and 31 December 9999, in days since 1970."""


class Heads(NamedTuple):
    """What the first bytes of states say, a row each.

    Attributes:
        versions: Schema version, 1 to 9; 0 where the state is not split.
        ids: Sixteen bytes each.
        times: Microseconds since 1970, UTC.
    """

    versions: Bytes
    ids: Bytes
    times: Integers


def table_of(events: Sequence[Recorded[Any]]) -> pa.Table:
    """Events as a table of :data:`FILE_SCHEMA`, in their order."""
    states = pa.array([event.state for event in events], pa.binary())
    heads, body = split_states(states)
    whole = heads.versions == 0
    ids = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(events), [None, pa.py_buffer(heads.ids)]
    )
    versions, times = pa.array(heads.versions.astype(np.int16), mask=whole), heads.times
    moments = pa.array(times, mask=whole).cast(pa.timestamp("us", "UTC"))
    if whole.any():
        ids = pc.if_else(pa.array(whole), pa.scalar(None, pa.binary(16)), ids)
    return pa.Table.from_arrays(
        [
            pa.array([event.position for event in events], pa.int64()),
            pa.array([event.stream for event in events], pa.string()),
            pa.array([event.version for event in events], pa.int64()),
            pa.array([event.type for event in events], pa.string()),
            versions,
            pa.ExtensionArray.from_storage(pa.uuid(), ids),
            moments,
            body,
        ],
        schema=FILE_SCHEMA,
    )


def events_of(table: pa.Table) -> pa.Table:
    """The rows of files as rows of :data:`EVENT_SCHEMA`: with the bytes that were stored."""
    count = table.num_rows
    versions = _filled(table["schema_version"], pa.int16(), np.int16)
    ids = _one(table["event_id"]).storage if count else pa.array([], pa.binary(16))
    raw = np.frombuffer(_zeroed(ids).buffers()[1] or b"", np.uint8)
    start = _zeroed(ids).offset * 16
    heads = Heads(
        versions.astype(np.uint8),
        raw[start : start + 16 * count].reshape(count, 16),
        _filled(table["timestamp"].cast(pa.int64()), pa.int64(), np.int64),
    )
    states = join_states(heads, _one(table["body"]))
    places = [table[name] for name in ("position", "stream", "version", "type")]
    fields = [pa.field(f.name, c.type) for f, c in zip(EVENT_SCHEMA, places, strict=False)]
    return pa.Table.from_arrays(
        [*places, states], schema=pa.schema([*fields, EVENT_SCHEMA.field("state")])
    )


def split_states(states: pa.BinaryArray) -> tuple[Heads, pa.BinaryArray]:
    """Take the fixed beginning off each state, where joining gives the same bytes again."""
    count = len(states)
    offsets, data = _parts(states)
    lengths = np.diff(offsets)
    fits = lengths > _HEAD
    starts = np.where(fits, offsets[:-1], 0)
    padded = data if len(data) > _HEAD else np.zeros(_HEAD + 1, np.uint8)
    found = padded[starts[:, None] + np.arange(_HEAD + 1)] if count else np.zeros((0, _HEAD + 1))
    found = found.astype(np.uint8)
    heads = _parse(found)
    fits &= (heads.versions >= 1) & (heads.versions <= _VERSION_MAX)
    fits &= (found[:, :_HEAD] == _written(heads)).all(axis=1) & (found[:, _HEAD] == _COMMA)
    heads.versions[~fits] = 0
    heads.ids[~fits] = 0
    heads.times[~fits] = 0
    kept = np.ones(len(data), bool)
    kept[(offsets[:-1][fits][:, None] + np.arange(_HEAD)).ravel()] = False
    changed = data.copy()
    changed[offsets[:-1][fits] + _HEAD] = _BRACE
    taken = np.concatenate([[0], np.cumsum(np.where(fits, _HEAD, 0))])
    return heads, _binary(offsets - taken, changed[kept])


def join_states(heads: Heads, body: pa.BinaryArray) -> pa.BinaryArray:
    """Put the beginning back before each body."""
    split = heads.versions > 0
    if not split.any():
        return body
    texts = _written(Heads(heads.versions[split], heads.ids[split], heads.times[split]))
    sizes = np.concatenate([[0], np.cumsum(np.where(split, _HEAD, 0))])
    joined = pc.binary_join_element_wise(
        _binary(sizes, texts.reshape(-1)), body, pa.scalar(b"", pa.binary())
    )
    offsets, data = _parts(joined)
    data = data.copy()
    data[offsets[:-1][split] + _HEAD] = _COMMA
    return _binary(offsets, data)


def _parse(found: Bytes) -> Heads:
    digits = found.astype(np.int64) - _ZERO

    def number(start: int, end: int) -> Integers:
        value = digits[:, _AT + start].copy()
        for column in range(_AT + start + 1, _AT + end):
            value = value * 10 + digits[:, column]
        return value

    nibbles = _NIBBLES[found[:, _ID_DIGITS]]
    months = (number(0, 4) - 1970) * 12 + number(5, 7) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    days = np.clip(days + number(8, 10) - 1, _DAY_MIN, _DAY_MAX)
    seconds = (number(11, 13) * 60 + number(14, 16)) * 60 + number(17, 19)
    times = days * MICROSECONDS_A_DAY + seconds * 1_000_000 + number(20, 26)
    return Heads(
        (found[:, _VERSION] - _ZERO).astype(np.uint8),
        np.ascontiguousarray((nibbles[:, 0::2] << 4) | nibbles[:, 1::2]),
        times,
    )


def _written(heads: Heads) -> Bytes:
    """The beginnings of states that say this, 85 bytes a row."""
    count = len(heads.versions)
    rows = np.empty((count, _HEAD), np.uint8)
    rows[:] = np.frombuffer(_TEMPLATE[:_HEAD], np.uint8)
    rows[:, _VERSION] = heads.versions + _ZERO
    rows[:, _ID_DIGITS] = _HEX[heads.ids].reshape(count, 32)
    days, rest = np.divmod(heads.times, MICROSECONDS_A_DAY)
    days = np.clip(days, _DAY_MIN, _DAY_MAX)
    distinct, index = np.unique(days, return_inverse=True)
    dates = [str(day).encode() for day in distinct.astype("datetime64[D]")]
    rows[:, _AT : _AT + 10] = np.frombuffer(b"".join(dates), np.uint8).reshape(-1, 10)[index]
    seconds, microseconds = np.divmod(rest, 1_000_000)
    minutes = seconds // 60
    for column, value, width in (
        (11, minutes // 60, 2),
        (14, minutes % 60, 2),
        (17, seconds % 60, 2),
        (20, microseconds, 6),
    ):
        for place in range(width):
            digits = value // 10 ** (width - 1 - place) % 10
            rows[:, _AT + column + place] = digits + _ZERO
    return rows


def _nibbles() -> Bytes:
    table = np.zeros(256, np.uint8)
    for value, digit in enumerate(b"0123456789abcdef"):
        table[digit] = value
    return table


_NIBBLES: Final = _nibbles()


def _parts(array: pa.BinaryArray) -> tuple[Integers, Bytes]:
    """Offsets from 0, and the bytes they cut, of an array of binary values."""
    count = len(array)
    if not count:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, places, data = array.buffers()
    offsets = np.frombuffer(places, np.int32)[array.offset : array.offset + count + 1]
    held = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]
    return offsets.astype(np.int64) - offsets[0], held


def _binary(offsets: Integers, data: Bytes) -> pa.BinaryArray:
    buffers = [
        None,
        pa.py_buffer(offsets.astype(np.int32)),
        pa.py_buffer(np.ascontiguousarray(data)),
    ]
    return pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _one(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    found = column.combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found


def _zeroed(ids: pa.Array) -> pa.Array:
    return ids.fill_null(bytes(16)) if ids.null_count else ids


def _filled(column: pa.ChunkedArray, kind: pa.DataType, numpy_kind: Any) -> npt.NDArray[Any]:
    """A column of integers, 0 where it is null."""
    found = _one(pc.fill_null(column, pa.scalar(0, kind))) if column.null_count else _one(column)
    values: npt.NDArray[Any] = found.to_numpy(zero_copy_only=False).astype(numpy_kind)
    return values
