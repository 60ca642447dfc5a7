"""``eventcore replay``: read models as they were, in a database of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import typer

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import cell, console, errors, print_json, print_note, progress_bar
from eventcore.cli.places import place_of
from eventcore.cli.readmodels import all_projections, find_projection
from eventcore.errors import ConfigurationError
from eventcore.settings import REPLAY_PROCESSES_MAX, parse_store_url

if TYPE_CHECKING:
    from eventcore.app import App
    from eventcore.projections.projection import Projection
    from eventcore.projections.views import Views
    from eventcore.replay.replaying import Replayed

_Into = typer.Option(..., metavar="URL", help="Where the rows go, e.g. sqlite:///past.db.")
_Until = typer.Option(
    None,
    metavar="TIME|POSITION",
    help="As of this time, e.g. 2011-12-01T09:00:00Z, or of this position; else of all there is.",
)
_Projections = typer.Option(
    None, "--projection", metavar="NAME", help="Only this read model; may be given again."
)


def replay(
    *,
    into: str = _Into,
    until: str | None = _Until,
    projections: list[str] | None = _Projections,
    processes: int | None = typer.Option(
        None, min=1, max=REPLAY_PROCESSES_MAX, help="Divide the work among N processes here."
    ),
    drop: bool = typer.Option(False, "--drop", help="Drop what an earlier replay made there."),
) -> None:
    """Make read models as they were at a time or a position, in a database of their own.

    Broken off and repeated, it goes on where it was. Rows that `projections run` keeps are never
    touched. Look at the result with `query TABLE --views URL`.
    """
    chosen = [find_projection(one) for one in projections] if projections else all_projections()
    if parse_store_url(into).scheme == "memory":
        raise ConfigurationError(message="--into memory:// would be gone with this command")
    if drop:
        if until is not None:
            raise ConfigurationError(message="--drop drops whatever was replayed: leave --until")
        _drop(into, chosen)
        return
    place = None if until is None else place_of("--until", until)
    started = time.monotonic()
    with OPTIONS.open() as app, _views(app, into) as views:
        with progress_bar() as progress:
            task = progress.add_task("replaying", total=None)
            done = app.replay(
                views,
                [one.name for one in chosen],
                until=place,
                processes=processes,
                on_progress=lambda at, end: progress.update(task, completed=at, total=end),
            )
        _report(done, views, chosen, seconds=time.monotonic() - started)


@contextmanager
def _views(app: App, into: str) -> Iterator[Views]:
    from eventcore.app import open_views  # noqa: PLC0415 - see cli.options

    if into in {app.settings.store, app.settings.views}:
        raise ConfigurationError(
            message="--into names where the live read models are: name another database"
        )
    with closing(open_views(into, app.log, clock=app.now)) as views:
        yield views


def _drop(into: str, chosen: list[Projection]) -> None:
    from eventcore.replay import drop_replays  # noqa: PLC0415 - only here

    with OPTIONS.open() as app, _views(app, into) as views:
        dropped = drop_replays(views, chosen)
    if OPTIONS.json:
        print_json({"dropped": dropped})
    else:
        console.print(f"{len(dropped)} replayed read models dropped")


def _report(done: Replayed, views: Views, chosen: list[Projection], *, seconds: float) -> None:
    rows = {table.name: views.count(table) for one in chosen for table in one.tables}
    if OPTIONS.json:
        print_json(
            {
                "until": done.until,
                "position": done.position,
                "events": done.events,
                "resumed": done.resumed,
                "parked": done.parked,
                "together": list(done.together),
                "apart": list(done.apart),
                "queried": list(done.queried),
                "rows": rows,
                "seconds": round(seconds, 3),
            }
        )
        return
    rate = round(done.events / max(seconds, 1e-9))
    console.print(
        f"[green]✓[/green] as of {cell(done.until)}: {sum(rows.values()):,} rows from "
        f"{done.events:,} events in {seconds:.1f} s [dim]({rate:,}/s)[/dim]"
    )
    for name, count in rows.items():
        console.print(f"  {cell(name)}  [dim]{count:,} rows[/dim]")
    if done.queried:
        print_note(f"by one query, as far as the archive goes: {', '.join(done.queried)}")
    if done.apart and (whole := [one for one in done.together if one not in done.queried]):
        print_note(f"in one process, for their rows may be of several streams: {', '.join(whole)}")
    if done.parked:
        errors.print(
            f"[yellow]The events of {done.parked:,} keys failed and wait in that database: "
            "their rows are as they were before[/yellow]",
            soft_wrap=True,
        )
