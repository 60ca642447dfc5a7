"""How the demo is told: in colour to a person, in plain lines to a file, as JSON to a program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from eventcore.cli.demo.watching import Watch
from eventcore.cli.output import print_json

WIDTH_MAX: Final = 100
"""Wider terminals are not filled: long lines are hard to read."""

PLAIN_LINE_SECONDS: Final = 1.0
"""Between two lines about the same thing, where nothing can be redrawn."""

_INDENT: Final = (0, 0, 0, 3)


class Narrator:
    """Tells the demo as it happens.

    Args:
        console: Where to.
        as_json: Print JSON lines instead: one a fact.
    """

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self.console = console
        self._as_json = as_json
        console.width = min(console.width, WIDTH_MAX)
        self._act = 0

    @property
    def live(self) -> bool:
        """Whether pictures can be redrawn."""
        return self.console.is_terminal and not self.console.is_dumb_terminal and not self._as_json

    def act(self, title: str, what: str) -> None:
        """Begin a part of the story."""
        self._act += 1
        if self._as_json:
            return
        self.console.print()
        heading = Text.assemble((f" {self._act} ", "bold white on blue"), (f"  {title} ", "bold"))
        self.console.print(Rule(heading, align="left", style="blue", characters="─"))
        self.console.print(Padding(f"[dim]{what}[/dim]", _INDENT, expand=False))
        self.console.print()

    def fact(self, name: str, text: str, **facts: Any) -> None:
        """Something that was found to be so. ``text`` is rich markup."""
        if self._as_json:
            print_json({"fact": name, **facts})
        else:
            self.console.print(_listed("[bold green]✓[/bold green]", text))

    def blow(self, text: str) -> None:
        """Something bad that was done on purpose."""
        if not self._as_json:
            self.console.print(_listed("[bold red]✗[/bold red]", text))

    def show(self, picture: RenderableType) -> None:
        """A table or a panel; nothing as JSON."""
        if not self._as_json:
            self.console.print(Padding(picture, _INDENT, expand=False))

    def gap(self) -> None:
        """An empty line."""
        if not self._as_json:
            self.console.print()

    @contextmanager
    def watching(self, watch: Watch) -> Iterator[Callable[[], None]]:
        """Show what is watched during a block; gives a function to call after each look."""
        if self._as_json:
            yield _nothing
        elif self.live:
            with Live(
                console=self.console,
                refresh_per_second=12,
                transient=True,
                get_renderable=watch.picture,
            ) as live:
                yield live.refresh
        else:
            yield _EverySecond(lambda: self.console.print(f"     {watch.line()}", soft_wrap=True))


class _EverySecond:
    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._next = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PLAIN_LINE_SECONDS
            self._tell()


def _listed(mark: str, text: str) -> RenderableType:
    """A line behind its mark; what does not fit goes on under the text, not under the mark."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(mark, text)
    return Padding(grid, _INDENT, expand=False)


def _nothing() -> None:
    """JSON lines are facts, not pictures."""
