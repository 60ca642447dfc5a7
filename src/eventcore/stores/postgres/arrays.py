"""Postgres arrays in their binary form, at once: the driver's own way costs several times more.

The form: number of dimensions, whether there are NULLs, the elements' type; length and first
subscript of the dimension; then each element as its length (-1 for NULL) and its bytes, all
integers big-endian and 4 bytes long (PostgreSQL source, ``array_send`` in ``arrayfuncs.c``).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format
from typing_extensions import override

_HEAD: Final = struct.Struct("!iiiii")
_EMPTY_HEAD: Final = struct.Struct("!iii")
_LENGTH: Final = struct.Struct("!i")
_BIGINT: Final = struct.Struct("!iq")
_NULL: Final = _LENGTH.pack(-1)
_BYTEA_OID: Final = 17
_BIGINT_OID: Final = 20
_TEXT_OID: Final = 25
_BIGINTS_OID: Final = 1016
_TEXTS_OID: Final = 1009
_BYTEAS_OID: Final = 1001


class TextArray(NamedTuple):
    """A ``text[]`` in binary form, to be given to a cursor as a parameter."""

    data: bytes


class BigintArray(NamedTuple):
    """A ``bigint[]`` in binary form, to be given to a cursor as a parameter."""

    data: bytes


class ByteaArray(NamedTuple):
    """A ``bytea[]`` in binary form, to be given to a cursor as a parameter."""

    data: bytes


class _TextArrayDumper(Dumper):
    format = Format.BINARY
    oid = _TEXTS_OID

    @override
    def dump(self, obj: Any) -> bytes:
        data: bytes = obj.data
        return data


class _BigintArrayDumper(_TextArrayDumper):
    oid = _BIGINTS_OID


class _ByteaArrayDumper(_TextArrayDumper):
    oid = _BYTEAS_OID


def register(context: AdaptContext) -> None:
    """Let a connection's cursors take the arrays above."""
    context.adapters.register_dumper(TextArray, _TextArrayDumper)
    context.adapters.register_dumper(BigintArray, _BigintArrayDumper)
    context.adapters.register_dumper(ByteaArray, _ByteaArrayDumper)


def bigint(value: int | None) -> bytes | None:
    """One bigint."""
    return None if value is None else value.to_bytes(8, "big", signed=True)


def bigints(values: Sequence[int | None]) -> bytes:
    """A ``bigint[]``."""
    pack = _BIGINT.pack
    return _head(len(values), _BIGINT_OID) + b"".join(
        [_NULL if value is None else pack(8, value) for value in values]
    )


def texts(values: Sequence[str | None]) -> bytes:
    """A ``text[]``."""
    return _elements(_TEXT_OID, [None if value is None else value.encode() for value in values])


def byteas(values: Sequence[bytes]) -> bytes:
    """A ``bytea[]``."""
    return _elements(_BYTEA_OID, values)


def _elements(oid: int, values: Sequence[bytes | None]) -> bytes:
    pack = _LENGTH.pack
    parts = [_head(len(values), oid)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (pack(len(value)), value)
    return b"".join(parts)


def _head(count: int, oid: int) -> bytes:
    # An empty array has no dimension. Saying that there may be NULLs where there are none is fine.
    return _HEAD.pack(1, 1, oid, count, 1) if count else _EMPTY_HEAD.pack(0, 0, oid)
