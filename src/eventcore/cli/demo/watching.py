"""Watching a shop at work: samples of log, read models and writers, and a live picture."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from eventcore.cli.demo.workers import Worker
from eventcore.projections.runner import ProjectionRunner

SAMPLE_SECONDS: Final = 0.1
"""Between two looks."""

RATE_SECONDS: Final = 1.0
"""Rates are those of so long a while."""

SAMPLES_SHOWN: Final = 56
"""Samples in the picture of the lag, one a column."""

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


class Sample(NamedTuple):
    """One look.

    Attributes:
        at: Monotonic seconds.
        head: Position of the newest event.
        position: What every read model has applied.
        alive: Whether a projector runs.
    """

    at: float
    head: int
    position: int
    alive: bool

    @property
    def lag(self) -> int:
        """Events that are not applied yet."""
        return max(0, self.head - self.position)


class Watch:
    """Looks at the shop from outside, as any other process could.

    Attributes:
        projector: The process that keeps the read models, if one runs.
        doing: What is going on, for the picture.
        lag_max: Largest lag seen.
    """

    def __init__(self, runner: ProjectionRunner, writers: Sequence[Worker]) -> None:
        self._runner = runner
        self._writers = writers
        self._samples: deque[Sample] = deque(maxlen=1_000)
        self._spinner = Spinner("dots", style="cyan")
        self.projector: Worker | None = None
        self.doing = ""
        self.lag_max = 0

    def look(self) -> Sample:
        """Take a sample."""
        # The position first: a lag is never shown smaller than it was.
        position = self.position()
        alive = self.projector is not None and self.projector.running
        sample = Sample(time.monotonic(), self._runner.log.head(), position, alive)
        self._samples.append(sample)
        self.lag_max = max(self.lag_max, sample.lag)
        return sample

    def position(self) -> int:
        """What every read model has applied."""
        views = self._runner.views
        found = [views.checkpoint(projection.name) for projection in self._runner.projections]
        return min(checkpoint.position if checkpoint else 0 for checkpoint in found)

    def totals(self) -> Counter[str]:
        """What all writers together reported."""
        totals: Counter[str] = Counter()
        for writer in self._writers:
            totals.update(writer.report)
        return totals

    def rate(self, of: Callable[[Sample], int]) -> float:
        """Events a second, lately."""
        if not self._samples:
            return 0.0
        last = self._samples[-1]
        first = next(s for s in self._samples if last.at - s.at <= RATE_SECONDS)
        return (of(last) - of(first)) / (last.at - first.at) if last.at > first.at else 0.0

    def line(self) -> str:
        """The picture in one line, for output that is no terminal."""
        last = self._samples[-1]
        keeper = (
            f"projector at {last.position:,}"
            if last.alive
            else f"no projector, at {last.position:,}"
        )
        totals = self.totals()
        return (
            f"head {last.head:,} ({self.rate(_head):,.0f}/s), {keeper}, lag {last.lag:,}, "
            f"{totals['conflicts']:,} conflicts retried"
        )

    def picture(self) -> RenderableType:
        """What a terminal shows, redrawn all the time."""
        if not self._samples:
            return Text()
        last = self._samples[-1]
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", min_width=11)
        grid.add_column(justify="right", min_width=7)
        grid.add_column(overflow="crop", no_wrap=True)
        rate = f"{self.rate(_head):,.0f} events/s from {len(self._writers)} writer processes"
        grid.add_row("log head", f"[bold]{last.head:,}[/bold]", Text(rate, "dim"))
        grid.add_row(
            "read models", _colored(f"{last.position:,}", alive=last.alive), self._keeper(last)
        )
        grid.add_row("lag", f"{last.lag:,}", self._lag_picture())
        totals = self.totals()
        grid.add_row(
            "commands",
            f"{totals['commands']:,}",
            f"[magenta]{totals['conflicts']:,}[/magenta] conflicts retried  "
            f"[yellow]{totals['refused']:,}[/yellow] refused by a rule",
        )
        self._spinner.text = Text.from_markup(self.doing)
        return Padding(Group(self._spinner, Text(), grid), (0, 0, 0, 3))

    def _keeper(self, last: Sample) -> Text:
        if not last.alive:
            return Text("no projector", "bold red")
        assert self.projector is not None
        rate = self.rate(lambda sample: sample.position)
        return Text(f"{rate:,.0f} events/s by process {self.projector.pid}", "dim")

    def _lag_picture(self) -> Text:
        shown = list(self._samples)[-SAMPLES_SHOWN:]
        top = max([sample.lag for sample in shown] + [1])
        picture = Text()
        for sample in shown:
            level = -(-sample.lag * (len(_BLOCKS) - 1) // top)
            picture.append(_BLOCKS[max(1, level)], "green" if sample.alive else "red")
        return picture


def _head(sample: Sample) -> int:
    return sample.head


def _colored(text: str, *, alive: bool) -> Text:
    return Text(text, "bold green" if alive else "bold red")
