"""``eventcore projections``: how read models are, keeping them, making them again."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from eventcore.cli.options import EPILOG, OPTIONS
from eventcore.cli.output import (
    cell,
    console,
    errors,
    print_json,
    print_records,
    progress_bar,
)
from eventcore.cli.readmodels import all_projections, find_projection
from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.text import Text

    from eventcore.projections.projection import Projection
    from eventcore.projections.runner import OnPage, ProjectionRunner
    from eventcore.stores.log import Log

program = typer.Typer(help="Keep the read models.")

_Names = typer.Argument(None, metavar="[NAME]...", help="Which; see `projections status`.")
_STATUS_COLUMNS = ("projection", "position", "head", "lagEvents", "lagSeconds", "rows", "tables")


@program.command(epilog=EPILOG)
def status() -> None:
    """Print how far each read model is. Exit 0 also when some are behind."""
    with OPTIONS.open() as app:
        runner = app.runner()
        tables = {p.name: [table.name for table in p.tables] for p in runner.projections}
        records: list[dict[str, Any]] = [
            {
                "projection": found.projection,
                "position": found.position,
                "head": found.head,
                "lagEvents": found.lag_events,
                "lagSeconds": found.lag_seconds,
                "rows": found.rows,
                "tables": tables[found.projection],
                "problem": found.problem,
            }
            for found in runner.status(app.now())
        ]
        if not OPTIONS.json:
            for record in records:
                record["tables"] = " ".join(tables[str(record["projection"])])
                record["lagSeconds"] = _round(record["lagSeconds"])
        print_records(records, _STATUS_COLUMNS, title="projections", limit=len(records))
        if not OPTIONS.json:
            for problem in dict.fromkeys(found["problem"] for found in records if found["problem"]):
                errors.print(f"[yellow]{escape(str(problem))}[/yellow]")


def _round(seconds: object) -> object:
    return round(seconds, 1) if isinstance(seconds, float) else seconds


@program.command(epilog=EPILOG)
def run(
    *, once: bool = typer.Option(False, "--once", help="Catch up with the log, then end.")
) -> None:
    """Keep all read models up to date with the log, for ever."""
    with OPTIONS.open() as app:
        pages = _Pages(app.log)
        runner = app.runner(on_page=pages)
        if once:
            _run_once(app.log, runner, pages)
        else:
            _follow(runner, pages)


@program.command(epilog=EPILOG)
def rebuild(
    names: list[str] | None = _Names,
    *,
    every: bool = typer.Option(False, "--all", help="All of them."),
) -> None:
    """Drop the rows of read models and make them again from the log.

    The log is not touched. Broken off, the next run goes on where it was.
    """
    if bool(names) == every:
        raise ConfigurationError(message="Name the projections to rebuild, or give --all")
    chosen = [find_projection(name) for name in names] if names else all_projections()
    with OPTIONS.open() as app:
        pages = _Pages(app.log)
        runner = app.runner(on_page=pages)
        for projection in chosen:
            _rebuild(runner, projection, pages)


@program.command(epilog=EPILOG)
def expire() -> None:
    """Delete rows older than the time to live of their table.

    For a scheduler to call. The log keeps every event: a rebuild brings the rows back.
    """
    with OPTIONS.open() as app:
        deleted = app.runner().expire(app.now())
        if OPTIONS.json:
            print_json({"deleted": deleted})
        else:
            console.print(f"{deleted:,} rows deleted")


class _Pages:
    """Counts what a runner does, for whoever watches; an ``on_page`` of a runner."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.events = 0
        self.position = 0
        self.started = time.monotonic()
        self.watcher: OnPage | None = None

    def __call__(self, applied: int, position: int) -> None:
        self.events += applied
        self.position = position
        if self.watcher is not None:
            self.watcher(applied, position)

    def restart(self) -> None:
        self.events = self.position = 0
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        return self.events / max(self.seconds, 1e-9)


def _run_once(log: Log, runner: ProjectionRunner, pages: _Pages) -> None:
    head = log.head()
    with progress_bar() as progress:
        task = progress.add_task("catching up", total=head)
        pages.watcher = lambda _, position: progress.update(task, completed=position)
        done = runner.run_to_head()
    report = {
        "events": done.events,
        "position": done.position,
        "head": head,
        "seconds": round(pages.seconds, 3),
    }
    if OPTIONS.json:
        print_json(report)
    elif done.events:
        console.print(
            f"[green]✓[/green] {done.events:,} events applied in {pages.seconds:.1f} s "
            f"[dim]({pages.rate:,.0f}/s)[/dim], now at position {done.position:,}"
        )
    else:
        console.print(f"[green]✓[/green] up to date at position {done.position:,}")


def _rebuild(runner: ProjectionRunner, projection: Projection, pages: _Pages) -> None:
    name = projection.name
    pages.restart()
    with progress_bar() as progress:
        task = progress.add_task(f"rebuilding {name}", total=runner.log.head())
        pages.watcher = lambda _, position: progress.update(task, completed=position)
        done = runner.rebuild(name)
    seconds = pages.seconds
    rows = {table.name: runner.views.count(table) for table in projection.tables}
    if OPTIONS.json:
        print_json(
            {
                "projection": name,
                "events": done.events,
                "position": done.position,
                "rows": rows,
                "seconds": round(seconds, 3),
            }
        )
        return
    counts = ", ".join(f"{count:,} rows in {table}" for table, count in rows.items())
    console.print(
        f"[green]✓[/green] {cell(name)}: {counts} from {done.events:,} events in {seconds:.1f} s "
        f"[dim]({pages.rate:,.0f}/s)[/dim]"
    )


def _follow(runner: ProjectionRunner, pages: _Pages) -> None:
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    # A service manager's way to stop a service; Ctrl-C interrupts as everywhere.
    before = signal.signal(signal.SIGTERM, end)
    try:
        if OPTIONS.json:
            pages.watcher = _print_page
            runner.follow(stop)
        elif OPTIONS.interactive:
            _follow_live(runner, pages, stop)
        else:
            runner.follow(stop)
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_page(applied: int, position: int) -> None:
    print_json({"events": applied, "position": position})
    console.file.flush()


def _follow_live(runner: ProjectionRunner, pages: _Pages, stop: threading.Event) -> None:
    from rich.live import Live  # noqa: PLC0415 - only a person who watches needs it

    pages.position = min((found.position for found in runner.status()), default=0)
    with Live(
        get_renderable=lambda: _status_line(pages),
        console=errors,
        refresh_per_second=4,
        transient=True,
    ):
        runner.follow(stop)


def _status_line(pages: _Pages) -> Text:
    from rich.text import Text  # noqa: PLC0415 - see above

    head = pages.log.head()
    lag = max(0, head - pages.position)
    return Text.assemble(
        ("● ", "green" if lag == 0 else "yellow"),
        ("following  ", "bold"),
        f"position {pages.position:,}  head {head:,}  ",
        (f"lag {lag:,}", "dim" if lag == 0 else "yellow"),
        f"  applied {pages.events:,}  ",
        ("Ctrl-C ends", "dim"),
    )
