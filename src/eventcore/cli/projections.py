"""``eventcore projections``: how read models are, keeping them, making them again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from eventcore.cli import following, parking
from eventcore.cli.following import Pages
from eventcore.cli.logs import LogForm, logging_to_stderr
from eventcore.cli.options import EPILOG, OPTIONS
from eventcore.cli.output import (
    EXIT_NO,
    answer_no,
    cell,
    console,
    errors,
    print_json,
    print_records,
    progress_bar,
    safe,
)
from eventcore.cli.readmodels import find_projection
from eventcore.cli.rebuilding import add_to as add_rebuilds
from eventcore.errors import ConfigurationError, SchemaMismatchError
from eventcore.settings import (
    LEASE_SECONDS,
    LEASE_SECONDS_MAX,
    LEASE_SECONDS_MIN,
    LEASE_SECONDS_VARIABLE,
    SHARES_DEFAULT,
    SHARES_MAX,
    WORKERS_MAX,
)

LAG_SECONDS_MAX = 60.0
HELD_SECONDS_MAX = 10.0
"""As in :mod:`eventcore.projections.health`, which help does without; a test compares them."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventcore.projections.runner import ProjectionRunner
    from eventcore.projections.statuses import GenerationStatus, ProjectionStatus
    from eventcore.stores.log import Log

program = typer.Typer(help="Keep the read models.")
program.command("parked", epilog=EPILOG)(parking.parked)
program.command("retry", epilog=EPILOG)(parking.retry)
program.command("skip", epilog=EPILOG)(parking.skip)
add_rebuilds(program)

_Names = typer.Argument(None, metavar="[NAME]...", help="Which; see `projections status`.")
_Divided = typer.Argument(..., metavar="NAME...", help="Which; see `projections status`.")
_WORKERS = typer.Option(
    None,
    "--workers",
    min=1,
    max=WORKERS_MAX,
    metavar="N",
    help="Divide the work among N processes here, and those of other hosts that share the views.",
)
_LEASE = typer.Option(
    LEASE_SECONDS,
    "--lease",
    min=LEASE_SECONDS_MIN,
    max=LEASE_SECONDS_MAX,
    metavar="SECONDS",
    envvar=LEASE_SECONDS_VARIABLE,
    help="With --workers: how soon a killed worker's share is taken over. The same everywhere.",
)
_SHARES = typer.Option(
    SHARES_DEFAULT,
    "--shares",
    min=1,
    max=SHARES_MAX,
    metavar="N",
    help="With --workers: in how many shares a read model is divided that is not divided yet.",
)
_LOG = typer.Option(None, "--log", help="Write a log to standard error; without, warnings alone.")
_MAX_LAG = typer.Option(
    LAG_SECONDS_MAX,
    "--max-lag-seconds",
    min=0,
    metavar="N",
    help="Age of the oldest event not yet applied that is put up with.",
)
_MAX_HELD = typer.Option(
    HELD_SECONDS_MAX,
    "--max-held-seconds",
    min=0,
    metavar="N",
    help="Age of a transaction that holds the feed that is put up with.",
)
_STATUS_COLUMNS = (
    *("projection", "position", "head", "lagEvents", "lagSeconds", "parked", "rows", "tables"),
)


@program.command(epilog=EPILOG)
def status() -> None:
    """Print how far each read model is. Exit 0 also when some are behind, or keys are parked."""
    with OPTIONS.open() as app:
        runner = app.runner()
        tables = {p.name: [table.name for table in p.tables] for p in runner.projections}
        found_status = runner.status(app.now())
    records = [_record(found, tables[found.projection]) for found in found_status]
    if not OPTIONS.json:
        for record in records:
            record["tables"] = " ".join(record["tables"])
            record["lagSeconds"] = _round(record["lagSeconds"])
    print_records(records, _STATUS_COLUMNS, title="projections", limit=len(records))
    if not OPTIONS.json:
        _tell_of_status(found_status)


def _record(found: ProjectionStatus, tables: list[str]) -> dict[str, Any]:
    return {
        "projection": found.projection,
        "generation": found.generation,
        "position": found.position,
        "head": found.head,
        "lagEvents": found.lag_events,
        "lagSeconds": found.lag_seconds,
        "parked": found.parked,
        "parkedEvents": found.parked_events,
        "rows": found.rows,
        "tables": tables,
        "problem": found.problem,
        "heldBy": [holder._asdict() for holder in found.held_by],
        "generations": [one._asdict() for one in found.generations],
    }


def _tell_of_status(statuses: Sequence[ProjectionStatus]) -> None:
    """Print to standard error what the table has no room for."""
    for problem in dict.fromkeys(found.problem for found in statuses if found.problem):
        errors.print(f"[yellow]{escape(problem)}[/yellow]")
    for found in statuses:
        if found.parked:
            errors.print(f"[yellow]{_of_parked(found.projection, found.parked)}[/yellow]")
        for one in found.generations:
            if one.state != "live":
                errors.print(_of_generation(found, one), soft_wrap=True)
    held_by = [holder.who for found in statuses for holder in found.held_by]
    for who in dict.fromkeys(held_by):
        errors.print(f"[yellow]The feed is held by {escape(who)}[/yellow]")


@program.command(epilog=EPILOG)
def health(
    *,
    max_lag_seconds: float = _MAX_LAG,
    max_held_seconds: float = _MAX_HELD,
) -> None:
    """Say whether the read models are current and the feed gets further; exit 1 if not."""
    from eventcore.projections.health import Check, Health, check_feed  # noqa: PLC0415 - only here

    with OPTIONS.open(create=False) as app:
        try:
            found = app.runner().health(
                app.now(), lag_seconds_max=max_lag_seconds, held_seconds_max=max_held_seconds
            )
        except SchemaMismatchError as error:
            # Nobody has kept a read model here yet.
            absent = Check("projections", ok=False, problems=(str(error),))
            found = Health((absent, check_feed(app.log, max_held_seconds)))
    if OPTIONS.json:
        print_json(found.as_dict())
    else:
        for check in found.checks:
            mark = "[green]✓[/green]" if check.ok else "[red]✗[/red]"
            console.print(f"{mark} {check.name}")
            for problem in check.problems:
                console.print(f"  [yellow]{safe(problem)}[/yellow]")
            for note in check.notes:
                console.print(f"  {safe(note)}: see eventcore projections parked", soft_wrap=True)
    if not found.ok:
        raise typer.Exit(EXIT_NO)


def _of_parked(projection: str, keys: int) -> str:
    return (
        f"{keys:,} keys of {escape(projection)} are parked since an event failed: see eventcore "
        f"projections parked {escape(projection)}"
    )


def _of_generation(found: ProjectionStatus, one: GenerationStatus) -> str:
    what = {
        "building": "is being built, or was left half built: `projections rebuild` goes on with it",
        "old": "is kept: `projections rollback` goes back to it, `projections drop-old` drops it",
        "dropping": "is being dropped",
    }[one.state]
    return (
        f"Generation {one.generation} of {escape(found.projection)}, at position "
        f"{one.position:,}, {what}; live is {found.generation}"
    )


def _round(seconds: object) -> object:
    return round(seconds, 1) if isinstance(seconds, float) else seconds


@program.command(epilog=EPILOG)
def run(
    names: list[str] | None = _Names,
    *,
    once: bool = typer.Option(False, "--once", help="Catch up with the log, then end."),
    strict: bool = typer.Option(False, "--strict", help="With --once: exit 1 if keys are parked."),
    workers: int | None = _WORKERS,
    lease: float = _LEASE,
    shares: int = _SHARES,
    log: LogForm | None = _LOG,
    as_worker: bool = typer.Option(False, "--as-worker", hidden=True),
) -> None:
    """Keep read models up to date with the log, for ever; all of them unless some are named.

    A database that goes away is waited for. SIGTERM and Ctrl-C end it within a second.
    """
    chosen = [find_projection(name).name for name in names] if names else None
    if once:
        if workers is not None:
            raise ConfigurationError(message="--once catches up in one process: leave --workers")
        with OPTIONS.open() as app:
            pages = Pages(app.log)
            _run_once(app.log, app.runner(chosen, on_page=pages), pages, strict=strict)
        return
    if strict:
        raise ConfigurationError(message="--strict is for --once: what fails later is in the log")
    options = following.FollowOptions(
        names=chosen, workers=workers, lease_seconds=lease, shares=shares, log=log
    )
    with logging_to_stderr(log):
        following.follow(options, as_worker=as_worker)


@program.command(epilog=EPILOG)
def unite(names: list[str] = _Divided) -> None:
    """Make read models one again that workers keep in shares, e.g. to choose other --shares.

    Workers that still run divide them again.
    """
    with OPTIONS.open() as app:
        runner = app.runner([find_projection(name).name for name in names])
        for projection in runner.projections:
            position = runner.unite(projection.name).position
            if OPTIONS.json:
                print_json({"projection": projection.name, "position": position})
            else:
                console.print(f"[green]✓[/green] {cell(projection.name)} at position {position:,}")


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


def _run_once(log: Log, runner: ProjectionRunner, pages: Pages, *, strict: bool) -> None:
    head = log.head()
    with progress_bar() as progress:
        task = progress.add_task("catching up", total=head)
        pages.watcher = lambda _, position: progress.update(task, completed=position)
        done = runner.run_to_head()
    report = {
        "events": done.events,
        "position": done.position,
        "head": head,
        "parked": done.parked,
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
    if done.parked:
        _tell_of_parked(runner, strict=strict)


def _tell_of_parked(runner: ProjectionRunner, *, strict: bool) -> None:
    keys = Counter(one.projection for one in runner.parked())
    if strict:
        answer_no("EventsParked", "; ".join(_of_parked(*one) for one in keys.items()))
    if not OPTIONS.json:
        for name, count in keys.items():
            errors.print(f"[yellow]{_of_parked(name, count)}[/yellow]", soft_wrap=True)
