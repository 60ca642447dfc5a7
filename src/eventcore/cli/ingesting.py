"""``eventcore ingest``: lines of wire events into the log."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import typer
from rich.markup import escape

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import EXIT_NO, errors, print_json, print_note, printable
from eventcore.errors import ConfigurationError, InputError
from eventcore.events.limits import EVENTS_PER_APPEND_MAX

if TYPE_CHECKING:
    from rich.progress import Progress

    from eventcore.ingestion.dead_letters import DeadLetter
    from eventcore.ingestion.report import IngestReport

BATCH_MAX: Final = EVENTS_PER_APPEND_MAX // 3
"""As ``BATCH_LINES_MAX`` of :mod:`eventcore.ingestion.pipeline`, which help does not import."""

_DeadLetters = typer.Option(
    None, metavar="FILE", help="Write what is refused to this file, with the reasons."
)


def ingest(
    file: str = typer.Argument(help="JSON lines, plain or gzip; - reads standard input."),
    *,
    dead_letters: Path | None = _DeadLetters,
    strict: bool = typer.Option(False, "--strict", help="Exit 1 if anything was refused."),
    batch: int | None = typer.Option(None, min=1, max=BATCH_MAX, help="Lines in one append."),
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
        _refuse_files_in_use(dead_letters, file)
        app = stack.enter_context(OPTIONS.open())
        _note_terminal(file)
        progress = stack.enter_context(_progress(file))
        task = progress.add_task("", total=None)

        def on_batch(now: IngestReport) -> None:
            nonlocal report
            report = now
            progress.update(task, completed=now.read, description=_counts(now))
            letters.check()

        ingestion = Ingestion(
            app.log,
            app.log.codec,
            clock=app.now,
            reservation_key=app.settings.reservation_key,
            allow_unknown=allow_unknown,
            retry_refused=retry_refused,
            batch_lines=batch or BATCH_LINES,
        )
        letters = _Letters(dead_letters)
        try:
            with letters:
                report = ingestion.run(read_lines(stream, file), letters, on_batch)
        finally:
            # Also when the input breaks off: what came before is stored.
            progress.stop()
            print_json(report.to_dict())
    if report.rejected and dead_letters is None:
        print_note("--dead-letters FILE keeps what was refused, with the reasons")
    if strict and report.rejected:
        raise typer.Exit(EXIT_NO)


def _note_terminal(file: str) -> None:
    if file == "-" and sys.stdin.isatty():
        print_note("reading lines from the terminal; Ctrl-D ends them")


class _Letters:
    """Dead letters of a run; if they fail, the batch they are of, stored by then, is counted."""

    def __init__(self, path: Path | None) -> None:
        from eventcore.ingestion.dead_letters import DeadLetterFile  # noqa: PLC0415 - see ingest

        self._file = None if path is None else DeadLetterFile(path)
        self._failure: InputError | None = None

    def write(self, letters: Sequence[DeadLetter]) -> None:
        try:
            if self._file is not None:
                self._file.write(letters)
        except InputError as error:
            self._failure = error

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> None:
        """The file is open already: one that cannot be is no run of which to print a summary."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None:
            return
        if kind is None:
            self._file.finish()
            return
        self._file.close()
        if self._file.partial is not None:
            print_note(f"what was refused so far is in {self._file.partial}")


def _refuse_files_in_use(path: Path | None, file: str) -> None:
    """Refuse to write dead letters over what is read from or written to in the same call.

    Raises:
        ConfigurationError: It says which file that is.
    """
    from eventcore.cli.files import files_in_use, is_same_file  # noqa: PLC0415 - only with letters
    from eventcore.ingestion.dead_letters import partial_path  # noqa: PLC0415 - likewise

    if path is None:
        return
    used = files_in_use(OPTIONS.settings())
    if file != "-":
        used[Path(file)] = "the input itself"
    streams = {"standard output": sys.stdout, "standard error": sys.stderr}
    if file == "-":
        streams["the input itself"] = sys.stdin
    for place in (path, partial_path(path)):
        meant = [what for other, what in used.items() if is_same_file(place, other)]
        meant += [what for what, stream in streams.items() if _is_at(stream, place)]
        if meant:
            raise ConfigurationError(
                message=f"--dead-letters {path}: {place} is {meant[0]}. Name another file"
            )


def _is_at(stream: TextIO | None, path: Path) -> bool:
    """Whether a standard stream is redirected from or to a file."""
    try:
        # Terminals and pipes are written to as they are, nothing of them is lost.
        found = path.stat()
        return (
            stream is not None
            and stat.S_ISREG(found.st_mode)
            and os.path.samestat(found, os.fstat(stream.fileno()))
        )
    except OSError:
        return False  # no such file, or a stream of this process alone


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
