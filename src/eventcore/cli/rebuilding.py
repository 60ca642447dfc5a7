"""``eventcore projections rebuild`` and what goes with it: beside the live rows, and back again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from eventcore.cli.options import EPILOG, OPTIONS
from eventcore.cli.output import (
    EXIT_NO,
    cell,
    console,
    errors,
    print_error,
    print_json,
    print_note,
    progress_bar,
)
from eventcore.cli.readmodels import all_projections, find_projection
from eventcore.errors import ConfigurationError, ReadModelsDifferError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rich.progress import Progress, TaskID

    from eventcore.projections.comparing import Comparison, RowDifference, TableComparison
    from eventcore.projections.projection import Projection
    from eventcore.projections.rebuilds import Rebuilt
    from eventcore.projections.runner import ProjectionRunner

_Names = typer.Argument(None, metavar="[NAME]...", help="Which; see `projections status`.")
_Name = typer.Argument(..., metavar="NAME", help="Which; see `projections status`.")


def add_to(program: typer.Typer) -> None:
    """Add the commands of this module."""
    program.command(epilog=EPILOG)(rebuild)
    program.command(epilog=EPILOG)(rollback)
    program.command("drop-old", epilog=EPILOG)(drop_old)
    program.command(epilog=EPILOG)(accept)


def rebuild(
    names: list[str] | None = _Names,
    *,
    every: bool = typer.Option(False, "--all", help="All of them."),
    accept_differences: bool = typer.Option(
        False,
        "--accept-differences",
        help="Replace the live rows also if they differ, by the same definition.",
    ),
    values: bool = typer.Option(
        False, "--values", help="Show the values of columns that differ, not only their names."
    ),
    drop_old: bool = typer.Option(
        False, "--drop-old", help="Drop the replaced rows at once: no way back."
    ),
    in_place: bool = typer.Option(
        False, "--in-place", help="Drop the live rows first; readers find few until it is done."
    ),
    give_up: bool = typer.Option(
        False, "--give-up", help="Drop what is half built, and leave the live rows as they are."
    ),
) -> None:
    """Make read models again from the log, beside the live rows; compare; swap.

    Readers and writers go on. Broken off, the next run goes on where it was. The replaced rows are
    kept for `projections rollback` until `projections drop-old`. Exit 1 if rows differ that the
    same definition made: nothing is replaced then.
    """
    if bool(names) == every:
        raise ConfigurationError(message="Name the projections to rebuild, or give --all")
    if in_place and (accept_differences or drop_old or give_up):
        raise ConfigurationError(message="--in-place drops the live rows: it takes no such option")
    chosen = [find_projection(name) for name in names] if names else all_projections()
    differ = False
    with OPTIONS.open() as app:
        runner = app.runner()
        for projection in chosen:
            if give_up:
                _give_up(runner, projection)
            elif in_place:
                _reset(runner, projection)
            else:
                differ |= not _rebuild(
                    runner,
                    projection,
                    now=app.now(),
                    accept_differences=accept_differences,
                    values=values,
                )
                if drop_old and not differ:
                    runner.drop_old(projection.name)
    if differ:
        raise typer.Exit(EXIT_NO)


def rollback(name: str = _Name) -> None:
    """Make the rows live again that the last rebuild replaced.

    Rows of the same definition catch up first. Others stay where they were left, and only code of
    their time goes on with them.
    """
    projection = find_projection(name)
    with OPTIONS.open() as app:
        back = app.runner().roll_back(projection.name)
    if OPTIONS.json:
        print_json(
            {
                "projection": name,
                "generation": back.generation,
                "position": back.position,
                "positionBefore": back.position_before,
                "sameDefinition": back.same_definition,
            }
        )
        return
    console.print(
        f"[green]✓[/green] {cell(name)}: generation {back.generation} is live again, "
        f"at position {back.position:,}"
    )
    if not back.same_definition:
        errors.print(
            f"[yellow]Its rows were made by another definition, up to position "
            f"{back.position:,} of {back.position_before:,}: code of that time has to go on with "
            "them. This code refuses them.[/yellow]"
        )


def drop_old(name: str = _Name) -> None:
    """Drop the rows that rebuilds replaced. There is no way back to them then."""
    projection = find_projection(name)
    with OPTIONS.open() as app:
        dropped = app.runner().drop_old(projection.name)
    if OPTIONS.json:
        print_json({"projection": name, "dropped": dropped})
    else:
        console.print(f"{dropped} older generations of {cell(name)} dropped")


def accept(name: str = _Name) -> None:
    """Take the rows as made by the definition as it is now: the change makes no other rows."""
    projection = find_projection(name)
    with OPTIONS.open() as app:
        checkpoint = app.runner().accept(projection.name)
    if OPTIONS.json:
        print_json({"projection": name, "position": checkpoint.position})
    else:
        console.print(
            f"[green]✓[/green] {cell(name)}: its rows count as made by this definition, "
            f"up to position {checkpoint.position:,}"
        )


def _rebuild(
    runner: ProjectionRunner,
    projection: Projection,
    *,
    now: datetime,
    accept_differences: bool,
    values: bool,
) -> bool:
    """Whether the live rows were replaced."""
    started = time.monotonic()
    try:
        with progress_bar() as progress:
            task = progress.add_task(f"{projection.name}: building", total=None)
            rebuilt = runner.rebuild(
                projection.name,
                now=now,
                accept_differences=accept_differences,
                on_progress=_showing(progress, task, projection.name),
            )
    except ReadModelsDifferError as error:
        if OPTIONS.json:
            record = {"projection": projection.name, "replaced": False}
            print_json({**record, "comparison": _record(error.comparison, values=values)})
        else:
            _print_comparison(error.comparison, values=values)
        print_error(error)
        return False
    _print_rebuilt(runner, projection, rebuilt, values, seconds=time.monotonic() - started)
    return True


def _showing(progress: Progress, task: TaskID, name: str) -> Callable[[str, int, int], None]:
    began: list[tuple[float, int]] = []

    def show(phase: str, position: int, end: int) -> None:
        now = time.monotonic()
        if not began:
            began.append((now, position))
        seconds, passed = now - began[0][0], position - began[0][1]
        rate = f" ({passed / seconds:,.0f}/s)" if seconds and passed else ""
        progress.update(
            task, description=f"{name}: {phase}{rate}", completed=position, total=max(end, 1)
        )

    return show


def _print_rebuilt(
    runner: ProjectionRunner,
    projection: Projection,
    rebuilt: Rebuilt,
    values: bool,
    *,
    seconds: float,
) -> None:
    name = projection.name
    rows = {table.name: runner.views.count(table) for table in projection.tables}
    rate = round(rebuilt.events / max(seconds, 1e-9))
    if OPTIONS.json:
        print_json(
            {
                "projection": name,
                "events": rebuilt.events,
                "position": rebuilt.position,
                "rows": rows,
                "seconds": round(seconds, 3),
                "eventsPerSecond": rate,
                "replaced": True,
                "generation": rebuilt.generation,
                "resumed": rebuilt.resumed,
                "sameDefinition": rebuilt.same_definition,
                "parked": rebuilt.parked,
                "comparison": _record(rebuilt.comparison, values=values),
            }
        )
        return
    counts = ", ".join(f"{count:,} rows in {table}" for table, count in rows.items())
    console.print(
        f"[green]✓[/green] {cell(name)}: {counts} from {rebuilt.events:,} events in "
        f"{seconds:.1f} s [dim]({rate:,}/s)[/dim], generation {rebuilt.generation}"
    )
    if rebuilt.comparison is not None and not rebuilt.comparison.same:
        _print_comparison(rebuilt.comparison, values=values)


def _print_comparison(comparison: Comparison, *, values: bool) -> None:
    for table in comparison.tables:
        if table.same:
            continue
        what = table.problem or f"{table.differing:,} rows differ"
        errors.print(
            f"[yellow]{cell(table.table)}: {escape(what)} at position {comparison.position:,} "
            f"({table.live_rows:,} live, {table.new_rows:,} new)[/yellow]"
        )
        for row in table.rows:
            errors.print(f"  {_in_words(row, values=values)}")
        if table.differing > len(table.rows):
            errors.print(f"  [dim]and {table.differing - len(table.rows):,} more[/dim]")
    if comparison.dropped:
        errors.print(f"[yellow]no more: {escape(', '.join(comparison.dropped))}[/yellow]")


def _in_words(row: RowDifference, *, values: bool) -> str:
    key = ", ".join(cell(value) for value in row.key.values())
    if row.only is not None:
        return f"{key}: only among the {row.only} rows"
    if not values:
        return f"{key}: {escape(', '.join(row.columns))}"
    pairs = [f"{name} {cell(a)} → {cell(b)}" for name, (a, b) in row.columns.items()]
    return f"{key}: {', '.join(pairs)}"


def _record(comparison: Comparison | None, *, values: bool) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {
        "position": comparison.position,
        "same": comparison.same,
        "tables": [_table_record(table, values=values) for table in comparison.tables],
        "dropped": list(comparison.dropped),
    }


def _table_record(table: TableComparison, *, values: bool) -> dict[str, Any]:
    return {
        "table": table.table,
        "liveRows": table.live_rows,
        "newRows": table.new_rows,
        "differing": table.differing,
        "expired": table.expired,
        "ranges": table.ranges,
        "differingRanges": table.differing_ranges,
        "liveDigest": table.live_digest,
        "newDigest": table.new_digest,
        "leftOut": list(table.left_out),
        "problem": table.problem,
        "rows": [
            {
                "key": row.key,
                "only": row.only,
                "columns": {name: list(pair) for name, pair in row.columns.items()}
                if values
                else list(row.columns),
            }
            for row in table.rows
        ],
    }


def _give_up(runner: ProjectionRunner, projection: Projection) -> None:
    dropped = runner.give_up_rebuild(projection.name)
    if OPTIONS.json:
        print_json({"projection": projection.name, "dropped": dropped})
    else:
        print_note(f"{projection.name}: {dropped} half built generations dropped")


def _reset(runner: ProjectionRunner, projection: Projection) -> None:
    started = time.monotonic()
    done = runner.reset(projection.name)
    seconds = time.monotonic() - started
    rows = {table.name: runner.views.count(table) for table in projection.tables}
    if OPTIONS.json:
        print_json(
            {
                "projection": projection.name,
                "events": done.events,
                "position": done.position,
                "rows": rows,
                "seconds": round(seconds, 3),
            }
        )
        return
    counts = ", ".join(f"{count:,} rows in {table}" for table, count in rows.items())
    console.print(
        f"[green]✓[/green] {cell(projection.name)}: {counts} from {done.events:,} events in "
        f"{seconds:.1f} s"
    )
