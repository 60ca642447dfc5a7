"""``eventcore seal``: writes down, outside of the database, what the events of the log are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from eventcore.cli.options import OPTIONS
from eventcore.cli.output import console, print_json
from eventcore.cli.services import Stopping, serve
from eventcore.settings import without_creating

if TYPE_CHECKING:
    from eventcore.seals.sealing import Sealed, Sealer
    from eventcore.stores.log import Log

EVERY_SECONDS: Final = 1.0

NICENESS: Final = 10
"""Added to that of a sealer that follows (POSIX, ``nice``)."""

_To = typer.Option(..., "--to", metavar="FILE", help="Where the seals are; a folder is fine.")
_Key = typer.Option(
    None, "--key", metavar="FILE", help="Private Ed25519 key (PEM) that signs each seal."
)
_Follow = typer.Option(False, "--follow", help="Go on sealing what is appended, until stopped.")
_Every = typer.Option(
    EVERY_SECONDS, "--every", metavar="SECONDS", min=0.01, help="With --follow: pause in between."
)


def seal(
    *, to: Path = _To, key: Path | None = _Key, follow: bool = _Follow, every: float = _Every
) -> None:
    """Seal what is in the log and is not sealed yet: eventcore verify --seals FILE compares.

    Keep the file where whoever may write the database may not write; it is only ever added to.
    """
    if not follow:
        _report(_opened(to, key, lambda sealer: sealer.seal()))
        return
    found: list[Sealed] = []

    # Where the processor is short, writers come first: what is sealed a moment later is no worse.
    os.nice(NICENESS)

    def work(stop: Stopping) -> None:
        found.append(_opened(to, key, lambda sealer: sealer.follow(stop, every)))

    serve(work)
    if found:
        _report(found[0])


def open_only_log(*, with_archive: bool = True) -> Log:
    """The log that the options name, as it is; events of unknown types can be read.

    With its archive, if they name one: what was trimmed is part of it.
    """
    from eventcore.events.codec import Codec  # noqa: PLC0415 - help opens nothing
    from eventcore.opening import open_log  # noqa: PLC0415 - likewise

    settings = OPTIONS.settings()
    codec = Codec(allow_unknown=True)
    archive = settings.archive if with_archive else None
    return open_log(without_creating(settings.store), codec, archive=archive)


def _opened(to: Path, key: Path | None, work: Callable[[Sealer], Sealed]) -> Sealed:
    from eventcore.opening import system_clock  # noqa: PLC0415 - help opens nothing
    from eventcore.seals.files import SealWriter  # noqa: PLC0415 - likewise
    from eventcore.seals.keys import read_signing_key  # noqa: PLC0415 - likewise
    from eventcore.seals.sealing import Sealer  # noqa: PLC0415 - likewise

    signing = None if key is None else read_signing_key(key)
    log = open_only_log()
    try:
        return work(Sealer(log, SealWriter(to), clock=system_clock, key=signing))
    finally:
        log.close()


def _report(sealed: Sealed) -> None:
    if OPTIONS.json:
        print_json(sealed._asdict())
        return
    if not sealed.total:
        console.print("[dim]the log is empty, there is nothing to seal[/dim]")
        return
    console.print(
        f"[green]✓[/green] {sealed.events:,} events sealed, {sealed.total:,} in all, "
        f"up to position {sealed.position:,}"
    )
    console.print(f"[dim]last seal {sealed.seal}[/dim]", soft_wrap=True)
