"""The fifth act: the read models are dropped and made again from the log."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from eventcore.cli.demo.comparing import TableDigest, compare, digest_tables
from eventcore.cli.demo.failures import must
from eventcore.cli.demo.narrator import Narrator
from eventcore.cli.demo.proving import check_equal, comparison_table
from eventcore.projections.read_models import built_in_projections
from eventcore.projections.runner import ProjectionRunner
from eventcore.projections.views import Views
from eventcore.stores.log import Log


def rebuild(narrator: Narrator, log: Log, views: Views, before: dict[str, TableDigest]) -> float:
    """Drop every read model, rebuild all in one pass, compare; gives events a second.

    Raises:
        DemoFailedError: A row differs, or is left over.
    """
    narrator.act(
        "Rebuild", "Read models are disposable: drop them all, read the log once, compare again."
    )
    projections = built_in_projections()
    tables = [table for projection in projections for table in projection.tables]
    for projection in projections:
        views.reset(projection)
    left = sum(views.count(table) for table in tables)
    must(left == 0, f"{left} rows are left after dropping the read models")
    if narrator.live:
        narrator.blow(f"{len(tables)} tables [bold red]dropped[/bold red]")
        narrator.gap()
    head = log.head()
    started = time.monotonic()
    events = _run(narrator, log, views, head)
    seconds = time.monotonic() - started
    rate = events / seconds
    comparisons = compare(before, digest_tables(views, tables))
    narrator.show(comparison_table(comparisons, ("rebuilt", "before")))
    narrator.gap()
    check_equal(comparisons)
    narrator.fact(
        "rebuilt",
        f"{events:,} events into {len(tables)} tables in {seconds:.2f} s, "
        f"[bold]{rate:,.0f} events/s[/bold]; every row as before",
        events=events,
        seconds=round(seconds, 3),
        eventsPerSecond=round(rate),
    )
    return rate


def _run(narrator: Narrator, log: Log, views: Views, head: int) -> int:
    with Progress(
        TextColumn("   rebuilding"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("[dim]events[/dim]"),
        console=narrator.console,
        disable=not narrator.live,
        transient=True,
    ) as progress:
        task = progress.add_task("", total=head)
        runner = ProjectionRunner(
            log,
            views,
            built_in_projections(),
            on_page=lambda _, position: progress.update(task, completed=position),
        )
        return runner.run_to_head().events
