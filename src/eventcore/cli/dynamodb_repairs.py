"""What ``eventcore db repair`` did to a log in DynamoDB, for people and for programs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import typer

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import EXIT_NO, console, print_json, safe
from eventcore.settings import StoreLocation
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.repair import RepairReport, repair


def repair_log(location: StoreLocation) -> None:
    """Repair the log at a place, and say what was found."""
    calls = open_calls(location.table, region=location.region, endpoint_url=location.endpoint_url)
    with closing(calls):
        report = repair(calls, Keys(location.table, location.prefix))
    if OPTIONS.json:
        print_json(asdict(report))
    else:
        _tell(report)
    if report.incomplete or report.gaps:
        raise typer.Exit(EXIT_NO)


def _tell(report: RepairReport) -> None:
    before, after = report.reserved
    console.print(
        f"made anew: {report.cells} cells of the log, {report.stream_items} items of streams; "
        f"closed {report.tombstones} positions; removed {report.ids} ids of lost events; "
        f"put {report.ids_made} ids of recent ones; "
        f"put back {report.untrimmed} events that a trim had half removed; "
        f"reserved up to {before}, now {after}"
    )
    for base, count, there in report.incomplete:
        console.print(
            f"[red]✗[/red] of the {count} events at position {base} only {there} are there: kept"
        )
    for stream in report.gaps:
        console.print(f"[red]✗[/red] {safe(stream)} lacks a version: restore to another time")
    if not report.gaps:
        console.print("[green]✓[/green] the log can be written again")
