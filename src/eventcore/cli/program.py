"""The command tree, and how it ends: every error becomes one line and an exit code."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

import typer

from eventcore.cli import (
    EXIT_INTERRUPTED,
    archiving,
    backups,
    copying,
    databases,
    doctoring,
    events,
    ingesting,
    processes,
    projections,
    replaying,
    schemas,
    sealing,
    states,
    verifying,
)
from eventcore.cli.options import EPILOG, OPTIONS, take_shared
from eventcore.cli.output import EXIT_NO, print_document, print_error, print_failure, print_note
from eventcore.errors import ConfigurationError, EventCoreError, InputError, StoreError

EXIT_USAGE: Final = 2
EXIT_STORE: Final = 3

program = typer.Typer(
    name="eventcore",
    help="Event sourcing: read, ingest, project, rebuild. Begin with: eventcore demo",
    epilog=EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Keep = typer.Option(
    None,
    metavar="FOLDER",
    help="Leave the demo's files in this folder, which must be empty or new.",
)

_UsageError = typer.BadParameter.__bases__[0]
_ClickError: type[Exception] = _UsageError.__bases__[0]
"""Named by what typer exports: whether it brings its own copy of click differs by its version."""


@program.command(epilog=EPILOG)
def demo(
    *,
    keep: Path | None = _Keep,
) -> None:
    """A shop at work, a crash, time travel and a rebuild, on SQLite in a temporary folder."""
    from eventcore.cli.demo.story import tell  # noqa: PLC0415 - only this command needs it

    raise typer.Exit(tell(keep))


program.command("ingest", epilog=EPILOG)(ingesting.ingest)
program.add_typer(events.program, name="events", epilog=EPILOG)
program.command("state", epilog=EPILOG)(states.state)
program.command("query", epilog=EPILOG)(states.query)
program.add_typer(projections.program, name="projections", epilog=EPILOG)
program.add_typer(processes.program, name="processes", epilog=EPILOG)
program.command("archive", epilog=EPILOG)(archiving.archive)
program.command("replay", epilog=EPILOG)(replaying.replay)
program.command("copy", epilog=EPILOG)(copying.copy)
program.command("seal", epilog=EPILOG)(sealing.seal)
program.command("verify", epilog=EPILOG)(verifying.verify)
program.add_typer(backups.program, name="backup", epilog=EPILOG)
program.add_typer(databases.program, name="db", epilog=EPILOG)
program.command("doctor", epilog=EPILOG)(doctoring.doctor)
program.add_typer(schemas.program, name="schema", epilog=EPILOG)


@program.command(epilog=EPILOG)
def version() -> None:
    """Print the version."""
    found = metadata.version("eventcore-es")
    if OPTIONS.json:
        print_document({"version": found})
    else:
        typer.echo(found)


def _fold_help(of: typer.Typer) -> None:
    """Let the lines of docstrings flow: a terminal is as wide as it is."""
    for group in of.registered_groups:
        assert group.typer_instance is not None
        _fold_help(group.typer_instance)
    for command in of.registered_commands:
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(one.split("\n")) for one in paragraphs)


_fold_help(program)


def run(arguments: list[str]) -> int:
    """Run one call and give its exit code."""
    _prepare_output()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except OSError as error:
        return _end_unwritten(error)
    except SystemExit as end:
        # typer and rich, where they print themselves, turn it into this.
        if isinstance(end.__context__, OSError):
            return _end_unwritten(end.__context__)
        raise
    except (KeyboardInterrupt, typer.Abort):
        print_note("interrupted")
        return EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:  # typer's word for an interrupt within a command
        print_note("interrupted")
    return code


def _prepare_output() -> None:
    if sys.stdout is None:
        # Closed by the caller (`>&-`): nobody wants to read it.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until we end
    for stream in (sys.stdout, sys.stderr):
        # JSON is UTF-8 in every locale; what cannot be shown must not end a command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _end_unwritten(error: OSError) -> int:
    """Our output cannot be written; commands name the other files they fail on themselves."""
    if error.filename is None:
        # What it still holds would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    if isinstance(error, BrokenPipeError):
        return 0  # the reader left (`| head`): nothing to say, and nobody to say it to
    problem = f"{error.filename or 'standard output'}: {error.strerror or error}"
    with suppress(OSError):  # standard error, too: the exit code is all that is left to say
        print_failure("OutputError", problem)
    return EXIT_STORE


def _run(arguments: list[str]) -> int:
    try:
        rest = take_shared(arguments) or ["--help"]
        result = program(args=rest, prog_name="eventcore", standalone_mode=False)
    except typer.Exit as end:
        return end.exit_code
    except EventCoreError as error:
        print_error(error)
        return _code_of(error)
    except _ClickError as error:
        return _refuse_usage(error)
    return result if isinstance(result, int) else 0


def _refuse_usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    print_failure("UsageError", message)
    if context is not None:
        print_note(f"Try: {context.command_path} --help")
    return EXIT_USAGE


def _code_of(error: EventCoreError) -> int:
    match error:
        case ConfigurationError() | InputError():
            return EXIT_USAGE
        case StoreError():
            return EXIT_STORE
        case _:
            return EXIT_NO
