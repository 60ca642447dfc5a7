"""``eventcore ingest``: lines of wire events into the log."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import EXIT_NO, errors, print_json, print_note, printable
from eventcore.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.progress import Progress

    from eventcore.ingestion.dead_letters import DeadLetters
    from eventcore.ingestion.report import IngestReport

_DeadLetters = typer.Option(
    None, metavar="FILE", help="Write what is refused to this file, with the reasons."
)


def ingest(
    file: str = typer.Argument(help="JSON lines, plain or gzip; - reads standard input."),
    *,
    dead_letters: Path | None = _DeadLetters,
    strict: bool = typer.Option(False, "--strict", help="Exit 1 if anything was refused."),
    batch: int | None = typer.Option(None, min=1, max=10_000, help="Lines in one append."),
    allow_unknown: bool = typer.Option(
        False, "--allow-unknown", help="Keep events of unknown types as they are."
    ),
    retry_refused: bool = typer.Option(
        False, "--retry-refused", help="Judge events again that a rule refused in an earlier run."
    ),
) -> None:
    """Check wire events, one JSON object a line, and append each to its stream.

    Running it again appends nothing: events are told apart by their eventId.
    """
    from eventcore.ingestion.lines import open_input, read_lines  # noqa: PLC0415 - only this command
    from eventcore.ingestion.pipeline import BATCH_LINES, Ingestion  # noqa: PLC0415
    from eventcore.ingestion.report import IngestReport  # noqa: PLC0415

    report = IngestReport()
    with ExitStack() as stack:
        # In this order: a missing input creates no store, an unusable store empties no file.
        stream = stack.enter_context(open_input(file))
        app = stack.enter_context(OPTIONS.open())
        letters = _open_letters(stack, file, dead_letters)
        if file == "-" and sys.stdin.isatty():
            print_note("reading lines from the terminal; Ctrl-D ends them")
        progress = stack.enter_context(_progress(file))
        task = progress.add_task("", total=None)

        def on_batch(now: IngestReport) -> None:
            nonlocal report
            report = now
            progress.update(task, completed=now.read, description=_counts(now))

        ingestion = Ingestion(
            app.log,
            app.log.codec,
            clock=app.now,
            reservation_key=app.settings.reservation_key,
            allow_unknown=allow_unknown,
            retry_refused=retry_refused,
            batch_lines=batch or BATCH_LINES,
        )
        try:
            report = ingestion.run(read_lines(stream, file), letters, on_batch)
        finally:
            # Also when the input breaks off: what came before is stored.
            progress.stop()
            print_json(report.to_dict())
    if report.rejected and dead_letters is None:
        print_note("--dead-letters FILE keeps what was refused, with the reasons")
    if strict and report.rejected:
        raise typer.Exit(EXIT_NO)


def _open_letters(stack: ExitStack, file: str, path: Path | None) -> DeadLetters:
    from eventcore.ingestion.dead_letters import (  # noqa: PLC0415 - only this command
        DeadLetterFile,
        DiscardedDeadLetters,
    )

    if path is None:
        return DiscardedDeadLetters()
    if file != "-" and path.exists() and path.samefile(file):
        raise ConfigurationError(
            message=f"--dead-letters {path} is the input itself: name another file"
        )
    return stack.enter_context(DeadLetterFile(path))


def _counts(report: IngestReport) -> str:
    return (
        f"[green]{report.accepted:,}[/green] accepted  "
        f"[dim]{report.duplicate:,} duplicate[/dim]  "
        f"[red]{report.rejected:,}[/red] rejected"
    )


def _progress(name: str) -> Progress:
    from rich.progress import (  # noqa: PLC0415 - 100 ms that only a watched import needs
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    shown = "standard input" if name == "-" else Path(name).name
    return Progress(
        SpinnerColumn(),
        TextColumn(f"[bold]{escape(printable(shown))}[/bold]"),
        TextColumn("{task.completed:,.0f} lines"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=errors,
        disable=not OPTIONS.interactive,
        transient=True,
    )
