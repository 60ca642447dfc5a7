"""What the items of the log's table are: their keys, and events packed into them.

========== ==================== =============== ==================================================
item       ``pk``               ``sk``          attributes
========== ==================== =============== ==================================================
sequencer  ``P#q``              0               ``c`` last position reserved; ``f`` format of the
                                                log, 0 while it is repaired; ``t`` identity of
                                                the table it was made in
cell       ``P#l#SEGMENT``      first position  ``n`` positions; ``k`` token of its transaction;
                                                ``b``, ``m`` first position and number of the
                                                transaction's events; events packed
tombstone  as a cell            first position  ``n`` positions, of which there are no events
stream     ``P#s#STREAM``       first version   ``n`` versions; ``k``, ``b``, ``m`` as above;
                                                events packed
snapshot   ``P#n#STREAM``       0               ``v`` version; ``g`` fingerprint; ``d`` state
event id   ``P#i#ID``           0               ``p`` position
id mark    ``P#w``              0               ``c`` every event up to here has its event id item
refusals   ``P#r#BUCKET``       digest of id    ``i`` event id; one attribute a content refused
trims      ``P#t``              0               ``c`` highest position trimmed; ``a`` archive;
                                                ``t`` identity of the table, see the sequencer
========== ==================== =============== ==================================================

``P`` is the prefix: the name of the log among those of the table.

Packed events are one binary attribute: ``e``, or ``z`` when compressed. It begins with the length
of a JSON list (four bytes, big-endian), then the list, one entry an event, then the events' states
one behind the other. In a cell an entry is ``[stream, version, type, bytes]``, in a stream's item
``[offset from b, type, bytes]``: both together hold everything twice, so that each can be made anew
from the other.

Of an event that was trimmed the cell keeps the id, 16 bytes with ``0`` for an entry, and the
stream's item the bare offset. ``x`` says how many of an item's events that are. Keys, ``n``, ``k``,
``b`` and ``m`` never change: an item covers for ever what it was written for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from eventcore.settings import PREFIX_DEFAULT
from eventcore.stores.dynamodb.calls import Item, binary
from eventcore.stores.dynamodb.limits import SEGMENT_POSITIONS

FORMAT: Final = 1
"""Of the items. Another number is another version's log, which this one does not touch."""

FORMAT_CLOSED: Final = 0
"""In place of the format while the log is repaired: no version of eventcore reserves then."""

COMPRESS_BYTES_MIN: Final = 900
"""Packed events below this cost the same compressed or not: writes are counted in whole KB."""

COMPRESS_LEVEL: Final = 1
"""zlib's fastest: half a millisecond for 16 KB, for a third of the capacity."""

REFUSAL_BUCKETS: Final = 16
"""Partition keys that refusals are spread over, and that listing them all reads."""

VERSION_ZERO: Final = "\x00"
"""Ends the name under which version 0 of a stream is written, as if it were version 1 of a stream
of its own: then no item begins at 0 and reaches over 1, where a stream without a version 0 begins.
Only recorders of ``eventsourcing`` write it; no stream of a log has such a name."""

_HEAD_BYTES: Final = 4
_ID_BYTES: Final = 16


class CellEvent(NamedTuple):
    """An event in a cell of the log."""

    stream: str
    version: int
    type: str
    state: bytes


class StreamEvent(NamedTuple):
    """An event in an item of its stream.

    Attributes:
        offset: Of its position from the first one of its transaction.
    """

    offset: int
    type: str
    state: bytes


class TrimmedId(NamedTuple):
    """What a cell keeps of an event that was trimmed.

    Attributes:
        event_id: Canonical text.
    """

    event_id: str


class TrimmedOffset(NamedTuple):
    """What a stream's item keeps of an event that was trimmed; see :class:`StreamEvent`."""

    offset: int


CellEntry = CellEvent | TrimmedId
StreamEntry = StreamEvent | TrimmedOffset


class Record(NamedTuple):
    """A cell or a tombstone as read: what is at positions ``first`` to ``end``, for ever.

    Events of a cell may be trimmed meanwhile; what it covers never changes.

    Attributes:
        first: Its first position.
        positions: How many positions it covers.
        body: Its item, for :func:`cell_events`.
    """

    first: int
    positions: int
    body: Item

    @property
    def end(self) -> int:
        """Its last position."""
        return self.first + self.positions - 1

    @property
    def is_tombstone(self) -> bool:
        """Whether there are no events at its positions, and never will be."""
        return "k" not in self.body

    @property
    def token(self) -> bytes | None:
        """Of the transaction that wrote it; None: a tombstone."""
        return binary(self.body["k"]) if "k" in self.body else None

    @property
    def is_trimmed(self) -> bool:
        """Whether some of its events were trimmed, or all."""
        return "x" in self.body


class Keys:
    """The keys of one log's items.

    Args:
        table: Name of the table.
        prefix: Of the log in it.
    """

    def __init__(self, table: str, prefix: str = PREFIX_DEFAULT) -> None:
        self.table = table
        self.prefix = prefix
        self.sequencer = key(f"{prefix}#q")
        self.id_mark = key(f"{prefix}#w")
        self.trims = key(f"{prefix}#t")

    def segment(self, position: int) -> str:
        """Partition key of the records that begin near a position."""
        return self.segment_numbered(position // SEGMENT_POSITIONS)

    def segment_numbered(self, number: int) -> str:
        """Likewise, by the segment's number."""
        return f"{self.prefix}#l#{number}"

    def record(self, first: int) -> Item:
        """Of the cell or tombstone that begins at a position."""
        return key(self.segment(first), first)

    def stream(self, stream: str) -> str:
        """Partition key of a stream's items."""
        return f"{self.prefix}#s#{stream}"

    def stream_item(self, stream: str, first: int) -> Item:
        """Of an item of a stream, which begins at a version."""
        if stream.endswith(VERSION_ZERO):
            return key(self.stream(stream.removesuffix(VERSION_ZERO)), first - 1)
        return key(self.stream(stream), first)

    def snapshot(self, stream: str) -> Item:
        """Of a stream's snapshot."""
        return key(f"{self.prefix}#n#{stream}")

    def event_id(self, event_id: str) -> Item:
        """Of the item that says where an event is."""
        return key(f"{self.prefix}#i#{event_id}")

    def refusals(self, bucket: int) -> str:
        """Partition key of a share of the refusals."""
        return f"{self.prefix}#r#{bucket}"


def key(pk: str, sk: int = 0) -> Item:
    """A primary key."""
    return {"pk": {"S": pk}, "sk": {"N": str(sk)}}


def number(item: Mapping[str, Any], name: str) -> int:
    """An integer attribute."""
    return int(item[name]["N"])


def cell(  # noqa: PLR0917, PLR0913 - the parts of an item
    keys: Keys, first: int, count: int, token: bytes, commit: tuple[int, int], body: Item
) -> Item:
    """A cell of the log.

    Args:
        keys: Of the log.
        first: Its first position.
        count: Its positions.
        token: Of the transaction.
        commit: First position and number of the transaction's events.
        body: From :func:`pack_cell`.
    """
    return {**keys.record(first), "n": _n(count), **_origin(token, commit), **body}


def tombstone(keys: Keys, first: int, count: int) -> Item:
    """What makes it impossible that anything is ever written at these positions."""
    return {**keys.record(first), "n": _n(count)}


def stream_item(  # noqa: PLR0917, PLR0913 - the parts of an item
    keys: Keys, stream: str, first: int, token: bytes, commit: tuple[int, int], body: Item
) -> Item:
    """An item of a stream: events ``first`` and following; see :func:`cell`."""
    return {**keys.stream_item(stream, first), **_origin(token, commit), **body}


def pack_cell(entries: Iterable[CellEntry]) -> Item:
    """The attributes that hold the events of a cell."""
    heads: list[Any] = []
    states: list[bytes] = []
    trimmed = 0
    for entry in entries:
        if isinstance(entry, TrimmedId):
            heads.append(0)
            states.append(UUID(entry.event_id).bytes)
            trimmed += 1
        else:
            heads.append((entry.stream, entry.version, entry.type, len(entry.state)))
            states.append(entry.state)
    return {**_trimmed(trimmed), **_packed(heads, states)}


def pack_stream(entries: Sequence[StreamEntry]) -> Item:
    """The attributes that hold the events of a stream's item, and how many they are."""
    events = [entry for entry in entries if isinstance(entry, StreamEvent)]
    heads: list[Any] = [
        (entry.offset, entry.type, len(entry.state))
        if isinstance(entry, StreamEvent)
        else entry.offset
        for entry in entries
    ]
    body = _packed(heads, [event.state for event in events])
    return {"n": _n(len(entries)), **_trimmed(len(entries) - len(events)), **body}


def record_of(item: Item) -> Record:
    """A cell or tombstone as read."""
    return Record(int(item["sk"]["N"]), int(item["n"]["N"]), item)


def cell_entries(item: Item) -> list[CellEntry]:
    """The events of a cell, or what is left of them, in the order of their positions."""
    heads, states = _unpacked(item)
    if len(heads) == 1 and heads[0]:
        stream, version, type_, _ = heads[0]
        return [CellEvent(stream, version, type_, states)]
    found: list[CellEntry] = []
    start = 0
    for head in heads:
        if head:
            stream, version, type_, size = head
            found.append(CellEvent(stream, version, type_, states[start : start + size]))
        else:
            size = _ID_BYTES
            found.append(TrimmedId(str(UUID(bytes=states[start : start + size]))))
        start += size
    return found


def stream_entries(item: Item) -> list[StreamEntry]:
    """The events of a stream's item, or what is left of them, in the order of their versions."""
    heads, states = _unpacked(item)
    found: list[StreamEntry] = []
    start = 0
    for head in heads:
        if isinstance(head, int):
            found.append(TrimmedOffset(head))
            continue
        offset, type_, size = head
        found.append(StreamEvent(offset, type_, states[start : start + size]))
        start += size
    return found


def item_bytes(item: Item) -> int:
    """The size of an item as the service counts it.

    Names and text in UTF-8, binary as it is, a number by its digits (AWS, DynamoDB Developer Guide,
    "DynamoDB item sizes and formats").
    """
    return sum([len(name) + _value_bytes(value) for name, value in item.items()])


def _value_bytes(value: Mapping[str, Any]) -> int:
    if (text := value.get("S")) is not None:
        return len(text) if text.isascii() else len(text.encode())
    if (digits := value.get("N")) is not None:
        return (len(digits) + 1) // 2 + 1
    return len(binary(value))


def _origin(token: bytes, commit: tuple[int, int]) -> Item:
    return {"k": {"B": token}, "b": _n(commit[0]), "m": _n(commit[1])}


def _packed(heads: Sequence[Any], states: Sequence[bytes]) -> Item:
    head = orjson.dumps(heads)
    whole = b"".join((len(head).to_bytes(_HEAD_BYTES, "big"), head, *states))
    if len(whole) >= COMPRESS_BYTES_MIN:
        smaller = zlib.compress(whole, COMPRESS_LEVEL)
        if len(smaller) < len(whole):
            return {"z": {"B": smaller}}
    return {"e": {"B": whole}}


def is_packed_alike(one: Item, other: Item) -> bool:
    """Whether two items hold the same events, packed into the same bytes, compressed or not."""
    return _whole(one) == _whole(other)


def _trimmed(count: int) -> Item:
    return {"x": _n(count)} if count else {}


def _whole(item: Item) -> bytes:
    return zlib.decompress(binary(item["z"])) if "z" in item else binary(item["e"])


def _unpacked(item: Item) -> tuple[list[Any], bytes]:
    whole = _whole(item)
    end = _HEAD_BYTES + int.from_bytes(whole[:_HEAD_BYTES], "big")
    return orjson.loads(whole[_HEAD_BYTES:end]), whole[end:]


def _n(value: int) -> dict[str, str]:
    return {"N": str(value)}
