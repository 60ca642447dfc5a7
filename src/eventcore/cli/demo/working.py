"""The first two acts: a shop at work, and a projector that is killed and replaced."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eventcore.cli.demo.failures import must
from eventcore.cli.demo.narrator import Narrator
from eventcore.cli.demo.watching import SAMPLE_SECONDS, Sample, Watch
from eventcore.cli.demo.workers import Worker, Workers
from eventcore.projections.runner import ProjectionRunner

WRITERS: Final = 3
"""Processes that execute commands."""

WORK_SECONDS: Final = 3.0
"""How long the shop works before the projector is killed."""

ALONE_SECONDS: Final = 2.0
"""How long the writers go on without a projector."""

TOGETHER_SECONDS: Final = 2.0
"""How long they go on beside the new one."""

BEHIND_SECONDS_MAX: Final = 1.0
BEHIND_CHECK_SECONDS: Final = 0.005
"""How long to wait for a moment in which the projector is behind, and how often to look."""

PATIENCE_SECONDS: Final = 60.0
"""How long anything may take on a slow machine before the demo gives up."""

_WRITER = "eventcore.cli.demo.writer"
_PROJECTOR = "eventcore.cli.demo.projector"


@dataclass(slots=True)
class Worked:
    """What came of it.

    Attributes:
        totals: What the writers report together: commands, events, conflicts, refused.
        killed_at: Position of the read models when the projector was killed.
        resumed_at: Position the new one went on from.
        head: Position of the last event.
        lag_max: Largest lag.
        seconds: How long the writers worked.
    """

    totals: Counter[str]
    killed_at: int
    resumed_at: int
    head: int
    lag_max: int
    seconds: float


class ShopAtWork:
    """Directs the processes of a shop.

    Args:
        narrator: Tells what happens.
        runner: Looks at the log and the read models; applies nothing.
        url: Of the store.
        workers: Starts processes.
    """

    def __init__(
        self, narrator: Narrator, runner: ProjectionRunner, url: str, workers: Workers
    ) -> None:
        self._narrator = narrator
        self._runner = runner
        self._url = url
        self._workers = workers
        self._refresh: Callable[[], None] = _nothing

    def run(self) -> Worked:
        """Let the shop work, kill the projector, replace it, let everything finish.

        Raises:
            DemoFailedError: Something was not as it should be.
            WorkerFailedError: A process ended by itself.
        """
        self._narrator.act(
            "A shop at work",
            f"{WRITERS} processes execute commands on one SQLite file; another keeps "
            f"{len(self._runner.projections)} read models.",
        )
        writers = [
            self._workers.start(f"writer {number}", _WRITER, [self._url, str(number)])
            for number in range(1, WRITERS + 1)
        ]
        watch = Watch(self._runner, writers)
        with self._narrator.watching(watch) as self._refresh:
            watch.doing = "starting the processes"
            first = watch.projector = self._start_projector()
            self._until(
                watch, lambda sample: sample.position > 0 and all(w.report for w in writers)
            )
            started = time.monotonic()
            watch.doing = "[bold]the shop works[/bold]"
            self._for(watch, WORK_SECONDS)
            killed_at = self._kill(watch, first)
            resumed_at, second = self._replace(watch, killed_at)
            watch.doing = "[bold]everything works again[/bold]"
            self._for(watch, TOGETHER_SECONDS)
            watch.doing = "closing time: the writers finish"
            self._stop_all(watch, writers)
            seconds = time.monotonic() - started
            head = self._finish(watch, second)
        self._check_resumed(second, killed_at, head)
        return Worked(
            watch.totals(), min(killed_at.values()), resumed_at, head, watch.lag_max, seconds
        )

    def _start_projector(self) -> Worker:
        return self._workers.start("projector", _PROJECTOR, [self._url])

    def _look(self, watch: Watch) -> Sample:
        self._workers.check()
        sample = watch.look()
        self._refresh()
        return sample

    def _for(self, watch: Watch, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look(watch)
            time.sleep(SAMPLE_SECONDS)

    def _until(self, watch: Watch, reached: Callable[[Sample], bool]) -> Sample:
        end = time.monotonic() + PATIENCE_SECONDS
        while not reached(sample := self._look(watch)):
            must(time.monotonic() < end, f"{watch.doing}: not done in {PATIENCE_SECONDS:.0f} s")
            time.sleep(SAMPLE_SECONDS)
        return sample

    def _kill(self, watch: Watch, projector: Worker) -> dict[str, int]:
        # While it is behind: what dies is then a projector with work in its hands.
        end = time.monotonic() + BEHIND_SECONDS_MAX
        while (sample := self._look(watch)).lag == 0 and time.monotonic() < end:
            time.sleep(BEHIND_CHECK_SECONDS)
        totals = watch.totals()
        self._narrator.fact(
            "at-work",
            f"[bold]{sample.head:,}[/bold] events so far, "
            f"{totals['conflicts']:,} conflicts between the writers retried",
            head=sample.head,
            conflicts=totals["conflicts"],
        )
        self._narrator.act(
            "The projector dies", "SIGKILL in the middle of its work: no warning, no goodbye."
        )
        projector.kill()
        killed_at = self._positions()
        self._narrator.blow(
            f"process {projector.pid} [bold red]killed[/bold red]; "
            f"the read models stand at position [bold]{min(killed_at.values()):,}[/bold]"
        )
        watch.doing = "[bold red]no projector[/bold red]: the shop goes on, the read models do not"
        self._for(watch, ALONE_SECONDS)
        must(self._positions() == killed_at, "the read models moved although nobody keeps them")
        return killed_at

    def _replace(self, watch: Watch, killed_at: dict[str, int]) -> tuple[int, Worker]:
        before = watch.look()
        self._narrator.fact(
            "killed",
            f"the shop went on to {before.head:,}; the lag grew to [bold]{before.lag:,}[/bold]",
            position=min(killed_at.values()),
            head=before.head,
            lag=before.lag,
        )
        watch.doing = "[bold green]a new projector[/bold green] catches up"
        second = watch.projector = self._start_projector()
        began = time.monotonic()
        self._until(watch, lambda _: "begins" in second.report)
        begins = second.report["begins"]
        must(
            begins == killed_at,
            f"the new projector began at {begins}, the killed one left {killed_at}",
        )
        resumed_at = min(begins.values())
        self._narrator.fact(
            "resumed",
            f"process {second.pid} resumes at position [bold]{resumed_at:,}[/bold]: exactly there",
            position=resumed_at,
        )
        self._until(watch, lambda sample: sample.position >= before.head)
        seconds = time.monotonic() - began
        self._narrator.fact(
            "caught-up",
            f"it made up the {before.head - resumed_at:,} missed events within {seconds:.1f} s, "
            "while the shop went on",
            events=before.head - resumed_at,
            seconds=round(seconds, 3),
        )
        return resumed_at, second

    def _positions(self) -> dict[str, int]:
        return {found.projection: found.position for found in self._runner.status()}

    def _stop_all(self, watch: Watch, writers: list[Worker]) -> None:
        for writer in writers:
            writer.stop()
        watch.look()
        self._refresh()

    def _finish(self, watch: Watch, projector: Worker) -> int:
        head = self._runner.log.head()
        self._until(watch, lambda sample: sample.position >= head)
        projector.stop()
        must(self._runner.log.head() == head, "the log moved after the writers had ended")
        positions = self._positions()
        must(
            set(positions.values()) == {head},
            f"the read models are at {positions}, the head is {head}",
        )
        return head

    def _check_resumed(self, projector: Worker, killed_at: dict[str, int], head: int) -> None:
        missed = sum(1 for _ in self._runner.log.read(min(killed_at.values()), until=head))
        applied = projector.report["applied"]
        must(
            applied == missed, f"the new projector applied {applied} events, {missed} were missing"
        )
        self._narrator.fact(
            "applied",
            f"it applied [bold]{applied:,}[/bold] events: all that came after, and none twice",
            applied=applied,
        )


def run_shop(narrator: Narrator, runner: ProjectionRunner, url: str, folder: Path) -> Worked:
    """Let a shop work in processes of its own, which are gone when this returns or raises."""
    with Workers(folder) as workers:
        return ShopAtWork(narrator, runner, url, workers).run()


def _nothing() -> None:
    """Nobody watches yet."""
