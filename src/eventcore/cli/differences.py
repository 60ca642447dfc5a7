"""``eventcore events diff``: what became of an aggregate between two versions of its stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson
import typer

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import cell, console, json_text, print_json, print_records
from eventcore.cli.states import aggregate_of_kind, readable
from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from eventcore.aggregates.aggregate import Aggregate
    from eventcore.app import App

_COLUMNS = ("field", "before", "after")
_ABSENT: Final = object()
_UNTOLD: Final = frozenset({"version"})
"""Fields that differ between any two versions."""


def diff(
    kind: str = typer.Argument(metavar="KIND", help="order, user, session, model or your own."),
    id_: str = typer.Argument(metavar="ID", help="The aggregate's id, e.g. 536365."),
    *,
    first: int | None = typer.Option(
        None,
        "--from",
        min=0,
        help="The earlier version, 0: before it began; else the one before.",
    ),
    last: int | None = typer.Option(None, "--to", min=1, help="The later version; else the last."),
) -> None:
    """Print which fields of an aggregate changed between two versions, and by which events."""
    cls = aggregate_of_kind(kind)
    with OPTIONS.open() as app:
        stream = cls.stream_of(id_)
        to = app.log.stream_version(stream) if last is None else last
        since = max(to - 1, 0) if first is None else first
        if since > to:
            raise ConfigurationError(message=f"--from {since} is behind --to {to}: turn them round")
        before, after = _state(app, cls, id_, since), _state(app, cls, id_, to)
        events = [
            {"version": event.version, "type": event.type, "timestamp": event.timestamp_text}
            for event in app.log.read_stream(stream, after=since, until=to)
        ]
    changes = [
        {"field": field, "before": _shown(old), "after": _shown(new)}
        for field, old, new in differences(before, after)
    ]
    if OPTIONS.json:
        print_json(
            {"stream": stream, "from": since, "to": to, "events": events, "changes": changes}
        )
        return
    for event in events:
        console.print(
            f"[dim]v{event['version']}[/dim]  [cyan]{cell(event['type'])}[/cyan]  "
            f"{cell(event['timestamp'])}"
        )
    print_records(changes, _COLUMNS, title=f"{stream} {since} to {to}", limit=len(changes) or None)


def _state(app: App, cls: type[Aggregate], id_: str, version: int) -> dict[str, Any]:
    aggregate = app.get(cls, id_, version=version or 1)
    if not version:
        return {}  # nothing had happened; but now there is something of that name
    found: dict[str, Any] = orjson.loads(json_text(readable(aggregate)))
    return {name: value for name, value in found.items() if name not in _UNTOLD}


def _shown(value: Any) -> Any:
    return None if value is _ABSENT else value


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: a path such as ``items.0.quantity``, and what is there.

    Args:
        before: The one.
        after: The other.
        path: Of both, in what they are part of.
    """
    names: Sequence[Any]
    match before, after:
        case Mapping(), Mapping():
            names = list(dict.fromkeys([*before, *after]))
            pairs = [(name, before.get(name, _ABSENT), after.get(name, _ABSENT)) for name in names]
        case list(), list():
            names = range(max(len(before), len(after)))
            pairs = [(place, _at(before, place), _at(after, place)) for place in names]
        case _:
            if before != after or type(before) is not type(after):
                yield path, before, after
            return
    for name, old, new in pairs:
        yield from differences(old, new, f"{path}.{name}" if path else str(name))


def _at(values: Sequence[Any], place: int) -> Any:
    return values[place] if place < len(values) else _ABSENT
