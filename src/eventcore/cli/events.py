"""``eventcore events``: look into the log."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import typer
from rich.tree import Tree

from eventcore.cli.differences import diff
from eventcore.cli.options import EPILOG, OPTIONS
from eventcore.cli.output import answer_no, cell, console, print_document, print_json, print_records
from eventcore.errors import ConfigurationError
from eventcore.events.recorded import Recorded
from eventcore.stores.log import EVERYTHING, Log, LogFilter

program = typer.Typer(help="Look into the log.")
program.command(epilog=EPILOG)(diff)

_COLUMNS = ("position", "timestamp", "type", "stream", "version", "userId")

_Types = typer.Option(None, "--type", help="Only this type; may be given again.")
_Categories = typer.Option(
    None, "--category", help="Only streams of this category; may be given again."
)


def describe(event: Recorded[Any]) -> dict[str, Any]:
    """An event as one JSON object: places, context, payload and metadata as stored."""
    envelope = event.envelope
    return {
        "position": event.position,
        "stream": event.stream,
        "version": event.version,
        "type": event.type,
        "schemaVersion": envelope["v"],
        "eventId": envelope["id"],
        "timestamp": envelope["at"],
        **(envelope.get("ctx") or {}),
        "payload": envelope["data"],
        "metadata": envelope.get("meta") or {},
    }


def _filter(types: list[str] | None, categories: list[str] | None) -> LogFilter:
    if not types and not categories:
        return EVERYTHING
    return LogFilter(
        types=frozenset(types) if types else None,
        categories=frozenset(categories) if categories else None,
    )


@program.command(epilog=EPILOG)
def read(
    *,
    after: int = typer.Option(0, min=0, help="Start behind this position."),
    limit: int | None = typer.Option(None, min=1, help="At most so many."),
    stream: str | None = typer.Option(None, help="Only this stream, e.g. order-536365."),
    types: list[str] | None = _Types,
    categories: list[str] | None = _Categories,
) -> None:
    """Print events in the order of the log."""
    where = _filter(types, categories)
    with OPTIONS.open() as app:
        found: Iterable[Recorded[Any]]
        if stream is None:
            found = app.log.read(after, where=where)
        else:
            found = (
                event
                for event in app.log.read_stream(stream)
                if event.position > after and where.matches(event)
            )
        print_records(map(describe, found), _COLUMNS, title=stream or "events", limit=limit)


@program.command(epilog=EPILOG)
def tail(
    *,
    after: int | None = typer.Option(None, min=0, help="Start behind this position; default: now."),
    limit: int | None = typer.Option(None, min=1, help="End after so many; default: never."),
    types: list[str] | None = _Types,
    categories: list[str] | None = _Categories,
) -> None:
    """Print events as they are appended, by any process, until interrupted."""
    with OPTIONS.open() as app:
        start = app.log.head() if after is None else after
        with app.log.subscribe(start, _filter(types, categories)) as subscription:
            for count, event in enumerate(subscription, start=1):
                record = describe(event)
                if OPTIONS.json:
                    print_json(record)
                else:
                    line = "  ".join(cell(record.get(column)) for column in _COLUMNS)
                    console.print(line, soft_wrap=True)
                sys.stdout.flush()
                if count == limit:
                    return


@program.command(epilog=EPILOG)
def show(event_id: str = typer.Argument(help="The event's UUID.")) -> None:
    """Print one event, whole."""
    try:
        canonical = str(UUID(event_id))
    except ValueError as error:
        raise ConfigurationError(message=f"{event_id!r} is not a UUID") from error
    with OPTIONS.open() as app:
        event = app.log.locate([canonical]).get(canonical)
        if event is None:
            answer_no("NotFound", f"no event has the id {canonical}")
        print_document(describe(event))


@program.command(epilog=EPILOG)
def trace(correlation_id: str = typer.Argument(help="As events carry it.")) -> None:
    """Print what one request or case set off, as a tree of causes."""
    with OPTIONS.open() as app:
        found = list(_correlated(app.log, correlation_id))
    if not found:
        answer_no("NotFound", f"no event carries the correlation id {correlation_id!r}")
    if OPTIONS.json:
        for event in found:
            print_json(describe(event))
    else:
        console.print(_tree(correlation_id, found))


def _correlated(log: Log, correlation_id: str) -> Iterator[Recorded[Any]]:
    # Every store can be searched this way; the bytes are compared before anything is parsed.
    needle = correlation_id.encode("utf-8", "surrogateescape")
    plain = correlation_id.isalnum() or correlation_id.replace("-", "").isalnum()
    for event in log.read():
        # What JSON may write with a backslash is not searched for in the bytes.
        if (not plain or needle in event.state) and event.correlation_id == correlation_id:
            yield event


def _tree(correlation_id: str, found: list[Recorded[Any]]) -> Tree:
    root = Tree(f"[bold]{cell(correlation_id)}[/bold]")
    branches: dict[str, Tree] = {}
    for event in found:
        parent = branches.get(event.causation_id or "", root)
        label = (
            f"[dim]{event.timestamp_text}[/dim]  [cyan]{cell(event.type)}[/cyan]  "
            f"{cell(event.stream)} [dim]v{event.version}[/dim]"
        )
        branches[str(event.event_id)] = parent.add(label)
    return root
