"""A race on a Postgres log: many writers, followers, and things that go wrong, all at once.

The truth is the table itself when everything is over. Every follower must have seen each of its
events once, in order, and nothing else, however often it or the server was killed.
"""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from eventcore.stores.postgres.log import PostgresLog
from tests.integration.postgres_racing import (
    APPLICATION,
    Place,
    follow,
    follow_naively,
    read_positions,
    write,
)
from tests.integration.races import PROCESSES
from tests.postgres_cluster import Cluster

SCHEMA = "race"
TICK_SECONDS = 0.05

FILTERED = frozenset({"own"})
FOLLOWERS: Mapping[str, tuple[Any, frozenset[str] | None]] = {
    "steady": (follow, None),
    "killed": (follow, None),
    "filtered": (follow, FILTERED),
    "naive": (follow_naively, None),
}
KILLED = ("killed", "filtered")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large a race is.

    Attributes:
        writers: Processes.
        events_each: Events that each of them commits at least, and more until enough went wrong.
        batch_events_max: Events in one INSERT.
        server_kills: How often the server is killed and started again.
        seconds_max: A race that takes longer hangs, which is a failure.
    """

    writers: int = 16
    events_each: int
    batch_events_max: int
    server_kills: int
    seconds_max: float


class Verdict(NamedTuple):
    """What was wrong with what one follower has seen; all zero: nothing."""

    missed: int
    doubled: int
    disordered: int
    never_committed: int


EXACT = Verdict(0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a race.

    Attributes:
        committed: Events in the log.
        gaps: Positions below the last one that hold none.
        lost: Events that a writer was told are stored, and are not.
        unknown: Events that are stored, though no writer was told so.
        verdicts: By follower.
    """

    committed: int
    gaps: int
    lost: int
    unknown: int
    servers_killed: int
    backends_terminated: int
    followers_killed: int
    verdicts: Mapping[str, Verdict]


def judge(seen: array[int], truth: array[int]) -> Verdict:
    """Compare what a follower saw with what is there."""
    distinct, stored = set(seen), set(truth)
    return Verdict(
        missed=len(stored - distinct),
        doubled=len(seen) - len(distinct),
        disordered=sum(1 for i in range(1, len(seen)) if seen[i] < seen[i - 1]),
        never_committed=len(distinct - stored),
    )


class Race:
    """One race on a server of its own.

    Args:
        cluster: A running server, which is killed now and then.
        folder: For the files of the processes.
        plan: How large it is.
    """

    def __init__(self, cluster: Cluster, folder: Path, plan: Plan) -> None:
        self._cluster = cluster
        self._plan = plan
        self._random = random.Random(plan.events_each)
        self._place = Place(url=cluster.url, schema=SCHEMA, folder=folder)
        self._followers: dict[str, BaseProcess] = {}
        self._writers: list[BaseProcess] = []
        self._stranger: psycopg.Connection[Any] | None = None
        self._kills_left = plan.server_kills
        self._backends_terminated = 0
        self._followers_killed = 0

    def run(self) -> Outcome:
        """Hold the race and judge it."""
        PostgresLog(self._cluster.url, schema=SCHEMA).close()
        plan = self._plan
        deadline = time.monotonic() + plan.seconds_max
        try:
            for name in FOLLOWERS:
                self._start_follower(name)
            self._writers = [
                self._start(
                    partial(
                        write,
                        self._place,
                        number,
                        events=plan.events_each,
                        batch_events_max=plan.batch_events_max,
                    )
                )
                for number in range(plan.writers)
            ]
            self._disturb(deadline)
            self._place.target.write_text(str(self._head()))
            for process in self._followers.values():
                process.join(max(0.0, deadline - time.monotonic()))
            self._check({f"follower {name}": one for name, one in self._followers.items()})
        finally:
            for process in [*self._writers, *self._followers.values()]:
                process.kill()
                process.join()
            self._forget_stranger()
        return self._judge()

    def _start(self, work: Any, *arguments: Any) -> BaseProcess:
        process = PROCESSES.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process

    def _start_follower(self, name: str) -> None:
        work, categories = FOLLOWERS[name]
        file = self._place.folder / name
        self._followers[name] = self._start(work, self._place, file, categories)

    def _check(self, processes: Mapping[str, BaseProcess]) -> None:
        for name, process in processes.items():
            if process.exitcode != 0:
                raise AssertionError(f"{name} ended with {process.exitcode}: see its traceback")

    def _disturb(self, deadline: float) -> None:
        """Let things go wrong until all writers are done."""
        while any(process.is_alive() for process in self._writers):
            assert time.monotonic() < deadline, "the race hangs"
            time.sleep(TICK_SECONDS)
            with suppress(psycopg.OperationalError):
                self._keep_stranger()
                self._terminate_a_backend()
                if self._is_enough():
                    self._place.enough.touch()
            if self._random.random() < 0.1:
                self._kill_a_follower()
            if self._kills_left and self._is_kill_due():
                self._kills_left -= 1
                self._cluster.kill()
                self._cluster.restart()
        self._check({f"writer {number}": one for number, one in enumerate(self._writers)})

    def _is_enough(self) -> bool:
        """Whether everything went wrong that is to, which is not left to the speed of anybody."""
        if self._kills_left or not self._backends_terminated or not self._followers_killed:
            return False
        seen = read_positions(self._place.folder / "naive")
        with self._connection() as connection:
            up_to = f"WHERE position <= {max(seen, default=0)}"
            ((stored,),) = self._rows(connection, "count(*)", up_to)
        return bool(stored > len(seen))

    def _is_kill_due(self) -> bool:
        plan = self._plan
        done = 1 - self._kills_left / (plan.server_kills + 1)
        with self._connection() as connection:
            ((stored,),) = self._rows(connection, "count(*)", "")
        return bool(stored > done * plan.writers * plan.events_each)

    def _keep_stranger(self) -> None:
        """Somebody who reads, writes elsewhere, and never ends: nothing waits for that."""
        if self._stranger is not None and not self._stranger.broken:
            return
        self._forget_stranger()
        self._stranger = psycopg.connect(self._cluster.url)
        self._stranger.execute(f"SELECT position FROM {SCHEMA}.eventcore_log LIMIT 1")
        self._stranger.execute("CREATE TEMPORARY TABLE strange (number integer)")
        self._stranger.execute("INSERT INTO strange VALUES (1)")

    def _forget_stranger(self) -> None:
        if self._stranger is not None:
            self._stranger.close()

    def _terminate_a_backend(self) -> None:
        if self._random.random() > 0.3:
            return
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s", (APPLICATION,)
            ).fetchall()
            if rows:
                (pid,) = self._random.choice(rows)
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
                self._backends_terminated += 1

    def _kill_a_follower(self) -> None:
        name = self._random.choice(KILLED)
        self._followers[name].kill()
        self._followers[name].join()
        self._followers_killed += 1
        self._start_follower(name)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self._cluster.url, autocommit=True) as connection:
            yield connection

    def _head(self) -> int:
        with self._connection() as connection:
            return int(self._rows(connection, "coalesce(max(position), 0)", "")[0][0])

    @staticmethod
    def _rows(connection: psycopg.Connection[Any], columns: str, rest: str) -> list[Any]:
        return connection.execute(f"SELECT {columns} FROM {SCHEMA}.eventcore_log {rest}").fetchall()

    def _judge(self) -> Outcome:
        with self._connection() as connection:
            rows = self._rows(connection, "position, split_part(stream, '-', 1)", "ORDER BY 1")
        truth = array("q", [position for position, _ in rows])
        owned = array("q", [position for position, category in rows if category in FILTERED])
        told: set[int] = set()
        for number in range(self._plan.writers):
            told.update(read_positions(self._place.folder / f"writer-{number}"))
        folder, stored = self._place.folder, set(truth)
        return Outcome(
            committed=len(truth),
            gaps=truth[-1] - len(truth),
            lost=len(told - stored),
            unknown=len(stored - told),
            servers_killed=self._plan.server_kills - self._kills_left,
            backends_terminated=self._backends_terminated,
            followers_killed=self._followers_killed,
            verdicts={
                name: judge(read_positions(folder / name), owned if categories else truth)
                for name, (_, categories) in FOLLOWERS.items()
            },
        )
