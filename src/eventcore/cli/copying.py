"""``eventcore copy``: one log into another, event by event, with the same ids, bytes and order."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from eventcore.cli.options import OPTIONS, open_store
from eventcore.cli.output import answer_no, console, print_json, progress_bar
from eventcore.errors import ConfigurationError, LogsDifferError
from eventcore.settings import parse_store_url, without_creating

if TYPE_CHECKING:
    from eventcore.seals.copying import Copied
    from eventcore.stores.log import Log


def copy(
    source: str = typer.Argument(metavar="FROM", help="URL of the log to read."),
    target: str = typer.Argument(metavar="TO", help="URL of the log to write."),
) -> None:
    """Copy a log into another store: same ids, same bytes, same order, same versions.

    What rules refused in imports is copied, too: the same import into the copy decides the same.

    Broken off and repeated, it compares what is there and goes on behind it. In the end the whole
    copy is read, and its digest is to be that of the original. A target with other events is
    refused. Nothing else may write to it meanwhile.
    """
    from eventcore.seals.copying import copy_log  # noqa: PLC0415 - help copies nothing

    if source == target:
        raise ConfigurationError(message="FROM and TO name the same store")
    if parse_store_url(source).scheme == "memory":
        raise ConfigurationError(
            message="memory:// holds nothing to copy: a log in memory ends with its process"
        )
    started = time.monotonic()
    with ExitStack() as stack:
        # A typing error in FROM must not make an empty store of that name.
        log = _open(stack, without_creating(source), reads=True)
        written = _open(stack, target, reads=False)
        progress = stack.enter_context(progress_bar())
        task = progress.add_task("copying", total=log.head())
        try:
            copied = copy_log(
                log,
                written,
                names=(source, target),
                on_copied=lambda position: progress.update(task, completed=position),
            )
        except LogsDifferError as error:
            answer_no("LogsDiffer", str(error))
    _report(copied, time.monotonic() - started)


def _open(stack: ExitStack, url: str, *, reads: bool) -> Log:
    from eventcore.settings import Settings  # noqa: PLC0415 - see cli.options

    settings = Settings.load(store=url, views=None, archive=OPTIONS.archive)
    if not reads:
        settings = replace(settings, archive=None)  # it is that of FROM
    return stack.enter_context(open_store(settings)).log


def _report(copied: Copied, seconds: float) -> None:
    report = {
        "copied": copied.copied,
        "present": copied.present,
        "total": copied.total,
        "refusals": copied.refusals,
        "digest": copied.log,
        "seconds": round(seconds, 3),
    }
    if OPTIONS.json:
        print_json(report)
        return
    already = f", {copied.present:,} were there" if copied.present else ""
    console.print(
        f"[green]✓[/green] {copied.copied:,} events copied{already} [dim]({seconds:.1f} s)[/dim]"
    )
    console.print(f"[dim]digest of both {copied.log}[/dim]", soft_wrap=True)
