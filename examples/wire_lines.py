"""What the example scripts share: open a source, name its events, print them in wire form.

Each script beside this file turns one published data set into events that ``eventcore ingest -``
takes from standard input. Nothing here imports eventcore: the wire form is all there is to know.
"""

import argparse
import csv
import gzip
import io
import os
import sys
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

Event = dict[str, Any]

NAMESPACE = uuid.UUID("6d2d9a52-3f0a-5f0e-9f0c-8a4e0f6c2b11")
"""Event ids are made of this and a place in the source. Change it and every import is a new one."""

DEFAULT_AT = "2020-01-01T00:00:00Z"
"""Stands in for the time that a source does not have; see ``--at``."""

FORM_VERSION = "1"
UNREADABLE = (
    *(OSError, EOFError, zlib.error),  # absent, cut off, damaged
    *(ValueError, OverflowError, csv.Error, orjson.JSONEncodeError),  # something else inside
)
LINES_PER_WRITE = 500
GZIP_MAGIC = b"\x1f\x8b"


class SourceError(ValueError):
    """The source is not the file that the script reads; the message says where."""


def wire_event(
    event_type: str,
    event_source: str,
    timestamp: str,
    *,
    payload: Event,
    position: str,
    **around: Any,
) -> Event:
    """Put a payload in its envelope.

    Args:
        event_type: Stored name of the event, e.g. ``order.created``.
        event_source: Name of the data set; with ``position`` it makes the event id.
        timestamp: UTC, as :func:`utc_text` writes it.
        payload: Fields of the event; what the source does not have is not in it.
        position: A text that is the event's own among those of its type in the data set.
        around: Optionally ``metadata``; all else (``userId``, ``sessionId``) is put in the
            envelope unless it is None.
    """
    metadata = around.pop("metadata", {})
    return {
        "eventId": str(uuid.uuid5(NAMESPACE, f"{event_source}:{event_type}:{position}")),
        "eventType": event_type,
        "eventSource": event_source,
        "timestamp": timestamp,
        "version": FORM_VERSION,
        "data": {"payload": payload, "metadata": metadata},
        **{name: value for name, value in around.items() if value is not None},
    }


def utc_text(moment: datetime) -> str:
    """Write an aware time as the wire has it: UTC, microseconds, ``Z``, always 27 characters."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def csv_rows(
    source: BinaryIO, columns: Sequence[str], *, encoding: str = "utf-8"
) -> Iterator[tuple[str, ...]]:
    """Read the named columns (two or more) of a CSV file with a header, row by row, as text.

    Raises:
        SourceError: A column is missing, or a row has more or fewer fields than the header.
    """
    reader = csv.reader(io.TextIOWrapper(source, encoding=encoding, newline=""), strict=True)
    header = next(reader, [])
    if missing := [column for column in columns if column not in header]:
        msg = f"has no column {', '.join(missing)}"
        raise SourceError(msg)
    pick = itemgetter(*(header.index(column) for column in columns))
    for row in reader:
        if len(row) != len(header):
            msg = f"line {reader.line_num}: {len(row)} fields, the header has {len(header)}"
            raise SourceError(msg)
        yield pick(row)


def arguments(description: str | None, *, needs_time: bool = False) -> argparse.ArgumentParser:
    """Build the command line that every script has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="the source file, plain or gzip; - is standard input")
    parser.add_argument("--summary", action="store_true", help="say on stderr what was printed")
    if needs_time:
        parser.add_argument(
            "--at",
            type=_aware_time,
            default=_aware_time(DEFAULT_AT),
            metavar="TIME",
            help=f"the source has no times: take this one, ISO-8601 with an offset "
            f"(default {DEFAULT_AT}), plus one microsecond a row to keep the order",
        )
    return parser


def print_events(
    chosen: argparse.Namespace, events: Callable[[BinaryIO, Counter[str]], Iterator[Event]]
) -> None:
    """Print a JSON object a line, and leave with a status that says how it went.

    Args:
        chosen: What :func:`arguments` parsed.
        events: Yields the events of an open source, and counts in the second argument what the
            source holds and no event says.

    Raises:
        SystemExit: 2 if the source cannot be read (standard error says why), 1 if the reader of
            standard output went away, as ``head`` does.
    """
    left_out: Counter[str] = Counter()
    try:
        with _opened(chosen.file) as source:
            printed = _write_lines(events(source, left_out))
    except BrokenPipeError:
        # Python flushes standard output once more on its way out, which would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UNREADABLE as error:
        print(f"{chosen.file}: {error}", file=sys.stderr)
        sys.exit(2)
    if chosen.summary:
        counts = [f"{count:,} {name}" for name, count in sorted(printed.items())]
        counts += [f"{count:,} {name} left out" for name, count in sorted(left_out.items())]
        print(", ".join(counts) or "no events", file=sys.stderr)


def _write_lines(events: Iterator[Event]) -> Counter[str]:
    printed: Counter[str] = Counter()
    lines: list[bytes] = []
    for event in events:
        printed[event["eventType"]] += 1
        lines.append(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
        if len(lines) == LINES_PER_WRITE:
            sys.stdout.buffer.write(b"".join(lines))
            lines.clear()
    sys.stdout.buffer.write(b"".join(lines))
    sys.stdout.buffer.flush()
    return printed


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open a file or standard input, unpacked if its first bytes are gzip's."""
    with ExitStack() as files:
        source = sys.stdin.buffer if name == "-" else files.enter_context(Path(name).open("rb"))
        is_gzip = cast("io.BufferedReader", source).peek(2).startswith(GZIP_MAGIC)
        yield cast("BinaryIO", files.enter_context(gzip.open(source))) if is_gzip else source


def _aware_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = "a time needs an offset, e.g. 2020-01-01T00:00:00Z"
        raise argparse.ArgumentTypeError(msg)
    return moment
