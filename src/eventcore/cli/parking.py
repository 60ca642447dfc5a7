"""``eventcore projections parked|retry|skip``: what failed, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import answer_no, console, print_json, print_note, print_records, safe
from eventcore.cli.readmodels import find_projection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventcore.projections.repairs import ParkedKey, SkippedEvent
    from eventcore.projections.retrying import Retried

_NAME = typer.Argument(metavar="NAME", help="Which read model; see `projections status`.")
_KEY_HELP = "The key as `projections parked` prints it."
_TABLE = typer.Option(
    None, "--table", metavar="TABLE", help="Its table, if the key is parked in several."
)
_PARKED_COLUMNS = ("table", "key", "position", "eventType", "events", "attempts", "error", "since")
_SKIPPED_COLUMNS = ("table", "key", "position", "eventType", "error", "reason", "by", "at")


def parked(
    name: str = _NAME,
    *,
    skipped: bool = typer.Option(
        False, "--skipped", help="The events that were skipped instead, and why."
    ),
) -> None:
    """List the keys whose events wait since one of them failed: their rows are behind.

    A key without an error waits for the work on another key.
    """
    projection = find_projection(name).name
    with OPTIONS.open() as app:
        runner = app.runner()
        records = (
            [_skipped_record(one) for one in runner.skipped(projection)]
            if skipped
            else [_parked_record(one) for one in runner.parked(projection)]
        )
        columns = _SKIPPED_COLUMNS if skipped else _PARKED_COLUMNS
        title = f"{'skipped' if skipped else 'parked'} of {projection}"
        print_records(records, columns, title=title, limit=len(records) or None)
        if not OPTIONS.json:
            _say_messages(records)


def _say_messages(records: Iterable[dict[str, Any]]) -> None:
    messages = dict.fromkeys(record["message"] for record in records if record["message"])
    for message in list(messages)[:MESSAGES_MAX]:
        print_note(str(message))


MESSAGES_MAX = 5
"""Different messages that are printed below a table; all of them are there with --json."""


def retry(
    name: str = _NAME,
    *,
    key: str | None = typer.Option(None, "--key", metavar="KEY", help=_KEY_HELP),
    table: str | None = _TABLE,
) -> None:
    """Apply what is parked, in order, as far as it can be applied now. Exit 1 if some stays.

    Events are read and decoded anew: start it with the mended code. Runners go on meanwhile.
    """
    projection = find_projection(name).name
    with OPTIONS.open() as app:
        runner = app.runner()
        done = runner.retry(projection, key, table=table)
        left = [one.unit for one in runner.parked(projection) if key in {None, one.key_text}]
    _report(projection, done)
    if left:
        answer_no(
            "EventsParked",
            f"{len(left):,} of these keys are parked still: see eventcore projections parked "
            f"{projection}",
        )


def skip(
    name: str = _NAME,
    *,
    key: str = typer.Option(..., "--key", metavar="KEY", help=_KEY_HELP),
    reason: str = typer.Option(..., "--reason", metavar="TEXT", help="Why; it is kept."),
    by: str | None = typer.Option(None, "--by", metavar="NAME", help="Who decided; it is kept."),
    table: str | None = _TABLE,
) -> None:
    """Leave out the first event that is parked for a key, for ever, and retry those after it.

    The decision holds in rebuilds as well. The log keeps the event.
    """
    projection = find_projection(name).name
    with OPTIONS.open() as app:
        done = app.runner().skip(projection, key, reason=reason, by=by, table=table)
    _report(projection, done)


def _report(projection: str, done: Retried) -> None:
    if OPTIONS.json:
        print_json({"projection": projection, **done._asdict()})
        return
    mark = "[green]✓[/green]" if not done.parked else "[yellow]•[/yellow]"
    skipped = f", {done.skipped:,} skipped" if done.skipped else ""
    console.print(
        f"{mark} {safe(projection)}: {done.events:,} parked events applied{skipped}, "
        f"{done.parked:,} keys parked still"
    )


def _parked_record(one: ParkedKey) -> dict[str, Any]:
    return {
        "projection": one.projection,
        "table": one.table or "(stream)",
        "key": one.key_text,
        "position": one.position,
        "eventType": one.event_type,
        "events": one.events,
        "since": one.since,
        "attempts": one.attempts,
        "error": one.error,
        "message": one.message,
        "transient": one.transient,
    }


def _skipped_record(one: SkippedEvent) -> dict[str, Any]:
    return {
        "projection": one.projection,
        "table": one.table or "(stream)",
        "key": one.key_text,
        "position": one.position,
        "eventId": one.event_id,
        "eventType": one.event_type,
        "stream": one.stream,
        "version": one.version,
        "attempts": one.attempts,
        "error": one.error,
        "message": one.message,
        "reason": one.reason,
        "by": one.by,
        "at": one.at,
    }
