"""``eventcore schema``: the shapes of event types, and whether they fit what is stored."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from eventcore.cli.importing import import_module, import_own
from eventcore.cli.options import EPILOG, OPTIONS
from eventcore.cli.output import EXIT_NO, console, print_document, print_json, safe
from eventcore.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from eventcore.events.event import DomainEvent

program = typer.Typer(help="The shapes of the event types.")

_Module = typer.Option(
    None,
    "--module",
    help="Types that this package of yours declares; default: the built-in ones and --import's.",
)
_Lock = typer.Option(
    None, "--lock", metavar="FILE", help="Committed lock; default: the built-in types' own."
)
_LockFile = typer.Argument(
    None, metavar="FILE", help="Where to; an existing lock there is carried on."
)
_BUILT_IN = "eventcore"


@program.command(epilog=EPILOG)
def check(
    lock: Path | None = _Lock,
    module: str | None = _Module,
) -> None:
    """Compare the event types with the lock; exit 1 if stored events could become unreadable."""
    from eventcore.events.schema_compatibility import check_schemas  # noqa: PLC0415 - only this one

    changes = check_schemas(_read_lock(lock, module), _types(module))
    for change in changes:
        if OPTIONS.json:
            print_json(
                {
                    "type": change.type,
                    "version": change.version,
                    "path": change.path,
                    "kind": change.kind,
                    "message": change.message,
                    "breaking": change.breaking,
                }
            )
        else:
            mark = (
                "[bold red]breaking[/bold red]" if change.breaking else "[green]compatible[/green]"
            )
            place = f" {safe(change.path)}" if change.path else ""
            console.print(
                f"{mark}  [bold]{safe(change.type)}[/bold] v{change.version}{place}: "
                f"{safe(change.message)}",
                soft_wrap=True,
            )
    breaking = sum(change.breaking for change in changes)
    if not OPTIONS.json:
        verdict = (
            f"[red]✗[/red] {breaking} breaking" if breaking else "[green]✓[/green] nothing breaking"
        )
        console.print(f"{verdict}, {len(changes) - breaking} compatible changes since the lock")
    if breaking:
        raise typer.Exit(EXIT_NO)


@program.command(epilog=EPILOG)
def export(module: str | None = _Module) -> None:
    """Print the JSON Schemas of every type, as one JSON document."""
    from eventcore.events.schemas import export_schemas  # noqa: PLC0415 - only this one

    print_document(export_schemas(_types(module)))


@program.command(epilog=EPILOG)
def lock(
    file: Path | None = _LockFile,
    module: str | None = _Module,
) -> None:
    """Write the lock: the shapes as they are now, to be committed and compared with later."""
    from eventcore.events.schemas import read_lock, schema_lock, write_lock  # noqa: PLC0415

    previous = None
    if file is not None and file.exists():
        previous = read_lock(_read(file))
    elif module is None:
        previous = _read_lock(None, None)
    text = write_lock(schema_lock(_types(module), previous))
    if file is None:
        sys.stdout.write(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(name=str(file), problem=error.strerror or str(error)) from error
    if OPTIONS.json:
        print_json({"written": str(file)})
    else:
        console.print(f"[green]✓[/green] wrote {safe(str(file))}")


def _types(module: str | None) -> Iterable[type[DomainEvent]]:
    import eventcore.events.catalogue  # noqa: F401, PLC0415 - its import declares the built-in types
    from eventcore.events.registry import default_registry  # noqa: PLC0415
    from eventcore.events.schemas import select  # noqa: PLC0415

    if module is None:
        names = [_BUILT_IN, *(own.__name__ for own in import_own(OPTIONS.modules))]
        found = {cls: None for name in names for cls in select(default_registry, name)}
        return list(found)
    import_module("--module", module)
    declared = select(default_registry, module)
    if not declared:
        raise ConfigurationError(message=f"--module {module} declares no event types")
    return declared


def _read_lock(file: Path | None, module: str | None) -> dict[str, Any]:
    from eventcore.events.schemas import builtin_lock, read_lock  # noqa: PLC0415

    if file is None and module is not None:
        raise ConfigurationError(
            message="--module needs --lock FILE; write it with: eventcore schema lock"
        )
    return builtin_lock() if file is None else read_lock(_read(file))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise InputError(name=str(file), problem=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise InputError(name=str(file), problem="it is not UTF-8 text") from error
