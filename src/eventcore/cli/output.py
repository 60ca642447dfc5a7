"""What the command line prints: tables for people, JSON lines for programs, errors in one form."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

import orjson
import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from eventcore.cli.options import OPTIONS
from eventcore.errors import CodedError, EventCoreError
from eventcore.events.times import to_text

if TYPE_CHECKING:
    from rich.progress import Progress

CELL_CHARACTERS_MAX: Final = 48
"""Longer values are cut in tables; ``--json`` prints them whole."""

TABLE_ROWS: Final = 50
"""Rows of a table when no ``--limit`` is given; ``--json`` prints all."""

COLUMN_WIDTH_MIN: Final = 8
"""Characters a column of longer values keeps when a terminal is too narrow."""

EXIT_NO: Final = 1
"""The answer is no: nothing found, or something differs."""

_INTEGER_MIN: Final = -(2**63)
_INTEGER_MAX: Final = 2**64 - 1
"""What orjson writes; an event may hold any integer."""

_TERMINAL_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""What orjson leaves as it is and a terminal may obey (ECMA-48: 8-bit control functions)."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class _Console(Console):
    @override
    def on_broken_pipe(self) -> None:
        # rich would end the program with 1; here `| head` is a way to stop reading.
        raise BrokenPipeError


console: Final = _Console(highlight=False)
errors: Final = _Console(stderr=True, highlight=False)


def to_jsonable(value: Any) -> Any:
    """Times as fixed-width UTC text, decimals as text."""
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(type(value).__name__)


def json_text(record: Any, *, indented: bool = False) -> str:
    """JSON without characters that a terminal would obey."""
    option = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS
    if indented:
        option |= orjson.OPT_INDENT_2
    try:
        data = orjson.dumps(record, default=to_jsonable, option=option)
    except orjson.JSONEncodeError:
        data = orjson.dumps(_writable(record), default=to_jsonable, option=option)
    return data.decode().translate(_TERMINAL_CONTROLS)


def _writable(value: Any) -> Any:
    """The same with what JSON can say and orjson cannot: integers of any size, half characters."""
    match value:
        case int() if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            return orjson.Fragment(str(value))
        case str():
            # Half a surrogate pair: an argument that is not UTF-8 is named in a message.
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_writable(key): _writable(item) for key, item in value.items()}
        case list() | tuple():
            return [_writable(item) for item in value]
        case _:
            return value


def print_json(record: Any, *, stream: TextIO | None = None) -> None:
    """One JSON value on a line of its own, on standard output."""
    (stream or sys.stdout).write(json_text(record) + "\n")


def print_document(record: Any) -> None:
    """One record, whole: a JSON line with ``--json``, else indented and coloured."""
    if OPTIONS.json:
        print_json(record)
    else:
        text = Text(json_text(record, indented=True))
        JSONHighlighter().highlight(text)
        console.print(text, soft_wrap=True)


def print_records(
    records: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    title: str,
    limit: int | None = None,
) -> int:
    """Records as JSON lines or as a table; gives how many were printed.

    Without a limit a table stops after :data:`TABLE_ROWS` rows and says that there are more.
    """
    if limit is not None:
        limit = min(limit, sys.maxsize)  # the largest that `islice` takes; nothing has more
    if OPTIONS.json:
        count = 0
        for record in islice(records, limit):
            print_json(record)
            count += 1
        return count
    found = iter(records)
    shown = list(islice(found, limit or TABLE_ROWS))
    more = limit is None and next(found, None) is not None
    console.print(_table(shown, columns, title))
    if not shown:
        console.print("[dim]nothing[/dim]")
    if more:
        console.print(f"[dim]the first {TABLE_ROWS}; --limit N shows more, --json all[/dim]")
    return len(shown)


def _table(records: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str) -> Table:
    table = Table(
        title=cell(title),
        title_justify="left",
        title_style="bold",
        header_style="bold cyan",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for column in columns:
        values = [record.get(column) for record in records]
        numbers = any(map(_is_number, values))
        longest = max([len(_in_words(value)) for value in values] + [len(column)])
        table.add_column(
            escape(column),
            overflow="fold",
            min_width=min(longest, COLUMN_WIDTH_MIN),
            justify="right" if numbers else "left",
        )
    for record in records:
        table.add_row(*[cell(record.get(column)) for column in columns])
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def cell(value: Any) -> str:
    """A value as it stands in a table, in rich's markup."""
    if value is None:
        return "[dim]\N{EN DASH}[/dim]"
    return escape(_in_words(value))


def _in_words(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        value = json_text(value)
    elif isinstance(value, datetime | Decimal):
        value = to_jsonable(value)
    text = printable(str(value))
    if _TIME.fullmatch(text):
        # Nobody compares microseconds by eye.
        text = f"{text[:10]} {text[11:23]}".removesuffix(".000")
    if len(text) > CELL_CHARACTERS_MAX:
        text = text[: CELL_CHARACTERS_MAX - 1] + "…"
    return text


def safe(text: str) -> str:
    """Text in rich's markup, whole: without markup of its own and without control characters."""
    return escape(printable(text))


def printable(text: str) -> str:
    """Text without anything that a terminal would obey: data never moves the cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def print_note(message: str) -> None:
    """A remark for a person, on standard error; nothing with ``--json``."""
    if not OPTIONS.json:
        errors.print(f"[dim]{safe(message)}[/dim]", soft_wrap=True)


def print_failure(kind: str, message: str, reason: str | None = None) -> None:
    """A failure on standard error: one line, or ``{"error": {"type", "reason"?, "message"}}``."""
    if OPTIONS.json:
        record = {"type": kind, **({"reason": reason} if reason else {}), "message": message}
        print_json({"error": record}, stream=sys.stderr)
    else:
        line = safe(" ".join(message.split()))
        errors.print(f"[bold red]error[/bold red]  {line}", soft_wrap=True)


def print_error(error: EventCoreError) -> None:
    """An error of the library as :func:`print_failure` writes it."""
    reason = error.reason if isinstance(error, CodedError) else None
    print_failure(type(error).__name__, str(error), reason)


def answer_no(kind: str, message: str) -> NoReturn:
    """Say that the answer is no, and end the command with exit code 1."""
    print_failure(kind, message)
    raise typer.Exit(EXIT_NO)


def progress_bar() -> Progress:
    """A bar on standard error for work of a known length; it is gone when the work is done."""
    from rich.progress import (  # noqa: PLC0415 - 100 ms that only watched work needs
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("[bold]{task.description}[/bold]"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        disable=not OPTIONS.interactive,
        transient=True,
    )
