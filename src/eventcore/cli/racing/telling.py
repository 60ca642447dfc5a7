"""What a race came to, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from eventcore.cli.findings import Finding
from eventcore.cli.options import OPTIONS
from eventcore.cli.output import console, print_json, print_records, safe
from eventcore.cli.racing.judging import Verdict
from eventcore.cli.racing.plans import PAUSE_SECONDS_MAX, Plan
from eventcore.cli.racing.race import Result
from eventcore.cli.racing.writing import Tally

READ_ON: Final = "docs/explanation/the-log.md"

_COLUMNS: Final = ("table", "seconds", "committed", "reader", "missed", "share")
_HELP: Final = (
    "let writers wait for each other (--with-lock shows the price), or readers for gaps, as those "
    "of eventcore's log do"
)
_LOCKED: Final = (
    "a lock does not help where positions are taken before it: a sequence needs CACHE 1, a time "
    "clock_timestamp() instead of now()"
)


class Report(NamedTuple):
    """A race that is over.

    Attributes:
        server: Its name and version.
        plan: How the tables were written to.
        results: What became of them.
        removed: Schemas of killed races that were dropped before.
    """

    server: str
    plan: Plan
    results: Sequence[Result]
    removed: Sequence[str] = ()

    @property
    def findings(self) -> list[Finding]:
        """A sentence on each table."""
        return [_finding(result, self.plan) for result in self.results]

    @property
    def is_ok(self) -> bool:
        """Whether our log, and the user's table if there is one, lost nothing."""
        return all(finding.ok for finding in self.findings)


def tell(report: Report) -> None:
    """Print it: a table and some sentences, or one JSON object."""
    if OPTIONS.json:
        print_json(_document(report))
        return
    for name in report.removed:
        console.print(f"[dim]dropped {name}, left by a race that was killed[/dim]", soft_wrap=True)
    console.print(safe(report.server), soft_wrap=True)
    console.print(f"{_said(report.plan, report.results[0])}\n", soft_wrap=True)
    rows = [row for result in report.results for row in _rows(result)]
    print_records(rows, _COLUMNS, title="what readers missed", limit=len(rows))
    console.print()
    for finding, result in zip(report.findings, report.results, strict=True):
        _tell(finding, result)
    console.print(
        "[dim]A missed event is committed and is never read. Nothing fails; a read model is wrong "
        f"from then on. Why, and what helps: {READ_ON}[/dim]",
        soft_wrap=True,
    )


def _said(plan: Plan, result: Result) -> str:
    sums = Tally(*map(sum, zip(*result.tallies, strict=True)))
    pauses = f"pauses of up to {PAUSE_SECONDS_MAX * 1_000:.0f} ms"
    lock = " and a table lock (not at our log)" if plan.is_locking else ""
    return (
        f"The same transactions at each table: {sum(sums):,} by {plan.writers} writers, with "
        f"{pauses}{lock}; {sums.rolled_back:,} rolled back, {sums.refused:,} refused as not unique"
    )


def _tell(finding: Finding, result: Result) -> None:
    mark = "[green]✓[/green]" if finding.ok else "[bold red]✗[/bold red]"
    if not _counts(result):
        mark = "[yellow]·[/yellow]"
    console.print(f"{mark} {safe(finding.detail)}", soft_wrap=True)
    for remark in result.entry.remarks:
        console.print(f"  [dim]{safe(remark)}[/dim]", soft_wrap=True)
    if finding.action:
        console.print(f"  [yellow]→ {safe(finding.action)}[/yellow]", soft_wrap=True)


def _counts(result: Result) -> bool:
    """Whether a loss is a failure; that of the textbook's table is what is to be shown."""
    return result.entry.is_users or result.followed is not None


def _readers(result: Result) -> Iterator[tuple[str, Verdict]]:
    yield "poller", result.polled
    if result.followed is not None:
        yield "subscription", result.followed


def _rows(result: Result) -> Iterator[dict[str, Any]]:
    for reader, verdict in _readers(result):
        yield {
            "table": result.entry.title,
            "seconds": f"{result.seconds:.1f}",
            "committed": result.committed,
            "reader": f"{result.entry.position} > last" if reader == "poller" else reader,
            "missed": verdict.missed,
            "share": _share(verdict.missed, result.committed),
        }


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"


def _finding(result: Result, plan: Plan) -> Finding:
    title, committed = result.entry.title, f"{result.committed:,}"
    if result.followed is not None:
        return _our_finding(result.followed, f"{title}: ", committed)
    missed, position = result.polled.missed, result.entry.position
    if not missed:
        lock = " with a lock on the table" if plan.is_locking else " this time"
        longer = "" if plan.is_locking else "; a longer race may show more: --seconds 10"
        return Finding("race", ok=True, detail=f"{title}: none of {committed} lost{lock}{longer}")
    share = _share(missed, result.committed)
    detail = f'{title}: a poller of "{position} > last" missed {missed:,} of {committed} ({share})'
    if not result.entry.is_users:
        return Finding("race", ok=True, detail=detail)
    return Finding("race", ok=False, detail=detail, action=_LOCKED if plan.is_locking else _HELP)


def _our_finding(verdict: Verdict, title: str, committed: str) -> Finding:
    if verdict.is_exact:
        detail = f"{title}a subscription saw all {committed}, once and in order"
        return Finding("race", ok=True, detail=detail)
    found = (
        f"{verdict.missed:,} missed, {verdict.doubled:,} twice, {verdict.disordered:,} out of "
        f"order, {verdict.never_committed:,} never committed, of {committed}"
    )
    return Finding(
        "race", ok=False, detail=f"{title}{found}", action="report this with the output of doctor"
    )


def _document(report: Report) -> dict[str, Any]:
    findings = report.findings
    actions = [finding.action for finding in findings if finding.action]
    return {
        "check": "race",
        "ok": report.is_ok,
        "detail": "; ".join(finding.detail for finding in findings),
        **({"action": "; ".join(actions)} if actions else {}),
        "server": report.server,
        "writers": report.plan.writers,
        "seconds": report.plan.seconds,
        "withLock": report.plan.is_locking,
        "removed": list(report.removed),
        "tables": [_table(result) for result in report.results],
    }


def _table(result: Result) -> dict[str, Any]:
    return {
        "table": result.entry.title,
        "position": result.entry.position,
        "seconds": round(result.seconds, 3),
        "committed": result.committed,
        "transactions": {
            "committed": sum(tally.committed for tally in result.tallies),
            "rolledBack": sum(tally.rolled_back for tally in result.tallies),
            "refused": sum(tally.refused for tally in result.tallies),
        },
        "readers": [
            {
                "reader": reader,
                "missed": verdict.missed,
                "doubled": verdict.doubled,
                "disordered": verdict.disordered,
                "neverCommitted": verdict.never_committed,
            }
            for reader, verdict in _readers(result)
        ],
        "remarks": list(result.entry.remarks),
    }
