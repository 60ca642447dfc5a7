"""What the table of a DynamoDB log has to be, and what everybody was told about it: I1 to I11."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eventcore.stores.dynamodb.calls import Item
from eventcore.stores.dynamodb.layout import (
    TrimmedId,
    TrimmedOffset,
    cell_entries,
    number,
    record_of,
    stream_entries,
)
from eventcore.stores.log import StreamAppend

Seen = tuple[int, str, int, bytes]
"""Position, stream, version, state of an event."""


class Violation(AssertionError):  # noqa: N818 - what a test is about
    """A promise was broken."""


@dataclass
class Told:
    """What the writers were told.

    Attributes:
        unknown: Ids of which nothing is known, and which other streams may have as well.
        once: Ids that are stored, and that their process has to refuse elsewhere.
    """

    attempted: list[Sequence[StreamAppend]] = field(default_factory=list)
    acknowledged: list[tuple[Sequence[StreamAppend], tuple[int, ...]]] = field(default_factory=list)
    judged: list[Sequence[StreamAppend]] = field(default_factory=list)
    refused: list[Sequence[StreamAppend]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    once: set[str] = field(default_factory=set)


def check_table(items: Iterable[Item], contents: Sequence[Seen]) -> None:
    """Hold the items of the table against the log as it is read, with what was trimmed from it.

    Raises:
        Violation: A promise is broken.
    """
    everything = list(items)
    end = _check_records(everything, contents)
    at = {event[0]: event for event in contents}
    in_streams = [event for item in everything for event in _in_stream(item, at)]
    if sorted(in_streams) != contents:
        raise Violation("I3: the streams are not what the log is")
    for stream, count in Counter(event[1] for event in contents).items():
        versions = [event[2] for event in contents if event[1] == stream]
        if versions != list(range(1, count + 1)):
            raise Violation(f"I4: the versions of {stream} are {versions}")
    reserved = next(number(item, "c") for item in everything if item["pk"]["S"].endswith("#q"))
    if reserved < end:
        raise Violation("I8: something is written that was never reserved")
    _check_trimmed(everything, contents)


def _check_trimmed(items: Iterable[Item], contents: Sequence[Seen]) -> None:
    in_cells, in_streams, until = set[int](), set[int](), 0
    for item in items:
        kind = item["pk"]["S"].split("#")[1]
        if kind == "t":
            until = number(item, "c")
        if kind == "l" and "x" in item:
            cells = enumerate(cell_entries(item), start=number(item, "sk"))
            in_cells |= {position for position, one in cells if isinstance(one, TrimmedId)}
        if kind == "s" and "x" in item:
            in_streams |= {
                number(item, "b") + one.offset
                for one in stream_entries(item)
                if isinstance(one, TrimmedOffset)
            }
    left = [event for event in contents if event[0] not in in_cells]
    oldest = {stream: version for _, stream, version, _ in reversed(left)}
    broken = {
        "an event is trimmed from one of its places": in_cells != in_streams,
        "what is said of how far is too little": until < max(in_cells, default=0),
        "a stream has no event left": {event[1] for event in contents} != oldest.keys(),
        "an event is trimmed, and an older one of its stream is not": any(
            event[2] > oldest[event[1]] for event in contents if event[0] in in_cells
        ),
    }
    for problem, is_so in broken.items():
        if is_so:
            raise Violation(f"I11: {problem}")


def check_told(told: Told, contents: Sequence[Seen]) -> None:
    """Hold what the writers were told against the log as it is read.

    Raises:
        Violation: A promise is broken.
    """
    at = {event[3]: event[0] for event in contents}
    broken = {
        "I5: an event is in the log twice": len(at) < len(contents),
        "I5: an acknowledged append is not where it was said to be": any(
            tuple(_places(appends, at)) != positions for appends, positions in told.acknowledged
        ),
        "I5: an acknowledged verdict is not in the log": any(
            None in _places(appends, at) for appends in told.judged
        ),
        "I6: a refused append is in the log": any(
            set(_places(appends, at)) != {None} for appends in told.refused
        ),
        "I7: an append is there in part": any(
            len({place is None for place in _places(appends, at)}) > 1 for appends in told.attempted
        ),
    }
    for problem, is_so in broken.items():
        if is_so:
            raise Violation(problem)


def _check_records(items: Iterable[Item], contents: Sequence[Seen]) -> int:
    next_position = 1
    in_cells: list[Seen] = []
    known = {event[0]: event for event in contents}
    records = [record_of(item) for item in items if "#l#" in item["pk"]["S"]]
    for record in sorted(records, key=lambda record: record.first):
        if record.first != next_position:
            raise Violation(f"I1: position {next_position} is covered twice, or not at all")
        next_position = record.end + 1
        if not record.is_tombstone:
            for at, one in enumerate(cell_entries(record.body), start=record.first):
                if not isinstance(one, TrimmedId):
                    in_cells.append((at, one.stream, one.version, one.state))
                elif one.event_id.encode() in known.get(at, (0, "", 0, b""))[3]:
                    in_cells.append(known[at])
                else:
                    raise Violation("I11: of an event that was trimmed another id is kept")
    if in_cells != contents:
        raise Violation("I9: a reader does not reach the end")
    return next_position - 1


def _in_stream(item: Item, at: Mapping[int, Seen]) -> list[Seen]:
    _, kind, stream = [*item["pk"]["S"].split("#", 2), ""][:3]
    if kind != "s":
        return []
    first, base = number(item, "sk"), number(item, "b")
    entries = enumerate(stream_entries(item), start=first)
    return [
        (
            base + one.offset,
            stream,
            version,
            at[base + one.offset][3] if isinstance(one, TrimmedOffset) else one.state,
        )
        for version, one in entries
    ]


def _places(appends: Sequence[StreamAppend], at: Mapping[bytes, int]) -> list[int | None]:
    return [at.get(one.state) for append in appends for one in append.events]
