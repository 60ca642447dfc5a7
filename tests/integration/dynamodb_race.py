"""Writers and followers of a DynamoDB log in processes that are killed; then what is left of it."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from eventcore.errors import LogDamagedError
from eventcore.events.recorded import Recorded
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.log import DynamoDBLog
from tests.dynamodb import DynamoDBPlace
from tests.integration.dynamodb_racing import DAMAGED, STEPS, Job, work
from tests.integration.races import PROCESSES
from tests.property.stores.dynamodb_promises import Seen, Violation, check_table

WRITERS = 4
FOLLOWERS = 2
SETTLE_SECONDS_MAX = 60.0


class RaceTooSlowError(Exception):
    """The machine is too busy: nothing was found out."""


@dataclass
class Outcome:
    """What a race came to.

    Attributes:
        commits: Acknowledged appends.
        events: In the log.
        kills: Of writers and followers.
        tombstones: In the log.
    """

    commits: int = 0
    events: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    tombstones: int = 0
    seconds: float = 0.0


@dataclass
class Race:
    """A race on a table of its own.

    Args:
        place: Where.
        folder: For the journals.
        commits: How many appends have to be acknowledged.
        kill_seconds: How long a process works on average, once it has begun to.
        faults: Share of calls that go wrong.
        mutant: Name of a bug, see :mod:`tests.integration.dynamodb_racing`.
    """

    place: DynamoDBPlace
    folder: Path
    commits: int
    kill_seconds: float = 4.0
    faults: float = 0.05
    mutant: str = ""
    seconds_max: float = 200.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._series = 0
        self._log = self._open()
        self._journals: dict[str, tuple[Path, int]] = {}
        self._counted: dict[Path, tuple[int, int]] = {}

    def run(self) -> Outcome:
        """Race until enough is stored, let the followers finish, and check everything.

        Raises:
            Violation: A promise is broken.
        """
        outcome, began = Outcome(), time.monotonic()
        with ExitStack() as stack:
            processes: dict[str, BaseProcess] = {}
            for name in self._names():
                processes[name] = self._start(name)
            stack.callback(_kill_all, processes)
            self._await_all(processes, began)
            before = self._stored()
            while self._stored() - before < self.commits or not self._is_enough(outcome):
                self._check_time(began)
                time.sleep(0.1)
                self._perhaps_kill(processes, outcome)
            for name, process in processes.items():
                if name.startswith("write"):
                    _kill(process)
            self._await_followers()
            try:
                left = self._left_at_last()
            except LogDamagedError as error:
                raise Violation("a position is written twice") from error
        try:
            self._check(outcome, left)
        except LogDamagedError as error:
            raise Violation("a position is written twice") from error
        outcome.seconds = time.monotonic() - began
        return outcome

    def _await_all(self, processes: dict[str, BaseProcess], began: float) -> None:
        """Who starts late on a busy machine would find everything done, and notice nothing."""
        while late := [name for name in processes if not self._works(name)]:
            self._check_time(began)
            time.sleep(0.1)
            for name in late:
                if not processes[name].is_alive():
                    processes[name] = self._start(name)

    def _is_enough(self, outcome: Outcome) -> bool:
        """Whether a writer died and left a position that another one had to fill, by chance."""
        if self.mutant or self.faults == 0:
            return True
        return outcome.kills["write"] > 0 and _tombstones(self._items()) > 0

    def _check_time(self, began: float) -> None:
        if (self.folder / DAMAGED).exists():
            raise Violation("a position is written twice")
        if time.monotonic() - began > self.seconds_max:
            raise RaceTooSlowError(f"{self._stored()} commits in {self.seconds_max} s")

    def _perhaps_kill(self, processes: dict[str, BaseProcess], outcome: Outcome) -> None:
        for name, process in processes.items():
            is_hit = self._chance.random() < 0.1 / self.kill_seconds
            if (is_hit and self._works(name)) or not process.is_alive():
                outcome.kills[name.rstrip("0123456789")] += 1
                _kill(process)
                processes[name] = self._start(name)

    def _names(self) -> Iterator[str]:
        yield from (f"write{number}" for number in range(WRITERS))
        yield from (f"follow{number}" for number in range(FOLLOWERS))

    def _start(self, name: str) -> BaseProcess:
        role = name.rstrip("0123456789")
        self._series += 1
        job = Job(
            endpoint=self.place.url,
            region=self.place.region,
            table=self.place.table,
            journal=str(self.folder / (f"w{self._series}" if role == "write" else name)),
            series=self._series,
            faults=self.faults,
            mutant=self.mutant,
        )
        # Every other writer dies at a certain step instead of at any moment.
        if role == "write" and self._series % 2 == 0:
            job = replace(job, dies_at=STEPS[self._series // 2 % len(STEPS)])
        self._journals[name] = Path(job.journal), _size(Path(job.journal))
        process = PROCESSES.Process(target=work, args=(role, job))
        process.start()
        return process

    def _works(self, name: str) -> bool:
        """Whether a process has written anything since it was started."""
        path, size = self._journals[name]
        return _size(path) > size

    def _open(self) -> DynamoDBLog:
        place = self.place
        calls = open_calls(place.table, region=place.region, endpoint_url=place.url)
        return DynamoDBLog(calls, place.table)

    def _journal(self) -> list[dict[str, list[Any]]]:
        return [
            json.loads(line)
            for path in self.folder.glob("w*")
            # A line that a kill cut off was not written.
            for line in path.read_text().split("\n")[:-1]
        ]

    def _stored(self) -> int:
        """How many appends were acknowledged so far; reads what is new in the journals."""
        for path in self.folder.glob("w*"):
            offset, count = self._counted.get(path, (0, 0))
            with path.open("rb") as journal:
                journal.seek(offset)
                lines = journal.read()
            whole = lines.rfind(b"\n") + 1
            count += lines[:whole].count(b'"stored"')
            self._counted[path] = offset + whole, count
        return sum(count for _, count in self._counted.values())

    def _followed(self, number: int) -> list[str]:
        path = self.folder / f"follow{number}"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def _await_followers(self) -> None:
        time.sleep(1.5)  # what is late arrives
        head = self._log.head()
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        for number in range(FOLLOWERS):
            while not (lines := self._followed(number)) or int(lines[-1].split()[0]) < head:
                if time.monotonic() > deadline:
                    raise Violation(f"follower {number} does not reach {head}")
                time.sleep(0.1)

    def _left_at_last(self) -> _Left:
        """What is there once it does not change any more: some of it may be on its way for long."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        before = None
        while True:
            followed = [self._followed(number) for number in range(FOLLOWERS)]
            left = _Left(list(self._log.read()), self._items(), followed)
            if left == before or time.monotonic() > deadline:
                return left
            before = left
            time.sleep(1.0)

    def _check(self, outcome: Outcome, left: _Left) -> None:
        events, items = left.events, left.items
        contents: list[Seen] = [
            (one.position, one.stream, one.version, one.state) for one in events
        ]
        expected = [f"{one.position} {one.event_id}" for one in events]
        for number, followed in enumerate(left.followed):
            if followed != expected:
                missed = len(set(expected) - set(followed))
                doubled = len(followed) - len(set(followed))
                raise Violation(f"follower {number}: {missed} missed, {doubled} doubled, or late")
        check_table(items, contents)
        at = {str(one.event_id): one.position for one in events}
        for line in self._journal():
            if "stored" in line:
                outcome.commits += 1
                if [at.get(one) for one in line["stored"]] != line["positions"]:
                    raise Violation("an acknowledged append is not where it was said to be")
            elif len({one in at for one in line["tried"]}) > 1:
                raise Violation("an append is there in part")
        outcome.events = len(events)
        outcome.tombstones = _tombstones(items)
        self._log.close()

    def _items(self) -> list[dict[str, dict[str, str]]]:
        request, items = {"TableName": self.place.table, "ConsistentRead": True}, []
        while True:
            answer = self._log.calls.call("Scan", request)
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return items
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


class _Left(NamedTuple):
    """What a race left: in the log, in its table, and in the journals of the followers."""

    events: list[Recorded[Any]]
    items: list[dict[str, dict[str, str]]]
    followed: list[list[str]]


def _tombstones(items: list[dict[str, dict[str, str]]]) -> int:
    return sum(1 for item in items if "#l#" in item["pk"]["S"] and "k" not in item)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _kill_all(processes: Mapping[str, BaseProcess]) -> None:
    for process in processes.values():
        _kill(process)


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()
