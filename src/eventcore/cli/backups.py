"""``eventcore backup verify``: restores a backup into scratch, and finds out what it is worth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from eventcore.cli.options import EPILOG, OPTIONS, open_store
from eventcore.cli.output import answer_no, console, print_json, print_note, progress_bar
from eventcore.cli.restoring import restored
from eventcore.cli.sealing import open_only_log
from eventcore.cli.verifying import checks_of, report, report_read_models, watched

if TYPE_CHECKING:
    from eventcore.app import App
    from eventcore.stores.log import Log

program = typer.Typer(help="Backups: what is one worth?", no_args_is_help=True)

_Seals = typer.Option(
    None, "--seals", metavar="FILE", help="What eventcore seal wrote; it may go further."
)
_PublicKey = typer.Option(
    None, "--public-key", metavar="FILE", help="Each seal has to be signed by its private key."
)
_Scratch = typer.Option(
    None,
    "--scratch",
    metavar="URL",
    help="For a file of pg_dump: a database that is made for it, and dropped again.",
)
_Alone = typer.Option(False, "--alone", help="Without the live log: there is none any more.")


@program.command("verify", epilog=EPILOG)
def verify(
    *,
    backup: str = typer.Argument(metavar="BACKUP", help="A file, or the URL of a restored table."),
    seals: Path | None = _Seals,
    public_key: Path | None = _PublicKey,
    scratch: str | None = _Scratch,
    alone: bool = _Alone,
) -> None:
    """Restore a backup into scratch, verify it, replay every read model, compare with the live log.

    BACKUP is a SQLite file, a file of pg_dump (which takes --scratch), or dynamodb://TABLE of a
    table that was restored and repaired. The backup itself is not touched.
    """
    checks = replace(checks_of(seals, public_key, None, indexes=True), is_backup=True)
    with restored(backup, scratch) as url, _opened(url) as app:
        verdict, seconds = watched(app.log, checks)
        report(verdict, seconds, backup)
        if not alone:
            with closing(open_only_log()) as live:
                _compare(backup, app.log, live)
        report_read_models(app, replay_absent=True)


@contextmanager
def _opened(url: str) -> Iterator[App]:
    from eventcore.cli.importing import projections_with  # noqa: PLC0415 - see cli.options
    from eventcore.settings import Settings  # noqa: PLC0415 - likewise

    own = projections_with(OPTIONS.modules) if OPTIONS.modules else None
    with open_store(Settings.load(store=url, views=None), own) as app:
        yield app


def _compare(backup: str, log: Log, live: Log) -> None:
    from eventcore.seals.backups import compare_backup  # noqa: PLC0415 - help compares nothing

    started = time.monotonic()
    with progress_bar() as progress:
        task = progress.add_task("comparing", total=None)
        found = compare_backup(
            log,
            live,
            on_compared=lambda at, head: progress.update(task, completed=at, total=head),
        )
    seconds = time.monotonic() - started
    finding = found.finding
    if OPTIONS.json:
        told = None if finding is None else finding._asdict()
        print_json(found._asdict() | {"finding": told, "seconds": round(seconds, 3)})
    elif finding is None:
        console.print(
            f"[green]✓[/green] {found.events:,} events are as in the live log, up to position "
            f"{found.head:,} [dim]({seconds:.1f} s)[/dim]"
        )
        if found.live_head > found.head:
            print_note(f"the live log goes on to position {found.live_head:,}")
    if finding is not None:
        answer_no("BackupDiffers", f"{backup}: {finding.in_words()}")
