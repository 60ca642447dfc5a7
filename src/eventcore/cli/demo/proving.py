"""The third act: the read models that survived the crash, compared with a fold from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rich.table import Table

from eventcore.cli.demo.comparing import Comparison, TableDigest, compare, digest_tables
from eventcore.cli.demo.failures import must
from eventcore.cli.demo.narrator import Narrator
from eventcore.cli.demo.tally import Tally
from eventcore.projections.memory import MemoryViews
from eventcore.projections.read_models import (
    ANALYTICS,
    EVENTS,
    ORDER_ITEMS,
    USERS,
    built_in_projections,
)
from eventcore.projections.runner import ProjectionRunner

DIGEST_SHOWN: Final = 12
"""Characters of a digest that are printed; all 64 are compared."""


def prove(narrator: Narrator, runner: ProjectionRunner, tally: Tally) -> dict[str, TableDigest]:
    """Compare every table with a fold of the whole log into memory, row by row; gives the digests.

    Raises:
        DemoFailedError: A row differs, or a figure is not that of the plain count.
    """
    narrator.act(
        "Exactly once",
        "Every row of every read model, against a fold of the whole log into empty memory.",
    )
    # Not those of --import: the shop of the demo keeps the built-in ones.
    tables = [table for one in runner.projections for table in one.tables]
    fresh = MemoryViews()
    ProjectionRunner(runner.log, fresh, built_in_projections()).run_to_head()
    scratch, kept = digest_tables(fresh, tables), digest_tables(runner.views, tables)
    comparisons = compare(scratch, kept)
    narrator.show(comparison_table(comparisons, ("kept", "from scratch")))
    narrator.gap()
    check_equal(comparisons)
    rows = sum(len(one.found.rows) for one in comparisons)
    narrator.fact(
        "exactly-once",
        f"{rows:,} rows in {len(comparisons)} tables are equal: no event lost, none counted twice",
        rows=rows,
        tables={one.table: one.found.digest for one in comparisons},
    )
    _check_figures(narrator, runner, tally)
    return kept


def check_equal(comparisons: Sequence[Comparison]) -> None:
    """Refuse any difference.

    Raises:
        DemoFailedError: A table differs; it says where.
    """
    problems = [one.problem for one in comparisons if not one.equal]
    must(not problems, "; ".join(problems))


def comparison_table(comparisons: Sequence[Comparison], headings: tuple[str, str]) -> Table:
    """A table of rows and digests. ``headings``: what was found, and what it is compared with."""
    table = Table(box=None, header_style="bold cyan", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("read model")
    table.add_column("rows", justify="right")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    table.add_column("")
    for one in comparisons:
        mark = "[green]✓ equal[/green]" if one.equal else "[bold red]✗ differs[/bold red]"
        digests = [f"[dim]{side.digest[:DIGEST_SHOWN]}[/dim]" for side in (one.found, one.expected)]
        table.add_row(one.table, f"{len(one.found.rows):,}", *digests, mark)
    return table


def _check_figures(narrator: Narrator, runner: ProjectionRunner, tally: Tally) -> None:
    """Hold figures of the read models against the plain count of the log."""
    views = runner.views
    listed, counted = views.count(EVENTS), tally.events - tally.internal
    must(listed == counted, f"{listed} rows in events, {counted} events in the log")
    emails = [row.email.casefold() for row in views.query(USERS)]
    users = tally.types["user.registered"]
    must(
        len(set(emails)) == len(emails) == users,
        f"{users} registrations, {len(set(emails))} addresses",
    )
    revenue = sum(
        (
            row.value
            for row in views.query(ANALYTICS)
            if row.metric_type_dimensions.startswith("revenue#")
        ),
        Decimal(0),
    )
    must(
        revenue == tally.revenue,
        f"revenue is {revenue}, the orders in the log sum to {tally.revenue}",
    )
    narrator.fact(
        "figures",
        f"a plain count of the log agrees: {counted:,} events, {users:,} users with as many e-mail "
        f"addresses, {tally.types['order.created']:,} orders, {views.count(ORDER_ITEMS):,} items "
        f"for £{revenue:,.2f}",
        events=counted,
        users=users,
        orders=tally.types["order.created"],
        revenue=format(revenue, "f"),
    )
