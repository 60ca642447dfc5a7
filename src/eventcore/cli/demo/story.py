"""The demo from beginning to end. Every figure it prints is computed from what happened."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from eventcore.cli.demo.narrator import Narrator
from eventcore.cli.demo.proving import prove
from eventcore.cli.demo.rebuilding import rebuild
from eventcore.cli.demo.shop import open_shop
from eventcore.cli.demo.tally import Tally, count
from eventcore.cli.demo.travelling import travel
from eventcore.cli.demo.working import Worked, run_shop
from eventcore.cli.options import OPTIONS
from eventcore.cli.output import console, print_json
from eventcore.cli.signals import terminable
from eventcore.errors import InputError

FILE_NAME = "shop.db"


def tell(keep: Path | None, console: Console = console) -> int:
    """Run the demo; gives the exit code.

    Args:
        keep: Folder to leave the files in; a temporary one, removed at the end, if None.
        console: Where to print.

    Raises:
        DemoFailedError: Something differed.
        InputError: The folder cannot be used.
    """
    narrator = Narrator(console, as_json=OPTIONS.json)
    with _folder(keep) as folder, terminable():
        _tell(narrator, folder, keep)
    return 0


def _tell(narrator: Narrator, folder: Path, keep: Path | None) -> None:
    started = time.monotonic()
    path = folder / FILE_NAME
    url = f"sqlite:///{quote(str(path))}"
    narrator.show(_title(path))
    with open_shop(url) as app:
        runner = app.runner()
        with tempfile.TemporaryDirectory(prefix="eventcore-demo-") as errors:
            worked = run_shop(narrator, runner, url, Path(errors))
        tally = count(app.log, worked.head)
        digests = prove(narrator, runner, tally)
        order_id = travel(narrator, app, tally.longest_order)
        rate = rebuild(narrator, app.log, runner.views, digests)
        seconds = time.monotonic() - started
        _summarise(narrator, worked, tally, rate, seconds)
        _suggest(narrator, order_id, keep)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        # What a killed child holds open for a moment must not spoil the end.
        with tempfile.TemporaryDirectory(
            prefix="eventcore-demo-", ignore_cleanup_errors=True
        ) as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        present = next(keep.iterdir(), None)
    except OSError as error:
        raise InputError(name=str(keep), problem=error.strerror or str(error)) from error
    if present is not None:
        raise InputError(name=str(keep), problem="it is not empty; name a new or an empty folder")
    yield keep.resolve()


def _title(path: Path) -> Panel:
    text = Text.assemble(
        ("eventcore", "bold cyan"),
        ("  events are the truth; everything else is made from them\n", "bold"),
        ("one SQLite file  ", "dim"),
        (str(path), "dim"),
        overflow="fold",
    )
    return Panel(text, border_style="cyan", padding=(0, 2))


def _summarise(
    narrator: Narrator, worked: Worked, tally: Tally, rate: float, seconds: float
) -> None:
    facts: dict[str, Any] = {
        "events": tally.events,
        "streams": sum(tally.streams.values()),
        "commands": worked.totals["commands"],
        "conflictsRetried": worked.totals["conflicts"],
        "refused": worked.totals["refused"],
        "projectorsKilled": 1,
        "lagMax": worked.lag_max,
        "rebuildEventsPerSecond": round(rate),
        "seconds": round(seconds, 1),
    }
    if OPTIONS.json:
        print_json({"fact": "summary", **facts})
        return
    grid = Table.grid(padding=(0, 2), expand=False)
    for _ in range(2):
        grid.add_column(justify="right", style="bold")
        grid.add_column(style="dim")
    per_second = tally.events / worked.seconds
    rows = [
        (
            f"{facts['events']:,}",
            "events recorded",
            f"{per_second:,.0f}",
            "events/s while it worked",
        ),
        (f"{facts['streams']:,}", "streams", f"{worked.totals['commands']:,}", "commands executed"),
        ("1", "crash survived", f"{worked.lag_max:,}", "events of lag made up"),
        (
            f"{worked.totals['conflicts']:,}",
            "conflicts retried",
            f"{worked.totals['refused']:,}",
            "commands refused by a rule",
        ),
        (f"{rate:,.0f}", "events/s rebuilding", f"{seconds:.1f}", "seconds, all of it"),
    ]
    for row in rows:
        grid.add_row(*row)
    narrator.console.print()
    title = "[bold green]everything that was compared is equal[/bold green]"
    narrator.show(
        Panel(grid, title=title, title_align="left", border_style="green", padding=(1, 2))
    )


def _suggest(narrator: Narrator, order_id: str, keep: Path | None) -> None:
    if OPTIONS.json:
        return
    console = narrator.console
    folder = keep or Path("shop")
    store = f"--store {shlex.quote(f'sqlite:///{quote(str(folder / FILE_NAME))}')}"
    if keep is None:
        console.print("   [dim]To look around in it, keep the files:[/dim]")
        console.print("   [cyan]$[/cyan] eventcore demo --keep shop")
    else:
        console.print(f"   [dim]The files are in[/dim] {folder}[dim]. Try:[/dim]", soft_wrap=True)
    look = "doctor" if keep is None else f"state order {order_id} --version 1"
    for command in (
        f"eventcore query orders --where status=delivered --limit 5 {store}",
        f"eventcore {look} {store}",
        f"eventcore projections rebuild --all {store}",
    ):
        console.print(f"   [cyan]$[/cyan] {command}", soft_wrap=True)
