"""What the table of a DynamoDB log has to be, and what everybody was told about it: I1 to I9."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eventcore.stores.dynamodb.calls import Item
from eventcore.stores.dynamodb.layout import cell_events, number, record_of, stream_events
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
    """Hold the items of the table against the log as it is read.

    Raises:
        Violation: A promise is broken.
    """
    everything = list(items)
    end = _check_records(everything, contents)
    in_streams = [event for item in everything for event in _in_stream(item)]
    if sorted(in_streams) != contents:
        raise Violation("I3: the streams are not what the log is")
    for stream, count in Counter(event[1] for event in contents).items():
        versions = [event[2] for event in contents if event[1] == stream]
        if versions != list(range(1, count + 1)):
            raise Violation(f"I4: the versions of {stream} are {versions}")
    reserved = next(number(item, "c") for item in everything if item["pk"]["S"].endswith("#q"))
    if reserved < end:
        raise Violation("I8: something is written that was never reserved")


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
    records = [record_of(item) for item in items if "#l#" in item["pk"]["S"]]
    for record in sorted(records, key=lambda record: record.first):
        if record.first != next_position:
            raise Violation(f"I1: position {next_position} is covered twice, or not at all")
        next_position = record.end + 1
        if not record.is_tombstone:
            events = enumerate(cell_events(record.body), start=record.first)
            in_cells += [(at, one.stream, one.version, one.state) for at, one in events]
    if in_cells != contents:
        raise Violation("I9: a reader does not reach the end")
    return next_position - 1


def _in_stream(item: Item) -> list[Seen]:
    _, kind, stream = [*item["pk"]["S"].split("#", 2), ""][:3]
    if kind != "s":
        return []
    first, base = number(item, "sk"), number(item, "b")
    events = enumerate(stream_events(item), start=first)
    return [(base + one.offset, stream, at, one.state) for at, one in events]


def _places(appends: Sequence[StreamAppend], at: Mapping[bytes, int]) -> list[int | None]:
    return [at.get(one.state) for append in appends for one in append.events]
