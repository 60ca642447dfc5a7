"""A race of writers, workers that are killed and stopped, rebuilds, a rollback, and readers.

At its end the rows have to be those of one pass by plain Python over the log, and no reader may
have seen a table missing, half of a model replaced, or a row going back.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from eventcore.app import App
from eventcore.errors import StoreUnavailableError
from eventcore.settings import parse_store_url
from tests.integration.projections_racing import Place, keep, read, rebuild, write
from tests.integration.races import PROCESSES
from tests.integration.racing_accounts import POISON, TABLES, in_one_pass


class ViolationError(AssertionError):
    """A promise is broken."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a race is held.

    Attributes:
        events: Written at least, by all writers together.
        writing_seconds: What they take for that, if they can.
        kills: Of random workers, one after the other.
        stops: Workers that are stopped for longer than a lease, and go on.
        mutant, poison_each: See :class:`tests.integration.projections_racing.Place`.
        seconds_max: A race that takes longer fails.
    """

    events: int
    writing_seconds: float
    writers: int = 5
    workers: int = 3
    readers: int = 2
    kills: int = 10
    stops: int = 1
    lease_seconds: float = 2.0
    mutant: str = ""
    poison_each: int = 1_000_000
    seconds_max: float = 300.0
    seed: int = 0


@dataclass
class Outcome:
    """What happened.

    Attributes:
        events: In the log.
        killed: Workers killed with SIGKILL.
        stopped: Workers stopped beyond their lease.
        steps: What was done to the projections, with the events in the log at that moment.
        parked: Events that waited behind the poison.
        polls: Of all readers.
        seconds: How long it took.
    """

    events: int = 0
    killed: int = 0
    stopped: int = 0
    steps: list[tuple[str, int]] = field(default_factory=list)
    parked: int = 0
    polls: int = 0
    seconds: float = 0.0


class Race:
    """Holds one race.

    Args:
        url: An empty place for log and views.
        folder: For what the processes tell.
        plan: How.
    """

    def __init__(self, url: str, folder: Path, plan: Plan) -> None:
        self._place = Place(
            url, folder, plan.lease_seconds, plan.mutant, poison_each=plan.poison_each
        )
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._outcome = Outcome()
        self._deadline = time.monotonic() + plan.seconds_max
        self._workers: list[BaseProcess] = []
        self._others: list[BaseProcess] = []
        self._killer: threading.Thread | None = None
        self._is_over = threading.Event()

    def run(self) -> Outcome:
        """Race.

        Raises:
            ViolationError: A promise is broken.
        """
        began = time.monotonic()
        with closing(self._place.open()) as app, self._ended_at_last():
            app.runner().run_to_head()
            self._begin()
            self._trouble(app)
            self._place.say("enough")
            self._finish(app)
            self._check(app)
        self._outcome.seconds = time.monotonic() - began
        return self._outcome

    def _begin(self) -> None:
        plan = self._plan
        each = plan.events // plan.writers + 1
        for number in range(plan.writers):
            seconds = plan.writing_seconds
            self._start(write, number, events=each, seconds=seconds)
        for _ in range(plan.workers):
            self._workers.append(self._process(keep))
        is_sql = parse_store_url(self._place.url).scheme != "dynamodb"
        for number in range(plan.readers):
            self._start(read, number, raw=is_sql and number % 2 == 0)

    def _process(self, target: Callable[..., None], *arguments: Any, **options: Any) -> BaseProcess:
        process = PROCESSES.Process(
            target=target, args=(self._place, *arguments), kwargs=options, daemon=True
        )
        process.start()
        return process

    def _start(self, target: Callable[..., None], *arguments: Any, **options: Any) -> BaseProcess:
        process = self._process(target, *arguments, **options)
        self._others.append(process)
        return process

    def _trouble(self, app: App) -> None:
        """Kill and stop workers all the while, and make rows anew, go back, and make them anew."""
        self._until(lambda: app.log.head() > self._plan.events // 10, "something is written")
        killer = self._killer = threading.Thread(target=self._kill_workers, daemon=True)
        killer.start()
        self._rebuild(app, "race_accounts")
        self._rebuild(app, "race_orders")
        self._roll_back(app, "race_accounts")
        self._until(lambda: not killer.is_alive(), "the last worker is killed")

    def _kill_workers(self) -> None:
        pause = self._plan.writing_seconds / (self._plan.kills + 2)
        for number in range(self._plan.kills):
            if self._is_over.wait(pause * self._chance.uniform(0.5, 1.5)):
                return
            if number < self._plan.stops:
                self._stop_one()
            place = self._chance.randrange(len(self._workers))
            self._workers[place].kill()
            self._workers[place].join()
            self._workers[place] = self._process(keep)
            self._outcome.killed += 1

    def _stop_one(self) -> None:
        stopped = self._chance.choice(self._workers)
        assert stopped.pid is not None
        os.kill(stopped.pid, signal.SIGSTOP)
        time.sleep(2.5 * self._plan.lease_seconds)
        os.kill(stopped.pid, signal.SIGCONT)
        self._outcome.stopped += 1

    def _rebuild(self, app: App, name: str) -> None:
        process = self._start(rebuild, name)
        self._until(lambda: self._place.is_said(f"rebuilt-{name}"), f"{name} is rebuilt")
        process.join()
        self._note(app, f"rebuilt {name}")

    def _roll_back(self, app: App, name: str) -> None:
        while True:
            self._look()
            try:
                app.runner().roll_back(name)
            except StoreUnavailableError:
                continue
            break
        self._note(app, f"rolled back {name}")

    def _note(self, app: App, step: str) -> None:
        self._outcome.steps.append((step, app.log.head()))

    def _finish(self, app: App) -> None:
        """Let the writers end, mend the handler, retry, and let everybody come to the head."""
        writers = self._others[: self._plan.writers]
        self._until(lambda: not any(one.is_alive() for one in writers), "all is written")
        head = app.log.head()
        runner = app.runner()
        self._until(lambda: _is_at(app, head), "workers come to the head")
        self._outcome.parked = sum(one.events for one in runner.parked("race_accounts"))
        self._place.say("mended")
        self._until(lambda: runner.retry("race_accounts").parked == 0, "what was parked is applied")
        self._place.say("read enough")
        readers = self._others[self._plan.writers :][: self._plan.readers]
        self._until(lambda: not any(one.is_alive() for one in readers), "readers end")
        for worker in self._workers:
            worker.terminate()
        self._until(lambda: not any(one.is_alive() for one in self._workers), "workers end")

    def _check(self, app: App) -> None:
        self._look()
        expected = in_one_pass(app.log)
        for table in TABLES:
            rows: list[tuple[Any, ...]] = list(app.views.query(table))
            found = {row[0]: tuple(row) for row in rows}
            differing = [
                (expected[table.name].get(key), found.get(key))
                for key in {*expected[table.name], *found}
                if expected[table.name].get(key) != found.get(key)
            ]
            if differing:
                msg = f"{len(differing)} rows of {table.name} are not as expected: {differing[:2]}"
                raise ViolationError(msg)
        if POISON not in expected["race_accounts"] or not self._outcome.parked:
            msg = "there was no poison in this race"
            raise ViolationError(msg)
        self._outcome.events = app.log.head()
        self._outcome.polls = sum(
            int((self._place.folder / f"read-{number}").read_text())
            for number in range(self._plan.readers)
        )

    def _until(self, happened: Callable[[], bool], what: str) -> None:
        while not happened():
            self._look()
            time.sleep(0.05)

        self._look()
        assert what

    def _look(self) -> None:
        """End the race if a process told of something that ought not to be."""
        for path in sorted(self._place.folder.glob("violation-*")):
            raise ViolationError(path.read_text())
        for path in sorted(self._place.folder.glob("failed-*")):
            raise ViolationError(path.read_text())
        if time.monotonic() > self._deadline:
            msg = f"the race takes longer than {self._plan.seconds_max} s"
            raise ViolationError(msg)

    @contextmanager
    def _ended_at_last(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._is_over.set()
            if self._killer is not None:
                self._killer.join()
            for process in (*self._workers, *self._others):
                process.kill()
                process.join()


def _is_at(app: App, head: int) -> bool:
    return all(one.position >= head for one in app.runner().status())
